"""Points in time and lengths of time as `At` and `Context` take them (gremlin.md §9.2)."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime

LAST_SECOND = 2_147_483_647
"""Larger integers are milliseconds."""

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"([+-]?)((?:{_PART})+|0)")

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_RFC1123 = re.compile(
    r"(?:mon|tue|wed|thu|fri|sat|sun), ([0-9]{2}) ([a-z]{3}) ([0-9]{4})"
    r" ([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))? ([a-z]{3,5})",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time, absolute or relative to now."""

    ms: int
    from_now: bool = False

    def resolve(self, now_ms: int) -> int:
        """Milliseconds since the Unix epoch."""
        return now_ms + self.ms if self.from_now else self.ms


NOW = Moment(0, from_now=True)


def moment_of_number(number: int) -> Moment:
    """Seconds or milliseconds since the Unix epoch."""
    return Moment(number * 1000 if number <= LAST_SECOND else number)


def moment_of_text(text: str) -> Moment | None:
    """An RFC 1123 date or a duration from now; None when it is neither."""
    duration_ms = duration(text)
    if duration_ms is not None:
        return Moment(duration_ms, from_now=True)
    date_ms = _date(text)
    return None if date_ms is None else Moment(date_ms)


def duration(text: str) -> int | None:
    """Milliseconds of a text like ``-1h30m`` or ``1.5s``; None when it is none."""
    match = _DURATION.fullmatch(text)
    # So many digits are beyond any time, and beyond what Python converts.
    if match is None or len(text) > 100:
        return None
    nanoseconds = sum(float(n) * _UNITS_NS[unit] for n, unit in re.findall(_PART, match[2]))
    if nanoseconds >= 2**63:
        return None
    milliseconds = int(nanoseconds) // 1_000_000
    return -milliseconds if match[1] == "-" else milliseconds


def _date(text: str) -> int | None:
    match = _RFC1123.fullmatch(text)
    if match is None or match[2].lower() not in _MONTHS:
        return None
    day, month, year = int(match[1]), _MONTHS.index(match[2].lower()) + 1, int(match[3])
    try:
        date = datetime(year, month, day, int(match[4]), int(match[5]), int(match[6]), tzinfo=UTC)
    except ValueError:
        return None
    fraction_ms = int((match[7] or "0").ljust(9, "0")) // 1_000_000
    seconds = int(date.timestamp()) - _zone_offset_s(match[8].upper())
    return seconds * 1000 + fraction_ms


def _zone_offset_s(zone: str) -> int:
    """East of Greenwich. Abbreviations mean little: those of this machine count, others are 0."""
    standard, summer = (name.upper() for name in time.tzname)
    if zone in ("GMT", "UTC"):
        return 0
    if zone == standard:
        return -time.timezone
    if zone == summer:
        return -time.altzone
    return 0
