"""``RawPackets()``: the packets that captures kept with flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import FlowList, PacketSeries
from skydiver.gremlin.registry import Step, step


@step("RawPackets", vocabulary="full")
@dataclass(frozen=True, slots=True)
class RawPackets(Step):
    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls()

    def run(self, source: FlowList) -> PacketSeries:
        """Those kept since the last update of each flow; flows without any are left out."""
        kept = source.scope.packets()
        tids = {
            uuid: str(flow.get("NodeTID", ""))
            for flow in source.items
            if (uuid := flow.get("UUID", "")) in kept
        }
        return PacketSeries(source.scope, {uuid: kept[uuid] for uuid in tids}, tids)
