"""What all API objects share: an identifier, and JSON both ways as the original speaks it.

Wire names stand in the classes here and not in a `wire.py`: the class is the schema that the API
publishes, and a second list of names would only repeat it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Self

import msgspec

from skydiver.base.errors import ProtocolError


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One stored API object. Immutable: an update is another object with the same `uuid`."""

    kind: ClassVar[str]
    """``capture``: in paths, in stores, in messages."""
    always: ClassVar[frozenset[str]] = frozenset()
    """Members that JSON shows even when they are empty, beyond ``UUID``."""

    uuid: str = msgspec.field(default="", name="UUID")
    """Assigned by the server; a random UUIDv4."""

    @classmethod
    def title(cls) -> str:
        """The kind as messages to people write it."""
        return cls.kind.capitalize()

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Read a JSON object; `ProtocolError` names the member that is wrong.

        As in the original, names match in any case, unknown members are ignored and null is the
        same as absent.
        """
        if not isinstance(document, Mapping):
            raise ProtocolError(f"{cls.kind}: expected a JSON object, got {_short(document)}")
        names = _names(cls)
        members = {
            names[key.lower()]: value
            for key, value in document.items()
            if isinstance(key, str) and key.lower() in names and value is not None
        }
        try:
            resource = msgspec.convert(members, cls)
        except msgspec.ValidationError as error:
            raise ProtocolError(_explained(str(error))) from error
        resource.check()
        return resource

    def check(self) -> None:
        """Raise `ProtocolError` for what types alone cannot say."""

    def to_json(self) -> dict[str, Any]:
        """The object as the original writes it: empty members are left out."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        shown = self.always
        return {
            name: value
            for name, value in document.items()
            if value or name in shown or name == "UUID"
        }

    def conflicts_with(self, other: Self) -> bool:
        """True when the two may not exist together."""
        return False


@cache
def _names(of: type[Resource]) -> Mapping[str, str]:
    return {field.encode_name.lower(): field.encode_name for field in msgspec.structs.fields(of)}


def _explained(message: str) -> str:
    """``Port: expected int, got str`` from msgspec's words."""
    words = message.replace("`", "")
    missing = re.fullmatch(r"Object missing required field (\w+)", words)
    if missing:
        return f"{missing[1]}: expected a value, got none"
    text, _, place = words.partition(" - at $.")
    text = text[:1].lower() + text[1:]
    return f"{place}: {text}" if place else text


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
