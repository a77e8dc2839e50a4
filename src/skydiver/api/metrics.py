"""``/metrics`` for Prometheus: interface counters, captures, what was lost, and our own health.

The counters of ten thousand interfaces are a hundred thousand lines. They are written here, in
pieces between which the loop goes on; prometheus_client takes ten times as long for them. It does
what it is best at: the process and the few figures that are ours.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from skydiver.api.answers import body_answer
from skydiver.api.health import LoopLag
from skydiver.api.routes import Answer, Route
from skydiver.base.losses import Losses
from skydiver.graph import GraphView, Node
from skydiver.topology import NodeType
from skydiver.topology.health import lost_on

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TURN = 200
"""Interfaces written before others get their turn."""
_TIMES = frozenset({"Start", "Last"})
_NUMBERS = (int, float)
"""Exactly these: true is an int too."""

_CAPTURE_COUNTERS = (
    ("PacketsReceived", "skydive_capture_received_packets_total", "Packets that captures saw", ""),
    (
        "PacketsDropped",
        "skydive_capture_dropped_packets_total",
        "Packets that captures lost",
        "kernel_ring",
    ),
    (
        "PacketsIfDropped",
        "skydive_capture_dropped_packets_total",
        "Packets that captures lost",
        "interface",
    ),
)


class Metrics:
    """Everything that a scrape reads."""

    def __init__(
        self,
        view: Callable[[], GraphView],
        losses: Losses,
        parts: Callable[[], Mapping[str, Any]],
        lag: LoopLag,
    ) -> None:
        """`parts` is the status, for its connections."""
        self._view = view
        self._registry = CollectorRegistry()
        self._registry.register(_Own(view, losses, parts, lag))
        # Memory, processor time, open files and start time, under the names that all programs use.
        ProcessCollector(registry=self._registry)

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "GET",
                "/metrics",
                self._scrape,
                "Counters and gauges for Prometheus",
                {200: Answer("Prometheus text format", media_types=("text/plain",))},
                permission=("status", "read"),
            ),
        )

    async def _scrape(self, request: web.Request) -> web.Response:
        pieces = [generate_latest(self._registry).decode()]
        families: dict[str, list[str]] = {}
        for number, written in enumerate(_interfaces(self._view())):
            for family, line in written:
                families.setdefault(family, []).append(line)
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)
        for family, lines in sorted(families.items()):
            pieces.append(f"# HELP {family} {_help(family)}\n# TYPE {family} counter\n")
            pieces.append("".join(lines))
        return body_answer("".join(pieces).encode("utf-8", "replace"), CONTENT_TYPE)


class _Own(Collector):
    """Figures of this process that are computed when they are read."""

    def __init__(
        self,
        view: Callable[[], GraphView],
        losses: Losses,
        parts: Callable[[], Mapping[str, Any]],
        lag: LoopLag,
    ) -> None:
        self._view = view
        self._losses = losses
        self._parts = parts
        self._lag = lag

    def describe(self) -> Iterable[Metric]:
        return ()  # names are known when they are read

    def collect(self) -> Iterator[Metric]:
        lost = CounterMetricFamily(
            "skydive_lost_items",
            "What was dropped, by part of the program and reason",
            labels=("part", "reason"),
        )
        for (part, reason), count in sorted(self._losses.counts().items()):
            lost.add_metric((part, reason.value), count)
        yield lost
        view = self._view()
        lost_by_agents = CounterMetricFamily(
            "skydive_agent_lost_items",
            "What agents say that they dropped, by host, part of the program and reason",
            labels=("host", "part", "reason"),
        )
        for node in view.lookup("Type", NodeType.HOST.value):
            for part, words, count in lost_on(node):
                lost_by_agents.add_metric((node.host, part, words), count)
        yield lost_by_agents
        yield GaugeMetricFamily("skydive_graph_nodes", "Nodes of the graph", view.node_count())
        yield GaugeMetricFamily("skydive_graph_edges", "Edges of the graph", view.edge_count())
        yield GaugeMetricFamily(
            "skydive_loop_lag_seconds", "How late the event loop was last", self._lag.last_s
        )
        yield GaugeMetricFamily(
            "skydive_loop_worst_lag_seconds", "The same, worst of a minute", self._lag.worst_s
        )
        peers = GaugeMetricFamily("skydive_hub_peers", "Connected peers", labels=("kind",))
        queued = GaugeMetricFamily(
            "skydive_hub_queued_messages", "Messages that wait for peers", labels=("kind",)
        )
        for kind, connections in _connections(self._parts()):
            peers.add_metric((kind,), sum(bool(c.get("IsConnected")) for c in connections))
            queued.add_metric((kind,), sum(c.get("Queued", 0) for c in connections))
        yield peers
        yield queued


def _connections(parts: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Kinds of peers in a status, and the connections of each."""
    for kind in ("Agents", "Analyzers", "Publishers", "Subscribers", "Clients"):
        peers = parts.get(kind)
        if isinstance(peers, Mapping):
            yield kind.lower(), [peer for peer in peers.values() if isinstance(peer, Mapping)]


def _interfaces(view: GraphView) -> Iterator[list[tuple[str, str]]]:
    """For each interface its lines, each with the name of its family."""
    owners = {
        edge.child: edge.parent
        for edge in view.edges()
        if edge.metadata.get("RelationType") == "ownership"
    }
    taken: set[str] = set()
    for node in view.nodes():
        if "IfIndex" not in node.metadata:
            continue
        metric, captures = node.metadata.get("Metric"), node.metadata.get("Captures")
        if not metric and not captures:
            continue
        labels = _labels(node, _namespace(view, owners, node))
        if labels in taken:
            # Two namespaces of one name; Prometheus takes each set of labels once.
            labels += f',id="{_escaped(node.id)}"'
        taken.add(labels)
        yield [*_counters(metric, labels), *_captures(captures, labels)]


def _counters(metric: Any, labels: str) -> Iterator[tuple[str, str]]:
    if not isinstance(metric, Mapping):
        return
    for key, value in metric.items():
        if key not in _TIMES and type(value) in _NUMBERS:
            family = _family(key)
            yield family, f"{family}{{{labels}}} {value}\n"


def _captures(captures: Any, labels: str) -> Iterator[tuple[str, str]]:
    if not isinstance(captures, list):
        return
    for capture in captures:
        if not isinstance(capture, Mapping):
            continue
        id_ = f'{labels},capture="{_escaped(str(capture.get("ID", "")))}"'
        for key, family, _, reason in _CAPTURE_COUNTERS:
            value = capture.get(key)
            if type(value) in _NUMBERS:
                why = f',reason="{reason}"' if reason else ""
                yield family, f"{family}{{{id_}{why}}} {value}\n"


def _labels(node: Node, namespace: str) -> str:
    metadata = node.metadata
    return (
        f'host="{_escaped(node.host)}",netns="{_escaped(namespace)}",'
        f'name="{_escaped(str(metadata.get("Name", "")))}",'
        f'type="{_escaped(str(metadata.get("Type", "")))}"'
    )


def _namespace(view: GraphView, owners: Mapping[Any, Any], node: Node) -> str:
    """Name of the network namespace that the interface is in; empty for the host's own."""
    seen = 0
    at: Any = node.id
    while (at := owners.get(at)) is not None and seen < 10:
        owner = view.node(at)
        if owner is not None and owner.metadata.get("Type") == "netns":
            return str(owner.metadata.get("Name", ""))
        seen += 1
    return ""


@cache
def _family(key: str) -> str:
    """``RxBytes`` to ``skydive_interface_rx_bytes_total``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()
    return f"skydive_interface_{re.sub('[^a-z0-9_]', '_', words)}_total"


def _help(family: str) -> str:
    for _, name, text, _ in _CAPTURE_COUNTERS:
        if name == family:
            return text
    words = family.removeprefix("skydive_interface_").removesuffix("_total")
    return f"{words.replace('_', ' ').capitalize()} of an interface since it exists"


def _escaped(text: str) -> str:
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text
