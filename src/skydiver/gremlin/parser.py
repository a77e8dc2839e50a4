"""Tokens to steps (gremlin.md §3)."""

from __future__ import annotations

import difflib
from functools import lru_cache

from skydiver.base.errors import QueryError
from skydiver.gremlin.arguments import Args, Argument, Keyword, MetadataPairs, Value
from skydiver.gremlin.lexer import Token, TokenKind, tokens
from skydiver.gremlin.predicates import BY_NAME, parse_predicate
from skydiver.gremlin.query import Placed, Query, plan
from skydiver.gremlin.registry import UNAVAILABLE, Registration, Vocabulary, steps

LONGEST_KEPT = 4096
"""Parsed queries are kept for the next time, unless their text is longer than this."""

DEEPEST = 16
"""How far parentheses may nest; no valid query needs more than three."""

ROOT = "G"

_BOOLEANS = {"TRUE": True, "FALSE": False}


def parse(text: str, vocabulary: Vocabulary = "full") -> Query:
    """The query written in `text`; `QueryError` points at the first thing that is wrong.

    ``core`` knows the steps of the topology language only (gremlin.md §1.2).
    """
    if len(text) <= LONGEST_KEPT:
        return _parse_again(text, vocabulary)
    return _parse(text, vocabulary)


def _parse(text: str, vocabulary: Vocabulary) -> Query:
    return Query(text, plan(_Parser(tokens(text), vocabulary).query()))


_parse_again = lru_cache(maxsize=512)(_parse)


class _Parser:
    """Reads the tokens once, from left to right."""

    def __init__(self, found: list[Token], vocabulary: Vocabulary) -> None:
        self._tokens = found
        self._at = 0
        self._vocabulary = vocabulary

    def query(self) -> list[Placed]:
        root = self._next()
        if root.kind is not TokenKind.WORD or root.text.upper() != ROOT:
            raise QueryError(f"a query begins with G, not with {root}", column=root.column)
        found: list[Placed] = []
        while True:
            token = self._next()
            if token.kind is TokenKind.END:
                return found
            if token.kind is not TokenKind.DOT:
                raise QueryError(f"expected '.' or the end, not {token}", column=token.column)
            found.append(self._step())

    def _step(self) -> Placed:
        word = self._next()
        if word.kind is not TokenKind.WORD:
            raise QueryError(f"expected a step, not {word}", column=word.column)
        registration = self._registration(word)
        items: tuple[Argument, ...] = ()
        # The only step without parentheses goes back to the root.
        if word.text.upper() != ROOT:
            self._open(word)
            items = self._items(1)
        args = Args(registration.name, items, word.column)
        return Placed(registration.step.parse(args), registration, word.column)

    def _registration(self, word: Token) -> Registration:
        found = steps().get(word.text.upper())
        if found is not None and (found.vocabulary == "core" or self._vocabulary == "full"):
            return found
        if self._vocabulary == "full" and word.text.upper() in UNAVAILABLE:
            raise QueryError(UNAVAILABLE[word.text.upper()], column=word.column)
        known = {
            name: entry.name
            for name, entry in steps().items()
            if entry.vocabulary == "core" or self._vocabulary == "full"
        }
        near = difflib.get_close_matches(word.text.upper(), known, n=1, cutoff=0.7)
        hint = f"; did you mean {known[near[0]]}?" if near else ""
        raise QueryError(f"unknown step '{word.text}'{hint}", column=word.column)

    def _items(self, depth: int) -> tuple[Argument, ...]:
        """Arguments up to and including the closing parenthesis; commas are decoration."""
        if depth > DEEPEST:
            raise QueryError("too many parentheses inside each other", column=self._peek().column)
        items: list[Argument] = []
        while True:
            token = self._next()
            match token.kind:
                case TokenKind.CLOSE:
                    return tuple(items)
                case TokenKind.COMMA:
                    continue
                case TokenKind.STRING:
                    items.append(Argument(token.text, token.column))
                case TokenKind.NUMBER:
                    items.append(Argument(token.number, token.column))
                case TokenKind.WORD:
                    items.append(Argument(self._word(token, depth), token.column))
                case TokenKind.END:
                    raise QueryError("a closing ')' is missing", column=token.column)
                case _:
                    raise QueryError(f"expected a value, not {token}", column=token.column)

    def _word(self, word: Token, depth: int) -> Value:
        name = word.text.upper()
        if name in _BOOLEANS:
            return _BOOLEANS[name]
        if name in Keyword.__members__:
            return Keyword[name]
        if name == "METADATA":
            self._open(word)
            return _metadata(self._items(depth + 1), word)
        if name in BY_NAME:
            self._open(word)
            operands = [(item.value, item.column) for item in self._items(depth + 1)]
            return parse_predicate(word.text, operands, column=word.column)
        raise QueryError(
            f"'{word.text}' is not a value or a predicate; text stands in quotes",
            column=word.column,
        )

    def _open(self, word: Token) -> None:
        token = self._next()
        if token.kind is not TokenKind.OPEN:
            raise QueryError(f"expected '(' after {word.text}, not {token}", column=token.column)

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is not TokenKind.END:
            self._at += 1
        return token


def _metadata(items: tuple[Argument, ...], word: Token) -> MetadataPairs:
    if len(items) % 2:
        raise QueryError(f"{word.text} needs pairs of key and value", column=word.column)
    pairs: dict[str, Value] = {}
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key.value, str):
            raise QueryError(
                f"{word.text} needs a key that is a text, not {key}", column=key.column
            )
        pairs[key.value] = value.value
    return MetadataPairs(tuple(pairs.items()))
