"""Searching for a pattern in time proportional to the text, whatever the pattern.

Thompson's construction: the pattern becomes a graph of places, and all the places that the text
read so far may lead to are followed at once. Such sets of places are numbered as they are met, and
where each leads is remembered by character, so that most characters cost one look-up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from skydiver.base.errors import QueryError
from skydiver.filters.pattern_syntax import (
    Alternatives,
    Assertion,
    Chars,
    Pattern,
    Place,
    Range,
    Repetition,
    Series,
)

MOST_PLACES = 2000
_MOST_REMEMBERED = 20_000
"""Remembered steps; forgotten all at once beyond that."""


class _Kind(IntEnum):
    """Of a character, as far as assertions care."""

    NONE = 0
    """Before the first and after the last."""
    NEWLINE = 1
    WORD = 2
    OTHER = 3


@dataclass(slots=True)
class _Place:
    ranges: tuple[Range, ...] = ()
    """Characters that lead on, to `on`; empty when none is read here."""
    starts: tuple[int, ...] = ()
    assertion: Place | None = None
    """What must hold to pass freely, to `free`."""
    on: int = -1
    free: list[int] = field(default_factory=list)
    """Places reached without reading."""

    def reads(self, code: int) -> bool:
        index = bisect_right(self.starts, code) - 1
        return index >= 0 and code <= self.ranges[index][1]


class Automaton:
    """Searches texts for one pattern."""

    def __init__(self, tree: Pattern) -> None:
        self._places: list[_Place] = []
        self._end = self._new()
        self._start = self._build(tree, self._end)
        self._forget()

    def search(self, text: str) -> bool:
        """Whether `text` contains a match."""
        state = 0
        for char in text:
            found = self._steps.get((state, char))
            state = self._step(state, char) if found is None else found
            if state < 0:
                return True
        found = self._steps.get((state, ""))
        return (self._step(state, "") if found is None else found) < 0

    def _forget(self) -> None:
        first = (frozenset((self._start,)), _Kind.NONE)
        self._states = [first]
        self._numbers = {first: 0}
        self._steps: dict[tuple[int, str], int] = {}

    def _step(self, state: int, char: str) -> int:
        """The state after `char`, "" being the end; negative when there was a match before it."""
        places, before = self._states[state]
        after = _kind(char)
        reached = self._closure(places, before, after)
        if self._end in reached:
            number = -1
        else:
            code = ord(char) if char else -1
            on = {place.on for i in reached if (place := self._places[i]).reads(code)}
            following = (frozenset((*on, self._start)), after)
            if len(self._steps) >= _MOST_REMEMBERED:
                self._forget()
                state = self._number((places, before))
            number = self._number(following)
        self._steps[state, char] = number
        return number

    def _number(self, state: tuple[frozenset[int], _Kind]) -> int:
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
        return number

    def _closure(self, places: Iterable[int], before: _Kind, after: _Kind) -> set[int]:
        reached: set[int] = set()
        stack = list(places)
        while stack:
            index = stack.pop()
            if index not in reached:
                reached.add(index)
                place = self._places[index]
                if place.assertion is None or _holds(place.assertion, before, after):
                    stack += place.free
        return reached

    def _new(self) -> int:
        if len(self._places) >= MOST_PLACES:
            raise QueryError("pattern too large")
        self._places.append(_Place())
        return len(self._places) - 1

    def _build(self, tree: Pattern, then: int) -> int:
        """Where to enter `tree` so as to leave it at the place `then`."""
        match tree:
            case Series(parts):
                for part in reversed(parts):
                    then = self._build(part, then)
                return then
            case Alternatives(parts):
                entries = [self._build(part, then) for part in parts]
                here = self._new()
                self._places[here].free = entries
                return here
            case Repetition(part, least, most):
                return self._build_repetition(part, least, most, then)
            case Chars(ranges):
                here = self._new()
                self._places[here].ranges = ranges
                self._places[here].starts = tuple(low for low, _ in ranges)
                self._places[here].on = then
                return here
            case Assertion(place):
                here = self._new()
                self._places[here].assertion = place
                self._places[here].free = [then]
                return here

    def _build_repetition(self, part: Pattern, least: int, most: int | None, then: int) -> int:
        if most is None:
            loop = self._new()
            self._places[loop].free = [self._build(part, loop), then]
            then = loop
        else:
            leave = then
            for _ in range(most - least):
                here = self._new()
                self._places[here].free = [self._build(part, then), leave]
                then = here
        for _ in range(least):
            then = self._build(part, then)
        return then


def _kind(char: str) -> _Kind:
    if char == "":
        return _Kind.NONE
    if char == "\n":
        return _Kind.NEWLINE
    is_word = char.isascii() and (char.isalnum() or char == "_")
    return _Kind.WORD if is_word else _Kind.OTHER


def _holds(place: Place, before: _Kind, after: _Kind) -> bool:
    match place:
        case Place.TEXT_START:
            return before is _Kind.NONE
        case Place.TEXT_END:
            return after is _Kind.NONE
        case Place.LINE_START:
            return before in (_Kind.NONE, _Kind.NEWLINE)
        case Place.LINE_END:
            return after in (_Kind.NONE, _Kind.NEWLINE)
        case Place.WORD_BOUNDARY:
            return (before is _Kind.WORD) != (after is _Kind.WORD)
        case Place.NOT_WORD_BOUNDARY:
            return (before is _Kind.WORD) == (after is _Kind.WORD)
