"""``Metrics(family)``: interface metrics of nodes, traffic metrics of flows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from skydiver.filters import MISSING
from skydiver.graph.fields import get_path
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import FlowList, MetricSeries, NodeList
from skydiver.gremlin.metrics import FLOW, INTERFACE, SFLOW, Metric, MetricKind
from skydiver.gremlin.registry import Step, step
from skydiver.gremlin.scope import Period

FAMILIES: Mapping[str, tuple[str, MetricKind]] = {
    "LastUpdateMetric": ("LastUpdateMetric", INTERFACE),
    "SFlow": ("SFlow.LastUpdateMetric", SFLOW),
    "SFlow.LastUpdateMetric": ("SFlow.LastUpdateMetric", SFLOW),
    "Ovs": ("Ovs.LastUpdateMetric", INTERFACE),
    "Ovs.LastUpdateMetric": ("Ovs.LastUpdateMetric", INTERFACE),
}


@step("Metrics", vocabulary="full")
@dataclass(frozen=True, slots=True)
class Metrics(Step):
    key: str
    """Of nodes: the metadata to read. Means nothing for flows."""
    kind: MetricKind

    @classmethod
    def parse(cls, args: Args) -> Self:
        family = args.optional_text() or "LastUpdateMetric"
        if family not in FAMILIES:
            raise args.error(f"one of {', '.join(FAMILIES)}", at=args.items[0])
        return cls(*FAMILIES[family])

    def run(self, source: NodeList | FlowList) -> MetricSeries:
        if isinstance(source, FlowList):
            return _of_flows(source)
        return self._of_nodes(source)

    def _of_nodes(self, source: NodeList) -> MetricSeries:
        """One series per node, in order of time; a node may be there in several revisions."""
        found: dict[tuple[str, int], Metric] = {}
        for node in source.items:
            value = get_path(node.metadata, self.key)
            if value is MISSING:
                continue
            metric = self.kind.read(value, f"{self.key} of node {node.id}")
            if _inside(metric, source.scope.period):
                found.setdefault((node.id, metric.get("Start", 0)), metric)
        series: dict[str, list[Metric]] = {}
        for (node_id, _), metric in sorted(found.items(), key=lambda item: item[0][1]):
            series.setdefault(node_id, []).append(metric)
        return MetricSeries(source.scope, self.kind, series)


def _inside(metric: Metric, period: Period | None) -> bool:
    if period is None:
        return True
    return metric.get("Start", 0) > period.start_ms and metric.get("Last", 0) < period.last_ms


def _of_flows(source: FlowList) -> MetricSeries:
    """What each flow counted since its last update, or at all when it has had none."""
    series: dict[str, list[Metric]] = {}
    for flow in source.items:
        metric = flow.get("LastUpdateMetric") or flow.get("Metric")
        if metric is not None:
            read = FLOW.read(metric, f"the metric of flow {flow.get('UUID', '')}")
            series.setdefault(flow.get("UUID", ""), []).append(read)
    return MetricSeries(source.scope, FLOW, series)
