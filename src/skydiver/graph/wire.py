"""Elements and events as they travel: JSON objects (api.md §§1.2-1.5, 2.7).

What comes in is checked here and only here: inside the program an element is well formed, its
metadata in normal form.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from skydiver.base.errors import ProtocolError
from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.graph.elements import Edge, Element, Node
from skydiver.graph.events import EventKind, GraphEvent, Op, OpKind
from skydiver.graph.metadata import normal_value, normalised, shared

MAX_OPS = 10_000
"""Operations of one partial update."""


class GraphMessage(StrEnum):
    """Types of messages about a graph."""

    SYNC = "Sync"
    SYNC_REQUEST = "SyncRequest"
    SYNC_REPLY = "SyncReply"
    NODE_ADDED = "NodeAdded"
    NODE_UPDATED = "NodeUpdated"
    NODE_DELETED = "NodeDeleted"
    NODE_PARTIALLY_UPDATED = "NodePartiallyUpdated"
    EDGE_ADDED = "EdgeAdded"
    EDGE_UPDATED = "EdgeUpdated"
    EDGE_DELETED = "EdgeDeleted"
    EDGE_PARTIALLY_UPDATED = "EdgePartiallyUpdated"


class PartialUpdate(NamedTuple):
    """Changes of one element that lead to `revision`."""

    id: str
    revision: int
    updated_at_ms: int
    ops: tuple[Op, ...]


def node_json(node: Node) -> dict[str, Any]:
    """A node as its JSON object."""
    return {
        "ID": node.id,
        "Metadata": node.metadata,
        "Host": node.host,
        "Origin": node.origin,
        "CreatedAt": node.created_at_ms,
        "UpdatedAt": node.updated_at_ms,
        "DeletedAt": node.deleted_at_ms,
        "Revision": node.revision,
    }


def edge_json(edge: Edge) -> dict[str, Any]:
    """An edge as its JSON object."""
    return {
        "ID": edge.id,
        "Metadata": edge.metadata,
        "Host": edge.host,
        "Origin": edge.origin,
        "CreatedAt": edge.created_at_ms,
        "UpdatedAt": edge.updated_at_ms,
        "DeletedAt": edge.deleted_at_ms,
        "Revision": edge.revision,
        "Parent": edge.parent,
        "Child": edge.child,
    }


def element_json(element: Element) -> dict[str, Any]:
    """A node or an edge as its JSON object."""
    return node_json(element) if isinstance(element, Node) else edge_json(element)


def elements_json(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, Any]:
    """A graph as its JSON object; empty lists stay lists, which some clients insist on."""
    return {"Nodes": [node_json(n) for n in nodes], "Edges": [edge_json(e) for e in edges]}


def event_message(
    event: GraphEvent, *, policy: Literal["full", "partial"] = "full"
) -> tuple[GraphMessage, dict[str, Any]]:
    """The message that tells `event`: its type and object.

    Of an update that has no operations the partial policy tells everything, since the receiver
    would learn the new revision without the new content (api.md §2.7).
    """
    after = event.after
    if policy == "partial" and event.kind is EventKind.UPDATED and event.ops:
        kind = (
            GraphMessage.NODE_PARTIALLY_UPDATED
            if isinstance(after, Node)
            else GraphMessage.EDGE_PARTIALLY_UPDATED
        )
        return kind, partial_json(event)
    if isinstance(after, Node):
        return _NODE_MESSAGES[event.kind], node_json(after)
    return _EDGE_MESSAGES[event.kind], edge_json(after)


_NODE_MESSAGES = {
    EventKind.ADDED: GraphMessage.NODE_ADDED,
    EventKind.UPDATED: GraphMessage.NODE_UPDATED,
    EventKind.DELETED: GraphMessage.NODE_DELETED,
}
_EDGE_MESSAGES = {
    EventKind.ADDED: GraphMessage.EDGE_ADDED,
    EventKind.UPDATED: GraphMessage.EDGE_UPDATED,
    EventKind.DELETED: GraphMessage.EDGE_DELETED,
}


def partial_json(event: GraphEvent) -> dict[str, Any]:
    """The changes of an update as their JSON object."""
    after = event.after
    return {
        "ID": after.id,
        "UpdatedAt": after.updated_at_ms,
        "Revision": after.revision,
        "Ops": [
            {"Type": op.kind.value, "Key": op.key, "Value": op.value} for op in event.ops or ()
        ],
    }


def node_from_json(document: object, *, now_ms: int) -> Node:
    """The node that a JSON object says; times that it does not say are `now_ms`."""
    fields = _object(document, "node")
    created_at_ms, updated_at_ms = _times(fields, now_ms)
    return Node(
        id=NodeID(_id(fields, "node")),
        metadata=_metadata(fields, "node"),
        host=_shared_text(fields, "Host"),
        origin=Origin(_shared_text(fields, "Origin")),
        created_at_ms=created_at_ms,
        updated_at_ms=updated_at_ms,
        revision=_revision(fields),
        deleted_at_ms=_optional_time(fields, "DeletedAt"),
    )


def edge_from_json(document: object, *, now_ms: int) -> Edge:
    """The edge that a JSON object says; times that it does not say are `now_ms`."""
    fields = _object(document, "edge")
    parent, child = fields.get("Parent"), fields.get("Child")
    if not isinstance(parent, str) or not parent:
        raise ProtocolError("parent ID wrong format")
    if not isinstance(child, str) or not child:
        raise ProtocolError("child ID wrong format")
    created_at_ms, updated_at_ms = _times(fields, now_ms)
    metadata = _metadata(fields, "edge")
    return Edge(
        id=EdgeID(_id(fields, "edge")),
        parent=NodeID(parent),
        child=NodeID(child),
        metadata=shared(metadata),
        host=_shared_text(fields, "Host"),
        origin=Origin(_shared_text(fields, "Origin")),
        created_at_ms=created_at_ms,
        updated_at_ms=updated_at_ms,
        revision=_revision(fields),
        deleted_at_ms=_optional_time(fields, "DeletedAt"),
    )


def element_from_json(document: object, *, kind: Literal["node", "edge"], now_ms: int) -> Element:
    """The node or edge that a JSON object says."""
    if kind == "node":
        return node_from_json(document, now_ms=now_ms)
    return edge_from_json(document, now_ms=now_ms)


def elements_from_json(document: object, *, now_ms: int) -> tuple[list[Node], list[Edge]]:
    """The graph that a JSON object says; a list may be null or left out."""
    fields = _object(document, "graph")
    nodes = [node_from_json(node, now_ms=now_ms) for node in _list(fields, "Nodes")]
    edges = [edge_from_json(edge, now_ms=now_ms) for edge in _list(fields, "Edges")]
    return nodes, edges


def partial_from_json(document: object, *, now_ms: int) -> PartialUpdate:
    """The partial update that a JSON object says; without operations ``Ops`` may be null."""
    fields = _object(document, "partial update")
    ops = _list(fields, "Ops")
    if len(ops) > MAX_OPS:
        raise ProtocolError(f"partial update with {len(ops)} operations, at most {MAX_OPS}")
    return PartialUpdate(
        id=_id(fields, "partial update"),
        revision=_revision(fields),
        updated_at_ms=_time(fields, "UpdatedAt", now_ms),
        ops=tuple(_op(op) for op in ops),
    )


def _op(document: object) -> Op:
    fields = _object(document, "operation")
    key = fields.get("Key")
    if not isinstance(key, str) or not key:
        raise ProtocolError("operation without Key")
    kind = fields.get("Type")
    if kind == OpKind.DELETE.value:
        return Op(OpKind.DELETE, key)
    if kind != OpKind.SET.value or isinstance(kind, bool):
        raise ProtocolError("operation whose Type is neither 1 nor 2")
    if "Value" not in fields:
        raise ProtocolError(f"operation that sets {key[:80]!r} without Value")
    return Op(OpKind.SET, key, _normal(fields["Value"], key))


def _object(document: object, what: str) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        raise ProtocolError(f"{what}: expected an object, not {_kind(document)}")
    return document


def _list(fields: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = fields.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ProtocolError(f"{key}: expected a list, not {_kind(value)}")
    return value


def _id(fields: Mapping[str, Any], what: str) -> str:
    value = fields.get("ID")
    if not isinstance(value, str) or not value:
        raise ProtocolError(f"{what} without ID")
    return value


def _shared_text(fields: Mapping[str, Any], key: str) -> str:
    """A text that many elements have; it is kept once for all of them."""
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ProtocolError(f"{key}: expected a text, not {_kind(value)}")
    return sys.intern(value)


def _times(fields: Mapping[str, Any], now_ms: int) -> tuple[int, int]:
    """Creation and update; mostly they are equal and then kept once."""
    created_at_ms = _time(fields, "CreatedAt", now_ms)
    updated_at_ms = _time(fields, "UpdatedAt", now_ms)
    return created_at_ms, created_at_ms if created_at_ms == updated_at_ms else updated_at_ms


def _time(fields: Mapping[str, Any], key: str, default: int) -> int:
    value = _optional_time(fields, key)
    return default if value is None else value


def _optional_time(fields: Mapping[str, Any], key: str) -> int | None:
    value = fields.get(key)
    if value is None:
        return None
    if type(value) is not int or abs(value) >= 2**63:
        raise ProtocolError(f"{key}: expected milliseconds, not {_kind(value)}")
    return value


def _revision(fields: Mapping[str, Any]) -> int:
    value = fields.get("Revision", 1)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or abs(value) >= 2**63:
        raise ProtocolError(f"Revision: expected an integer, not {_kind(value)}")
    return value


def _metadata(fields: Mapping[str, Any], what: str) -> dict[str, Any]:
    value = fields.get("Metadata")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ProtocolError(f"Metadata of {what}: expected an object, not {_kind(value)}")
    try:
        return normalised(value)
    except (TypeError, ValueError) as error:
        raise ProtocolError(str(error)) from error


def _normal(value: Any, key: str) -> Any:
    try:
        return normal_value(value)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"operation that sets {key[:80]!r}: {error}") from error


def _kind(value: object) -> str:
    """What a JSON value is, for messages that do not repeat the value itself."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"
