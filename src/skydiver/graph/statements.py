"""What local sources state: nodes by facets, edges that wait for their ends, one owner per node.

An edge is a statement first and an element only while both its ends are there. A node has one
parent by ownership: of several that are stated the latest new statement counts, and an earlier one
of another source counts again when that is withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from msgspec import structs

from skydiver.base.ids import EdgeID, NodeID
from skydiver.graph.elements import Edge, EdgeSpec, Element, Metadata, Node, NodeSpec
from skydiver.graph.engine import Engine
from skydiver.graph.events import EventKind, GraphEvent, Op
from skydiver.graph.facets import Facets
from skydiver.graph.metadata import differences, normal_value, normalised, shared
from skydiver.graph.relations import OWNERSHIP, relation_edge_id, relation_of
from skydiver.graph.tables import SetTable, members

P = ParamSpec("P")
R = TypeVar("R")


def _operation(
    method: Callable[Concatenate[Statements, P], R],
) -> Callable[Concatenate[Statements, P], R]:
    """What is asked for from outside: done as a whole, then told."""

    @wraps(method)
    def operation(self: Statements, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._engine.check_room()
        try:
            return method(self, *args, **kwargs)
        finally:
            self._engine.tell()

    return operation


@dataclass(slots=True)
class StatedEdge:
    """An edge that sources state, whether or not it can exist now."""

    id: EdgeID
    parent: NodeID
    child: NodeID
    relation: str
    facets: Facets = field(default_factory=Facets)


@dataclass(slots=True)
class SourceFacts:
    """What one source states now, and when it last did."""

    nodes: dict[NodeID, int] = field(default_factory=dict)
    edges: dict[EdgeID, int] = field(default_factory=dict)


class Statements:
    """Facts of the sources of this process, kept up in the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._core = engine.core
        self._nodes: dict[NodeID, Facets] = {}
        self._edges: dict[EdgeID, StatedEdge] = {}
        self._ends: SetTable[NodeID] = SetTable()
        """Stated edges by each of their ends."""
        self._owners: dict[NodeID, tuple[EdgeID, ...]] = {}
        """Stated ownership edges by child, the one that counts most last."""
        self._facts: dict[str, SourceFacts] = {}
        self._stamp = 0
        engine.follow(self._on_event)

    def next_stamp(self) -> int:
        """What is stated from now on bears this number or a higher one."""
        self._stamp += 1
        return self._stamp

    # Nodes.

    @_operation
    def state_node(self, source: str, spec: NodeSpec, *, plain: bool = False) -> Node:
        """`source` says that a node exists, and all that it has to say about it."""
        check_id(spec.id, "node")
        metadata = spec.metadata if plain else normalised(spec.metadata)
        facets = self._nodes.get(spec.id)
        before = self._core.node(spec.id)
        if facets is None:
            facets = self._nodes[spec.id] = _facets_on(before)
        facets.of(source).state(metadata)
        self._facts_of(source).nodes[spec.id] = self._stamp
        if before is not None:
            return self._show_node(before, facets)
        now = self._engine.clock_ms()
        node = Node(spec.id, facets.visible(), self._engine.host, self._engine.origin, now, now)
        self._engine.insert(node)
        return node

    @_operation
    def enrich_node(self, source: str, spec: NodeSpec) -> None:
        """`source` says what a node is like that others state, now or later."""
        check_id(spec.id, "node")
        metadata = normalised(spec.metadata)
        facets = self._nodes.get(spec.id)
        before = self._core.node(spec.id)
        if facets is None:
            facets = self._nodes[spec.id] = _facets_on(before)
        facets.of(source).state(metadata, holds=False)
        self._facts_of(source).nodes[spec.id] = self._stamp
        if before is None:
            return
        if facets.is_held:
            self._show(before, facets)
        else:
            self._remove_node(before, self._engine.clock_ms(), "")

    @_operation
    def patch_node(
        self, source: str, node_id: NodeID, ops: Iterable[Op], *, plain: bool = False
    ) -> bool:
        """`source` changes parts of what it says about a node; False when there is no such node."""
        before = self._core.node(node_id)
        if before is None:
            return False
        facets = self._nodes.get(node_id)
        if facets is None:
            facets = self._nodes[node_id] = _facets_on(before)
        if not plain:
            ops = [Op(op.kind, op.key, normal_value(op.value)) for op in ops]
        after, done = facets.patch(source, ops, before.metadata)
        if done != ():
            self._revise(before, after, done)
        return True

    @_operation
    def withdraw_node(self, source: str, node_id: NodeID) -> None:
        """`source` no longer says that the node exists, nor anything about it or its edges."""
        facets = self._nodes.get(node_id)
        facet = None if facets is None else facets.get(source)
        if facets is None or facet is None or not facet.states:
            return
        at_ms = self._engine.clock_ms()
        self._forget_source(source, node_id)
        facets.drop(source)
        node = self._core.node(node_id)
        edges = [self._edges[edge_id] for edge_id in self._at(node_id)]
        if facets.is_held and node is not None:
            for edge in edges:
                self._withdraw_edge(source, edge, at_ms)
            self._show_node(node, facets)
            return
        # The edges go with the node, in one.
        for edge in edges:
            self._unstate_edge(source, edge)
        if node is not None:
            self._remove_node(node, at_ms, "")
        elif not facets:
            del self._nodes[node_id]

    @_operation
    def remove_node(self, node: Node, *, at_ms: int, cause: str = "") -> None:
        """Remove a node whoever states it. Edges that others state to it wait for its return."""
        self._remove_node(node, at_ms, cause)

    def _remove_node(self, node: Node, at_ms: int, cause: str) -> None:
        facets = self._nodes.pop(node.id, None)
        if facets is not None:
            kept = facets.kept()
            if kept is not None:
                self._nodes[node.id] = kept
            for facet in facets:
                if kept is None or kept.get(facet.source) is None:
                    self._forget_source(facet.source, node.id)
        for edge_id in self._at(node.id):
            edge = self._edges[edge_id]
            edge.facets.base = None
            if not edge.facets:
                self._drop_edge(edge)
        neighbours = {edge.child for edge in self._core.out_edges(node.id)}
        self._engine.remove_node(node, at_ms=at_ms, cause=cause)
        for neighbour in neighbours:
            self._settle_owner(neighbour)

    def _show_node(self, before: Node, facets: Facets) -> Node:
        after = self._show(before, facets)
        assert isinstance(after, Node)
        return after

    def _show(self, before: Element, facets: Facets) -> Element:
        """Make what is visible follow from the facets."""
        metadata = facets.visible()
        ops = differences(before.metadata, metadata)
        return before if ops == () else self._revise(before, metadata, ops)

    def _revise(self, before: Element, metadata: Metadata, ops: tuple[Op, ...] | None) -> Element:
        return self._engine.replace(
            before,
            metadata,
            revision=before.revision + 1,
            updated_at_ms=self._engine.clock_ms(),
            ops=ops,
        )

    def has_node(self, node_id: NodeID) -> bool:
        return self._core.node(node_id) is not None

    def based_node(self, node: Node) -> Node:
        """A node that its owner elsewhere adds, with what sources here say about it as well."""
        facets = self._nodes.get(node.id)
        if facets is None:
            return node
        facets.base = node.metadata
        facets.base_revision = node.revision
        return structs.replace(node, metadata=facets.visible())

    def based_edge(self, edge: Edge) -> Edge:
        """An edge that its owner elsewhere adds, with what sources here say about it as well."""
        stated = self._edges.get(edge.id)
        if stated is None:
            return edge
        stated.facets.base = edge.metadata
        stated.facets.base_revision = edge.revision
        return structs.replace(edge, metadata=stated.facets.visible())

    def facets(self, element: Element) -> Facets | None:
        """What is said about `element`; None when no source here speaks about it."""
        if isinstance(element, Node):
            return self._nodes.get(element.id)
        edge = self._edges.get(element.id)
        return None if edge is None else edge.facets

    # Edges.

    @_operation
    def state_edge(self, source: str, spec: EdgeSpec, *, yields: bool = False) -> EdgeID:
        """`source` says that an edge exists. An ownership that `yields` counts less than others."""
        check_id(spec.parent, "parent")
        check_id(spec.child, "child")
        metadata = shared(normalised(spec.metadata))
        relation = relation_of(metadata)
        edge_id = spec.id or relation_edge_id(spec.parent, spec.child, relation)
        at_ms = self._engine.clock_ms()
        edge = self._edges.get(edge_id)
        if edge is not None and (edge.parent, edge.child, edge.relation) != (
            spec.parent,
            spec.child,
            relation,
        ):
            for facet in edge.facets:
                self._withdraw_edge(facet.source, edge, at_ms)
            edge = None
        if edge is None:
            edge = self._new_edge(edge_id, spec.parent, spec.child, relation)
        is_new = edge.facets.get(source) is None
        edge.facets.of(source).state(metadata)
        self._facts_of(source).edges[edge_id] = self._stamp
        if relation == OWNERSHIP and is_new:
            self._take_ownership(source, edge, at_ms, yields=yields)
        self._settle(edge)
        return edge_id

    @_operation
    def withdraw_edge(self, source: str, edge_id: EdgeID) -> None:
        """`source` no longer says that the edge exists."""
        edge = self._edges.get(edge_id)
        if edge is not None:
            self._withdraw_edge(source, edge, self._engine.clock_ms())

    def between(self, source: str, parent: NodeID, child: NodeID, relation: str) -> list[EdgeID]:
        """Edges of this relation from `parent` to `child` that `source` states."""
        stated = (self._edges[edge_id] for edge_id in self._at(parent))
        return [
            edge.id
            for edge in stated
            if edge.parent == parent
            and edge.child == child
            and edge.relation == relation
            and edge.facets.get(source) is not None
        ]

    @_operation
    def remove_edge(self, edge: Edge, *, at_ms: int, cause: str = "") -> None:
        """Remove an edge that its owner elsewhere removes; sources here may still state it."""
        stated = self._edges.get(edge.id)
        if stated is not None:
            if stated.facets.base is None:
                for facet in stated.facets:
                    self._unstate_edge(facet.source, stated)
            else:
                stated.facets.base = None
        self._engine.remove_edge(edge, at_ms=at_ms, cause=cause)
        if stated is not None and stated.facets:
            self._settle(stated)
        elif stated is not None:
            self._drop_edge(stated)

    def _new_edge(
        self, edge_id: EdgeID, parent: NodeID, child: NodeID, relation: str
    ) -> StatedEdge:
        edge = StatedEdge(edge_id, parent, child, relation, _facets_on(self._core.edge(edge_id)))
        self._edges[edge_id] = edge
        for end in (parent, child):
            self._ends.add(end, edge_id)
        return edge

    def _at(self, node_id: NodeID) -> list[EdgeID]:
        """Stated edges of which the node is an end."""
        return cast("list[EdgeID]", list(members(self._ends.table.rows, node_id)))

    def _take_ownership(self, source: str, edge: StatedEdge, at_ms: int, *, yields: bool) -> None:
        """A source has one owner for a node: what it said before is over."""
        others = tuple(o for o in self._owners.get(edge.child, ()) if o != edge.id)
        self._owners[edge.child] = (edge.id, *others) if yields else (*others, edge.id)
        for other_id in others:
            other = self._edges[other_id]
            self._withdraw_edge(source, other, at_ms)

    def _withdraw_edge(self, source: str, edge: StatedEdge, at_ms: int) -> None:
        if edge.facets.get(source) is None:
            return
        self._unstate_edge(source, edge)
        shown = self._core.edge(edge.id)
        if edge.facets.is_held:
            if shown is not None:
                self._show(shown, edge.facets)
            return
        if shown is not None:
            self._engine.remove_edge(shown, at_ms=at_ms)
        if edge.relation == OWNERSHIP:
            self._settle_owner(edge.child)

    def _unstate_edge(self, source: str, edge: StatedEdge) -> None:
        """Forget that `source` states the edge, without touching the element."""
        if not edge.facets.drop(source):
            return
        facts = self._facts_of(source)
        facts.edges.pop(edge.id, None)
        self._tidy(source, facts)
        if not edge.facets.is_held:
            self._drop_edge(edge)

    def _drop_edge(self, edge: StatedEdge) -> None:
        if self._edges.pop(edge.id, None) is None:
            return
        for end in (edge.parent, edge.child):
            self._ends.discard(end, edge.id)
        owners = tuple(o for o in self._owners.get(edge.child, ()) if o != edge.id)
        if owners:
            self._owners[edge.child] = owners
        else:
            self._owners.pop(edge.child, None)

    def _settle(self, edge: StatedEdge) -> None:
        """Make the element follow from the statement."""
        shown = self._core.edge(edge.id)
        if shown is not None:
            self._show(shown, edge.facets)
        elif edge.relation == OWNERSHIP:
            self._settle_owner(edge.child)
        elif self._has_ends(edge):
            self._create(edge)

    def _settle_owner(self, child: NodeID) -> None:
        """Let the one owner that counts own `child`."""
        owners = self._owners.get(child)
        if owners is None:
            return
        edges = [self._edges[edge_id] for edge_id in owners]
        winner = next((edge for edge in reversed(edges) if self._has_ends(edge)), None)
        for edge in edges:
            shown = self._core.edge(edge.id)
            if edge is not winner and shown is not None and edge.facets.base is None:
                self._engine.remove_edge(shown, at_ms=self._engine.clock_ms())
        if winner is not None and self._core.edge(winner.id) is None:
            self._create(winner)

    def _has_ends(self, edge: StatedEdge) -> bool:
        return self._core.node(edge.parent) is not None and self._core.node(edge.child) is not None

    def _create(self, edge: StatedEdge) -> None:
        now = self._engine.clock_ms()
        self._engine.insert(
            Edge(
                edge.id,
                edge.parent,
                edge.child,
                edge.facets.visible(),
                self._engine.host,
                self._engine.origin,
                now,
                now,
            )
        )

    def _on_event(self, event: GraphEvent) -> None:
        """A node that appears may be the end that stated edges wait for."""
        if event.kind is EventKind.ADDED and isinstance(event.after, Node):
            for edge_id in self._at(event.after.id):
                edge = self._edges.get(edge_id)
                if edge is not None:
                    self._settle(edge)

    # Sources.

    def stale(self, source: str, before_stamp: int) -> tuple[list[NodeID], list[EdgeID]]:
        """Nodes and edges that `source` has not stated since `before_stamp` was given."""
        facts = self._facts.get(source)
        if facts is None:
            return [], []
        nodes = [node_id for node_id, stamp in facts.nodes.items() if stamp < before_stamp]
        edges = [edge_id for edge_id, stamp in facts.edges.items() if stamp < before_stamp]
        return nodes, edges

    def count(self) -> int:
        """Elements that sources speak about, edges that wait for their ends included."""
        return len(self._nodes) + len(self._edges)

    def _facts_of(self, source: str) -> SourceFacts:
        facts = self._facts.get(source)
        if facts is None:
            facts = self._facts[source] = SourceFacts()
        return facts

    def _forget_source(self, source: str, node_id: NodeID) -> None:
        facts = self._facts.get(source)
        if facts is not None:
            facts.nodes.pop(node_id, None)
            self._tidy(source, facts)

    def _tidy(self, source: str, facts: SourceFacts) -> None:
        if not facts.nodes and not facts.edges:
            self._facts.pop(source, None)


def check_id(element_id: Any, what: str) -> None:
    """`ValueError` for an identifier that JSON could not tell others."""
    if type(element_id) is not str or not element_id:
        raise ValueError(f"{what} {element_id!r:.40}: an ID is a text that is not empty")
    if not element_id.isascii():
        try:
            element_id.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{what} {element_id!r:.40}: an ID is valid Unicode") from error


def _facets_on(element: Element | None) -> Facets:
    """Facets on top of what the owner of an element elsewhere says."""
    if element is None:
        return Facets()
    return Facets(element.metadata, element.revision)
