"""The clocks: wall in milliseconds, monotonic in nanoseconds; passed as parameters."""

from __future__ import annotations

import time
from collections.abc import Callable

ClockMs = Callable[[], int]
"""Wall clock, milliseconds since the Unix epoch."""


def wall_ms() -> int:
    """Now, in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def mono_ns() -> int:
    """Monotonic nanoseconds, for durations only."""
    return time.monotonic_ns()
