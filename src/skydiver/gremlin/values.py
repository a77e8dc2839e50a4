"""Metadata values as a query shows, adds up and compares them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from skydiver.filters import to_int


def shown(value: Any) -> Any:
    """`value` as `Values` shows it: an integer where it converts to one (gremlin.md §15, Q10)."""
    number = to_int(value)
    return value if number is None else number


def identity(value: Any) -> Hashable:
    """What is equal for equal values, and can be a member of a set."""
    number = to_int(value)
    if number is not None:
        return number
    if isinstance(value, Mapping):
        return frozenset((key, identity(member)) for key, member in value.items())
    if isinstance(value, list | tuple):
        return tuple(identity(member) for member in value)
    return str(value)
