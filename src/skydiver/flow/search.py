"""Searching flows: the query that travels to the tables, and the contract of what can answer it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias

from skydiver.filters import Filter

Flow: TypeAlias = Mapping[str, Any]
"""One flow as its JSON object (api.md §9.3). Never changed in place."""


class SortOrder(Enum):
    """Numbers as on the wire (flows.md §1.8)."""

    NONE = 0
    ASCENDING = 1
    DESCENDING = 2


@dataclass(frozen=True, slots=True)
class FlowSearch:
    """What is asked of flow tables; pushed down whole (flows.md §9)."""

    where: Filter | None = None
    sort: bool = False
    sort_by: str = ""
    """Field; empty = ``Last``."""
    order: SortOrder = SortOrder.NONE
    dedup: bool = False
    dedup_by: str = ""
    """Field; empty = ``TrackingID``."""
    first: int = 0
    """Index of the first flow wanted."""
    last: int | None = None
    """Index after the last flow wanted; None = no limit."""


@dataclass(frozen=True, slots=True)
class RawPacket:
    """A packet that a capture kept with its flow."""

    at_ms: int
    index: int
    """Number inside the flow, from 1."""
    data: bytes
    link_type: int
    """What `data` begins with, as in capture files."""


Packets: TypeAlias = Callable[[], Mapping[str, Sequence[RawPacket]]]
"""Reads the packets of an answer, by UUID of the flow; flows without any are left out."""


class FlowSource(Protocol):
    """Whatever holds flows: the agents' live tables, or a store."""

    async def search(
        self, search: FlowSearch, *, tids_by_host: Mapping[str, Sequence[str]] | None = None
    ) -> FlowAnswer:
        """Flows that match; `tids_by_host` restricts to the tables of these nodes, None = all."""
        ...


@dataclass(frozen=True, slots=True)
class FlowAnswer:
    """Flows found, in the order asked for, and what is known to be missing."""

    flows: Sequence[Flow]
    missing: tuple[str, ...] = ()
    """Host ids whose tables did not answer in time."""
    packets: Packets = dict
    """Of these flows, and perhaps of others."""
