"""Testing many elements against one filter.

What `compile_for` builds costs three calls an element. Most filters test one key of the top level
of the metadata; for those the test is written out inside the loop, at a third of the cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from skydiver.filters import (
    MISSING,
    And,
    Eq,
    Filter,
    Gt,
    Gte,
    Lt,
    Lte,
    Regex,
    compile_for,
    field_test,
)
from skydiver.filters.patterns import compile_pattern
from skydiver.graph.elements import Edge, Node
from skydiver.graph.fields import metadata_path

E = TypeVar("E", Node, Edge)

_OWN = frozenset({"Parent", "Child"})


def scan(
    where: Filter, elements: Iterable[E], access: Callable[[str], Callable[[E], Any]]
) -> Iterator[E]:
    """Those of `elements` that match."""
    if isinstance(where, And):
        found = iter(elements)
        for part in where.filters:
            found = scan(part, found, access)
        return found
    if isinstance(where, Eq | Gt | Gte | Lt | Lte | Regex):
        name = metadata_path(where.key)
        if "." not in name and not where.key.startswith("@") and where.key not in _OWN:
            return _scan_key(where, name, elements)
    return filter(compile_for(where, access), elements)


def _scan_key(
    where: Eq | Gt | Gte | Lt | Lte | Regex, name: str, elements: Iterable[E]
) -> Iterator[E]:
    """Values of the usual type are tested here, all others by `other`."""
    other = field_test(where)
    match where:
        case Eq(_, str(text)):
            return (
                e
                for e in elements
                if (v := e.metadata.get(name)) == text or (v.__class__ is list and other(v))
            )
        case Eq(_, int(number)) if not isinstance(number, bool):
            return (
                e
                for e in elements
                if ((v := e.metadata.get(name, MISSING)).__class__ is int and v == number)
                or (v.__class__ is not int and other(v))
            )
        case Gt(_, bound):
            return (
                e
                for e in elements
                if ((v := e.metadata.get(name, MISSING)).__class__ is int and v > bound)
                or (v.__class__ is not int and other(v))
            )
        case Lt(_, bound):
            return (
                e
                for e in elements
                if ((v := e.metadata.get(name, MISSING)).__class__ is int and v < bound)
                or (v.__class__ is not int and other(v))
            )
        case Regex(_, pattern):
            search = compile_pattern(pattern)
            return (
                e
                for e in elements
                if ((v := e.metadata.get(name)).__class__ is str and search(v))
                or (v.__class__ is list and other(v))
            )
        case _:
            return (e for e in elements if other(e.metadata.get(name, MISSING)))
