"""Where API objects are kept: the contract of all backends (tests/objects/test_store.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from skydiver.base.errors import StoreError
from skydiver.objects.resource import Resource

R = TypeVar("R", bound=Resource)


class Conflict(StoreError):
    """The object may not exist together with one that does."""


class ChangeKind(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Change(Generic[R]):
    """Something happened to one object."""

    kind: ChangeKind
    resource: R
    """As it is now; as it was, when it is gone."""

    @property
    def gone(self) -> bool:
        return self.kind in (ChangeKind.DELETED, ChangeKind.EXPIRED)


class ObjectStore(Protocol):
    """API objects by type and identifier. Every method may raise `StoreError`.

    What is awaited has happened, and is told to those that watch, even when the caller is cancelled
    while it waits.
    """

    async def list(self, of: type[R]) -> dict[str, R]:
        """All objects of a type by identifier, oldest first."""
        ...

    async def get(self, of: type[R], id_: str) -> R | None: ...

    async def create(self, resource: R, *, ttl_s: float | None = None) -> None:
        """Keep a new object; `Conflict` when its `uuid` exists or another is in its way.

        With `ttl_s` it expires after so many seconds, across restarts.
        """
        ...

    async def update(self, resource: R) -> bool:
        """Replace the object with the same `uuid`, keeping its expiry; False when there is none."""
        ...

    async def delete(self, of: type[R], id_: str) -> R | None:
        """Remove an object; what it was, None when there was none."""
        ...

    def watch(self, of: type[R], listener: Callable[[Change[R]], None]) -> Callable[[], None]:
        """Call `listener` for each change from now on, in order; returns its unsubscribe.

        Watch first, then list: a change in between is then seen twice rather than never.
        """
        ...

    async def run(self) -> None:
        """Let objects expire, until cancelled. Reading never shows an expired one either way."""
        ...

    async def close(self) -> None: ...
