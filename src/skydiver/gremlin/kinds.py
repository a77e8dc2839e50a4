"""Kinds of results: what flows from step to step, and how each leaves as JSON (gremlin.md §13)."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, TypeVar

import orjson

from skydiver.base.errors import QueryError
from skydiver.filters import Eq
from skydiver.flow import Flow, RawPacket
from skydiver.flow.capture_files import Interface, pcap_file, pcapng_file
from skydiver.graph import Edge, Node
from skydiver.graph.dot import dot
from skydiver.graph.wire import edge_json, elements_json, node_json
from skydiver.gremlin.metrics import Metric, MetricKind
from skydiver.gremlin.scope import Scope

T = TypeVar("T")

MAX_ITEMS = 2_000_000
"""Longest list a step may produce. Navigation does not de-duplicate, so a few steps over a well
connected graph would otherwise fill any memory."""


_NO_PACKETS = "Only RawPackets step result can be outputted as pcap"

PIECE = 500
"""Members of a list that are written in one go, about a millisecond."""


def bounded(items: Iterable[T]) -> tuple[T, ...]:
    """All `items`, or an error when there are more than a query may hold."""
    found = tuple(islice(items, MAX_ITEMS + 1))
    if len(found) > MAX_ITEMS:
        raise QueryError(f"more than {MAX_ITEMS} results; Dedup() or Limit() earlier")
    return found


@dataclass(frozen=True, slots=True)
class Result(ABC):
    """What a step produced."""

    kind: ClassVar[str]
    scope: Scope

    @property
    def missing(self) -> tuple[str, ...]:
        """Host ids whose flows are missing from the answer."""
        return self.scope.missing

    @abstractmethod
    def document(self) -> Any:
        """The result as a JSON document."""

    def to_json(self) -> bytes:
        """The result as JSON, as the original answers it."""
        return _json(self.document())

    def json_pieces(self) -> Iterator[bytes]:
        """The same in pieces, for who lets others have their turn while a large one is written."""
        yield self.to_json()

    def to_dot(self) -> str:
        """The result as a Graphviz graph; only a graph can be."""
        raise QueryError("Only graph can be outputted as dot")

    def to_pcap(self) -> tuple[bytes, int]:
        """The result as a pcap file, and how many packets have no place in one."""
        raise QueryError(_NO_PACKETS)

    def to_pcapng(self) -> bytes:
        """The result as a pcapng file."""
        raise QueryError(_NO_PACKETS)

    def nodes(self) -> Sequence[Node]:
        """The nodes of nodes or paths."""
        raise QueryError(f"the query must end in nodes or paths, not in {self.kind}")

    def graph(self) -> tuple[Sequence[Node], Sequence[Edge]]:
        """Nodes and edges of a graph."""
        raise QueryError(f"the query must end in a graph, not in {self.kind}")


@dataclass(frozen=True, slots=True)
class GraphResult(Result):
    """The whole graph of the scope."""

    kind = "a graph"

    def document(self) -> Any:
        return [elements_json(*self.graph())]

    def json_pieces(self) -> Iterator[bytes]:
        yield b"["
        yield from graph_pieces(*self.graph())
        yield b"]"

    def to_dot(self) -> str:
        return dot(*self.graph())

    def graph(self) -> tuple[Sequence[Node], Sequence[Edge]]:
        return tuple(self.scope.view.nodes()), tuple(self.scope.view.edges())


@dataclass(frozen=True, slots=True)
class NodeList(Result):
    kind = "nodes"
    items: tuple[Node, ...]

    def document(self) -> Any:
        return [node_json(node) for node in self.items]

    def json_pieces(self) -> Iterator[bytes]:
        return _list_pieces(self.items, node_json)

    def nodes(self) -> Sequence[Node]:
        return self.items


@dataclass(frozen=True, slots=True)
class EdgeList(Result):
    kind = "edges"
    items: tuple[Edge, ...]

    def document(self) -> Any:
        return [edge_json(edge) for edge in self.items]

    def json_pieces(self) -> Iterator[bytes]:
        return _list_pieces(self.items, edge_json)


@dataclass(frozen=True, slots=True)
class PathList(Result):
    kind = "paths"
    items: tuple[tuple[Node, ...], ...]

    def document(self) -> Any:
        return [[node_json(node) for node in path] for path in self.items]

    def nodes(self) -> Sequence[Node]:
        """All nodes of all paths in order, repeated where paths meet."""
        return tuple(node for path in self.items for node in path)


@dataclass(frozen=True, slots=True)
class Value(Result):
    """A number, a list of values, or None: nothing."""

    kind = "a value"
    value: Any

    @classmethod
    def listing(cls, scope: Scope, values: Iterable[Any]) -> Value:
        """A list of values; without any it is nothing (JSON null)."""
        return cls(scope, list(bounded(values)) or None)

    def document(self) -> Any:
        return self.value


@dataclass(frozen=True, slots=True)
class FlowList(Result):
    kind = "flows"
    items: Sequence[Flow]

    def document(self) -> Any:
        return list(self.items)

    def json_pieces(self) -> Iterator[bytes]:
        return _list_pieces(self.items, lambda flow: flow)


@dataclass(frozen=True, slots=True)
class MetricSeries(Result):
    """Metrics by flow UUID or node ID, or one series called ``Aggregated``."""

    kind = "metrics"
    metric_kind: MetricKind
    series: Mapping[str, Sequence[Metric]]

    def document(self) -> Any:
        return _one_map(
            {key: [self.metric_kind.document(m) for m in ms] for key, ms in self.series.items()}
        )


@dataclass(frozen=True, slots=True)
class SocketSeries(Result):
    """Sockets by flow UUID or node ID."""

    kind = "sockets"
    series: Mapping[str, Sequence[Mapping[str, Any]]]

    def document(self) -> Any:
        return _one_map(self.series)


@dataclass(frozen=True, slots=True)
class PacketSeries(Result):
    """Packets by flow UUID."""

    kind = "raw packets"
    series: Mapping[str, Sequence[RawPacket] | None]
    """None = `BPF` took none of the flow's packets."""
    tids: Mapping[str, str]
    """TID of the node that captured each flow."""

    def document(self) -> Any:
        return _one_map(
            {
                uuid: packets and [_packet_document(packet) for packet in packets]
                for uuid, packets in self.series.items()
            }
        )

    def to_pcap(self) -> tuple[bytes, int]:
        if not self.series:
            return b"", 0
        return pcap_file([packet for _, packet in self._in_order()])

    def to_pcapng(self) -> bytes:
        """An interface for each node and link type, with its name and TID."""
        places: dict[tuple[str, int], int] = {}
        packets = []
        for uuid, packet in self._in_order():
            where = (self.tids.get(uuid, ""), packet.link_type)
            place = places.setdefault(where, len(places))
            packets.append((place, packet, f"flow {uuid}"))
        return pcapng_file([self._interface(*where) for where in places], packets)

    def _in_order(self) -> list[tuple[str, RawPacket]]:
        packets = [(uuid, each) for uuid, some in self.series.items() for each in some or ()]
        return sorted(packets, key=lambda item: (item[1].at_ms, item[0], item[1].index))

    def _interface(self, tid: str, link_type: int) -> Interface:
        node = next(iter(self.scope.view.nodes(Eq("TID", tid))), None)
        name = str(node.metadata.get("Name", "")) if node is not None else ""
        host = f", host {node.host}" if node is not None else ""
        return Interface(name or tid, f"TID {tid}{host}" if tid else "", link_type)


@dataclass(frozen=True, slots=True)
class FlowGroups(Result):
    """Flows by the value of a field."""

    kind = "groups"
    groups: Mapping[str, Sequence[Flow]]

    def document(self) -> Any:
        return _one_map(self.groups)


@dataclass(frozen=True, slots=True)
class NextHops(Result):
    """Routing decisions by node ID."""

    kind = "next hops"
    hops: Mapping[str, Mapping[str, Any]]

    def document(self) -> Any:
        return _one_map(self.hops)


def _json(document: Any) -> bytes:
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        # Sums beyond 64 bits, and texts that are not UTF-8, which orjson refuses.
        return json.dumps(document, separators=(",", ":")).encode()


def _packet_document(packet: RawPacket) -> dict[str, Any]:
    link_type = {"LinkType": packet.link_type} if packet.link_type else {}
    data = b64encode(packet.data).decode()
    return {"Timestamp": packet.at_ms, "Index": packet.index, "Data": data, **link_type}


def graph_pieces(nodes: Sequence[Node], edges: Sequence[Edge]) -> Iterator[bytes]:
    """A graph as its JSON object, in pieces."""
    yield b'{"Nodes":'
    yield from _list_pieces(nodes, node_json)
    yield b',"Edges":'
    yield from _list_pieces(edges, edge_json)
    yield b"}"


def _list_pieces(items: Sequence[T], document: Callable[[T], Any]) -> Iterator[bytes]:
    """A list as JSON, `PIECE` members at a time."""
    yield b"["
    for start in range(0, len(items), PIECE):
        members = _json([document(item) for item in items[start : start + PIECE]])[1:-1]
        yield b"," + members if start else members
    yield b"]"


def _one_map(members: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Maps travel as a list of one, and of none when they are empty."""
    return [members] if members else []
