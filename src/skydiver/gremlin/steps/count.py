"""``Count()``: how many."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import EdgeList, FlowList, MetricSeries, NodeList, Value
from skydiver.gremlin.registry import Step, step


@step("Count")
@dataclass(frozen=True, slots=True)
class Count(Step):
    def run(self, source: NodeList | EdgeList | FlowList | MetricSeries) -> Value:
        counted = source.series if isinstance(source, MetricSeries) else source.items
        return Value(source.scope, len(counted))
