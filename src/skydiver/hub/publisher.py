"""What a peer that publishes may say about the graph, and what comes of it (api.md §2.8).

Agents are trusted with what they write, other publishers are not: their elements get the origin of
the connection and must satisfy the schema. Whoever it is, an element that cannot be read or has no
place is dropped, counted and reported, and the connection goes on. What is merely late or repeated
(an element that is there already, a revision that is not newer) is dropped without a word, as
publishers of the original rely on it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec.structs import replace

from skydiver.base.clock import ClockMs
from skydiver.base.errors import ProtocolError
from skydiver.base.ids import EdgeID, NodeID
from skydiver.graph import Edge, Graph, Node
from skydiver.graph.schema import check_edge, check_node
from skydiver.graph.wire import (
    GraphMessage,
    PartialUpdate,
    edge_from_json,
    node_from_json,
    partial_from_json,
)
from skydiver.hub.connection import Connection
from skydiver.hub.graph_messages import NAMESPACE
from skydiver.hub.messages import Message
from skydiver.hub.replica import Replica
from skydiver.hub.snapshot import graph_json
from skydiver.hub.turns import Turns

_DEEPEST_KEY = 32
"""Dots in the key of a partial update: each makes an object inside an object."""


class Publisher:
    """One connected peer that publishes."""

    def __init__(
        self,
        connection: Connection,
        replica: Replica,
        graph: Graph,
        *,
        trusted: bool,
        default_relation: str,
        clock_ms: ClockMs,
    ) -> None:
        self._connection = connection
        self._replica = replica
        self._graph = graph
        self._trusted = trusted
        self._default_relation = default_relation
        self._clock_ms = clock_ms
        self._actions: Mapping[str, Callable[[Any], None]] = {
            GraphMessage.NODE_ADDED: self._node_added,
            GraphMessage.NODE_UPDATED: self._node_updated,
            GraphMessage.NODE_DELETED: self._node_deleted,
            GraphMessage.EDGE_ADDED: self._edge_added,
            GraphMessage.EDGE_UPDATED: self._edge_updated,
            GraphMessage.EDGE_DELETED: self._edge_deleted,
            GraphMessage.NODE_PARTIALLY_UPDATED: self._node_partially_updated,
            GraphMessage.EDGE_PARTIALLY_UPDATED: self._edge_partially_updated,
        }

    def handle(self, message: Message) -> Awaitable[None] | None:
        """Apply one message; something to wait for if it concerns the whole graph."""
        if message.namespace != NAMESPACE:
            return None
        action = self._actions.get(message.type)
        if action is not None:
            action(message.obj)
            self._replica.author = True
        elif message.type in (GraphMessage.SYNC, GraphMessage.SYNC_REPLY):
            return self._sync(message.obj)
        elif message.type == GraphMessage.SYNC_REQUEST:
            return self._send_all(message)
        return None

    # Nodes

    def _node(self, obj: Any) -> Node:
        node = node_from_json(obj, now_ms=self._clock_ms())
        if self._trusted:
            return node
        _check(check_node, obj)
        return replace(node, origin=self._replica.origin)

    def _node_added(self, obj: Any) -> None:
        self._replica.add_node(self._node(obj))

    def _node_updated(self, obj: Any) -> None:
        node = self._node(obj)
        if not self._replica.update_node(node) and self._graph.node(node.id) is None:
            raise ProtocolError(f"NodeUpdated for the unknown node {node.id!r}")

    def _node_deleted(self, obj: Any) -> None:
        node = self._node(obj)
        if not self._replica.delete_node(node.id, at_ms=node.deleted_at_ms):
            raise ProtocolError(f"NodeDeleted for the unknown node {node.id!r}")

    def _node_partially_updated(self, obj: Any) -> None:
        update = self._partial(obj)
        done = self._replica.update_node_partly(
            NodeID(update.id),
            update.ops,
            revision=update.revision,
            updated_at_ms=update.updated_at_ms,
        )
        if not done and self._graph.node(NodeID(update.id)) is None:
            raise ProtocolError(f"NodePartiallyUpdated for the unknown node {update.id!r}")

    # Edges

    def _edge(self, obj: Any) -> Edge:
        if self._trusted:
            return edge_from_json(obj, now_ms=self._clock_ms())
        if self._default_relation:
            obj = _with_relation(obj, self._default_relation)
        edge = edge_from_json(obj, now_ms=self._clock_ms())
        _check(check_edge, obj)
        return replace(edge, origin=self._replica.origin)

    def _edge_added(self, obj: Any) -> None:
        edge = self._edge(obj)
        if not self._replica.add_edge(edge) and self._graph.edge(edge.id) is None:
            raise ProtocolError(
                f"EdgeAdded {edge.id!r} between {edge.parent!r} and {edge.child!r}, "
                "of which one is unknown; nodes must be sent before their edges"
            )

    def _edge_updated(self, obj: Any) -> None:
        edge = self._edge(obj)
        if not self._replica.update_edge(edge) and self._graph.edge(edge.id) is None:
            raise ProtocolError(f"EdgeUpdated for the unknown edge {edge.id!r}")

    def _edge_deleted(self, obj: Any) -> None:
        edge = self._edge(obj)
        # Its node went before it in the same breath, or it was never accepted: nothing to say.
        self._replica.delete_edge(edge.id, at_ms=edge.deleted_at_ms)

    def _edge_partially_updated(self, obj: Any) -> None:
        update = self._partial(obj)
        done = self._replica.update_edge_partly(
            EdgeID(update.id),
            update.ops,
            revision=update.revision,
            updated_at_ms=update.updated_at_ms,
        )
        if not done and self._graph.edge(EdgeID(update.id)) is None:
            raise ProtocolError(f"EdgePartiallyUpdated for the unknown edge {update.id!r}")

    def _partial(self, obj: Any) -> PartialUpdate:
        update = partial_from_json(obj, now_ms=self._clock_ms())
        for op in update.ops:
            if op.key.count(".") > _DEEPEST_KEY:
                raise ProtocolError(
                    f"a partial update of {update.id!r} has a key of more than {_DEEPEST_KEY} dots"
                )
        return update

    # The whole graph

    async def _sync(self, obj: Any) -> None:
        if not isinstance(obj, dict):
            raise ProtocolError("Sync holds no object with Nodes and Edges")
        self._replica.author = True
        self._replica.syncs += 1
        async with self._replica.turn:
            turns = Turns()
            nodes = await self._all(obj.get("Nodes"), self._node, turns)
            edges = await self._all(obj.get("Edges"), self._edge, turns)
            await self._replica.sync(nodes, edges)

    async def _all(self, values: Any, read: Callable[[Any], Any], turns: Turns) -> list[Any]:
        """Those of a list that can be read; the others are reported one by one."""
        if values is None:
            return []
        if not isinstance(values, list):
            raise ProtocolError("Sync holds something else than lists as Nodes and Edges")
        elements = []
        for value in values:
            try:
                elements.append(read(value))
            except ProtocolError as error:
                self._connection.refuse(error)
            await turns.pause_if_due()
        return elements

    async def _send_all(self, request: Message) -> None:
        self._replica.author = True
        await self._connection.room()
        slot = self._connection.reserve()
        try:
            view = self._graph.view()
            content = await graph_json(view.nodes(), view.edges())
            slot.fill(request.reply(GraphMessage.SYNC_REPLY, content))
        finally:
            slot.leave_empty()


def _check(check: Callable[[Mapping[str, Any]], None], obj: Mapping[str, Any]) -> None:
    """Check against the schema, whose words take several lines, for a log that takes one."""
    try:
        check(obj)
    except ProtocolError as error:
        raise ProtocolError("; ".join(str(error).splitlines())) from None


def _with_relation(obj: Any, relation: str) -> Any:
    """An edge that says no relation, with one."""
    metadata = obj.get("Metadata") if isinstance(obj, dict) else None
    if not isinstance(metadata, dict) or "RelationType" in metadata:
        return obj
    return {**obj, "Metadata": {**metadata, "RelationType": relation}}
