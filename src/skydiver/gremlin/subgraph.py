"""A graph in memory made of some nodes and edges of another: what `SubGraph` leads to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from skydiver.base.ids import EdgeID, NodeID
from skydiver.filters import Filter, compile_for
from skydiver.graph import Edge, Node
from skydiver.graph.fields import edge_access, node_access

_Term: TypeAlias = tuple[type, Any]
"""A value with its type, since true is not 1."""


class SubGraph:
    """A `GraphView` of exactly these nodes, and of those edges whose ends are among them."""

    def __init__(self, nodes: Iterable[Node], edges: Iterable[Edge]) -> None:
        self._nodes: dict[NodeID, Node] = {node.id: node for node in nodes}
        self._edges: dict[EdgeID, Edge] = {}
        self._out: defaultdict[NodeID, list[Edge]] = defaultdict(list)
        self._in: defaultdict[NodeID, list[Edge]] = defaultdict(list)
        self._by_key: dict[str, Mapping[_Term, list[Node]]] = {}
        for edge in edges:
            ends_here = edge.parent in self._nodes and edge.child in self._nodes
            if ends_here and edge.id not in self._edges:
                self._edges[edge.id] = edge
                self._out[edge.parent].append(edge)
                self._in[edge.child].append(edge)

    def node(self, node_id: NodeID) -> Node | None:
        return self._nodes.get(node_id)

    def edge(self, edge_id: EdgeID) -> Edge | None:
        return self._edges.get(edge_id)

    def nodes(self, where: Filter | None = None) -> Iterator[Node]:
        if where is None:
            return iter(self._nodes.values())
        return filter(compile_for(where, node_access), self._nodes.values())

    def edges(self, where: Filter | None = None) -> Iterator[Edge]:
        if where is None:
            return iter(self._edges.values())
        return filter(compile_for(where, edge_access), self._edges.values())

    def lookup(self, key: str, value: Any) -> Iterable[Node]:
        index = self._by_key.get(key)
        if index is None:
            index = self._by_key[key] = self._index(key)
        return index.get((type(value), value), ())

    def out_edges(self, node_id: NodeID) -> Iterable[Edge]:
        return self._out.get(node_id, ())

    def in_edges(self, node_id: NodeID) -> Iterable[Edge]:
        return self._in.get(node_id, ())

    def node_count(self) -> int:
        return len(self._nodes)

    def edge_count(self) -> int:
        return len(self._edges)

    def _index(self, key: str) -> Mapping[_Term, list[Node]]:
        read = node_access(key)
        index: defaultdict[_Term, list[Node]] = defaultdict(list)
        for node in self._nodes.values():
            value = read(node)
            values = value if isinstance(value, list) else [value]
            for term in {(type(one), one) for one in values if isinstance(one, str | int)}:
                index[term].append(node)
        return dict(index)
