"""Supervised tasks come back after an outage, and bugs are not hidden."""

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
