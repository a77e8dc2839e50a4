"""The clocks: wall in milliseconds, monotonic in nanoseconds; passed as parameters."""

from __future__ import annotations

import time
from collections.abc import Callable

ClockMs = Callable[[], int]
"""Wall clock, milliseconds since the Unix epoch."""

ClockNs = Callable[[], int]
"""Nanoseconds, of the wall clock or the monotonic one as the parameter's name says."""


def wall_ms() -> int:
    """Now, in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def wall_ns() -> int:
    """Now, in nanoseconds since the Unix epoch; where a millisecond is too much."""
    return time.time_ns()


def mono_ns() -> int:
    """Monotonic nanoseconds, for durations only."""
    return time.monotonic_ns()
