"""The integer coercion of the query language."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.filters import MISSING, to_int


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        (-7, -7),
        (True, 1),
        (False, 0),
        (None, 0),
        (1.9, 1),
        (-1.9, -1),
        (float("nan"), None),
        (float("inf"), None),
        ("42", 42),
        ("-42", -42),
        ("+42", 42),
        ("42.000", 42),
        ("42.", None),
        ("42.5", None),
        ("0x1F", 31),
        ("0x_1F", 31),
        ("0b101", 5),
        ("0o17", 15),
        ("017", 15),
        ("0_17", 15),
        ("08", None),
        ("0", 0),
        ("00", 0),
        ("-0x10", -16),
        ("1_000", 1000),
        ("1__000", None),
        ("_1", None),
        ("1_", None),
        ("", None),
        (" 1", None),
        ("1 ", None),
        ("1\n", None),
        ("eth0", None),
        ("10.0.0.1/24", None),
        ("10.0.0.0", None),
        ("\u0661", None),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", None),
        ("1" * 5_000, None),
        ([1], None),
        ({}, None),
        (MISSING, None),
        (b"1", None),
    ],
)
def test_what_values_stand_for(value: Any, number: int | None) -> None:
    """gremlin.md §4.1; texts as Go reads them with the base told by the prefix."""
    assert to_int(value) == number
    assert type(to_int(value)) in (int, type(None))


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_number_written_out_is_that_number(number: int) -> None:
    """In any base."""
    assert to_int(str(number)) == number
    assert to_int(hex(number)) == number
    assert to_int(bin(number)) == number
    assert to_int(oct(number)) == number


@given(st.text("0123456789abxo+-_. ", max_size=8))
def test_any_text_is_a_number_or_none(text: str) -> None:
    """Values come from anywhere; none may raise."""
    assert to_int(text) is None or isinstance(to_int(text), int)
