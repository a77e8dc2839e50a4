"""When each origin was last heard of, so that the elements of dead agents go (api.md §2.14).

One analyzer keeps this in memory; several share it, so that elements survive while their agent is
connected to any of them. `OriginLedger` is what both must offer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from skydiver.base.ids import Origin


class OriginLedger(Protocol):
    """Who was heard of when."""

    async def heard(self, origin: Origin) -> None:
        """`origin` is alive now."""
        ...

    async def silent_for(self, longer_than_s: float) -> list[Origin]:
        """Origins that were heard of once, but not lately."""
        ...

    async def forget(self, origin: Origin) -> None:
        """Its elements are gone."""
        ...

    def knows(self, origin: Origin) -> bool:
        """True from the first sign of life until `forget`."""
        ...


class MemoryOrigins:
    """The ledger of a single analyzer."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """`now_s` is a monotonic clock."""
        self._now_s = now_s
        self._heard_at: dict[Origin, float] = {}

    async def heard(self, origin: Origin) -> None:
        self._heard_at[origin] = self._now_s()

    async def silent_for(self, longer_than_s: float) -> list[Origin]:
        limit = self._now_s() - longer_than_s
        return [origin for origin, at in self._heard_at.items() if at < limit]

    async def forget(self, origin: Origin) -> None:
        self._heard_at.pop(origin, None)

    def knows(self, origin: Origin) -> bool:
        return origin in self._heard_at
