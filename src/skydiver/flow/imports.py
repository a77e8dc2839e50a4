"""Capture files that people import: for each a flow table of its own, which stays for a while.

Flows keep the times of the file, so it is not the age of its packets that ends a table but the
time since the import. Everything is bounded: flows of a file, files at once, files kept, and
memory of all together, for which the oldest files go first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from skydiver.base.errors import Unavailable
from skydiver.base.ids import random_id
from skydiver.base.losses import Losses, LossReason
from skydiver.base.settings import Settings
from skydiver.native import FlowTable, PcapFeed

PART = "import"
"""Name in the loss counters."""

MOST_AT_ONCE = 4
MOST_KEPT = 256

_FLOW_BYTES = 1024
"""Memory of a flow in a table that has just grown, at most."""
_FEWEST_FLOWS = 1024


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file."""

    id: str
    """`NodeTID` and `CaptureID` of its flows."""
    packets: int
    bytes: int
    """Of the packets, on the wire."""
    flows: int
    evicted: int
    """Flows that left the full table."""
    undecoded: int
    """Packets of which something could not be decoded."""
    error: str
    """What is wrong with the file; empty = nothing. What came before is imported."""


@dataclass(slots=True)
class _File:
    table: FlowTable
    memory_bytes: int = 0
    expiry: asyncio.TimerHandle | None = None
    """None while it is being read."""


class Imports:
    """The imported files of one analyzer."""

    def __init__(self, settings: Settings, losses: Losses) -> None:
        self._flow = settings.flow
        self._budget_bytes = settings.analyzer.pcap.memory_mib * 1024 * 1024
        self._losses = losses
        self._files: dict[str, _File] = {}
        """By identifier, oldest first."""

    async def take(self, pieces: AsyncIterator[bytes]) -> Imported:
        """Read a pcap or pcapng file; its flows can be asked for from the first piece on."""
        if sum(file.expiry is None for file in self._files.values()) >= MOST_AT_ONCE:
            raise Unavailable(f"{MOST_AT_ONCE} capture files are being imported; try again later")
        id_ = random_id()
        table = self._new_table(id_)
        feed = PcapFeed(table)
        file = self._files[id_] = _File(table)
        broken = ""
        try:
            try:
                async for piece in pieces:
                    file.memory_bytes = await asyncio.to_thread(_fed, feed, table, piece)
                    self._make_room()
                feed.end()
            except ValueError as error:
                broken = str(error)
        finally:
            done = self._close(id_, file, feed)
        return Imported(id_, error=broken, **done)

    async def query(self, search: bytes) -> list[bytes]:
        """Answer a protobuf `filters.SearchQuery` with one `flow.FlowSet` per file."""
        tables = [file.table for file in self._files.values()]
        if not tables:
            return []
        # A table that is being fed answers after the piece at hand.
        return await asyncio.to_thread(lambda: [table.query(search) for table in tables])

    def close(self) -> None:
        """Forget all files."""
        for id_ in list(self._files):
            self._forget(id_)

    def _new_table(self, id_: str) -> FlowTable:
        flow = self._flow
        return FlowTable(
            node_tid=id_,
            capture_id=id_,
            key_mode=flow.default_layer_key_mode,
            max_flows=max(min(flow.max_entries, self._budget_bytes // _FLOW_BYTES), _FEWEST_FLOWS),
            application_ports={
                "tcp": dict(flow.application_ports.tcp),
                "udp": dict(flow.application_ports.udp),
            },
        )

    def _make_room(self) -> None:
        """Let the oldest files go until all fit; never those being read, each of which fits."""
        used = sum(each.memory_bytes for each in self._files.values())
        ended = (each for each in list(self._files) if self._files[each].expiry is not None)
        for oldest in ended:
            if used <= self._budget_bytes and len(self._files) <= MOST_KEPT:
                return
            used -= self._files[oldest].memory_bytes
            lost = self._files[oldest].table.stats()["flows"]
            self._losses.add(PART, LossReason.TABLE_FULL, lost)
            self._forget(oldest)

    def _close(self, id_: str, file: _File, feed: PcapFeed) -> dict[str, int]:
        """Count a file that was read; nothing is kept of one without packets."""
        fed, table = feed.stats(), file.table.stats()
        self._losses.add(PART, LossReason.TABLE_FULL, table["evicted"])
        self._losses.add(PART, LossReason.DECODE, table["decode_errors"])
        loop = asyncio.get_running_loop()
        file.expiry = loop.call_later(self._flow.expire_s, self._forget, id_)
        if not fed["packets"]:
            self._forget(id_)
        return {
            "packets": fed["packets"],
            "bytes": fed["bytes"],
            "flows": table["flows"],
            "evicted": table["evicted"],
            "undecoded": table["decode_errors"],
        }

    def _forget(self, id_: str) -> None:
        expiry = self._files.pop(id_).expiry
        if expiry is not None:
            expiry.cancel()


def _fed(feed: PcapFeed, table: FlowTable, piece: bytes) -> int:
    """Memory of the table after one more piece."""
    feed.push(piece)
    return table.stats()["memory_bytes"]
