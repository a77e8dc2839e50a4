"""How late the event loop is: the one figure that every kind of overload shows in."""

from __future__ import annotations

import asyncio
from collections import deque

INTERVAL_S = 1.0
WINDOW = 60


class LoopLag:
    """Looks once per second how much later than asked it was called."""

    def __init__(self) -> None:
        self._seen_s: deque[float] = deque(maxlen=WINDOW)
        self._handle: asyncio.TimerHandle | None = None
        self._due_at = 0.0

    def start(self) -> None:
        """Begin, in the running loop."""
        self._schedule(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    @property
    def last_s(self) -> float:
        return self._seen_s[-1] if self._seen_s else 0.0

    @property
    def worst_s(self) -> float:
        """Of the last minute."""
        return max(self._seen_s, default=0.0)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due_at = loop.time() + INTERVAL_S
        self._handle = loop.call_at(self._due_at, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._seen_s.append(max(0.0, loop.time() - self._due_at))
        self._schedule(loop)
