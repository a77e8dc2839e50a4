"""Running a predicate tree over anything whose fields can be read by name (gremlin.md §§4, 6, 7).

A tree is compiled once into nested closures and then called per element. Tests of a value hold for
a list when they hold for any member, however deep lists are nested; a missing field fails every
test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from ipaddress import IPv4Network
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from skydiver.base.errors import QueryError
from skydiver.filters.integers import to_int
from skydiver.filters.patterns import compile_pattern
from skydiver.filters.tree import (
    And,
    Eq,
    Filter,
    Gt,
    Gte,
    IPv4Range,
    Lt,
    Lte,
    Missing,
    Not,
    Or,
    Regex,
)

T = TypeVar("T")


class _Missing(Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing.MISSING
"""What a reader returns for a field that is not there; not the same as None, which is JSON null."""


class FieldReader(Protocol):
    """Reads the fields of one element by name."""

    def __call__(self, key: str, /) -> Any: ...


Predicate: TypeAlias = Callable[[FieldReader], bool]
Test: TypeAlias = Callable[[Any], bool]
"""Of one value that is not a list."""
Access: TypeAlias = Callable[[str], Callable[[T], Any]]
"""From the name of a field to what reads it from an element."""

Comparison: TypeAlias = Eq | Gt | Gte | Lt | Lte | Regex | IPv4Range
"""Filters that look at the value under one key."""

MAX_DEPTH = 200
"""Deeper trees are refused: they come from peers too, and would exhaust the stack."""


def compile_filter(where: Filter) -> Predicate:
    """What tells whether an element matches, given its reader."""
    return compile_for(where, lambda key: lambda read: read(key))


def compile_for(where: Filter, access: Access[T]) -> Callable[[T], bool]:
    """What tells whether an element matches; `access` resolves each field name once."""
    return _compile(where, access, MAX_DEPTH)


def _compile(where: Filter, access: Access[T], depth: int) -> Callable[[T], bool]:
    if depth == 0:
        raise QueryError(f"filter nested deeper than {MAX_DEPTH}")
    match where:
        case And(filters):
            return _all([_compile(f, access, depth - 1) for f in filters])
        case Or(filters):
            return _any([_compile(f, access, depth - 1) for f in filters])
        case Not(filters):
            return _not_all([_compile(f, access, depth - 1) for f in filters])
        case Missing(key):
            get = access(key)
            return lambda element: get(element) is MISSING
        case _:
            return _on_value(access(where.key), value_test(where))


def _all(parts: Sequence[Callable[[T], bool]]) -> Callable[[T], bool]:
    match parts:
        case [one]:
            return one
        case [one, two]:
            return lambda element: one(element) and two(element)
        case _:
            return lambda element: all(part(element) for part in parts)


def _any(parts: Sequence[Callable[[T], bool]]) -> Callable[[T], bool]:
    match parts:
        case []:
            return lambda _: True
        case [one]:
            return one
        case _:
            return lambda element: any(part(element) for part in parts)


def _not_all(parts: Sequence[Callable[[T], bool]]) -> Callable[[T], bool]:
    match parts:
        case []:
            return lambda _: True
        case [one]:
            return lambda element: not one(element)
        case _:
            return lambda element: not all(part(element) for part in parts)


def _on_value(get: Callable[[T], Any], test: Test) -> Callable[[T], bool]:
    def holds(element: T) -> bool:
        value = get(element)
        if value is MISSING:
            return False
        if isinstance(value, list | tuple):
            return _any_member(value, test)
        return test(value)

    return holds


def field_test(where: Comparison) -> Callable[[Any], bool]:
    """The test of what a reader returned for the key of `where`."""
    return _on_value(lambda value: value, value_test(where))


def _any_member(values: Sequence[Any], test: Test) -> bool:
    for value in values:
        if isinstance(value, list | tuple):
            if _any_member(value, test):
                return True
        elif test(value):
            return True
    return False


def value_test(where: Comparison) -> Test:
    """The test of one value that is neither missing nor a list."""
    match where:
        case Eq(_, value):
            return _equals(value)
        case Gt(_, bound):
            return lambda value: (number := to_int(value)) is not None and number > bound
        case Gte(_, bound):
            return lambda value: (number := to_int(value)) is not None and number >= bound
        case Lt(_, bound):
            return lambda value: (number := to_int(value)) is not None and number < bound
        case Lte(_, bound):
            return lambda value: (number := to_int(value)) is not None and number <= bound
        case Regex(_, pattern):
            search = compile_pattern(pattern)
            return lambda value: isinstance(value, str) and bool(search(value))
        case IPv4Range(_, cidr):
            return _in_network(cidr)


def _equals(wanted: str | int | bool) -> Test:
    if isinstance(wanted, str):
        return lambda value: isinstance(value, str) and value == wanted
    if isinstance(wanted, bool):
        return lambda value: value is wanted
    return lambda value: to_int(value) == wanted


_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ADDRESS = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?:/[0-9]{{1,2}})?")


def _in_network(cidr: str) -> Test:
    try:
        network = IPv4Network(cidr, strict=False)
    except ValueError as error:
        raise QueryError(f"'{cidr}' is not an IPv4 network such as 10.0.0.0/24") from error
    mask = int(network.netmask)
    base = int(network.network_address)

    def inside(value: Any) -> bool:
        if not isinstance(value, str):
            return False
        found = _ADDRESS.fullmatch(value)
        if found is None:
            return False
        a, b, c, d = found.groups()
        return (int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)) & mask == base

    return inside
