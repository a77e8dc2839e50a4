"""``Has(key)`` and ``Has(key, value, …)``: keep what has the key, or matches all the pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import EdgeList, NodeList, SocketSeries, Value
from skydiver.gremlin.offers import Condition
from skydiver.gremlin.registry import step
from skydiver.gremlin.selection import Filtering


@step("Has")
@dataclass(frozen=True, slots=True)
class Has(Filtering):
    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(Condition.parse(args))

    def offer(self) -> Condition:
        return self.condition

    def run(
        self, source: NodeList | EdgeList | Value | SocketSeries
    ) -> NodeList | EdgeList | Value | SocketSeries:
        match source:
            case Value():
                return self.kept_values(source)
            case SocketSeries():
                return self.kept_sockets(source)
            case _:
                return self.kept(source)
