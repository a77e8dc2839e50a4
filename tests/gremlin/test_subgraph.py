"""A graph made of parts of another."""

from __future__ import annotations

from skydiver.base.ids import NodeID
from skydiver.filters import Eq
from skydiver.graph import GraphView
from skydiver.gremlin.subgraph import SubGraph


def test_edges_without_both_ends_are_not_in_it(view: GraphView) -> None:
    """Nothing can be reached that was not selected."""
    nodes = [node for node in view.nodes() if node.id in ("A", "C")]
    graph = SubGraph(nodes, view.edges())
    assert [edge.id for edge in graph.edges()] == ["eCA"]
    assert (graph.node_count(), graph.edge_count()) == (2, 1)
    assert graph.node(NodeID("H")) is None
    assert [edge.id for edge in graph.in_edges(NodeID("A"))] == ["eCA"]
    assert list(graph.out_edges(NodeID("A"))) == []


def test_it_can_be_searched_like_any_graph(view: GraphView) -> None:
    """Every step works on it, those that look nodes up included."""
    graph = SubGraph(view.nodes(), view.edges())
    assert [node.id for node in graph.lookup("TID", "tA")] == ["A"]
    assert [node.id for node in graph.lookup("IPV4", "10.0.1.1/24")] == ["A"]
    assert list(graph.lookup("TID", "nope")) == []
    assert [node.id for node in graph.nodes(Eq("Type", "veth"))] == ["B"]
    assert [edge.id for edge in graph.edges(Eq("Parent", "C"))] == ["eCA", "eCB"]


def test_doubles_are_there_once(view: GraphView) -> None:
    """Navigation repeats nodes and edges (gremlin.md §15, Q21)."""
    graph = SubGraph([*view.nodes(), *view.nodes()], [*view.edges(), *view.edges()])
    assert (graph.node_count(), graph.edge_count()) == (4, 5)
    assert len(list(graph.out_edges(NodeID("H")))) == 3
