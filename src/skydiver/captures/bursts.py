"""Log lines about many interfaces at once: one line for what happened to all of them.

A thousand interfaces can be captured, or go, within a second, and a line for each tells nobody
more than their number. The lines of one interface each are there at debug level.
"""

from __future__ import annotations

import asyncio
import logging

WINDOW_S = 1.0
"""From the first interface to the line."""


class Bursts:
    """Collects what is said of interfaces, and says it once for all of a window."""

    def __init__(self, log: logging.Logger, *, window_s: float = WINDOW_S) -> None:
        self._log = log
        self._window_s = window_s
        self._places: dict[tuple[str, str], dict[str, None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def say(self, before: str, place: str, after: str = "") -> None:
        """To be said as "before place after", or "before N interfaces (first place, …) after"."""
        self._log.debug("%s %s%s", before, place, after)
        self._places.setdefault((before, after), {})[place] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._window_s, self.flush)

    def flush(self) -> None:
        """Say now what has been collected."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        collected, self._places = self._places, {}
        for (before, after), places in collected.items():
            first = next(iter(places))
            if len(places) == 1:
                self._log.info("%s %s%s", before, first, after)
            else:
                self._log.info("%s %d interfaces (%s, …)%s", before, len(places), first, after)
