"""What a packet source is to the rest of the agent: it captures on nodes, and holds their flows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from skydiver.broker.client import NetnsRef
from skydiver.graph import Node
from skydiver.objects.capture import Capture as Request


@dataclass(frozen=True, slots=True)
class CaptureTarget:
    """The interface to capture on."""

    node: Node
    netns: NetnsRef | None
    """Where the interface lives; None = the host's namespace."""
    ifindex: int
    name: str
    encap: str
    """What its packets begin with (flows.md §2.2)."""
    tid: str
    """Identity that its flows carry as NodeTID."""
    mpls_udp_port: int = 0
    """UDP port that carries MPLS there; 0 = none."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What is known of a running capture; numbers count from its start."""

    received: int = 0
    dropped: int = 0
    """Packets that the kernel found no room for."""
    interface_dropped: int = 0
    evicted: int = 0
    """Flows that left a full table."""
    undecoded: int = 0
    """Packets that could not be decoded."""
    fragments_joined: int = 0
    """Packets that are in the datagram that another one completed; no loss."""
    fragments_invalid: int = 0
    """Fragments that overlap others, or whose lengths cannot be."""
    fragments_incomplete: int = 0
    """Fragments of datagrams of which the rest did not come in time."""
    fragments_crowded: int = 0
    """Fragments that were given up for others."""
    messages_left_out: int = 0
    """Application messages that found no room."""
    flows: int = 0
    """Flows in the table now."""
    error: str = ""
    """Why no packets come; empty = nothing wrong."""
    socket: str = ""
    """Where packets can be sent to, ``address:port``; empty = nowhere."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What is left of a capture that was stopped."""

    flows: bytes
    """Its last flows, as a protobuf `flow.Message`; may be empty."""
    counters: Counters


class Capture(ABC):
    """One packet source. Plug-ins have no lock, no thread and no retry loop of their own.

    A running capture is known by a number. What is said of all of them at once (`counters`,
    `query`, the ticks) crosses into the data plane once.
    """

    names: ClassVar[tuple[str, ...]]
    """Capture types (flows.md §11.2) that this source serves."""

    @abstractmethod
    async def start(self, target: CaptureTarget, request: Request) -> int:
        """Capture on `target` from now on; the number of the capture.

        Raises `QueryError` for a bad filter, `ConfigError` for an option that the source does not
        have, `Unavailable` when the system refuses.
        """

    @abstractmethod
    async def stop(self, number: int, *, now_ms: int) -> Stopped:
        """End a capture and release at once what it holds of the kernel."""

    @abstractmethod
    async def counters(self) -> Mapping[int, Counters]:
        """The counters of every running capture."""

    @abstractmethod
    async def query(self, search: bytes) -> list[bytes]:
        """Answer a protobuf `filters.SearchQuery`: one `flow.FlowSet` per table that has flows."""

    @abstractmethod
    async def update(self, now_ms: int) -> bytes:
        """Update tick (flows.md §7.3) of all tables: a protobuf `flow.Message`; may be empty."""

    @abstractmethod
    async def expire(self, now_ms: int) -> bytes:
        """Expire tick (flows.md §7.4) of all tables: a protobuf `flow.Message`; may be empty."""

    @abstractmethod
    def status(self) -> dict[str, int]:
        """What the source uses, for the status of the agent."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything. Safe to repeat."""
