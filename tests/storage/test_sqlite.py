"""SQLite as a store: what is special about a file (the contract is tests/objects/test_store.py)."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from skydiver.base.errors import StoreError
from skydiver.base.ids import random_id
from skydiver.base.losses import Losses, LossReason
from skydiver.objects import Capture, ObjectStore
from skydiver.storage.sqlite import SqliteObjectStore


def capture(query: str = "G.V()") -> Capture:
    return Capture(uuid=random_id(), gremlin_query=query)


async def test_it_is_an_object_store(tmp_path: Path) -> None:
    """Whoever needs a store asks for the contract, not for SQLite."""
    store: ObjectStore = await SqliteObjectStore.open(tmp_path / "o.db", losses=Losses())
    await store.close()


async def test_the_file_and_its_folder_are_made_for_the_owner_only(tmp_path: Path) -> None:
    """Objects may hold addresses and secrets of others."""
    path = tmp_path / "new" / "folder" / "objects.db"
    store = await SqliteObjectStore.open(path, losses=Losses())
    await store.create(capture())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await store.close()


async def test_readers_and_the_writer_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Write-ahead logging, and each commit on the disk before it is answered."""
    path = tmp_path / "o.db"
    store = await SqliteObjectStore.open(path, losses=Losses())
    await store.create(capture())
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("SELECT count(*) FROM objects").fetchone() == (1,)
    database.close()
    await store.close()


@pytest.mark.parametrize(
    ("content", "words"), [(b"not a database at all" * 100, "file is not a database")]
)
async def test_a_file_that_is_no_store_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    """One line instead of a stack of sqlite3."""
    path = tmp_path / "o.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"^object store {path}: {words}$"):
        await SqliteObjectStore.open(path, losses=Losses())


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The commonest mistake at the first start."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"objects\.db: not a directory$"):
        await SqliteObjectStore.open(tmp_path / "file" / "objects.db", losses=Losses())
    with pytest.raises(StoreError, match=r"is a directory$"):
        await SqliteObjectStore.open(tmp_path, losses=Losses())


async def test_a_store_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    """Going back to an older version must not damage anything."""
    path = tmp_path / "o.db"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(StoreError, match="made by a newer version"):
        await SqliteObjectStore.open(path, losses=Losses())


async def test_an_object_that_cannot_be_read_is_counted_and_does_not_hide_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody edited the file, or a later version wrote it."""
    path, losses = tmp_path / "o.db", Losses()
    store = await SqliteObjectStore.open(path, losses=losses)
    good = capture()
    await store.create(good)
    database = sqlite3.connect(path)
    for id_, document in (("bad1", b"{"), ("bad2", b'{"GremlinQuery": 3}')):
        database.execute(
            "INSERT INTO objects (kind, id, document) VALUES ('capture', ?, ?)", (id_, document)
        )
    database.commit()
    database.close()
    assert await store.list(Capture) == {good.uuid: good}
    assert await store.list(Capture) == {good.uuid: good}
    assert losses.counts() == {("storage.objects", LossReason.INVALID): 2}
    assert len(caplog.records) == 2
    await store.close()


async def test_a_locked_or_closed_file_gives_one_line(tmp_path: Path) -> None:
    """A second analyzer on the same file is a mistake that must not hang the first."""
    path = tmp_path / "o.db"
    store = await SqliteObjectStore.open(path, losses=Losses())
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="database is locked"):
        await store.create(capture())
    database.execute("ROLLBACK")
    database.close()
    await store.create(capture())
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.list(Capture)


async def test_time_to_live_follows_the_clock_that_was_given(tmp_path: Path) -> None:
    """The moment of expiry is exact to the millisecond, and kept in the file."""
    now = [1_000_000]
    store = await SqliteObjectStore.open(
        tmp_path / "o.db", losses=Losses(), clock_ms=lambda: now[0]
    )
    wanted = capture()
    await store.create(wanted, ttl_s=5)
    now[0] += 4_999
    assert await store.get(Capture, wanted.uuid) == wanted
    now[0] += 1
    assert await store.get(Capture, wanted.uuid) is None
    await store.close()


async def test_what_was_answered_is_in_the_file_even_after_a_crash(tmp_path: Path) -> None:
    """A copy of the files at any moment opens to everything that was acknowledged."""
    path = tmp_path / "o.db"
    store = await SqliteObjectStore.open(path, losses=Losses())
    wanted = [capture(f"G.V('{n}')") for n in range(20)]
    for each in wanted:
        await store.create(each)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in os.listdir(tmp_path):
        if name.startswith("o.db") and not name.endswith("-shm"):
            (copy / name).write_bytes((tmp_path / name).read_bytes())
    again = await SqliteObjectStore.open(copy / "o.db", losses=Losses())
    assert list(await again.list(Capture)) == [each.uuid for each in wanted]
    await again.close()
    await store.close()
