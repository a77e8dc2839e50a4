"""Text of a query to tokens, each with its column (gremlin.md §2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from skydiver.base.errors import QueryError

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1


class TokenKind(Enum):
    WORD = "word"
    STRING = "string"
    NUMBER = "number"
    OPEN = "("
    CLOSE = ")"
    COMMA = ","
    DOT = "."
    END = "end of the query"


@dataclass(frozen=True, slots=True)
class Token:
    kind: TokenKind
    text: str
    """As written; a string without its quotes."""
    column: int
    """1-based position of the first character."""
    number: int | float = 0
    """Value of a NUMBER."""

    def __str__(self) -> str:
        match self.kind:
            case TokenKind.END:
                return "the end of the query"
            case TokenKind.STRING:
                return f"the text '{self.text}'"
            case _:
                return f"'{self.text}'"


# Either quote opens and either closes, and nothing escapes: old scripts mix them (§15, Q2).
_TOKEN = re.compile(
    r"(?P<space>[ \t\n]+)"
    r"|(?P<word>[A-Za-z][A-Za-z0-9_]*)"
    r"|['\"](?P<string>[^'\"]*)(?P<closed>['\"]?)"
    r"|(?P<number>-?[0-9][0-9.]*)"
    r"|(?P<punctuation>[().,])"
)

_PUNCTUATION = {kind.value: kind for kind in TokenKind if len(kind.value) == 1}


def tokens(text: str) -> list[Token]:
    """All tokens of `text`, the last one an END."""
    text = text.partition("\0")[0]
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise QueryError(f"unexpected character {text[at]!r}", column=at + 1)
        column = at + 1
        at = match.end()
        if (string := match["string"]) is not None:
            if not match["closed"]:
                raise QueryError("text without its closing quote", column=column)
            found.append(Token(TokenKind.STRING, string, column))
        elif (word := match["word"]) is not None:
            found.append(Token(TokenKind.WORD, word, column))
        elif (number := match["number"]) is not None:
            found.append(Token(TokenKind.NUMBER, number, column, _number(number, column)))
        elif (mark := match["punctuation"]) is not None:
            found.append(Token(_PUNCTUATION[mark], mark, column))
    found.append(Token(TokenKind.END, "", len(text) + 1))
    return found


def _number(text: str, column: int) -> int | float:
    """A signed 64-bit integer when it is one, otherwise a finite decimal."""
    try:
        # Longer digits are beyond 64 bits, and beyond what Python converts; zeros may lead.
        digits = text.lstrip("-").lstrip("0") or "0"
        if digits.isdecimal() and len(digits) < 20:
            integer = -int(digits) if text[0] == "-" else int(digits)
            if INT64_MIN <= integer <= INT64_MAX:
                return integer
        decimal = float(text)
    except ValueError:
        raise QueryError(f"malformed number '{text}'", column=column) from None
    if decimal in (float("inf"), float("-inf")):
        raise QueryError("number out of range", column=column)
    return decimal
