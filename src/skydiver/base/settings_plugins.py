"""Settings of installed probes: each owns the section ``agent.topology.<name>``.

Its fields are known to its own code only, which is imported when the probe is switched on. Until
then the section is kept as it was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from skydiver.base.errors import ConfigError
from skydiver.base.settings_files import Written
from skydiver.base.settings_kinds import Scalar, Tree, plain, tree

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "skydiver.probes"
"""Entry points of this group are probes; their names are those of the probes."""
PARENT = "agent.topology."
_VARIABLE = "SKYDIVE_AGENT_TOPOLOGY_"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PluginSection:
    """What was written for one probe."""

    key: str
    where: str = ""
    """The last place that said something; empty when nothing was said."""
    written: Mapping[str, Tree] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The values as YAML or JSON reads them."""
        return {key: plain(value) for key, value in self.written.items()}

    def read(self, of: type[T]) -> T:
        """As a dataclass of the probe; `ConfigError` names place and key of what does not fit."""
        import msgspec

        if not is_dataclass(of):
            raise ConfigError(f"{self.key}: the settings of a probe are a dataclass, not {of!r}")
        texts = _texts(dict(self.written))
        try:
            config = msgspec.convert(texts, of, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(self._located(str(error))) from error
        for unknown in _left_over(texts, msgspec.to_builtins(config, str_keys=True)):
            raise ConfigError(f"{self._place()}unknown key {self.key}.{unknown}")
        return config

    def _located(self, said: str) -> str:
        """``Expected `int`, got `str` - at `$.port``` with the key first."""
        what, _, path = said.partition(" - at `$")
        what = what.replace("`", "")
        return f"{self._place()}{self.key}{path.rstrip('`')}: {what[:1].lower()}{what[1:]}"

    def _place(self) -> str:
        return f"{self.where}: " if self.where else ""


def installed() -> dict[str, list[EntryPoint]]:
    """The probes of other distributions by name; of a name, all that claim it."""
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
        same = found.setdefault(entry.name.lower(), [])
        # A distribution that is on the path twice is one.
        if not any((entry.value, _origin(entry)) == (one.value, _origin(one)) for one in same):
            same.append(entry)
    return found


def section_of(key: str, written: Written) -> tuple[str, Written] | None:
    """The section of an installed probe that a key belongs to, and its value as one of a section;
    None for any other key."""
    name, _, rest = key.removeprefix(PARENT).partition(".")
    if not key.startswith(PARENT) or name not in installed():
        return None
    value = written.value
    for part in reversed(rest.split(".") if rest else ()):
        value = {part: value}
    if isinstance(value, Scalar):
        value = _json(value)
    if not isinstance(value, dict):
        raise ConfigError(f"{written.where}: {PARENT}{name}: expected keys and values")
    return f"{PARENT}{name}", Written(written.where, value)


def meant_by(variable: str, text: str) -> tuple[str, Tree] | None:
    """Key and value of an environment variable for an installed probe. Lists and maps are JSON."""
    if not variable.startswith(_VARIABLE):
        return None
    rest = variable.removeprefix(_VARIABLE).lower()
    for name in installed():
        if rest == name:
            return f"{PARENT}{name}", _json(Scalar(text, text))
        if rest.startswith(f"{name}_"):
            return f"{PARENT}{name}.{rest[len(name) + 1 :]}", _json(Scalar(text, text))
    return None


def _origin(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else ""


def _json(written: Scalar) -> Tree:
    """A list or a map that was written as JSON; anything else as it is."""
    if not written.text.lstrip().startswith(("{", "[")):
        return written
    try:
        return tree(json.loads(written.text))
    except (ValueError, RecursionError):
        return written


def _texts(written: Tree) -> Any:
    """Values as texts: the field that a text is for says what it means, and 0123 may be a
    password."""
    match written:
        case Scalar():
            return written.value if written.value is None else written.text
        case list():
            return [_texts(item) for item in written]
        case _:
            texts = {key: _texts(item) for key, item in written.items()}
            return {key: text for key, text in texts.items() if text is not None}


def _left_over(given: Any, taken: Any, path: str = "") -> Iterator[str]:
    """Keys that no field took."""
    if isinstance(given, dict) and isinstance(taken, dict):
        for key, value in given.items():
            if key not in taken:
                yield f"{path}{key}"
            else:
                yield from _left_over(value, taken[key], f"{path}{key}.")
    elif isinstance(given, list) and isinstance(taken, list | tuple):
        for number, (one, other) in enumerate(zip(given, taken, strict=False)):
            yield from _left_over(one, other, f"{path}{number}.")
