"""Predicates of a query and the filters they become (gremlin.md §§4, 6).

Operands are checked when the query is parsed, so a query that parses can be evaluated.
"""

from __future__ import annotations

import ipaddress
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from skydiver.base.errors import QueryError
from skydiver.filters import (
    And,
    Eq,
    Filter,
    Gt,
    Gte,
    IPv4Range,
    Lt,
    Lte,
    Not,
    Or,
    Regex,
    check_pattern,
    exists,
    to_int,
)
from skydiver.gremlin.lexer import INT64_MAX, INT64_MIN

Scalar: TypeAlias = str | int | bool
"""What an equality compares with; a float was truncated."""


@dataclass(frozen=True, slots=True)
class Predicate(ABC):
    """A test of the value under a key."""

    values: tuple[Scalar, ...]

    arguments: ClassVar[int | None] = 1
    """How many it takes; None = any number."""
    numeric: ClassVar[bool] = False
    """Operands are turned into integers."""

    @abstractmethod
    def on(self, key: str) -> Filter:
        """The filter that tests `key`."""


class Within(Predicate):
    arguments = None

    def on(self, key: str) -> Filter:
        # Nothing to choose from matches everything (§15, Q32): an empty Or is true.
        return Or(tuple(Eq(key, value) for value in _numbers_for_booleans(self.values)))


class Without(Predicate):
    arguments = None

    def on(self, key: str) -> Filter:
        return And(tuple(Not((Eq(key, value),)) for value in _numbers_for_booleans(self.values)))


class Ne(Predicate):
    """The key exists and differs; of a boolean: it is the opposite."""

    def on(self, key: str) -> Filter:
        (value,) = self.values
        if isinstance(value, bool):
            return Eq(key, not value)
        return And((exists(key), Not((Eq(key, value),))))


class Nee(Predicate):
    """The key differs or is missing; of a boolean: it is the opposite."""

    def on(self, key: str) -> Filter:
        (value,) = self.values
        if isinstance(value, bool):
            return Eq(key, not value)
        return Not((Eq(key, value),))


class _Numeric(Predicate):
    numeric = True

    def bounds(self) -> tuple[int, ...]:
        return tuple(value for value in self.values if isinstance(value, int))


class LessThan(_Numeric):
    def on(self, key: str) -> Filter:
        return Lt(key, *self.bounds())


class GreaterThan(_Numeric):
    def on(self, key: str) -> Filter:
        return Gt(key, *self.bounds())


class LessOrEqual(_Numeric):
    def on(self, key: str) -> Filter:
        return Lte(key, *self.bounds())


class GreaterOrEqual(_Numeric):
    def on(self, key: str) -> Filter:
        return Gte(key, *self.bounds())


class Inside(_Numeric):
    arguments = 2

    def on(self, key: str) -> Filter:
        low, high = self.bounds()
        return And((Gt(key, low), Lt(key, high)))


class Between(_Numeric):
    arguments = 2

    def on(self, key: str) -> Filter:
        low, high = self.bounds()
        return And((Gte(key, low), Lt(key, high)))


class Outside(_Numeric):
    arguments = 2

    def on(self, key: str) -> Filter:
        low, high = self.bounds()
        return Or((Lt(key, low), Gt(key, high)))


class Matches(Predicate):
    """`Regex`: the pattern matches the whole value, whether or not it is written with anchors."""

    def on(self, key: str) -> Filter:
        return Regex(key, anchored(str(self.values[0])))


class InRange(Predicate):
    """`Ipv4Range`."""

    def on(self, key: str) -> Filter:
        return IPv4Range(key, str(self.values[0]))


def anchored(pattern: str) -> str:
    """`pattern` anchored as a whole, alternation included (§15, Q31)."""
    return f"^(?:{pattern})$"


BY_NAME: dict[str, type[Predicate]] = {
    "WITHIN": Within,
    "WITHOUT": Without,
    "NE": Ne,
    "NEE": Nee,
    "LT": LessThan,
    "GT": GreaterThan,
    "LTE": LessOrEqual,
    "GTE": GreaterOrEqual,
    "INSIDE": Inside,
    "BETWEEN": Between,
    "OUTSIDE": Outside,
    "REGEX": Matches,
    "IPV4RANGE": InRange,
}
"""The words of the language, in upper case."""


def parse_predicate(name: str, operands: Sequence[tuple[object, int]], *, column: int) -> Predicate:
    """The predicate written as `name` with `operands`, each a value and its column."""
    cls = BY_NAME[name.upper()]
    if cls.arguments is not None and len(operands) != cls.arguments:
        expected = "one argument" if cls.arguments == 1 else f"{cls.arguments} arguments"
        raise QueryError(f"{name} needs {expected}, not {len(operands)}", column=column)
    if cls is Matches:
        return cls(tuple(_pattern(name, value, at) for value, at in operands))
    if cls is InRange:
        return cls(tuple(_network(name, value, at) for value, at in operands))
    convert = _integer if cls.numeric else _scalar
    return cls(tuple(convert(name, value, at) for value, at in operands))


def scalar(step: str, value: str | int | float | bool, *, column: int) -> Scalar:
    """A plain operand as what an equality compares with: a decimal is truncated (§4.2)."""
    return _scalar(step, value, column)


def converted(
    operand: Predicate | Scalar, convert: Callable[[Scalar], Scalar]
) -> Predicate | Scalar:
    """`operand` with `convert` applied to what it compares with."""
    if not isinstance(operand, Predicate):
        return convert(operand)
    if isinstance(operand, Matches | InRange):
        return operand
    return type(operand)(tuple(convert(value) for value in operand.values))


def _scalar(name: str, value: object, column: int) -> Scalar:
    if isinstance(value, str | bool):
        return value
    return _integer(name, value, column)


def _integer(name: str, value: object, column: int) -> int:
    number = to_int(value) if isinstance(value, str | bool | int | float) else None
    if number is None:
        shown = f"'{value}'" if isinstance(value, str) else "this"
        raise QueryError(f"{name} needs a number, not {shown}", column=column)
    if not INT64_MIN <= number <= INT64_MAX:
        raise QueryError("number out of range", column=column)
    return number


def _numbers_for_booleans(values: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """In lists a boolean is the number 1 or 0, as upstream (§6)."""
    return tuple(int(value) if isinstance(value, bool) else value for value in values)


def _pattern(name: str, value: object, column: int) -> str:
    if not isinstance(value, str):
        raise QueryError(f"{name} needs a text", column=column)
    try:
        # On its own first: unbalanced parentheses must not find their partners in ours.
        check_pattern(value)
        check_pattern(anchored(value))
    except QueryError as error:
        raise QueryError(str(error), column=column) from error
    return value


def _network(name: str, value: object, column: int) -> str:
    expected = f"{name} needs an IPv4 network as '10.0.0.0/24'"
    if not isinstance(value, str):
        raise QueryError(expected, column=column)
    try:
        if not re.fullmatch(r"[0-9.]+/[0-9]{1,2}", value):
            raise ValueError
        return str(ipaddress.IPv4Network(value, strict=False))
    except ValueError:
        raise QueryError(f"{expected}, not '{value}'", column=column) from None
