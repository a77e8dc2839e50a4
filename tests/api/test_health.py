"""How late the loop is."""

from __future__ import annotations

import asyncio
import time

import pytest

from skydiver.api import health
from skydiver.api.health import LoopLag


async def test_a_blocked_loop_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figure that tells an overloaded analyzer from a slow network."""
    monkeypatch.setattr(health, "INTERVAL_S", 0.01)
    lag = LoopLag()
    assert lag.worst_s == lag.last_s == 0.0
    lag.start()
    try:
        async with asyncio.timeout(20):
            while lag.worst_s < 0.04:
                time.sleep(0.05)
                await asyncio.sleep(0.001)
    finally:
        lag.stop()
    assert lag.worst_s >= lag.last_s >= 0.0
    lag.stop()
