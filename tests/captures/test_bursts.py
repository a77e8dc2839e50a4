"""One log line for what happens to many interfaces at once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from skydiver.captures.bursts import Bursts

log = logging.getLogger("skydiver.captures.test")


async def test_many_interfaces_are_one_line_and_one_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A whole namespace that goes must not bury the rest of the log."""
    caplog.set_level(logging.INFO, log.name)
    bursts = Bursts(log)
    for number in range(400):
        bursts.say("captures ended on", f"blue/tap{number}", ", now gone")
    bursts.say("captures ended on", "blue/tap0", ", now gone")
    bursts.say("capture 1 started on", "host/eth0")
    assert caplog.messages == []
    bursts.flush()
    bursts.flush()
    assert caplog.messages == [
        "captures ended on 400 interfaces (blue/tap0, …), now gone",
        "capture 1 started on host/eth0",
    ]


async def test_lines_come_by_themselves_and_each_interface_at_debug_level(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever looks for one interface finds it."""
    caplog.set_level(logging.DEBUG, log.name)
    bursts = Bursts(log, window_s=0.01)
    bursts.say("capture 1 started on", "host/eth0")
    bursts.say("capture 1 started on", "host/eth1")
    async with asyncio.timeout(10):
        while len(caplog.messages) < 3:
            await asyncio.sleep(0.01)
    assert caplog.messages == [
        "capture 1 started on host/eth0",
        "capture 1 started on host/eth1",
        "capture 1 started on 2 interfaces (host/eth0, …)",
    ]
