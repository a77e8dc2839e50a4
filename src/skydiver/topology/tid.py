"""TIDs: identifiers of nodes that stay the same over restarts (topology-probes.md §4).

Flows refer to nodes by them. A TID follows from names, along ownership from the host down; so it
can only be known once the owner's is, and is lost when there is no owner any more. The mapper
listens to the graph of an agent and patches ``TID`` onto its nodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

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
"""Changes made and not told back yet. Each is told in the end, and then the rest follows; the graph
limits what listeners may change at once."""

_OVS_TYPES = (NodeType.OVSBRIDGE, NodeType.OVSPORT)
_KEYS = {Key.TYPE.value, Key.NAME.value, Key.PATH.value, Key.UUID.value, Key.PROBE.value}


class _Why(Enum):
    """Why a node is looked at."""

    CHANGED = "changed"
    """Something that its TID follows from may be there now."""
    OWNED = "owned"
    """It has an owner, or its owner another TID."""
    ORPHANED = "orphaned"
    """It lost its owner."""


class TidMapper:
    """Keeps the TIDs of a graph until `close`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._writer = graph.owned_by(SOURCE)
        self._host_tid = ""
        self._waiting: deque[tuple[NodeID, _Why]] = deque()
        self._untold: set[NodeID] = set()
        self._unsubscribe: Callable[[], None] = graph.subscribe(self._on_event)
        for node in graph.nodes():
            self._learn(node)
            self._waiting.append((node.id, _Why.CHANGED))
        while self._waiting:
            self._work()

    def close(self) -> None:
        """Stop listening; TIDs stay."""
        self._unsubscribe()

    def _on_event(self, event: GraphEvent) -> None:
        if isinstance(event.after, Node):
            self._untold.discard(event.after.id)
            self._on_node(event, event.after)
        else:
            self._on_edge(event, event.after)
        self._work()

    def _on_node(self, event: GraphEvent, node: Node) -> None:
        if event.kind is EventKind.DELETED:
            return
        self._learn(node)
        old_tid = "" if event.before is None else event.before.metadata.get(Key.TID, "")
        if node.metadata.get(Key.TID, "") != old_tid:
            if node.metadata.get(Key.TYPE) == NodeType.HOST:
                self._waiting += [(other.id, _Why.CHANGED) for other in self._graph.nodes()]
            for edge in self._graph.out_edges(node.id):
                if is_ownership(edge):
                    self._waiting.append((edge.child, _Why.OWNED))
        elif event.ops is None or any(op.key.partition(".")[0] in _KEYS for op in event.ops):
            self._waiting.append((node.id, _Why.CHANGED))

    def _learn(self, node: Node) -> None:
        """The TIDs of some nodes follow from that of the host, wherever they are."""
        if node.metadata.get(Key.TYPE) == NodeType.HOST:
            self._host_tid = node.metadata.get(Key.TID, "")

    def _on_edge(self, event: GraphEvent, edge: Edge) -> None:
        if is_ownership(edge):
            why = _Why.ORPHANED if event.kind is EventKind.DELETED else _Why.OWNED
            self._waiting.append((edge.child, why))

    def _work(self) -> None:
        """Change what waits, some at a time."""
        while self._waiting and len(self._untold) < AT_ONCE:
            node_id, why = self._waiting.popleft()
            node = self._graph.node(node_id)
            op = None if node is None else self._op(node, why)
            if op is not None:
                self._untold.add(node_id)
                self._writer.patch(node_id, [op])
                if self._graph.node(node_id) is node:
                    self._untold.discard(node_id)

    def _op(self, node: Node, why: _Why) -> Op | None:
        """What to change of `node`."""
        has_one = Key.TID in node.metadata
        if why is _Why.ORPHANED:
            lost = has_one and not _has_fixed_tid(node) and self._owner(node) is None
            return Op(OpKind.DELETE, Key.TID.value) if lost else None
        if has_one and (why is _Why.CHANGED or _has_fixed_tid(node)):
            return None
        tid = self._tid(node)
        if not tid or tid == node.metadata.get(Key.TID):
            return None
        return Op(OpKind.SET, Key.TID.value, tid)

    def _tid(self, node: Node) -> str:
        """The TID that follows for `node`; "" while something is missing."""
        metadata = node.metadata
        type_ = metadata.get(Key.TYPE, "")
        name = metadata.get(Key.NAME, "")
        if type_ == NodeType.HOST:
            return derived_id(str(name)) if name else ""
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
