"""The arguments of one step, as its `parse` reads them. Every error names the step and a column."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from skydiver.base.errors import QueryError
from skydiver.gremlin.predicates import Predicate


class Keyword(Enum):
    """Words that are values."""

    ASC = "ASC"
    DESC = "DESC"
    NOW = "NOW"
    FOREVER = "FOREVER"


@dataclass(frozen=True, slots=True)
class MetadataPairs:
    """``Metadata(key, value, …)``; a repeated key keeps its last value."""

    pairs: tuple[tuple[str, Value], ...]


Value: TypeAlias = "str | int | float | bool | Keyword | Predicate | MetadataPairs"


@dataclass(frozen=True, slots=True)
class Argument:
    value: Value
    column: int

    def __str__(self) -> str:
        match self.value:
            case str() as text:
                return f"'{text}'"
            case bool() | int() | float() as number:
                return str(number)
            case Keyword() as keyword:
                return keyword.value
            case MetadataPairs():
                return "Metadata(…)"
            case _:
                return "a predicate"


@dataclass(frozen=True, slots=True)
class Args:
    """What stands between the parentheses of a step."""

    step: str
    """Name of the step as written."""
    items: tuple[Argument, ...]
    column: int
    """Where the step begins."""

    def __len__(self) -> int:
        return len(self.items)

    def error(self, expected: str, *, at: Argument | None = None) -> QueryError:
        """`expected` completes "<step> needs"; `at` is the argument that is not so."""
        if at is None:
            return QueryError(f"{self.step} needs {expected}", column=self.column)
        return QueryError(f"{self.step} needs {expected}, not {at}", column=at.column)

    def none(self) -> None:
        """Refuse any argument."""
        if self.items:
            raise QueryError(f"{self.step} takes no argument", column=self.items[0].column)

    def at_most(self, count: int) -> None:
        """Refuse more than `count` arguments."""
        if len(self.items) > count:
            raise QueryError(
                f"{self.step} takes at most {count} argument{'s' if count > 1 else ''}",
                column=self.items[count].column,
            )

    def exactly(self, count: int, expected: str) -> None:
        """Refuse any other number of arguments than `count`."""
        self.at_most(count)
        if len(self.items) < count:
            raise self.error(expected)

    def one_text(self) -> str:
        """The only argument, a text."""
        self.exactly(1, "one text")
        return self._text(self.items[0])

    def optional_text(self) -> str | None:
        """The only argument, a text, or None without arguments."""
        return self.one_text() if self.items else None

    def texts(self, *, minimum: int = 0) -> tuple[str, ...]:
        """All arguments, texts."""
        if len(self.items) < minimum:
            raise self.error("at least one text")
        return tuple(self._text(item) for item in self.items)

    def count(self, index: int) -> int:
        """The argument at `index`, an integer that is not negative."""
        item = self.items[index]
        if isinstance(item.value, bool) or not isinstance(item.value, int) or item.value < 0:
            raise self.error("a whole number", at=item)
        return item.value

    def optional_count(self, *, default: int) -> int:
        """The only argument, an integer that is not negative, or `default` without arguments."""
        self.at_most(1)
        return self.count(0) if self.items else default

    def _text(self, item: Argument) -> str:
        if not isinstance(item.value, str):
            raise self.error("a text", at=item)
        return item.value
