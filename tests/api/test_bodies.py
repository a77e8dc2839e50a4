"""What requests bring: durations, JSON, YAML."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.api.bodies import duration_s, json_document, yaml_document
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


def test_yaml_says_the_same_as_json() -> None:
    """The UI of the original uploads files as they are."""
    assert yaml_document(b"GremlinQuery: G.V()\nPort: 3\n") == {"GremlinQuery": "G.V()", "Port": 3}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"a: [1\n", "bad YAML: did not find expected ',' or ']' (line 2, column 1)"),
        (b"\xff", "bad YAML: invalid start byte"),
        (b"a: \x00", "bad YAML: control characters are not allowed"),
        (b"[" * 60_000, "bad YAML: nested more than 64 levels deep (line 1, column 65)"),
        (b"a: !!python/object:os.system x",
         "bad YAML: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/object:os.system' (line 1, column 4)"),
        (b"a" * 70_000, "YAML of 70000 bytes, expected at most 65536"),
        (b"a: 2024-99-99", None),
    ],
)  # fmt: skip
def test_bad_yaml_is_one_line(body: bytes, message: str | None) -> None:
    """The reader in C crashes on brackets, and tags could run code: neither gets so far."""
    with pytest.raises(ProtocolError) as raised:
        yaml_document(body)
    if message is not None:
        assert str(raised.value) == message


def test_aliases_do_not_multiply() -> None:
    """A few hundred bytes that stand for a billion strings are read as references."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    document: Any = yaml_document("\n".join(lines).encode())
    assert document["a39"][0] is document["a39"][1]
