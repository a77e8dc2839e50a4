"""``Sum(key)``: the total of a field; of metrics also field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from skydiver.base.errors import QueryError
from skydiver.filters import MISSING, to_int
from skydiver.flow.fields import flow_reader
from skydiver.graph import Node
from skydiver.graph.fields import node_access
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import FlowList, MetricSeries, NodeList, Value
from skydiver.gremlin.registry import Step, step

FLOW_ROOTS = ("Metric.", "LastUpdateMetric.")


@step("Sum")
@dataclass(frozen=True, slots=True)
class Sum(Step):
    key: str | None
    """None = every field of a metric."""

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(args.optional_text())

    def run(self, source: NodeList | FlowList | MetricSeries) -> Value:
        if isinstance(source, MetricSeries):
            return self._of_metrics(source)
        if self.key is None:
            raise QueryError("one field is needed")
        if isinstance(source, FlowList):
            return Value(source.scope, self._of_flows(source, self.key))
        return Value(source.scope, self._of_nodes(source, self.key))

    def _of_metrics(self, source: MetricSeries) -> Value:
        kind = source.metric_kind
        metrics = [metric for series in source.series.values() for metric in series]
        if self.key is None:
            total = kind.total(metrics)
            return Value(source.scope, None if total is None else kind.document(total))
        if self.key not in kind.fields:
            raise QueryError(f"metrics have no field '{self.key}'")
        return Value(source.scope, sum(metric.get(self.key, 0) for metric in metrics))

    def _of_flows(self, source: FlowList, key: str) -> int:
        if not key.startswith(FLOW_ROOTS):
            raise QueryError("the field of a flow must begin with Metric. or LastUpdateMetric.")
        total = 0
        for flow in source.items:
            value = flow_reader(flow)(key)
            if value is MISSING:
                raise QueryError(f"flow {flow.get('UUID', '')} has no '{key}'")
            total += value
        return total

    def _of_nodes(self, source: NodeList, key: str) -> int:
        total = 0
        read = node_access(key)
        for node in source.items:
            value = read(node)
            if value is MISSING and not _leads_through_a_value(node, key):
                continue
            number = None if value is MISSING else to_int(value)
            if number is None:
                raise QueryError(f"'{key}' of node {node.id} is not a number")
            total += number
        return total


def _leads_through_a_value(node: Node, key: str) -> bool:
    """The path goes on behind something that has no members: it names nothing, anywhere."""
    path, _, _ = key.rpartition(".")
    while path:
        value = node_access(path)(node)
        if value is not MISSING:
            return not isinstance(value, Mapping | list)
        path, _, _ = path.rpartition(".")
    return False
