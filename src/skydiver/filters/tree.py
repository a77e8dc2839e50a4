"""The nodes of a predicate tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class And:
    """True when all are true; empty is true."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True when any is true; empty is true."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True when any is false; empty is true."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Eq:
    """Equality by the type of `value`; any member of a list counts.

    A string matches strings only, a boolean booleans only; an integer matches whatever converts
    to that integer (gremlin.md §4.1).
    """

    key: str
    value: str | int | bool


@dataclass(frozen=True, slots=True)
class Gt:
    key: str
    value: int


@dataclass(frozen=True, slots=True)
class Gte:
    key: str
    value: int


@dataclass(frozen=True, slots=True)
class Lt:
    key: str
    value: int


@dataclass(frozen=True, slots=True)
class Lte:
    key: str
    value: int


@dataclass(frozen=True, slots=True)
class Regex:
    """Search for `pattern` (RE2 subset) in a string; whoever builds it anchors it."""

    key: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Missing:
    """True when `key` does not resolve."""

    key: str


@dataclass(frozen=True, slots=True)
class IPv4Range:
    """String value that is an IPv4 address, optionally with ``/mask``, inside `cidr`."""

    key: str
    cidr: str


Filter: TypeAlias = And | Or | Not | Eq | Gt | Gte | Lt | Lte | Regex | Missing | IPv4Range


def exists(key: str) -> Filter:
    """True when `key` resolves, whatever its value."""
    return Not((Missing(key),))
