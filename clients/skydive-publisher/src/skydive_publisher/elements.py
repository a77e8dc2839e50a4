"""Nodes and edges as Skydive takes them, and the messages that carry them.

A server drops what breaks its rules without an answer, so they are checked here, where the caller
can be told.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from skydive_publisher.errors import Invalid

Key = tuple[str, str]
"""``Node`` or ``Edge``, and identifier."""
NODE, EDGE = "Node", "Edge"

DEEPEST = 100
"""Lists and objects inside each other; servers take a few more."""
_NEEDED = {"netns": "Path", "ovsport": "UUID"}
"""What nodes of some types need besides Type and Name."""


class Element(NamedTuple):
    """What is held of a node or an edge."""

    key: Key
    metadata: Mapping[str, Any]
    parent: str
    """Of an edge; empty for a node."""
    child: str
    created_at_ms: int
    updated_at_ms: int
    revision: int
    size: int
    """Bytes of its JSON, about."""

    def as_json(self, host: str, origin: str) -> dict[str, Any]:
        """As the messages carry it."""
        document = {
            "ID": self.key[1],
            "Host": host,
            "Origin": origin,
            "Metadata": self.metadata,
            "CreatedAt": self.created_at_ms,
            "UpdatedAt": self.updated_at_ms,
            "Revision": self.revision,
        }
        if self.key[0] == EDGE:
            document.update(Parent=self.parent, Child=self.child)
        return document


def edge_id(parent: str, child: str, relation: str) -> str:
    """As Skydive itself calls the edge of this relation between two nodes."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, parent + child + relation))


def envelope(type_: str, obj: Any) -> str:
    """One message: ``NodeAdded``, ``EdgeDeleted``, ``Sync``, …"""
    message = {
        "Namespace": "Graph",
        "Type": type_,
        "UUID": str(uuid.uuid4()),
        "Status": 200,
        "Obj": obj,
    }
    return json.dumps(message, separators=(",", ":"))


def checked_id(value: Any, what: str) -> str:
    """An identifier; `Invalid` unless it is a text."""
    if not isinstance(value, str) or not value or not _encodable(value):
        raise Invalid(f"{what}: expected a text that is not empty, got {value!r}")
    return value


def checked(metadata: Mapping[str, Any], kind: str) -> tuple[dict[str, Any], int]:
    """A copy that later changes of the caller do not reach, and its size as JSON."""
    try:
        text = json.dumps(metadata, allow_nan=False, separators=(",", ":"))
        copy = json.loads(text)
        _check_value(copy, 0)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"metadata: expected what JSON can say: {error}") from error
    if not isinstance(copy, dict):
        raise Invalid(f"metadata: expected a mapping, got {metadata!r}")
    needed = ["RelationType"]
    if kind == NODE:
        type_ = copy.get("Type")
        extra = _NEEDED.get(type_) if isinstance(type_, str) else None
        needed = ["Type", "Name"] + ([extra] if extra else [])
    for key in needed:
        if not isinstance(copy.get(key), str) or not copy[key]:
            raise Invalid(f"metadata: expected a text as {key}, got {copy.get(key)!r}")
    return copy, len(text)


def _check_value(value: Any, depth: int) -> None:
    """`ValueError` for what JSON can say and a server refuses, with the whole message."""
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} deep")
    if isinstance(value, str):
        if not _encodable(value):
            raise ValueError(f"{value!r} is no Unicode text")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{value} has more than 64 bits")
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_value(key, depth)
            _check_value(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check_value(member, depth + 1)


def _encodable(text: str) -> bool:
    """Whether it has no half of a surrogate pair."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def changed(
    metadata: Mapping[str, Any], changes: Mapping[str, Any], remove: tuple[str, ...]
) -> dict[str, Any]:
    """Metadata with some members set and others removed; a dot in a key goes into an object."""
    result: dict[str, Any] = json.loads(json.dumps(metadata))
    for path, value in changes.items():
        *parents, last = checked_id(path, "key").split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise Invalid(f"{path}: {parent} is a value, not an object")
        place[last] = value
    for path in remove:
        *parents, last = checked_id(path, "key").split(".")
        inner: Any = result
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(last, None)
    return result
