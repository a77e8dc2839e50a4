"""Text to tokens (gremlin.md §2)."""

from __future__ import annotations

import pytest

from skydiver.base.errors import QueryError
from skydiver.gremlin.lexer import TokenKind, tokens


def kinds(text: str) -> list[TokenKind]:
    return [token.kind for token in tokens(text)]


def test_each_token_knows_its_column() -> None:
    """Errors point at what is wrong."""
    assert [(t.text, t.column) for t in tokens("G .V(\n'a' 7)")] == [
        ("G", 1),
        (".", 3),
        ("V", 4),
        ("(", 5),
        ("a", 7),
        ("7", 11),
        (")", 12),
        ("", 13),
    ]


@pytest.mark.parametrize("text", ["'a b'", '"a b"', "'a b\"", "\"a b'"])
def test_either_quote_closes_what_either_opened(text: str) -> None:
    """Interfaces and scripts mix them (§15, Q2)."""
    assert tokens(text)[0].text == "a b"


def test_nothing_escapes_inside_quotes() -> None:
    """A backslash is part of a regular expression."""
    assert tokens(r"'e\w+\\'")[0].text == r"e\w+\\"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("007", 7),
        ("-5", -5),
        ("1.5", 1.5),
        ("1.", 1.0),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", float(2**63)),
        ("0" * 5000 + "1", 1),
    ],
)
def test_numbers_are_64_bit_integers_or_decimals(text: str, value: float) -> None:
    """As they are upstream; digits beyond what Python converts must not crash."""
    number = tokens(text)[0].number
    assert (number, type(number)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("G;", 2, "unexpected character ';'"),
        ("G\r\n.V()", 2, "unexpected character"),
        ("G.V('a", 5, "closing quote"),
        ("1.2.3", 1, "malformed number"),
        ("- 1", 1, "unexpected character"),
        ("G.V(" + "9" * 400 + ")", 5, "out of range"),
        ("G.V(" + "9" * 9999 + ")", 5, "out of range"),
        ("Gé", 2, "unexpected character"),
    ],
)
def test_what_is_no_token_is_refused_where_it_stands(text: str, column: int, message: str) -> None:
    """The user sees where to look."""
    with pytest.raises(QueryError, match=message) as caught:
        tokens(text)
    assert caught.value.column == column


def test_a_nul_character_ends_the_query() -> None:
    """Clients of the original send C strings."""
    assert kinds("G\0.Foo(") == [TokenKind.WORD, TokenKind.END]
