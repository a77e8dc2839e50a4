"""What requests bring: durations and JSON."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.api.bodies import duration_s, json_document
from skydiver.base.errors import ProtocolError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5000ms", 5),
        ("1m0s", 60),
        ("2h45m", 9900),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("5.s", 5),
        ("1h2m3s4ms5us6ns", 3723.004005006),
        ("3µs", 3e-6),
        ("+1s", 1),
        ("-1s", -1),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_durations_of_go_are_read(text: str, seconds: float) -> None:
    """Every client writes them, since the original took nothing else."""
    assert duration_s(text) == pytest.approx(seconds, abs=1e-12)


@pytest.mark.parametrize(
    "text", ["", "5", "s", ".s", "1x", "1s ", " 1s", "1 s", "--1s", "1e3s", "9" * 30 + "s", "٣s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A number without a unit is the commonest mistake."""
    with pytest.raises(ProtocolError, match="expected a duration like 5000ms, 1m30s or 2h"):
        duration_s(text)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader_of_durations(text: str) -> None:
    """It stands in a header that anybody may send."""
    with suppress(ProtocolError):
        assert isinstance(duration_s(text), float)


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff", b'"\xed\xa0\x80"', b"1 2", b"NaN"])
def test_bad_json_is_one_line(body: bytes) -> None:
    """Whatever it is, it must not cost more than this line."""
    with pytest.raises(ProtocolError) as raised:
        json_document(body)
    assert str(raised.value).startswith("bad JSON: ")
    assert "\n" not in str(raised.value)
