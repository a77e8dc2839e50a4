"""Long work leaves room for others."""

import asyncio

from skydiver.hub.turns import Turns


async def test_others_run_between_slices() -> None:
    """A query must not wait until a host with 100,000 elements is synchronised."""
    happened: list[str] = []
    turns = Turns(slice_s=-1.0)
    asyncio.get_running_loop().call_soon(happened.append, "other")
    await turns.pause_if_due()
    happened.append("work")
    assert happened == ["other", "work"]


async def test_within_a_slice_nobody_else_runs() -> None:
    """Switching at every element would cost more than the work."""
    happened: list[str] = []
    turns = Turns(slice_s=60.0)
    asyncio.get_running_loop().call_soon(happened.append, "other")
    await turns.pause_if_due()
    assert happened == []
