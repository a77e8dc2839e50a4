"""Long-running tasks: named, restarted after an outage, never silently gone."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from skydiver.base.errors import Unavailable

log = logging.getLogger(__name__)


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    first_delay_s: float = 0.2,
    longest_delay_s: float = 3.0,
) -> None:
    """Run `run` again after each `Unavailable`, with a growing pause.

    An outage is logged once when it begins and once when it ends. Any other exception is a bug
    and ends the task group that this runs in. Returns when `run` returns.
    """
    delay_s = first_delay_s
    down = False
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            # In a task of its own, so that cancellations of this one are counted right.
            await asyncio.gather(run())
        except Unavailable as error:
            heed_cancellation()
            if loop.time() - started > longest_delay_s:
                # It had been running: a new outage, not the same one.
                if down:
                    log.info("%s: available again", name)
                down = False
                delay_s = first_delay_s
            if not down:
                log.warning("%s: %s; trying again", name, error)
                down = True
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, longest_delay_s)
        else:
            return


def heed_cancellation() -> None:
    """Raise the `CancelledError` that a task group may have kept to itself.

    A group that is cancelled in the very moment in which one of its tasks fails tells of the
    failure only (CPython issue 116720, mended in 3.13). Whoever goes on after a failure of a group
    calls this first, or may never end. Not for tasks that wait at the end of a group, without an
    error of their own: there Python counts the failure of another task as a cancellation.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def until_signal() -> None:
    """Return when this process is asked to stop, by SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
