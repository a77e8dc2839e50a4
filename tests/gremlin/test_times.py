"""Points in time and lengths of time (gremlin.md §9.2)."""

from __future__ import annotations

import time

import pytest

from skydiver.gremlin.times import Moment, duration, moment_of_number, moment_of_text

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("-5m", -5 * MINUTE),
        ("-1h30m", -(HOUR + 30 * MINUTE)),
        ("-1.5h", -90 * MINUTE),
        ("+1s", SECOND),
        ("1m", MINUTE),
        ("0", 0),
        ("-0", 0),
        ("10us", 0),
        (".5s", 500),
        ("1.s", SECOND),
        ("1h1m1s1ms1us1ns", HOUR + MINUTE + SECOND + 1),
        ("", None),
        ("5", None),
        ("1d", None),
        ("- 1s", None),
        ("1s ", None),
        ("s", None),
        (".s", None),
        ("9999999999h", None),
        ("9" * 5000 + "h", None),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, milliseconds: int | None) -> None:
    """Durations are written as the original takes them."""
    assert duration(text) == milliseconds


def test_small_numbers_are_seconds_and_large_ones_milliseconds() -> None:
    """The interface sends milliseconds, people write seconds."""
    assert moment_of_number(1_479_899_809) == moment_of_number(1_479_899_809_000)
    assert moment_of_number(1_479_899_809).resolve(0) == 1_479_899_809_000


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("Sun, 06 Nov 2016 08:49:37 GMT", 1_478_422_177_000),
        ("sun, 06 nov 2016 08:49:37 utc", 1_478_422_177_000),
        ("Mon, 06 Nov 2016 08:49:37 GMT", 1_478_422_177_000),
        ("Sun, 06 Nov 2016 08:49:37.5 GMT", 1_478_422_177_500),
        ("Sun, 06 Nov 2016 08:49:37 XYZ", 1_478_422_177_000),
        ("Sun, 6 Nov 2016 08:49:37 GMT", None),
        ("Sun, 06 Nov 2016 08:49:37 +0100", None),
        ("Sun, 31 Feb 2016 08:49:37 GMT", None),
        ("Sun, 06 Nuv 2016 08:49:37 GMT", None),
        ("2016-11-06T08:49:37Z", None),
        ("now", None),
    ],
)
def test_a_date_is_one_of_rfc_1123(text: str, milliseconds: int | None) -> None:
    """The documentation shows this form; anything else is refused and not guessed."""
    found = moment_of_text(text)
    assert found == (None if milliseconds is None else Moment(milliseconds))


def test_the_zone_of_this_machine_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users write the abbreviation that their clock shows."""
    monkeypatch.setattr(time, "tzname", ("CET", "CEST"))
    monkeypatch.setattr(time, "timezone", -3600)
    monkeypatch.setattr(time, "altzone", -7200)
    assert moment_of_text("Sun, 06 Nov 2016 09:49:37 CET") == Moment(1_478_422_177_000)
    assert moment_of_text("Sun, 06 Nov 2016 10:49:37 CEST") == Moment(1_478_422_177_000)


def test_durations_count_from_now() -> None:
    """The past is negative."""
    found = moment_of_text("-1m")
    assert found is not None
    assert found.resolve(100_000) == 40_000
