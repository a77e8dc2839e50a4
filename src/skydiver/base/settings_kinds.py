"""Kinds of settings: from what a person wrote, in a file, a variable or an option, to a value.

Scalars are read from their text as written, so that a password ``0123`` stays what it is in YAML,
and a file, an environment variable and an option are read by the same code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value as written, and what YAML or JSON makes of it."""

    text: str
    value: Any


Tree: TypeAlias = "Scalar | list[Tree] | dict[str, Tree]"
"""What was written for one setting or section. Keys of mappings are in lower case."""


def tree(value: Any) -> Tree:
    """A Python value as if it had been written in a file."""
    match value:
        case Mapping():
            return {str(key).lower(): tree(item) for key, item in value.items()}
        case list() | tuple():
            return [tree(item) for item in value]
        case bool():
            return Scalar("true" if value else "false", value)
        case None:
            return Scalar("", None)
        case _:
            return Scalar(str(value), value)


def plain(written: Tree) -> Any:
    """The values of YAML or JSON without their texts."""
    match written:
        case Scalar():
            return written.value
        case list():
            return [plain(item) for item in written]
        case _:
            return {key: plain(item) for key, item in written.items()}


DEFAULT_PORT = 8082
"""Where an analyzer is looked for when only its host is named."""

_HOST = re.compile(r"(?=.*[A-Za-z.])[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_LOOPBACK = re.compile(r"127(\.[0-9]+){1,3}")


class Wrong(ValueError):
    """A value is not what its setting expects; the message begins with "expected"."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """True when only this machine can reach it."""
        return self.host in {"localhost", "::1"} or bool(_LOOPBACK.fullmatch(self.host))


def parse_address(text: str, *, lowest_port: int = 1) -> Address:
    """Read ``host:port``, ``[v6]:port``; ``:port`` and ``port`` are on localhost.

    Port 0 means "any free one", where something listens.
    """
    host, _colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host and "/" not in text:
        raise Wrong(f"expected host:port, got {text!r}; IPv6 addresses need [brackets]")
    if not port.isascii() or not port.isdigit() or any(c in "/@[] \t\n" for c in host):
        raise Wrong(f"expected host:port, got {text!r}")
    if not lowest_port <= int(port[:6]) <= 65535:
        raise Wrong(f"expected a port from {lowest_port} to 65535, got {text!r}")
    return Address(host or "localhost", int(port))


class Kind:
    """How a setting is read; `read` raises `Wrong`."""

    def read(self, written: Tree) -> Any:
        raise NotImplementedError


class Text(Kind):
    def read(self, written: Tree) -> str:
        return _text(written, "a text")


class Choice(Kind):
    """One of a few words; case does not matter and the listed spelling is kept."""

    def __init__(self, options: tuple[str, ...]) -> None:
        self.options = options

    def read(self, written: Tree) -> str:
        text = _text(written, "one of " + self.words())
        for option in self.options:
            if option.lower() == text.lower():
                return option
        raise Wrong(f"expected {self.words()}, got {text!r}")

    def words(self) -> str:
        named = [option or "nothing" for option in self.options]
        return " or ".join([", ".join(named[:-1]), named[-1]]) if len(named) > 1 else named[0]


class Flag(Kind):
    def read(self, written: Tree) -> bool:
        text = _text(written, "true or false").lower()
        if text in {"true", "yes", "on", "1", "t", "y"}:
            return True
        if text in {"false", "no", "off", "0", "f", "n"}:
            return False
        raise Wrong(f"expected true or false, got {text!r}")


class Integer(Kind):
    def __init__(self, least: int = 0, most: int = 2**63 - 1) -> None:
        self.least = least
        self.most = most

    def read(self, written: Tree) -> int:
        words = f"a whole number from {self.least}"
        if self.most < 2**63 - 1:
            words += f" to {self.most}"
        text = _text(written, words)
        digits = text.removeprefix("-").removeprefix("+").replace("_", "")
        if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
            raise Wrong(f"expected {words}, got {text!r}")
        if not self.least <= int(text) <= self.most:
            raise Wrong(f"expected {words}, got {text}")
        return int(text)


class Seconds(Kind):
    """A duration; whole seconds in the original, fractions are fine here."""

    def read(self, written: Tree) -> float:
        words = "a number of seconds above 0"
        text = _text(written, words)
        try:
            value = float(text)
        except ValueError:
            raise Wrong(f"expected {words}, got {text!r}") from None
        if not 0 < value < 1e10:
            raise Wrong(f"expected {words}, got {text}")
        return value


class Listen(Kind):
    """An address of our own; port 0 is any free one."""

    def read(self, written: Tree) -> Address:
        return parse_address(_text(written, "host:port"), lowest_port=0)


class Texts(Kind):
    """A list; a single text is split at white space, which is how variables say it."""

    def read(self, written: Tree) -> tuple[str, ...]:
        match written:
            case Scalar():
                return tuple(written.text.split())
            case list():
                return tuple(_text(item, "a list of texts") for item in written)
            case _:
                raise Wrong("expected a list, got a section")


class Addresses(Kind):
    """Where others listen; a single text is split at white space, a host alone has port 8082."""

    def read(self, written: Tree) -> tuple[Address, ...]:
        items = written if isinstance(written, list) else [written]
        return tuple(address for item in items for address in self._of(item))

    def _of(self, item: Tree) -> Iterator[Address]:
        words = "host:port or a list of those"
        text = _text(item, words)
        if isinstance(item, Scalar) and not isinstance(item.value, str):
            raise Wrong(f"expected {words}, got {text} without a host")
        for word in text.split():
            yield Address(word, DEFAULT_PORT) if _HOST.fullmatch(word) else parse_address(word)


class Plain(Kind):
    """Whatever was written; for settings that only later features read."""

    def read(self, written: Tree) -> Any:
        return plain(written)


class Map(Kind):
    """A free map; a single text is JSON, which is how variables say it."""

    def read(self, written: Tree) -> Mapping[str, Any]:
        return {key: plain(item) for key, item in _map(written).items()}


class TextMap(Kind):
    """A map of texts."""

    def read(self, written: Tree) -> Mapping[str, str]:
        return {key: _text(item, f"a text for {key!r}") for key, item in _map(written).items()}


class SecondsMap(Kind):
    """A map of durations; the list of maps of the original's sample file is understood too."""

    def read(self, written: Tree) -> Mapping[str, float]:
        if isinstance(written, list):
            members = [(key, item) for part in written for key, item in _map(part).items()]
        else:
            members = list(_map(written).items())
        return {key: Seconds().read(item) for key, item in members}


class PortNames(Kind):
    """A map of ports to application names, in upper case."""

    def read(self, written: Tree) -> Mapping[int, str]:
        port = Integer(1, 65535)
        return {
            port.read(Scalar(key, key)): _text(item, f"a name for port {key}").upper()
            for key, item in _map(written).items()
        }


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """One value of a file that is shown on the node of the host."""

    path: str
    type: str
    name: str
    """Key below ``Config``."""
    selector: str
    """Where the value is in the file, with dots."""


class MetadataFiles(Kind):
    """A list of objects that name a value of a file each; a single text is JSON."""

    types = ("json", "toml", "ini", "yaml", "yml", "properties", "props", "prop")

    def read(self, written: Tree) -> tuple[MetadataFile, ...]:
        if isinstance(written, Scalar):
            written = _parsed(written, "a list or a JSON array")
        if not isinstance(written, list):
            raise Wrong("expected a list of objects with path, type, name and selector")
        files = tuple(self._file(entry, number) for number, entry in enumerate(written, 1))
        names = [file.name for file in files]
        for name in names:
            if names.count(name) > 1:
                raise Wrong(f"expected different names, got {name!r} twice")
        return files

    def _file(self, entry: Tree, number: int) -> MetadataFile:
        members = ("path", "type", "name", "selector")
        if not isinstance(entry, dict):
            raise Wrong(f"expected an object with {', '.join(members)} as entry {number}")
        for member in entry:
            if member not in members:
                raise Wrong(f"expected {', '.join(members)} in entry {number}, got {member!r}")
        values = {
            member: _text(entry.get(member, Scalar("", "")), f"a text for {member!r}")
            for member in members
        }
        # The end of the file's name says it as well.
        values["type"] = (values["type"] or values["path"].rpartition(".")[2]).lower()
        for member in members:
            if not values[member]:
                raise Wrong(f"expected {member!r} in entry {number}")
        if not values["path"].startswith("/"):
            raise Wrong(f"expected a path from the root, got {values['path']!r}")
        if values["type"] not in self.types:
            raise Wrong(f"expected a type of {', '.join(self.types)}, got {values['type']!r}")
        return MetadataFile(**values)


def _text(written: Tree, expected: str) -> str:
    if isinstance(written, Scalar):
        return written.text
    raise Wrong(f"expected {expected}, got a {'list' if isinstance(written, list) else 'section'}")


def _map(written: Tree) -> Mapping[str, Tree]:
    if isinstance(written, Scalar) and isinstance(written.value, str):
        written = _parsed(written, "a map or a JSON object")
    if isinstance(written, dict):
        return written
    got = "a list" if isinstance(written, list) else repr(written.text)
    raise Wrong(f"expected a map, got {got}")


def _parsed(written: Scalar, expected: str) -> Tree:
    """What a text says in JSON."""
    try:
        return tree(json.loads(written.text))
    except (ValueError, RecursionError):
        raise Wrong(f"expected {expected}, got {written.text!r}") from None
