"""SQLite: API objects on one machine, in one file, behind one thread.

There are few of them and each change is precious, so every commit is on the disk before it is
answered (``synchronous=FULL``), and nothing is cached: what is read is what would survive.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import orjson

from skydiver.base.clock import ClockMs, wall_ms
from skydiver.base.errors import ProtocolError, StoreError
from skydiver.base.losses import Losses, LossReason
from skydiver.objects import Change, ChangeKind, Conflict, Resource

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

SCHEMA = 1
"""Version of the tables, kept in the file."""
LONGEST_SLEEP_S = 5.0
"""Wall clocks are set; a sleep towards one is cut into pieces."""

_TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    document BLOB NOT NULL,
    expires_at_ms INTEGER,
    UNIQUE (kind, id)
) STRICT;
CREATE INDEX IF NOT EXISTS objects_by_expiry ON objects (expires_at_ms)
    WHERE expires_at_ms IS NOT NULL;
"""
_LIVE = "(expires_at_ms IS NULL OR expires_at_ms > ?)"

R = TypeVar("R", bound=Resource)
T = TypeVar("T")
Listener = Callable[[Change[Any]], None]
Changes = list[tuple[ChangeKind, str, bytes]]


class SqliteObjectStore:
    """`objects.ObjectStore` in one SQLite file."""

    def __init__(
        self, path: Path, thread: ThreadPoolExecutor, losses: Losses, clock_ms: ClockMs
    ) -> None:
        """Use `open`."""
        self._path = path
        self._thread = thread
        self._losses = losses
        self._clock_ms = clock_ms
        self._watchers: dict[str, list[tuple[type[Resource], Listener]]] = {}
        self._unreadable: set[tuple[str, str]] = set()
        self._new_expiry = asyncio.Event()
        self._database: sqlite3.Connection

    @classmethod
    async def open(cls, path: Path, *, losses: Losses, clock_ms: ClockMs = wall_ms) -> Self:
        """Open the file, or make it and its folder; `StoreError` says what is wrong with it."""
        store = cls(path, ThreadPoolExecutor(1, "objects"), losses, clock_ms)
        try:
            await store._in_thread(store._open)
        except BaseException:
            store._thread.shutdown(wait=False)
            raise
        return store

    async def list(self, of: type[R]) -> dict[str, R]:
        now = self._clock_ms()
        rows = await self._in_thread(
            lambda: self._database.execute(
                f"SELECT id, document FROM objects WHERE kind = ? AND {_LIVE} ORDER BY number",
                (of.kind, now),
            ).fetchall()
        )
        found = {id_: self._decode(of, id_, document) for id_, document in rows}
        return {id_: resource for id_, resource in found.items() if resource is not None}

    async def get(self, of: type[R], id_: str) -> R | None:
        now = self._clock_ms()
        row = await self._in_thread(
            lambda: self._database.execute(
                f"SELECT document FROM objects WHERE kind = ? AND id = ? AND {_LIVE}",
                (of.kind, id_, now),
            ).fetchone()
        )
        return self._decode(of, id_, row[0]) if row else None

    async def create(self, resource: R, *, ttl_s: float | None = None) -> None:
        now = self._clock_ms()
        expires_at_ms = None if ttl_s is None else now + int(ttl_s * 1000)
        document = _encode(resource)

        def create() -> Changes:
            with self._transaction():
                changes = self._take_expired(now)
                self._refuse_conflicts(resource)
                self._database.execute(
                    "INSERT INTO objects (kind, id, document, expires_at_ms) VALUES (?, ?, ?, ?)",
                    (resource.kind, resource.uuid, document, expires_at_ms),
                )
            return [*changes, (ChangeKind.CREATED, resource.kind, document)]

        await self._changing(create)
        if expires_at_ms is not None:
            self._new_expiry.set()

    async def update(self, resource: R) -> bool:
        now = self._clock_ms()
        document = _encode(resource)

        def update() -> Changes:
            updated = self._database.execute(
                f"UPDATE objects SET document = ? WHERE kind = ? AND id = ? AND {_LIVE}",
                (document, resource.kind, resource.uuid, now),
            ).rowcount
            return [(ChangeKind.UPDATED, resource.kind, document)] if updated else []

        return bool(await self._changing(update))

    async def delete(self, of: type[R], id_: str) -> R | None:
        now = self._clock_ms()

        def delete() -> Changes:
            rows = self._database.execute(
                f"DELETE FROM objects WHERE kind = ? AND id = ? AND {_LIVE} RETURNING document",
                (of.kind, id_, now),
            ).fetchall()
            return [(ChangeKind.DELETED, of.kind, document) for (document,) in rows]

        changes = await self._changing(delete)
        return self._decode(of, id_, changes[0][2]) if changes else None

    def watch(self, of: type[R], listener: Callable[[Change[R]], None]) -> Callable[[], None]:
        watchers = self._watchers.setdefault(of.kind, [])
        entry = (of, listener)
        watchers.append(entry)

        def forget() -> None:
            if entry in watchers:
                watchers.remove(entry)

        return forget

    async def run(self) -> None:
        while True:
            self._new_expiry.clear()
            await self._changing(lambda: self._take_expired(self._clock_ms()))
            (next_ms,) = await self._in_thread(
                lambda: self._database.execute("SELECT min(expires_at_ms) FROM objects").fetchone()
            )
            delay_s = None
            if next_ms is not None:
                # A little late rather than a little early: an early look would find nothing.
                delay_s = min(max(next_ms - self._clock_ms() + 1, 1) / 1000, LONGEST_SLEEP_S)
            try:
                async with asyncio.timeout(delay_s):
                    await self._new_expiry.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        await self._in_thread(self._database.close)
        self._thread.shutdown()

    # In the thread

    def _open(self) -> None:
        try:
            if not self._path.parent.exists():
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            # Made here because SQLite would let everybody read it.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"object store {self._path}: {_words(error)}") from error
        self._database = sqlite3.connect(self._path, isolation_level=None, timeout=2.0)
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA:
                raise StoreError(
                    f"object store {self._path}: made by a newer version of this program "
                    f"(tables {version}, expected at most {SCHEMA})"
                )
            self._database.executescript(_TABLES)
            self._database.execute(f"PRAGMA user_version={SCHEMA}")
        except BaseException:
            self._database.close()
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _take_expired(self, now_ms: int) -> Changes:
        rows = self._database.execute(
            "DELETE FROM objects WHERE expires_at_ms <= ? RETURNING kind, document", (now_ms,)
        ).fetchall()
        return [(ChangeKind.EXPIRED, kind, document) for kind, document in rows]

    def _refuse_conflicts(self, resource: Resource) -> None:
        others = self._database.execute(
            "SELECT id, document FROM objects WHERE kind = ?", (resource.kind,)
        )
        for id_, document in others:
            other = self._decode(type(resource), id_, document)
            if id_ == resource.uuid or (other is not None and resource.conflicts_with(other)):
                raise Conflict("duplicated resource")

    # Around it

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in the store's thread; it is finished even if the caller goes away."""
        return await asyncio.shield(self._started(work))

    async def _changing(self, work: Callable[[], Changes]) -> Changes:
        """The same for what changes objects: those that watch are told either way."""
        future = self._started(work)
        future.add_done_callback(self._tell)
        return await asyncio.shield(future)

    def _started(self, work: Callable[[], T]) -> asyncio.Future[T]:
        def guarded() -> T:
            try:
                return work()
            except sqlite3.Error as error:
                raise StoreError(f"object store {self._path}: {error}") from error

        try:
            return asyncio.get_running_loop().run_in_executor(self._thread, guarded)
        except RuntimeError as error:
            raise StoreError(f"object store {self._path}: closed") from error

    def _tell(self, future: asyncio.Future[Changes]) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        for change, kind, document in future.result():
            for of, listener in list(self._watchers.get(kind, ())):
                resource = self._decode(of, "", document)
                if resource is not None:
                    listener(Change(change, resource))

    def _decode(self, of: type[R], id_: str, document: bytes) -> R | None:
        """An object, or None when it cannot be read; that is counted, and said once."""
        try:
            return of.from_json(orjson.loads(document))
        except (ProtocolError, orjson.JSONDecodeError) as error:
            if (of.kind, id_) not in self._unreadable:
                self._unreadable.add((of.kind, id_))
                self._losses.add("storage.objects", LossReason.INVALID)
                log.error("%s %s in %s is unreadable: %s", of.kind, id_, self._path, error)
            return None


def _encode(resource: Resource) -> bytes:
    return orjson.dumps(resource.to_json())


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
