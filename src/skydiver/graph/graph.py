"""The graph: elements of this process and replicas of others', one revision and one event a change.

Three ways in. Sources of this process state facts through a `Writer`; joins link what they stated;
the hub applies what the owners of elements elsewhere tell (api.md §1.8). One task owns the graph
and calls all of it; whoever reads across its changes holds a `view()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from msgspec import structs

from skydiver.base.clock import ClockMs, wall_ms
from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.base.losses import Losses
from skydiver.filters import Filter
from skydiver.graph.core import DEFAULT_INDEXES, DictCore, GraphCore
from skydiver.graph.elements import Edge, Element, Metadata, Node
from skydiver.graph.engine import Engine
from skydiver.graph.events import Listener, Op
from skydiver.graph.joins import Join, Joins
from skydiver.graph.metadata import applied, differences
from skydiver.graph.statements import Statements
from skydiver.graph.view import GraphView
from skydiver.graph.writer import Writer


class Graph:
    """A live graph, itself a `GraphView`; what it iterates over stays as it was at the start."""

    def __init__(
        self,
        *,
        host: str,
        origin: Origin,
        clock_ms: ClockMs = wall_ms,
        indexes: Sequence[str] = DEFAULT_INDEXES,
        losses: Losses | None = None,
    ) -> None:
        self.host = host
        self.origin = origin
        self._core: GraphCore = DictCore(indexes)
        self._engine = Engine(
            self._core, host=host, origin=origin, clock_ms=clock_ms, losses=losses or Losses()
        )
        self._statements = Statements(self._engine)
        self._joins = Joins(self._engine, self._statements)

    # Reading.

    def view(self) -> GraphView:
        """The graph as it is now, unchanged for as long as it is held; costs next to nothing."""
        return self._core.view()

    def node(self, node_id: NodeID) -> Node | None:
        return self._core.node(node_id)

    def edge(self, edge_id: EdgeID) -> Edge | None:
        return self._core.edge(edge_id)

    def nodes(self, where: Filter | None = None) -> Iterator[Node]:
        return self._core.view().nodes(where)

    def edges(self, where: Filter | None = None) -> Iterator[Edge]:
        return self._core.view().edges(where)

    def lookup(self, key: str, value: Any) -> Iterable[Node]:
        return self._core.lookup(key, value)

    def out_edges(self, node_id: NodeID) -> Iterable[Edge]:
        return self._core.out_edges(node_id)

    def in_edges(self, node_id: NodeID) -> Iterable[Edge]:
        return self._core.in_edges(node_id)

    def node_count(self) -> int:
        return self._core.node_count()

    def edge_count(self) -> int:
        return self._core.edge_count()

    def elements_of(self, origin: Origin) -> tuple[Sequence[Node], Sequence[Edge]]:
        """Nodes and edges that the program `origin` made."""
        return self._core.nodes_of(origin), self._core.edges_of(origin)

    # Being told, and stating.

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` each event in order, until what is returned is called."""
        return self._engine.subscribe(listener)

    def owned_by(self, source: str) -> Writer:
        """What `source` (a probe, a rule, a capture) states its facts through."""
        return Writer(self._statements, source)

    def statement_count(self) -> int:
        """Elements that sources here speak about, edges that wait for their ends included."""
        return self._statements.count()

    def add_joins(self, joins: Iterable[Join]) -> None:
        """Link nodes whose metadata agree, those that are there and those to come."""
        self._joins.add(joins)

    # What owners elsewhere tell. `cause` names whom it came from.

    def add_node(self, node: Node, *, cause: str = "") -> bool:
        """Add a node; False when its ID is taken."""
        self._engine.check_room()
        if self._core.node(node.id) is not None:
            return False
        self._engine.insert(self._statements.based_node(node), cause)
        self._engine.tell()
        return True

    def add_edge(self, edge: Edge, *, cause: str = "") -> bool:
        """Add an edge; False when its ID is taken or an end is unknown."""
        self._engine.check_room()
        parent, child = self._core.node(edge.parent), self._core.node(edge.child)
        if parent is None or child is None or self._core.edge(edge.id) is not None:
            return False
        if edge.parent is not parent.id or edge.child is not child.id:
            # Equal texts, kept once for a node and all its edges.
            edge = structs.replace(edge, parent=parent.id, child=child.id)
        self._engine.insert(self._statements.based_edge(edge), cause)
        self._engine.tell()
        return True

    def replace_node(self, node: Node, *, cause: str = "") -> bool:
        """Take over metadata, revision and time of `node`; False unless its revision is new."""
        before = self._core.node(node.id)
        return before is not None and self._replace(before, node, cause)

    def replace_edge(self, edge: Edge, *, cause: str = "") -> bool:
        """Take over metadata, revision and time of `edge`; False unless its revision is new."""
        before = self._core.edge(edge.id)
        return before is not None and self._replace(before, edge, cause)

    def apply_ops(
        self,
        element_id: str,
        *,
        kind: Literal["node", "edge"],
        ops: Sequence[Op],
        revision: int,
        updated_at_ms: int,
        cause: str = "",
    ) -> bool:
        """Apply a partial update; False when the element is unknown or the revision is not new.

        Without operations only revision and time change.
        """
        self._engine.check_room()
        before: Element | None
        if kind == "node":
            before = self._core.node(NodeID(element_id))
        else:
            before = self._core.edge(EdgeID(element_id))
        if before is None:
            return False
        if self._statements.facets(before) is not None:
            return self._rebase(
                before, lambda base: applied(base, ops), revision, updated_at_ms, cause
            )
        if revision <= before.revision:
            return False
        self._engine.replace(
            before,
            applied(before.metadata, ops),
            revision=revision,
            updated_at_ms=updated_at_ms,
            ops=tuple(ops),
            cause=cause,
        )
        self._engine.tell()
        return True

    def delete_node(self, node_id: NodeID, *, at_ms: int | None = None, cause: str = "") -> bool:
        """Delete a node and before it its edges; False when it is unknown."""
        node = self._core.node(node_id)
        if node is None:
            return False
        self._statements.remove_node(node, at_ms=self._time(at_ms), cause=cause)
        return True

    def delete_edge(self, edge_id: EdgeID, *, at_ms: int | None = None, cause: str = "") -> bool:
        """Delete an edge; False when it is unknown."""
        edge = self._core.edge(edge_id)
        if edge is None:
            return False
        self._statements.remove_edge(edge, at_ms=self._time(at_ms), cause=cause)
        return True

    def delete_origin(self, origin: Origin, *, cause: str = "") -> int:
        """Delete all that the program `origin` made; how many elements that were, counting edges
        of others that went with a node."""
        before = self._core.node_count() + self._core.edge_count()
        at_ms = self._time(None)
        for node in self._core.nodes_of(origin):
            self.delete_node(node.id, at_ms=at_ms, cause=cause)
        for edge in self._core.edges_of(origin):
            self.delete_edge(edge.id, at_ms=at_ms, cause=cause)
        return before - self._core.node_count() - self._core.edge_count()

    def _time(self, at_ms: int | None) -> int:
        return self._engine.clock_ms() if at_ms is None else at_ms

    def _replace(self, before: Element, after: Element, cause: str) -> bool:
        self._engine.check_room()
        if self._statements.facets(before) is not None:
            return self._rebase(
                before, lambda _: after.metadata, after.revision, after.updated_at_ms, cause
            )
        if after.revision <= before.revision:
            return False
        self._engine.replace(
            before,
            after.metadata,
            revision=after.revision,
            updated_at_ms=after.updated_at_ms,
            cause=cause,
        )
        self._engine.tell()
        return True

    def _rebase(
        self,
        before: Element,
        change: Callable[[Metadata], Metadata],
        revision: int,
        updated_at_ms: int,
        cause: str,
    ) -> bool:
        """Change what the owner says of an element that sources here speak about too.

        What we show of it is then ahead of the owner's revisions.
        """
        facets = self._statements.facets(before)
        assert facets is not None
        known = before.revision if facets.base is None else facets.base_revision
        if revision <= known:
            return False
        facets.base = change({} if facets.base is None else facets.base)
        facets.base_revision = revision
        metadata = facets.visible()
        self._engine.replace(
            before,
            metadata,
            revision=max(revision, before.revision + 1),
            updated_at_ms=updated_at_ms,
            ops=differences(before.metadata, metadata),
            cause=cause,
        )
        self._engine.tell()
        return True
