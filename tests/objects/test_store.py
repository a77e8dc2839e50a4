"""What every backend of API objects promises; each runs the whole suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from skydiver.base.ids import random_id
from skydiver.base.losses import Losses
from skydiver.objects import Capture, Change, ChangeKind, Conflict, ObjectStore
from skydiver.storage.sqlite import SqliteObjectStore


async def open_sqlite(folder: Path) -> ObjectStore:
    return await SqliteObjectStore.open(folder / "objects.db", losses=Losses())


BACKENDS: dict[str, Callable[[Path], Awaitable[ObjectStore]]] = {"sqlite": open_sqlite}


@pytest.fixture(params=BACKENDS)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Awaitable[ObjectStore]]:
    """Opens the same store each time."""
    return lambda: BACKENDS[request.param](tmp_path)


@pytest.fixture
async def store(reopen: Callable[[], Awaitable[ObjectStore]]) -> AsyncIterator[ObjectStore]:
    store = await reopen()
    yield store
    await store.close()


def capture(query: str = "G.V()", **members: str) -> Capture:
    return Capture(uuid=random_id(), gremlin_query=query, **members)  # type: ignore[arg-type]


async def settle() -> None:
    """Let what was told to the loop arrive."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_is_created_is_listed_and_found(store: ObjectStore) -> None:
    """The least of all promises."""
    first, second = capture("G.V('1')"), capture("G.V('2')")
    await store.create(first)
    await store.create(second)
    assert await store.list(Capture) == {first.uuid: first, second.uuid: second}
    assert list(await store.list(Capture)) == [first.uuid, second.uuid]
    assert await store.get(Capture, second.uuid) == second
    assert await store.get(Capture, "no such id") is None


async def test_nothing_is_lost_between_two_starts(
    reopen: Callable[[], Awaitable[ObjectStore]],
) -> None:
    """Captures of yesterday are captures of today."""
    wanted = capture(name="Grüße ✓")
    store = await reopen()
    await store.create(wanted)
    await store.close()
    again = await reopen()
    assert await again.list(Capture) == {wanted.uuid: wanted}
    await again.close()


async def test_a_duplicate_is_refused_and_changes_nothing(store: ObjectStore) -> None:
    """Two captures of the same packets would count everything twice."""
    first = capture()
    await store.create(first)
    changes: list[Change[Capture]] = []
    store.watch(Capture, changes.append)
    with pytest.raises(Conflict, match="duplicated resource"):
        await store.create(capture(name="other"))
    with pytest.raises(Conflict):
        await store.create(Capture(uuid=first.uuid, gremlin_query="G.V('x')"))
    await settle()
    assert await store.list(Capture) == {first.uuid: first}
    assert changes == []


async def test_of_two_equal_ones_at_once_one_is_kept(store: ObjectStore) -> None:
    """Two people press the button in the same moment."""
    answers = await asyncio.gather(
        *(store.create(capture()) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(answer, Conflict) for answer in answers) == 7
    assert len(await store.list(Capture)) == 1


async def test_delete_answers_what_was_there(store: ObjectStore) -> None:
    """Whoever stops the capture needs to know what it was; the second one learns it is gone."""
    wanted = capture()
    await store.create(wanted)
    assert await store.delete(Capture, wanted.uuid) == wanted
    assert await store.delete(Capture, wanted.uuid) is None
    assert await store.list(Capture) == {}
    await store.create(capture())


async def test_update_replaces_what_exists_only(store: ObjectStore) -> None:
    """An update that makes objects would bring deleted ones back."""
    wanted = capture()
    await store.create(wanted)
    renamed = Capture(uuid=wanted.uuid, gremlin_query="G.V()", name="new")
    assert await store.update(renamed) is True
    assert await store.get(Capture, wanted.uuid) == renamed
    assert await store.update(capture()) is False
    assert len(await store.list(Capture)) == 1


async def test_watchers_hear_every_change_in_order_until_they_leave(store: ObjectStore) -> None:
    """Captures start and stop by this."""
    changes: list[Change[Capture]] = []
    forget = store.watch(Capture, changes.append)
    wanted = capture()
    renamed = Capture(uuid=wanted.uuid, gremlin_query="G.V()", name="new")
    await store.create(wanted)
    await store.update(renamed)
    await store.delete(Capture, wanted.uuid)
    await settle()
    assert changes == [
        Change(ChangeKind.CREATED, wanted),
        Change(ChangeKind.UPDATED, renamed),
        Change(ChangeKind.DELETED, renamed),
    ]
    assert [change.gone for change in changes] == [False, False, True]
    forget()
    forget()
    await store.create(capture())
    await settle()
    assert len(changes) == 3


async def test_a_caller_that_goes_away_does_not_hide_what_it_did(store: ObjectStore) -> None:
    """A client that hangs up after POST must not leave a capture that nobody starts."""
    changes: list[Change[Capture]] = []
    store.watch(Capture, changes.append)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(store.create(capture()), name="hangs up")
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert len(await store.list(Capture)) == 1
    await settle()
    assert [change.kind for change in changes] == [ChangeKind.CREATED]


async def test_objects_with_a_time_to_live_disappear_and_say_so(store: ObjectStore) -> None:
    """Captures for five minutes are the polite ones."""
    gone = asyncio.Event()
    changes: list[Change[Capture]] = []

    def heard(change: Change[Capture]) -> None:
        changes.append(change)
        if change.gone:
            gone.set()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(store.run(), name="expiry")
        store.watch(Capture, heard)
        lasting, brief = capture("G.V('lasting')"), capture("G.V('brief')")
        await store.create(lasting)
        await store.create(brief, ttl_s=0.05)
        async with asyncio.timeout(10):
            await gone.wait()
        running.cancel()
    assert changes[-1] == Change(ChangeKind.EXPIRED, brief)
    assert await store.list(Capture) == {lasting.uuid: lasting}


async def test_an_expired_object_is_never_shown_and_never_in_the_way(
    reopen: Callable[[], Awaitable[ObjectStore]],
) -> None:
    """The program may have been down when the time came."""
    store = await reopen()
    brief = capture()
    await store.create(brief, ttl_s=0.001)
    await store.close()
    store = await reopen()
    async with asyncio.timeout(10):
        while await store.get(Capture, brief.uuid) is not None:
            await asyncio.sleep(0.001)
    assert await store.list(Capture) == {}
    assert await store.delete(Capture, brief.uuid) is None
    assert await store.update(brief) is False
    await store.create(capture())
    await store.close()
