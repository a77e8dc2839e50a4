"""Edges that follow from metadata."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.ids import NodeID, Origin
from skydiver.graph import EdgeSpec, Graph, Join, Link, Node, NodeSpec, Op, OpKind, Ownership

CONTAINERS = Ownership("netns", "Inode", "container", "Container.Netns")
PEERS = Link("", "PeerIntfMAC", "", "MAC")


def edges(graph: Graph) -> list[tuple[str, str]]:
    return sorted((edge.parent, edge.child) for edge in graph.edges())


def netns(node_id: str, inode: int) -> NodeSpec:
    return NodeSpec(NodeID(node_id), {"Type": "netns", "Inode": inode})


def container(node_id: str, inode: int) -> NodeSpec:
    return NodeSpec(NodeID(node_id), {"Type": "container", "Container": {"Netns": inode}})


@pytest.mark.parametrize("order", list(permutations(("join", "netns", "container"))))
def test_the_order_of_arrival_does_not_matter(order: tuple[str, ...], graph: Graph) -> None:
    """Probes start, fail and come back in any order."""
    writer = graph.owned_by("x")
    steps: dict[str, Callable[[], object]] = {
        "join": lambda: graph.add_joins([CONTAINERS]),
        "netns": lambda: writer.upsert(netns("n", 7)),
        "container": lambda: writer.upsert(container("c", 7)),
    }
    for step in order:
        steps[step]()
    assert edges(graph) == [("n", "c")]
    (edge,) = graph.edges()
    assert edge.metadata == {"RelationType": "ownership"}
    assert edge.origin == "agent.h1"


def test_edges_follow_values(graph: Graph) -> None:
    """When either side changes, goes or comes back."""
    graph.add_joins([CONTAINERS])
    writer = graph.owned_by("x")
    writer.upsert(netns("n", 7))
    writer.upsert(netns("m", 8))
    writer.upsert(container("c", 7))
    assert edges(graph) == [("n", "c")]
    writer.upsert(container("c", 8))
    assert edges(graph) == [("m", "c")]
    writer.upsert(netns("m", 9))
    assert edges(graph) == []
    writer.upsert(netns("m", 8))
    assert edges(graph) == [("m", "c")]
    writer.upsert(NodeSpec(NodeID("c"), {"Type": "other", "Container": {"Netns": 8}}))
    assert edges(graph) == []
    writer.upsert(container("c", 8))
    writer.delete(NodeID("c"))
    writer.upsert(container("c", 8))
    assert edges(graph) == [("m", "c")]
    writer.delete(NodeID("m"))
    assert edges(graph) == []
    assert graph.statement_count() == 2


def test_patches_count_too(graph: Graph) -> None:
    """Values may come in by parts."""
    graph.add_joins([CONTAINERS])
    writer = graph.owned_by("x")
    writer.upsert(netns("n", 7))
    writer.upsert(NodeSpec(NodeID("c"), {"Type": "container"}))
    writer.patch(NodeID("c"), [Op(OpKind.SET, "Container.Netns", 7)])
    assert edges(graph) == [("n", "c")]
    writer.patch(NodeID("c"), [Op(OpKind.SET, "Name", "web")])
    assert edges(graph) == [("n", "c")]
    writer.patch(NodeID("c"), [Op(OpKind.DELETE, "Container")])
    assert edges(graph) == []


def test_replicas_are_joined(graph: Graph) -> None:
    """On the analyzer joins link what agents told."""
    graph.add_joins([PEERS])
    for name, metadata in (("a", {"PeerIntfMAC": "02:00"}), ("b", {"MAC": "02:00"})):
        graph.add_node(Node(NodeID(name), metadata, "h2", Origin("agent.h2"), 1, 1))
    (edge,) = graph.edges()
    assert (edge.parent, edge.child) == ("a", "b")
    assert edge.metadata == {"RelationType": "layer2"}
    graph.delete_origin(Origin("agent.h2"))
    assert graph.edge_count() == 0
    assert graph.statement_count() == 0


def test_a_list_counts_with_each_member(graph: Graph) -> None:
    """And several fields must all agree; missing and empty ones agree with nothing."""
    graph.add_joins([Link("sw", ("Rack", "Ports"), "nic", ("Rack", "Port"), "cable", {"Len": 2})])
    writer = graph.owned_by("x")

    def upsert(node_id: str, **metadata: Any) -> None:
        writer.upsert(NodeSpec(NodeID(node_id), metadata))

    upsert("s", Type="sw", Rack=1, Ports=["p1", ["p2"], ""])
    upsert("n1", Type="nic", Rack=1, Port="p1")
    upsert("n2", Type="nic", Rack=[1, 2], Port="p2")
    upsert("n3", Type="nic", Rack=2, Port="p1")
    upsert("n4", Type="nic", Rack=1, Port="")
    upsert("n5", Type="nic", Rack=True, Port="p1")
    upsert("n6", Type="nic", Port="p1")
    assert edges(graph) == [("s", "n1"), ("s", "n2")]
    assert {e.metadata["Len"] for e in graph.edges()} == {2}
    upsert("s", Type="sw", Rack=2, Ports=["p2", "p1"])
    assert edges(graph) == [("s", "n2"), ("s", "n3")]


def test_a_node_is_not_linked_to_itself(graph: Graph) -> None:
    """An interface whose peer bears its own address."""
    graph.add_joins([PEERS])
    graph.owned_by("x").upsert(NodeSpec(NodeID("a"), {"MAC": "02:00", "PeerIntfMAC": "02:00"}))
    assert edges(graph) == []


def test_of_several_owners_the_first_counts(graph: Graph) -> None:
    """And the next when it goes; a node has one owner."""
    graph.add_joins([CONTAINERS])
    writer = graph.owned_by("x")
    writer.upsert(netns("n", 7))
    writer.upsert(netns("m", 7))
    writer.upsert(container("c", 7))
    assert edges(graph) == [("n", "c")]
    writer.delete(NodeID("n"))
    assert edges(graph) == [("m", "c")]
    writer.upsert(netns("n", 7))
    assert edges(graph) == [("m", "c")]


@pytest.mark.parametrize("stated_first", [True, False])
def test_a_stated_owner_counts_more_than_a_join(stated_first: bool, graph: Graph) -> None:
    """Whichever comes first; the join's counts again when it is withdrawn."""
    writer = graph.owned_by("x")
    owns = EdgeSpec(NodeID("host"), NodeID("c"), {"RelationType": "ownership"})
    if stated_first:
        writer.link(owns)
    writer.upsert(netns("n", 7))
    writer.upsert(container("c", 7))
    writer.upsert(NodeSpec(NodeID("host"), {}))
    graph.add_joins([CONTAINERS])
    if not stated_first:
        assert edges(graph) == [("n", "c")]
        writer.link(owns)
    assert edges(graph) == [("host", "c")]
    writer.unlink(NodeID("host"), NodeID("c"), "ownership")
    assert edges(graph) == [("n", "c")]


def test_a_join_is_added_once(graph: Graph) -> None:
    """Several probes may declare the same."""
    graph.add_joins([PEERS])
    graph.add_joins([PEERS, CONTAINERS])
    writer = graph.owned_by("x")
    writer.upsert(NodeSpec(NodeID("a"), {"MAC": "1"}))
    writer.upsert(NodeSpec(NodeID("b"), {"PeerIntfMAC": "1"}))
    assert edges(graph) == [("b", "a")]
    writer.delete(NodeID("a"))
    assert graph.statement_count() == 1


def test_many_children_at_once(graph: Graph) -> None:
    """A parent that comes last links more nodes than listeners may change at once."""
    graph.add_joins([CONTAINERS])
    writer = graph.owned_by("x")
    for i in range(1_000):
        writer.upsert(container(f"c{i}", 7))
    writer.upsert(netns("n", 7))
    assert graph.edge_count() == 1_000


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "Type": st.sampled_from(["p", "c"]),
                "P": st.sampled_from([1, 2, [1, 2]]),
                "C": st.sampled_from([1, 2, [2, 3]]),
            },
        ),
    ),
    max_size=25,
)


@given(STEPS, st.booleans())
def test_joined_edges_are_those_of_the_last_state(
    steps: list[tuple[str, dict[str, Any] | None]], late: bool
) -> None:
    """Whatever came between, the edges are those that a fresh look would draw."""
    join: Join = Link("p", "P", ("c", "p"), "C")
    graph = Graph(host="h1", origin=Origin("agent.h1"))
    if not late:
        graph.add_joins([join])
    writer = graph.owned_by("x")
    for node_id, metadata in steps:
        if metadata is None:
            writer.delete(NodeID(node_id))
        else:
            writer.upsert(NodeSpec(NodeID(node_id), metadata))
    graph.add_joins([join])

    def values(node: Node, key: str) -> set[int]:
        value = node.metadata.get(key, [])
        return set(value) if isinstance(value, list) else {value}

    nodes = list(graph.nodes())
    assert edges(graph) == sorted(
        (parent.id, child.id)
        for parent in nodes
        for child in nodes
        if parent.id != child.id
        and parent.metadata.get("Type") == "p"
        and child.metadata.get("Type") in ("c", "p")
        and values(parent, "P") & values(child, "C")
    )
