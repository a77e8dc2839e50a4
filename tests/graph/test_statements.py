"""Stated edges that meet those of owners elsewhere."""

from __future__ import annotations

from typing import Any

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.graph import Edge, EdgeSpec, Graph, Node, NodeSpec, Op, OpKind
from skydiver.graph.relations import relation_edge_id

A, B, C = NodeID("a"), NodeID("b"), NodeID("c")
THEIRS = Origin("agent.h2")


def their_node(node_id: str) -> Node:
    return Node(NodeID(node_id), {}, "h2", THEIRS, 1, 1)


def their_edge(parent: str, child: str, **metadata: Any) -> Edge:
    edge_id = relation_edge_id(NodeID(parent), NodeID(child), "layer2")
    fields = {"RelationType": "layer2", **metadata}
    return Edge(edge_id, NodeID(parent), NodeID(child), fields, "h2", THEIRS, 1, 1, 4)


def stated(parent: str, child: str, **metadata: Any) -> EdgeSpec:
    return EdgeSpec(NodeID(parent), NodeID(child), {"RelationType": "layer2", **metadata})


def test_a_stated_edge_adds_to_that_of_another_program(graph: Graph) -> None:
    """A rule on the analyzer may say more about a link that an agent found."""
    for name in "ab":
        graph.add_node(their_node(name))
    assert graph.add_edge(their_edge("a", "b", Speed=10))
    rule = graph.owned_by("rule")
    rule.link(stated("a", "b", Rack=7))
    (edge,) = graph.edges()
    assert (edge.origin, edge.revision) == (THEIRS, 5)
    assert edge.metadata == {"RelationType": "layer2", "Speed": 10, "Rack": 7}
    assert graph.apply_ops(
        edge.id, kind="edge", ops=[Op(OpKind.SET, "Speed", 20)], revision=5, updated_at_ms=9
    )
    rule.unlink(A, B, "layer2")
    (edge,) = graph.edges()
    assert edge.metadata == {"RelationType": "layer2", "Speed": 20}


def test_an_edge_that_its_owner_removes_is_still_stated_here(graph: Graph) -> None:
    """It comes back as ours."""
    for name in "ab":
        graph.add_node(their_node(name))
    graph.add_edge(their_edge("a", "b", Speed=10))
    graph.owned_by("rule").link(stated("a", "b"))
    assert graph.delete_edge(relation_edge_id(A, B, "layer2"))
    (edge,) = graph.edges()
    assert (edge.origin, edge.metadata) == ("agent.h1", {"RelationType": "layer2"})
    assert graph.delete_edge(edge.id)
    assert graph.edge_count() == 0
    assert graph.statement_count() == 0
    assert not graph.delete_edge(edge.id)


def test_their_edge_arrives_where_ours_waits(graph: Graph) -> None:
    """An ownership that lost to another is still stated when its owner elsewhere adds it."""
    for name in "abc":
        graph.add_node(their_node(name))
    one, two = graph.owned_by("one"), graph.owned_by("two")
    owns = {"RelationType": "ownership"}
    one.link(EdgeSpec(A, C, {**owns, "K": 1}, EdgeID("e")))
    two.link(EdgeSpec(B, C, owns))
    assert [edge.parent for edge in graph.in_edges(C)] == ["b"]
    assert graph.add_edge(Edge(EdgeID("e"), A, C, owns, "h2", THEIRS, 1, 1))
    found = graph.edge(EdgeID("e"))
    assert found is not None
    assert found.metadata == {"RelationType": "ownership", "K": 1}


def test_edges_of_others_go_with_a_node_and_are_not_remembered(graph: Graph) -> None:
    """Only what is stated here waits."""
    for name in "ab":
        graph.add_node(their_node(name))
    graph.add_edge(their_edge("a", "b"))
    graph.owned_by("rule").link(stated("a", "b"))
    graph.delete_node(A)
    assert graph.statement_count() == 1
    graph.add_node(their_node("a"))
    (edge,) = graph.edges()
    assert edge.origin == "agent.h1"


def test_a_statement_on_their_node_ends_with_it(graph: Graph) -> None:
    """What a rule said about a node that is gone must not bring it back."""
    graph.add_node(their_node("a"))
    rule = graph.owned_by("rule")
    rule.upsert(NodeSpec(A, {"Rack": 7}))
    graph.delete_node(A)
    assert graph.node_count() == 0
    assert graph.statement_count() == 0
    with rule.resync():
        pass
    graph.add_node(their_node("a"))
    found = graph.node(A)
    assert found is not None
    assert found.metadata == {}
