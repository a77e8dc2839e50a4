"""Reading a graph, live or past: what Gremlin, rules, alerts and the API depend on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from skydiver.base.ids import EdgeID, NodeID
from skydiver.filters import Filter
from skydiver.graph.elements import Edge, Node


class GraphView(Protocol):
    """A read-only graph. Iteration order is the order of creation."""

    def node(self, node_id: NodeID) -> Node | None: ...

    def edge(self, edge_id: EdgeID) -> Edge | None: ...

    def nodes(self, where: Filter | None = None) -> Iterator[Node]:
        """Nodes that match; an `Eq` on an indexed key (also inside `And`) does not scan."""
        ...

    def edges(self, where: Filter | None = None) -> Iterator[Edge]: ...

    def lookup(self, key: str, value: Any) -> Iterable[Node]:
        """Nodes whose indexed metadata `key` equals `value` or is a list that holds it."""
        ...

    def out_edges(self, node_id: NodeID) -> Iterable[Edge]:
        """Edges whose parent is this node."""
        ...

    def in_edges(self, node_id: NodeID) -> Iterable[Edge]:
        """Edges whose child is this node."""
        ...

    def node_count(self) -> int: ...

    def edge_count(self) -> int: ...
