"""TIDs: identifiers of nodes that stay the same over restarts (topology-probes.md §4).

Flows refer to nodes by them. A TID follows from names, along ownership from the host down; so it
can only be known once the owner's is, and is lost with the owner. The mapper listens to the graph
of an agent and patches ``TID`` onto its nodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from skydiver.base.ids import NodeID, derived_id
from skydiver.graph import (
    Edge,
    EventKind,
    Graph,
    GraphEvent,
    Node,
    Op,
    OpKind,
)
from skydiver.graph.relations import is_ownership
from skydiver.topology.vocabulary import Key, NodeType

SOURCE = "tid"
AT_ONCE = 100
"""Nodes given a TID per event. Each makes another event, so the rest follows; the graph limits what
a listener may change at once."""

_OVS_TYPES = (NodeType.OVSBRIDGE, NodeType.OVSPORT)
_KEYS = {Key.TYPE.value, Key.NAME.value, Key.PATH.value, Key.UUID.value, Key.PROBE.value}


class TidMapper:
    """Keeps the TIDs of a graph until `close`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._writer = graph.owned_by(SOURCE)
        self._host_tid = ""
        self._waiting: deque[tuple[NodeID, bool]] = deque()
        self._unsubscribe: Callable[[], None] = graph.subscribe(self._on_event)
        for node in graph.nodes():
            self._waiting.append((node.id, False))
        while self._waiting:
            self._work()

    def close(self) -> None:
        """Stop listening; TIDs stay."""
        self._unsubscribe()

    def _on_event(self, event: GraphEvent) -> None:
        if isinstance(event.after, Node):
            self._on_node(event, event.after)
        else:
            self._on_edge(event, event.after)
        self._work()

    def _on_node(self, event: GraphEvent, node: Node) -> None:
        if event.kind is EventKind.DELETED:
            return
        old_tid = "" if event.before is None else event.before.metadata.get(Key.TID, "")
        if node.metadata.get(Key.TID, "") != old_tid:
            if node.metadata.get(Key.TYPE) == NodeType.HOST:
                self._waiting += [(other.id, False) for other in self._graph.nodes()]
            for edge in self._graph.out_edges(node.id):
                if is_ownership(edge):
                    self._waiting.append((edge.child, True))
        elif event.ops is None or any(op.key.partition(".")[0] in _KEYS for op in event.ops):
            self._waiting.append((node.id, False))

    def _on_edge(self, event: GraphEvent, edge: Edge) -> None:
        if not is_ownership(edge):
            return
        if event.kind is not EventKind.DELETED:
            self._waiting.append((edge.child, True))
            return
        child = self._graph.node(edge.child)
        if child is not None and not _has_fixed_tid(child) and self._owner(child) is None:
            self._writer.patch(child.id, [Op(OpKind.DELETE, Key.TID.value)])

    def _work(self) -> None:
        """Give nodes that wait their TID, some at a time."""
        given = 0
        while self._waiting and given < AT_ONCE:
            node_id, again = self._waiting.popleft()
            node = self._graph.node(node_id)
            if node is None or (Key.TID in node.metadata and (not again or _has_fixed_tid(node))):
                continue
            tid = self._tid(node)
            if tid and tid != node.metadata.get(Key.TID):
                self._writer.patch(node.id, [Op(OpKind.SET, Key.TID.value, tid)])
                given += 1

    def _tid(self, node: Node) -> str:
        """The TID that follows for `node`; "" while something is missing."""
        metadata = node.metadata
        type_ = metadata.get(Key.TYPE, "")
        name = metadata.get(Key.NAME, "")
        if type_ == NodeType.HOST:
            if name:
                self._host_tid = derived_id(str(name))
                return self._host_tid
            return ""
        if metadata.get(Key.PROBE) == "fabric":
            return node.id
        if type_ in _OVS_TYPES:
            uuid = metadata.get(Key.UUID, "")
            return derived_id(f"{self._host_tid}{uuid}{type_}") if uuid and self._host_tid else ""
        owner = self._owner(node)
        owner_tid = "" if owner is None else owner.metadata.get(Key.TID, "")
        if type_ == NodeType.NETNS:
            path = metadata.get(Key.PATH, "")
            base = owner_tid or self._host_tid
            return derived_id(f"{base}{path}{type_}") if base and path else ""
        if not owner_tid or not name or not type_:
            return ""
        return derived_id(f"{owner_tid}{name}{type_}")

    def _owner(self, node: Node) -> Node | None:
        """The one owner of `node`."""
        owners = [edge.parent for edge in self._graph.in_edges(node.id) if is_ownership(edge)]
        return self._graph.node(owners[0]) if len(owners) == 1 else None


def _has_fixed_tid(node: Node) -> bool:
    """Whether the TID does not depend on the owner."""
    type_ = node.metadata.get(Key.TYPE)
    return type_ == NodeType.HOST or type_ in _OVS_TYPES or node.metadata.get(Key.PROBE) == "fabric"
