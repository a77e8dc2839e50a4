"""``Keys()``: names of the fields there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from skydiver.flow.fields import NAMES
from skydiver.graph.fields import node_keys
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import FlowList, MetricSeries, NodeList, Value
from skydiver.gremlin.registry import Step, step


@step("Keys")
@dataclass(frozen=True, slots=True)
class Keys(Step):
    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls()

    def run(self, source: NodeList | FlowList | MetricSeries) -> Value:
        names: Iterable[str] = ()
        match source:
            case FlowList():
                names = NAMES if source.items else ()
            case MetricSeries():
                names = source.metric_kind.fields if source.series else ()
            case _:
                names = dict.fromkeys(key for node in source.items for key in node_keys(node))
        return Value.listing(source.scope, names)
