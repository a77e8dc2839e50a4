"""Searching in time proportional to the text."""

from __future__ import annotations

import pytest

from skydiver.base.errors import QueryError
from skydiver.filters import automaton
from skydiver.filters.automaton import Automaton
from skydiver.filters.pattern_syntax import parse


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile texts could otherwise fill the memory; answers stay the same."""
    monkeypatch.setattr(automaton, "_MOST_REMEMBERED", 10)
    search = Automaton(parse("(?:ab|cd)+e")).search
    texts = [f"{'abcd' * n}{end}" for n in range(1, 6) for end in ("e", "f", "")]
    assert [search(text) for text in texts] == [text.endswith("e") for text in texts]
    assert [search(text) for text in texts] == [text.endswith("e") for text in texts]


def test_a_pattern_that_unfolds_too_far_is_refused() -> None:
    """Counted repetitions are written out."""
    with pytest.raises(QueryError, match="too large"):
        Automaton(parse("(?:abcdefghij){900}"))
