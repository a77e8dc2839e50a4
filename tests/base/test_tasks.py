"""Supervised tasks come back after an outage, and bugs are not hidden."""

import asyncio
import logging

import pytest

from skydiver.base.errors import Unavailable
from skydiver.base.tasks import supervise


async def test_a_task_runs_again_after_an_outage_and_logs_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A daemon that is away for an hour must not fill the log."""
    attempts = 0

    async def run() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            raise Unavailable("no daemon at /run/x.sock")

    with caplog.at_level(logging.WARNING):
        await supervise("probe x", run, first_delay_s=0.001)
    assert attempts == 4
    assert [r.message for r in caplog.records] == [
        "probe x: no daemon at /run/x.sock; trying again"
    ]


async def test_a_bug_ends_the_task() -> None:
    """Restarting on any exception would hide defects for ever."""

    async def run() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await supervise("probe x", run)


async def test_a_task_that_is_cancelled_in_the_moment_of_an_outage_ends() -> None:
    """A task group tells of the outage alone then, and the agent would never end."""
    outage = asyncio.Event()

    async def fail() -> None:
        await outage.wait()
        raise Unavailable("connection lost")

    async def run() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail(), name="fails")
                await asyncio.Event().wait()
        except* Unavailable:
            pass
        raise Unavailable("connection lost")

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(supervise("link", run), name="link")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outage.set()
        task.cancel()
    assert task.cancelled()
