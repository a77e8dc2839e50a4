"""``HasEither(key, value, …)``: keep what matches one of the pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import EdgeList, NodeList, SocketSeries
from skydiver.gremlin.offers import Condition
from skydiver.gremlin.registry import step
from skydiver.gremlin.selection import Filtering


@step("HasEither")
@dataclass(frozen=True, slots=True)
class HasEither(Filtering):
    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(Condition.parse(args, either=True))

    def offer(self) -> Condition:
        return self.condition

    def run(self, source: NodeList | EdgeList | SocketSeries) -> NodeList | EdgeList | SocketSeries:
        if isinstance(source, SocketSeries):
            return self.kept_sockets(source)
        return self.kept(source)
