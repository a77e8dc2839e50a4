"""Metadata values as queries show and compare them."""

from __future__ import annotations

from typing import Any

import pytest

from skydiver.gremlin.values import identity, shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, 1), ("42", 42), (1.5, 1), (None, 0), ("x", "x"), ([1], [1]), ({"a": 1}, {"a": 1})],
)
def test_values_are_shown_as_integers_where_they_convert(value: Any, expected: Any) -> None:
    """As upstream (§15, Q10): tests and alert expressions compare integers."""
    assert shown(value) == expected


def test_equal_values_have_one_identity() -> None:
    """De-duplicating compares lists and maps by what is in them."""
    assert identity(["a", {"b": [1, True]}]) == identity(["a", {"b": ["1", 1.0]}])
    assert identity(["a"]) != identity(["b"])
    assert identity({"a": 1}) != identity({"a": 2})
    hash(identity({"a": [{"b": None}]}))
