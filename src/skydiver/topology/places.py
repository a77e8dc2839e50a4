"""Where a node is: what owns it, and what people call the place."""

from __future__ import annotations

from skydiver.graph import GraphView, Node
from skydiver.topology.vocabulary import Key, NodeType, Relation

LONGEST_PATH = 64
"""Ownership edges from an interface up to its namespace or host."""


def owner_of(view: GraphView, node: Node) -> Node | None:
    """The node that owns `node`."""
    for edge in view.in_edges(node.id):
        if edge.metadata.get(Key.RELATION_TYPE) == Relation.OWNERSHIP:
            return view.node(edge.parent)
    return None


def place(view: GraphView, node: Node) -> str:
    """``namespace/name``, or ``host/name``; the name alone for what nothing owns."""
    name = str(node.metadata.get(Key.NAME) or node.id)
    inner = node
    for _ in range(LONGEST_PATH):
        above = owner_of(view, inner)
        if above is None:
            break
        if above.metadata.get(Key.TYPE) in (NodeType.HOST, NodeType.NETNS):
            return f"{above.metadata.get(Key.NAME) or above.id}/{name}"
        inner = above
    return name
