"""Giving others their turn in the middle of long work in the event loop."""

from __future__ import annotations

import asyncio


class Turns:
    """Counts the time since others had a turn. One for each piece of long work."""

    def __init__(self, slice_s: float = 0.005) -> None:
        self._slice_s = slice_s
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + slice_s

    async def pause_if_due(self) -> None:
        """Let others run if the time slice is over."""
        if self._loop.time() > self._ends_at:
            await asyncio.sleep(0)
            self._ends_at = self._loop.time() + self._slice_s
