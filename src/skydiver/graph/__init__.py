"""Graph engine: elements, events, indexes, joins."""

from skydiver.graph.core import DEFAULT_INDEXES
from skydiver.graph.elements import Edge, EdgeSpec, Element, Metadata, Node, NodeSpec
from skydiver.graph.events import EventKind, GraphEvent, Listener, Op, OpKind
from skydiver.graph.graph import Graph
from skydiver.graph.joins import Join, Link, Ownership
from skydiver.graph.view import GraphView
from skydiver.graph.writer import Writer

__all__ = [
    "DEFAULT_INDEXES",
    "Edge",
    "EdgeSpec",
    "Element",
    "EventKind",
    "Graph",
    "GraphEvent",
    "GraphView",
    "Join",
    "Link",
    "Listener",
    "Metadata",
    "Node",
    "NodeSpec",
    "Op",
    "OpKind",
    "Ownership",
    "Writer",
]
