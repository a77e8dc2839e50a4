"""The grammar of RE2, without what only matters for captures: groups, greediness.

A pattern becomes a small tree of character sets, sequences, alternatives, repetitions and
assertions. Classes of Unicode properties (``\\pL``) and single bytes (``\\C``) are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from skydiver.base.errors import QueryError

LONGEST = 4096
"""Characters of a pattern."""
DEEPEST = 100
"""Groups inside groups."""
MOST_REPEATS = 1000
"""As RE2: of one counted repetition, and of nested ones multiplied."""

LAST = 0x10FFFF
Range: TypeAlias = tuple[int, int]
"""First and last code point."""


class Place(Enum):
    """Where an assertion holds; the value is how `re` writes it."""

    TEXT_START = r"\A"
    TEXT_END = r"\Z"
    LINE_START = r"(?m:^)"
    LINE_END = r"(?m:$)"
    WORD_BOUNDARY = r"(?a:\b)"
    NOT_WORD_BOUNDARY = r"(?a:(?!\b))"
    # Not \B, which `re` does not find in an empty text.


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of sorted, separate ranges."""

    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Assertion:
    place: Place


@dataclass(frozen=True, slots=True)
class Series:
    parts: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    parts: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Repetition:
    part: Pattern
    least: int
    most: int | None
    """None = any number."""


Pattern: TypeAlias = Chars | Assertion | Series | Alternatives | Repetition

DIGIT: tuple[Range, ...] = ((0x30, 0x39),)
SPACE: tuple[Range, ...] = ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20))
WORD: tuple[Range, ...] = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_PERL = {"d": DIGIT, "s": SPACE, "w": WORD}
_POSIX: dict[str, tuple[Range, ...]] = {
    "alnum": ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)),
    "alpha": ((0x41, 0x5A), (0x61, 0x7A)),
    "ascii": ((0x00, 0x7F),),
    "blank": ((0x09, 0x09), (0x20, 0x20)),
    "cntrl": ((0x00, 0x1F), (0x7F, 0x7F)),
    "digit": DIGIT,
    "graph": ((0x21, 0x7E),),
    "lower": ((0x61, 0x7A),),
    "print": ((0x20, 0x7E),),
    "punct": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": ((0x41, 0x5A),),
    "word": WORD,
    "xdigit": ((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)),
}
_CONTROL = {"a": 0x07, "f": 0x0C, "t": 0x09, "n": 0x0A, "r": 0x0D, "v": 0x0B}
_PLACES = {
    "A": Place.TEXT_START,
    "z": Place.TEXT_END,
    "b": Place.WORD_BOUNDARY,
    "B": Place.NOT_WORD_BOUNDARY,
}
_COUNTED = re.compile(r"\{([0-9]{1,5})(,([0-9]{1,5})?)?\}")
_GROUP_NAME = re.compile(r"\?P?<[A-Za-z0-9_]+>")
_FLAGS = re.compile(r"\?([imsU]*)(-[imsU]+)?([:)])")
_POSIX_CLASS = re.compile(r"\[:(\^?)([a-z]+):\]")


def parse(text: str) -> Pattern:
    """The tree of the pattern `text`; `QueryError` when RE2 would refuse it."""
    if len(text) > LONGEST:
        raise QueryError(f"pattern longer than {LONGEST} characters")
    return _Parser(text).whole()


@dataclass(frozen=True, slots=True)
class _Flags:
    fold: bool = False
    multiline: bool = False
    dot_all: bool = False


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Pattern:
        tree = self._alternatives(_Flags())
        if self._at < len(self._text):
            raise self._refusal("a ')' without its '('")
        if _repeats(tree) > MOST_REPEATS:
            raise self._refusal(f"more than {MOST_REPEATS} repetitions")
        return tree

    def _refusal(self, what: str) -> QueryError:
        return QueryError(f"pattern '{self._text}': {what}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _take_match(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        found = expression.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _alternatives(self, flags: _Flags) -> Pattern:
        """Up to the end or the ')' of the group that this is in."""
        choices: list[Pattern] = []
        parts: list[Pattern] = []
        while (char := self._peek()) and char != ")":
            if self._take("|"):
                choices.append(_sequence(parts))
                parts = []
            elif self._take(r"\Q"):
                end = self._text.find(r"\E", self._at)
                literal = self._text[self._at : end if end >= 0 else None]
                self._at = len(self._text) if end < 0 else end + 2
                parts += [_char(ord(c), flags) for c in literal]
                if literal and self._repeated():
                    parts.append(self._repetition(parts.pop()))
            elif (changed := self._flag_group(flags)) is not None:
                flags = changed
            else:
                part = self._atom(flags)
                parts.append(self._repetition(part) if self._repeated() else part)
        choices.append(_sequence(parts))
        return _alternatives(choices)

    def _flag_group(self, flags: _Flags) -> _Flags | None:
        """``(?i)``: flags for the rest of the group."""
        if self._peek() != "(":
            return None
        found = _FLAGS.match(self._text, self._at + 1)
        if found is None or found[3] != ")" or not (found[1] or found[2]):
            return None
        self._at = found.end()
        if self._repeated():
            raise self._refusal("nothing to repeat")
        return _changed(flags, found)

    def _repeated(self) -> bool:
        char = self._peek()
        return (char != "" and char in "*+?") or (
            char == "{" and _COUNTED.match(self._text, self._at) is not None
        )

    def _repetition(self, part: Pattern) -> Pattern:
        least, most = self._count()
        self._take("?")
        if self._repeated():
            raise self._refusal("a repetition of a repetition")
        return Repetition(part, least, most)

    def _count(self) -> tuple[int, int | None]:
        for operator, count in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(operator):
                return count
        found = self._take_match(_COUNTED)
        assert found is not None
        least = int(found[1])
        most = least if found[2] is None else None if found[3] is None else int(found[3])
        if max(least, most or 0) > MOST_REPEATS or (most is not None and most < least):
            raise self._refusal(f"the repetition {found[0]}")
        return least, most

    def _atom(self, flags: _Flags) -> Pattern:
        char = self._text[self._at]
        if char in "*+?" or (char == "{" and self._repeated()):
            raise self._refusal("nothing to repeat")
        if char == "(":
            return self._group(flags)
        if char == "[":
            return self._class(flags)
        if char == "\\":
            return self._escape(flags)
        self._at += 1
        match char:
            case ".":
                newline = () if flags.dot_all else ((0x0A, 0x0A),)
                return Chars(_complement(newline))
            case "^":
                return Assertion(Place.LINE_START if flags.multiline else Place.TEXT_START)
            case "$":
                return Assertion(Place.LINE_END if flags.multiline else Place.TEXT_END)
            case _:
                return _char(ord(char), flags)

    def _group(self, flags: _Flags) -> Pattern:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._refusal(f"groups nested deeper than {DEEPEST}")
        self._at += 1
        if (found := self._take_match(_FLAGS)) is not None:
            flags = _changed(flags, found)
            if found[3] == ")":
                raise self._refusal("an empty list of flags")
        elif self._peek() == "?" and self._take_match(_GROUP_NAME) is None:
            raise self._refusal(f"no group can begin with '({self._text[self._at : self._at + 3]}'")
        tree = self._alternatives(flags)
        if not self._take(")"):
            raise self._refusal("a '(' without its ')'")
        self._depth -= 1
        return tree

    def _escape(self, flags: _Flags) -> Pattern:
        char = self._text[self._at + 1 : self._at + 2]
        if char in _PLACES and char:
            self._at += 2
            return Assertion(_PLACES[char])
        if char.lower() in _PERL and char:
            self._at += 2
            ranges = _PERL[char.lower()]
            return Chars(_complement(ranges) if char.isupper() else ranges)
        return _char(self._code_point(), flags)

    def _code_point(self) -> int:
        """The character that the escape at the current place stands for."""
        rest = self._text[self._at + 1 : self._at + 12]
        char = rest[:1]
        self._at += 2
        if char in _CONTROL and char:
            return _CONTROL[char]
        if char == "x":
            found = re.match(r"x(?:\{([0-9A-Fa-f]{1,8})\}|([0-9A-Fa-f]{2}))", rest)
            if found is not None and (code := int(found[1] or found[2], 16)) <= LAST:
                self._at += found.end() - 1
                return code
        # One digit that is not 0 would refer back to a group.
        elif (found := re.match(r"0[0-7]{0,2}|[1-7][0-7]{1,2}", rest)) is not None:
            self._at += found.end() - 1
            return int(found[0], 8)
        elif char and ord(char) < 0x80 and not char.isalnum():
            return ord(char)
        raise self._refusal(f"the escape '\\{char}'")

    def _class(self, flags: _Flags) -> Pattern:
        self._at += 1
        negated = self._take("^")
        ranges: list[Range] = []
        first = True
        while first or self._peek() != "]":
            if not self._peek():
                raise self._refusal("a '[' without its ']'")
            ranges += self._class_member()
            first = False
        self._at += 1
        if flags.fold:
            ranges = _folded(ranges)
        return Chars(_complement(ranges) if negated else _merged(ranges))

    def _class_member(self) -> Sequence[Range]:
        if (found := self._take_match(_POSIX_CLASS)) is not None:
            if found[2] not in _POSIX:
                raise self._refusal(f"the class {found[0]}")
            return _complement(_POSIX[found[2]]) if found[1] else _POSIX[found[2]]
        escaped = self._text[self._at + 1 : self._at + 2] if self._peek() == "\\" else ""
        if escaped and escaped.lower() in _PERL:
            self._at += 2
            ranges = _PERL[escaped.lower()]
            return _complement(ranges) if escaped.isupper() else ranges
        low = self._class_char()
        high = low
        rest = self._text[self._at : self._at + 2]
        if len(rest) == 2 and rest[0] == "-" and rest[1] != "]":
            self._at += 1
            high = self._class_char()
            if high < low:
                raise self._refusal("a range that ends before it begins")
        return ((low, high),)

    def _class_char(self) -> int:
        if self._peek() == "\\":
            return self._code_point()
        self._at += 1
        return ord(self._text[self._at - 1])


def _changed(flags: _Flags, found: re.Match[str]) -> _Flags:
    for letters, value in ((found[1], True), (found[2] or "", False)):
        for letter in letters:
            match letter:
                case "i":
                    flags = replace(flags, fold=value)
                case "m":
                    flags = replace(flags, multiline=value)
                case "s":
                    flags = replace(flags, dot_all=value)
    return flags


def _sequence(parts: list[Pattern]) -> Pattern:
    return parts[0] if len(parts) == 1 else Series(tuple(parts))


def _alternatives(choices: list[Pattern]) -> Pattern:
    if len(choices) == 1:
        return choices[0]
    if all(isinstance(choice, Chars) for choice in choices):
        ranges = [r for choice in choices if isinstance(choice, Chars) for r in choice.ranges]
        return Chars(_merged(ranges))
    return Alternatives(tuple(choices))


def _char(code: int, flags: _Flags) -> Chars:
    ranges = [(code, code)]
    return Chars(_merged(_folded(ranges)) if flags.fold else tuple(ranges))


def _folded(ranges: Sequence[Range]) -> list[Range]:
    """With the other case of each letter; of large ranges only the ASCII letters."""
    found = list(ranges)
    for low, high in ranges:
        for code in range(low, min(high, low + 0x800, LAST) + 1):
            char = chr(code)
            for other in {char.lower(), char.upper(), char.swapcase(), *_ODD_FOLDS.get(char, "")}:
                if len(other) == 1:
                    found.append((ord(other), ord(other)))
    return found


_ODD_FOLDS = {
    "k": "\u212a",
    "K": "\u212a",
    "\u212a": "kK",
    "s": "\u017f",
    "S": "\u017f",
    "\u017f": "sS",
}
"""Kelvin sign and long s, which fold to ASCII letters but are not their other case."""


def _merged(ranges: Sequence[Range]) -> tuple[Range, ...]:
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


def _complement(ranges: Sequence[Range]) -> tuple[Range, ...]:
    found: list[Range] = []
    start = 0
    for low, high in _merged(ranges):
        if start < low:
            found.append((start, low - 1))
        start = high + 1
    if start <= LAST:
        found.append((start, LAST))
    return tuple(found)


def _repeats(tree: Pattern) -> int:
    """Counted repetitions, nested ones multiplied."""
    match tree:
        case Series(parts) | Alternatives(parts):
            return max((_repeats(part) for part in parts), default=1)
        case Repetition(part, least, most):
            return max(least, most or 0, 1) * _repeats(part)
        case _:
            return 1


def to_python(tree: Pattern) -> str:
    """The pattern as `re` writes it."""
    match tree:
        case Chars(ranges):
            return _python_class(ranges)
        case Assertion(place):
            return place.value
        case Series(parts):
            return "".join(
                f"(?:{to_python(p)})" if isinstance(p, Alternatives) else to_python(p)
                for p in parts
            )
        case Alternatives(parts):
            return "|".join(to_python(part) for part in parts)
        case Repetition(part, least, most):
            count = f"{{{least},{'' if most is None else most}}}"
            return f"(?:{to_python(part)}){count}"


def _python_class(ranges: tuple[Range, ...]) -> str:
    match ranges:
        case ():
            return r"(?!)"
        case ((low, high),) if low == high:
            return re.escape(chr(low))
        case ((0, high),) if high == LAST:
            return r"(?s:.)"
    return "[" + "".join(f"{_python_char(a)}-{_python_char(b)}" for a, b in ranges) + "]"


def _python_char(code: int) -> str:
    return f"\\U{code:08x}"


_FEW_UNBOUNDED = 2
_FEW_OPTIONAL = 8


def backtracks_badly(tree: Pattern) -> bool:
    """Whether backtracking may take far longer than the value is long.

    Harmless is what has few choices, none of them inside a repetition.
    """
    unbounded = optional = 0
    stack: list[tuple[Pattern, bool]] = [(tree, False)]
    while stack:
        part, repeated = stack.pop()
        match part:
            case Series(parts):
                stack += [(p, repeated) for p in parts]
            case Alternatives(parts):
                if repeated:
                    return True
                stack += [(p, repeated) for p in parts]
            case Repetition(inner, least, most):
                if repeated and least != most:
                    return True
                unbounded += most is None
                optional += most is not None and least != most
                stack.append((inner, repeated or most is None or most > 1))
            case _:
                pass
    return unbounded > _FEW_UNBOUNDED or optional > _FEW_OPTIONAL
