"""Batches of flows on their way through the analyzer, and the contracts of what takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from skydiver.flow.search import FlowSource


@dataclass(frozen=True, slots=True)
class FlowBatch:
    """Updates of flows as they came, of any number of agents."""

    message: bytes
    """A serialized `flow.Message` that was read to the last member; flows only."""
    flows: int
    received_at_ms: int
    """Wall clock of the analyzer when the batch was handed over."""


class FlowSink(Protocol):
    """Takes every batch once, in the order in which they came."""

    async def append(self, batch: FlowBatch) -> None:
        """Take `batch`; once this returns, its agents forget it. Raises a `SkydiverError` if it
        could not be taken: it is not offered again, and its flows are counted as lost."""
        ...


class FlowStore(FlowSink, FlowSource, Protocol):
    """Flows of the past: what it took can be searched, also after a restart."""
