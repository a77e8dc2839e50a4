"""What one origin's messages make of our graph: the copy that we keep of somebody's elements.

The original answers a `Sync` by deleting everything of the origin and adding what came. Here the
two are compared and only the difference is applied, so that an element that did not change makes no
event, no history and no work for anybody who follows the graph.

Comparing has one catch. When an agent restarts, its elements keep their identifiers but begin again
at revision 1 with a new creation time, although nothing happened to the interfaces themselves. Such
an element goes on under our revision and creation time, and later updates of it are shifted by the
difference: subscribers, who take an update only if its revision is greater, then follow without a
gap. Rejected: deleting and adding again (the map of the host flickers, and history shows a host
that was never rebuilt as rebuilt), and taking over the lower revision (subscribers would ignore
updates until it has caught up).

An agent also passes on what others publish to it, under their origin. Nobody else will ever take
these elements back, so they are remembered as carried by the agent, and go when it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from skydiver.base.clock import ClockMs
from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.graph import Edge, Graph, Node, Op
from skydiver.graph.metadata import same
from skydiver.hub.turns import Turns

_E = TypeVar("_E", Node, Edge)


class Replica:
    """The elements of one origin, and those of others that came through it."""

    def __init__(
        self,
        graph: Graph,
        origin: Origin,
        *,
        carries: bool,
        turn: asyncio.Lock,
        clock_ms: ClockMs,
    ) -> None:
        """`carries`: elements of other origins may come through this one, and go with it.

        `turn` is held during long work, so that of a hundred agents that connect at once one is
        served after the other, with pauses for everything else.
        """
        self.origin = origin
        self.carries = carries
        self.author = False
        """True once a peer of this origin sent anything about the graph."""
        self.syncs = 0
        """How often its whole state arrived."""
        self._graph = graph
        self._cause = f"hub.{origin}"
        self.turn = turn
        self._clock_ms = clock_ms
        self._carried_nodes: set[NodeID] = set()
        self._carried_edges: set[EdgeID] = set()
        self._shifts: dict[str, int] = {}
        """What to add to the revisions of elements that outlived a restart of their origin."""

    # One element at a time. All answer False when there was nothing to do.

    def add_node(self, node: Node) -> bool:
        if not self._graph.add_node(node, cause=self._cause):
            return False
        self._shifts.pop(node.id, None)
        if self.carries and node.origin != self.origin:
            self._carried_nodes.add(node.id)
        return True

    def add_edge(self, edge: Edge) -> bool:
        if not self._graph.add_edge(edge, cause=self._cause):
            return False
        self._shifts.pop(edge.id, None)
        if self.carries and edge.origin != self.origin:
            self._carried_edges.add(edge.id)
        return True

    def update_node(self, node: Node) -> bool:
        return self._graph.replace_node(self._shifted(node), cause=self._cause)

    def update_edge(self, edge: Edge) -> bool:
        return self._graph.replace_edge(self._shifted(edge), cause=self._cause)

    def update_node_partly(
        self, node_id: NodeID, ops: Sequence[Op], *, revision: int, updated_at_ms: int
    ) -> bool:
        return self._graph.apply_ops(
            node_id,
            kind="node",
            ops=ops,
            revision=self._shifted_revision(node_id, revision),
            updated_at_ms=updated_at_ms,
            cause=self._cause,
        )

    def update_edge_partly(
        self, edge_id: EdgeID, ops: Sequence[Op], *, revision: int, updated_at_ms: int
    ) -> bool:
        return self._graph.apply_ops(
            edge_id,
            kind="edge",
            ops=ops,
            revision=self._shifted_revision(edge_id, revision),
            updated_at_ms=updated_at_ms,
            cause=self._cause,
        )

    def delete_node(self, node_id: NodeID, *, at_ms: int | None) -> bool:
        self._shifts.pop(node_id, None)
        self._carried_nodes.discard(node_id)
        at_ms = self._clock_ms() if at_ms is None else at_ms
        return self._graph.delete_node(node_id, at_ms=at_ms, cause=self._cause)

    def delete_edge(self, edge_id: EdgeID, *, at_ms: int | None) -> bool:
        self._shifts.pop(edge_id, None)
        self._carried_edges.discard(edge_id)
        at_ms = self._clock_ms() if at_ms is None else at_ms
        return self._graph.delete_edge(edge_id, at_ms=at_ms, cause=self._cause)

    # Everything at once

    async def sync(self, nodes: Sequence[Node], edges: Sequence[Edge]) -> None:
        """Make what we have of this origin equal to `nodes` and `edges`.

        Elements that belong to other origins already are not touched. To be called with `turn`
        held.
        """
        turns = Turns()
        await self._remove_others({node.id for node in nodes}, {edge.id for edge in edges}, turns)
        for node in nodes:
            stored = self._graph.node(node.id)
            if stored is None:
                self.add_node(node)
            else:
                self._reconcile(stored, node, self._graph.replace_node)
            await turns.pause_if_due()
        for edge in edges:
            self._take_edge(edge)
            await turns.pause_if_due()

    async def remove(self, *, unless: Callable[[], bool] = lambda: False) -> int:
        """Delete everything of this origin; the number of elements. Nothing if `unless`."""
        async with self.turn:
            if unless():
                return 0
            removed = await self._remove_others(frozenset(), frozenset(), Turns())
            self._shifts.clear()
            return removed

    def _take_edge(self, edge: Edge) -> None:
        stored = self._graph.edge(edge.id)
        if stored is not None and (stored.parent, stored.child) != (edge.parent, edge.child):
            if stored.origin != edge.origin:
                return
            self.delete_edge(edge.id, at_ms=None)
            stored = None
        if stored is None:
            self.add_edge(edge)
        else:
            self._reconcile(stored, edge, self._graph.replace_edge)

    def _reconcile(self, stored: _E, new: _E, put: Callable[..., bool]) -> None:
        """Bring an element that both sides know to the state of its origin."""
        if stored.origin != new.origin:
            return
        self._shifts.pop(new.id, None)
        if stored.created_at_ms == new.created_at_ms and stored.revision < new.revision:
            put(new, cause=self._cause)
            return
        revision = stored.revision
        if not same(stored.metadata, new.metadata):
            revision += 1
            put(replace(new, revision=revision), cause=self._cause)
        if revision != new.revision:
            self._shifts[new.id] = revision - new.revision

    async def _remove_others(
        self,
        nodes: set[NodeID] | frozenset[NodeID],
        edges: set[EdgeID] | frozenset[EdgeID],
        turns: Turns,
    ) -> int:
        """Delete what we have and is not among these."""
        at_ms = self._clock_ms()
        removed = 0
        own_nodes, own_edges = self._graph.elements_of(self.origin)
        for edge_id in [edge.id for edge in own_edges] + list(self._carried_edges):
            if edge_id not in edges:
                removed += self.delete_edge(edge_id, at_ms=at_ms)
                await turns.pause_if_due()
        for node_id in [node.id for node in own_nodes] + list(self._carried_nodes):
            if node_id not in nodes:
                removed += self.delete_node(node_id, at_ms=at_ms)
                await turns.pause_if_due()
        return removed

    def _shifted(self, element: _E) -> _E:
        """An element as it goes on here."""
        shift = self._shifts.get(element.id) if self._shifts else None
        return replace(element, revision=element.revision + shift) if shift else element

    def _shifted_revision(self, element_id: str, revision: int) -> int:
        return revision + self._shifts.get(element_id, 0)
