"""``BPF(filter)``: of raw packets, those that a filter in the words of tcpdump takes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from skydiver import native
from skydiver.base.errors import QueryError, Unavailable
from skydiver.filters.bpf import compile_bpf
from skydiver.flow.search import RawPacket
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import PacketSeries
from skydiver.gremlin.registry import Step, step

_SNAP_BYTES = 256


@step("BPF", vocabulary="full")
@dataclass(frozen=True, slots=True)
class Bpf(Step):
    filter: str

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(args.one_text())

    async def run(self, source: PacketSeries) -> PacketSeries:
        """Flows that lose all packets stay, with nothing (gremlin.md §15, Q36)."""
        # A name in the filter is looked up.
        kept = await asyncio.to_thread(_taken, self.filter, source.series)
        return PacketSeries(source.scope, kept, source.tids)


def _taken(
    text: str, series: Mapping[str, Sequence[RawPacket] | None]
) -> dict[str, Sequence[RawPacket] | None]:
    by_link: dict[int, list[RawPacket]] = {}
    for packets in series.values():
        for packet in packets or ():
            by_link.setdefault(packet.link_type, []).append(packet)
    taken: set[int] = set()
    for link_type, packets in by_link.items():
        try:
            program = compile_bpf(text, link_type, _SNAP_BYTES)
        except Unavailable as error:
            raise QueryError(str(error)) from error
        matches = native.bpf_matches(program, [packet.data for packet in packets])
        taken.update(id(packet) for packet, match in zip(packets, matches, strict=True) if match)
    return {
        uuid: [packet for packet in packets or () if id(packet) in taken] or None
        for uuid, packets in series.items()
    }
