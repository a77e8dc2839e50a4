"""From what was written to typed settings: which keys exist, who wins, what to say of errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar

from skydiver.base.errors import ConfigError
from skydiver.base.settings_files import Written
from skydiver.base.settings_kinds import Integer, Kind, Plain, Scalar, Wrong
from skydiver.base.settings_plugins import PluginSection, meant_by, section_of
from skydiver.base.settings_reserved import OLD_NAMES, RESERVED

PREFIX = "SKYDIVE_"
CLIENT_VARIABLES = frozenset({"SKYDIVE_ANALYZER", "SKYDIVE_USERNAME", "SKYDIVE_PASSWORD"})
"""Read by the client commands only."""

MOST_UNKNOWN = 20
"""Unknown keys that are named; a file with more is no configuration."""

T = TypeVar("T")


def setting(kind: Kind, default: Any, *, name: str = "") -> Any:
    """A field that is a setting; `name` when its key is not called as the field."""
    return field(default=default, metadata={"kind": kind, "key": name})


def made(kind: Kind, factory: Callable[[], Any], *, name: str = "") -> Any:
    """The same with a default that is made at loading."""
    return field(default_factory=factory, metadata={"kind": kind, "key": name})


def section(of: type[T]) -> T:
    """A field that holds more settings."""
    inner: T = field(default_factory=of, metadata={"section": of})
    return inner


def sections(of: type[T], factory: Callable[[], Mapping[str, T]]) -> Mapping[str, T]:
    """A field that holds sections by names that the user chooses."""
    inner: Mapping[str, T] = field(default_factory=factory, metadata={"named": of})
    return inner


def plugin_sections() -> Mapping[str, PluginSection]:
    """A field that holds the sections of installed probes."""
    inner: Mapping[str, PluginSection] = field(default_factory=dict, metadata={"plugins": True})
    return inner


def key_of(item: Field[Any], path: str = "") -> str:
    """The key of a field, below `path`."""
    name: str = item.metadata.get("key") or item.name
    return path + name


def _kinds(of: type, path: str) -> Iterator[tuple[str, Kind]]:
    """Every key below `path` and how it is read."""
    for item in fields(of):
        key = key_of(item, path)
        if inner := item.metadata.get("section"):
            yield from _kinds(inner, f"{key}.")
        elif named := item.metadata.get("named"):
            yield from _kinds(named, f"{key}.*.")
        elif kind := item.metadata.get("kind"):
            yield key, kind


def _variable(key: str) -> str:
    return PREFIX + re.sub(r"[.-]", "_", key).upper()


class Schema:
    """All keys that exist: patterns with ``*`` for names that the user chooses."""

    def __init__(self, root: type) -> None:
        self._kinds: dict[str, Kind] = {key: Plain() for key in (*RESERVED, *OLD_NAMES)}
        self._kinds["etcd.max_wal_files"] = self._kinds["etcd.max_snap_files"] = Integer()
        self._kinds.update(_kinds(root, ""))
        self._sections = {
            tuple(key.split(".")[:length])
            for key in self._kinds
            for length in range(1, key.count(".") + 1)
        }
        self._variables = {_variable(key): key for key in self._kinds if "*" not in key}
        self._patterns = [
            (re.compile(_variable(key).replace("*", "(.+)")), key)
            for key in self._kinds
            if "*" in key
        ]

    def pattern(self, key: str) -> str:
        """The key as it stands in the tables."""
        if key in self._kinds:
            return key
        first, *rest = key.split(".")
        for place in range(len(rest)):
            candidate = ".".join([first, *rest[:place], "*", *rest[place + 1 :]])
            if candidate in self._kinds:
                return candidate
        return key

    def kind(self, key: str) -> Kind | None:
        return self._kinds.get(self.pattern(key))

    def is_section(self, path: tuple[str, ...]) -> bool:
        if ".".join(path) in self._kinds:
            return False
        if path in self._sections:
            return True
        return any((*path[:at], "*", *path[at + 1 :]) in self._sections for at in range(len(path)))

    def unknown(self, key: str) -> str:
        """What to say of a key that does not exist."""
        import difflib

        nearest = difflib.get_close_matches(key, self._kinds, 1, 0.5)
        hint = f"; the nearest known key is {nearest[0]}" if nearest else ""
        return f"unknown key {key}{hint}"

    def meant_by(self, variable: str, written: Mapping[str, Written]) -> str | None:
        """The key that an environment variable means."""
        if variable in self._variables:
            return self._variables[variable]
        for expression, key in self._patterns:
            if match := expression.fullmatch(variable):
                # Dashes of a name are lost in the variable: prefer a key that a file has.
                for given in written:
                    if _variable(given) == variable:
                        return given
                return key.replace("*", match[1].lower())
        return None

    def slip(self, variable: str) -> str | None:
        """The variable that was probably meant."""
        import difflib

        nearest = difflib.get_close_matches(variable, self._variables, 1, 0.92)
        return nearest[0] if nearest else None


class Given:
    """What somebody wrote, by key; the last and strongest wins."""

    def __init__(self, schema: Schema) -> None:
        self._written: dict[str, Written] = {}
        self._unknown: list[tuple[str, str]] = []
        """Keys that do not exist, and where they stand."""
        self._schema = schema

    def add(self, key: str, written: Written) -> None:
        """Take over one setting; maps are merged."""
        if self._schema.kind(key) is None:
            of_plugin = section_of(key, written)
            if of_plugin is None:
                self._unknown.append((key, written.where))
                return
            key, written = of_plugin
        before = self._written.get(key)
        if before and isinstance(before.value, dict) and isinstance(written.value, dict):
            written = Written(written.where, before.value | written.value)
        self._written[key] = written

    def refuse_unknown(self) -> None:
        """Say which keys do not exist, a line each: who mistyped one may have mistyped more."""
        lines = [
            f"{where}: {self._schema.unknown(key)}" for key, where in self._unknown[:MOST_UNKNOWN]
        ]
        if len(self._unknown) > MOST_UNKNOWN:
            lines.append(f"and {len(self._unknown) - MOST_UNKNOWN} more unknown keys")
        if lines:
            raise ConfigError("\n".join(lines))

    def add_environment(self, environ: Mapping[str, str], warn: Callable[[str], None]) -> None:
        for name, text in environ.items():
            if not name.startswith(PREFIX) or name in CLIENT_VARIABLES or not text.strip():
                continue
            key = self._schema.meant_by(name, self._written)
            if key is not None:
                written = Written(f"environment variable {name}", Scalar(text, text))
                self.add(key, written)
            elif of_plugin := meant_by(name, text):
                self.add(of_plugin[0], Written(f"environment variable {name}", of_plugin[1]))
            elif nearest := self._schema.slip(name):
                warn(f"environment variable {name} is ignored; did you mean {nearest}?")

    def rename(self, warn: Callable[[str], None]) -> None:
        """Let old names stand for the new ones where those are not given."""
        for key in [*self._written]:
            pattern = self._schema.pattern(key)
            new_names = OLD_NAMES.get(pattern)
            if new_names is None:
                continue
            written = self._written.pop(key)
            chosen = key.split(".")[pattern.split(".").index("*")] if "*" in pattern else ""
            names = [new.replace("*", chosen) for new in new_names]
            warn(f"{written.where}: {key} is the old name of {', '.join(names)}")
            for name in names:
                self._written.setdefault(name, written)

    def reserved(self) -> dict[str, Any]:
        """Values of keys that nothing reads."""
        return {
            key: self._read(self._schema.kind(key) or Plain(), key)
            for key in self._written
            if self._schema.pattern(key) in RESERVED
        }

    def build(self, of: type[T], path: str = "", **values: Any) -> T:
        """A section from what was given for its keys; `values` are those of its fields so far."""
        for item in fields(of):  # type: ignore[arg-type]
            key = key_of(item, path)
            if inner := item.metadata.get("section"):
                values[item.name] = self.build(inner, f"{key}.")
            elif named := item.metadata.get("named"):
                assert item.default_factory is not MISSING
                values[item.name] = self._named(named, item.default_factory(), key)
            elif "plugins" in item.metadata:
                values[item.name] = self._plugins(path)
            elif key in self._written:
                values[item.name] = self._read(item.metadata["kind"], key)
        return of(**values)

    def _named(self, of: type[T], defaults: Mapping[str, T], path: str) -> dict[str, T]:
        """Sections with names of the user's choice, and those that always exist."""
        given = {key.split(".")[1] for key in self._written if key.startswith(f"{path}.")}
        return {
            name: self.build(
                of,
                f"{path}.{name}.",
                **{
                    item.name: getattr(defaults[name], item.name)
                    for item in fields(of)  # type: ignore[arg-type]
                    if name in defaults
                },
            )
            for name in [*defaults, *sorted(given - defaults.keys())]
        }

    def _plugins(self, path: str) -> dict[str, PluginSection]:
        return {
            key.removeprefix(path): PluginSection(key, written.where, written.value)
            for key, written in self._written.items()
            if self._schema.kind(key) is None and isinstance(written.value, dict)
        }

    def _read(self, kind: Kind, key: str) -> Any:
        written = self._written[key]
        try:
            return kind.read(written.value)
        except Wrong as error:
            raise ConfigError(f"{written.where}: {key}: {error}") from error
