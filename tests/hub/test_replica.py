"""Keeping a copy of somebody's elements: what a synchronisation changes, and what it leaves."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.graph import Edge, EventKind, Graph, GraphEvent, Node, Op, OpKind
from skydiver.hub.replica import Replica

AGENT = Origin("agent.h1")
OTHER = Origin("seed.s1")


class Copy:
    """A graph with the replica of one agent."""

    def __init__(self, *, carries: bool = True) -> None:
        self.graph = Graph(host="a1", origin=Origin("analyzer.a1"), clock_ms=lambda: 9_000)
        self.events: list[GraphEvent] = []
        self.graph.subscribe(self.events.append)
        self.replica = Replica(
            self.graph, AGENT, carries=carries, turn=asyncio.Lock(), clock_ms=lambda: 9_000
        )

    def kinds(self) -> list[tuple[EventKind, str]]:
        """What happened since last asked."""
        happened: list[tuple[EventKind, str]] = [
            (change.kind, change.after.id) for change in self.events
        ]
        self.events.clear()
        return happened

    def node(self, node_id: str) -> Node:
        found = self.graph.node(NodeID(node_id))
        assert found is not None
        return found


def node(
    node_id: str,
    *,
    revision: int = 1,
    created: int = 1_000,
    origin: Origin = AGENT,
    **metadata: Any,
) -> Node:
    return Node(
        NodeID(node_id),
        {"Type": "device", "Name": node_id, **metadata},
        "h1",
        origin,
        created,
        created + revision,
        revision,
    )


def edge(parent: str, child: str, *, origin: Origin = AGENT, created: int = 1_000) -> Edge:
    return Edge(
        EdgeID(f"{parent}-{child}"),
        NodeID(parent),
        NodeID(child),
        {"RelationType": "layer2"},
        "h1",
        origin,
        created,
        created,
    )


async def test_a_first_sync_adds_everything() -> None:
    """Nodes before edges, each one event, with its origin's own revision and times."""
    copy = Copy()
    await copy.replica.sync([node("a", revision=7), node("b")], [edge("a", "b")])
    assert copy.kinds() == [
        (EventKind.ADDED, "a"),
        (EventKind.ADDED, "b"),
        (EventKind.ADDED, "a-b"),
    ]
    assert copy.node("a") == node("a", revision=7)


async def test_a_sync_without_changes_makes_no_event() -> None:
    """A thousand agents come back to a restarted analyzer, and nothing has happened."""
    copy = Copy()
    for _ in range(2):
        await copy.replica.sync([node("a"), node("b")], [edge("a", "b")])
    assert len(copy.kinds()) == 3


async def test_a_sync_applies_the_difference_only() -> None:
    """Gone, new and changed elements; the others are left alone."""
    copy = Copy()
    await copy.replica.sync([node("a"), node("b"), node("c")], [edge("a", "b"), edge("a", "c")])
    copy.kinds()
    await copy.replica.sync([node("a", revision=3, MTU=1), node("b"), node("d")], [edge("a", "d")])
    assert copy.kinds() == [
        (EventKind.DELETED, "a-b"),
        (EventKind.DELETED, "a-c"),
        (EventKind.DELETED, "c"),
        (EventKind.UPDATED, "a"),
        (EventKind.ADDED, "d"),
        (EventKind.ADDED, "a-d"),
    ]
    assert copy.node("a") == node("a", revision=3, MTU=1)


async def test_elements_of_others_are_neither_taken_nor_removed() -> None:
    """Two hosts must not be able to delete each other's elements."""
    copy = Copy()
    copy.graph.add_node(node("x", origin=OTHER, Owner="seed"))
    await copy.replica.sync([node("x", revision=5), node("a")], [])
    assert copy.node("x").metadata["Owner"] == "seed"
    await copy.replica.sync([], [])
    assert [n.id for n in copy.graph.view().nodes()] == ["x"]


async def test_elements_that_came_through_an_agent_go_with_it() -> None:
    """What a seed published to an agent is reachable through that agent only."""
    copy = Copy()
    seeds = [node("s", origin=OTHER), node("t", origin=OTHER)]
    await copy.replica.sync([node("a"), *seeds], [edge("s", "t", origin=OTHER)])
    copy.kinds()
    await copy.replica.sync([node("a"), seeds[0]], [])
    assert copy.kinds() == [(EventKind.DELETED, "s-t"), (EventKind.DELETED, "t")]
    assert await copy.replica.remove() == 2
    assert copy.graph.view().node_count() == 0


async def test_removing_leaves_the_elements_of_others() -> None:
    """Only edges that touch a removed node go with it."""
    copy = Copy(carries=False)
    copy.graph.add_node(node("x", origin=OTHER))
    copy.graph.add_node(node("y", origin=OTHER))
    copy.graph.add_edge(edge("x", "y", origin=OTHER))
    await copy.replica.sync([node("a")], [])
    copy.graph.add_edge(edge("x", "a", origin=OTHER))
    await copy.replica.remove()
    assert [n.id for n in copy.graph.view().nodes()] == ["x", "y"]
    assert [e.id for e in copy.graph.view().edges()] == ["x-y"]


async def test_an_edge_between_other_nodes_is_another_edge() -> None:
    """The ends of an edge never change in place."""
    copy = Copy()
    nodes = [node("a"), node("b"), node("c")]
    await copy.replica.sync(nodes, [edge("a", "b")])
    moved = Edge(EdgeID("a-b"), NodeID("a"), NodeID("c"), {}, "h1", AGENT, 1_000, 1_000)
    copy.kinds()
    await copy.replica.sync(nodes, [moved])
    assert copy.kinds() == [(EventKind.DELETED, "a-b"), (EventKind.ADDED, "a-b")]
    assert copy.graph.edge(EdgeID("a-b")) == moved


# The origin restarted: same identifiers, revisions from 1, new creation times


async def test_elements_that_outlive_a_restart_of_their_origin_go_on() -> None:
    """Restarting an agent changes nothing that it observes, so nothing changes here."""
    copy = Copy()
    await copy.replica.sync([node("a", revision=8, MTU=1), node("b")], [edge("a", "b")])
    copy.kinds()
    await copy.replica.sync(
        [node("a", created=5_000, MTU=1), node("b", created=5_000)],
        [edge("a", "b", created=5_000)],
    )
    assert copy.kinds() == []
    assert copy.node("a") == node("a", revision=8, MTU=1)


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (1, 1.0), ([0], [False])])
async def test_a_sync_sees_that_a_number_became_a_truth_value(before: Any, after: Any) -> None:
    """Python takes 1 for true, JSON does not: the copy would keep what is no longer true."""
    copy = Copy()
    await copy.replica.sync([node("a", Flag=before)], [])
    await copy.replica.sync([node("a", Flag=after)], [])
    kept: Any = copy.node("a").metadata["Flag"]
    assert repr(kept) == repr(after)


async def test_updates_after_a_restart_are_not_taken_for_old_ones() -> None:
    """The agent counts from 1 again, and subscribers take only greater revisions."""
    copy = Copy()
    await copy.replica.sync([node("a", revision=8), node("b", revision=8)], [])
    await copy.replica.sync([node("a", created=5_000), node("b", created=5_000, MTU=1)], [])
    assert (copy.node("b").revision, copy.node("b").created_at_ms) == (9, 1_000)
    copy.kinds()
    ops = [Op(OpKind.SET, "MTU", 2)]
    for node_id in ("a", "b"):
        assert copy.replica.update_node_partly(
            NodeID(node_id), ops, revision=2, updated_at_ms=5_002
        )
        assert not copy.replica.update_node_partly(
            NodeID(node_id), ops, revision=2, updated_at_ms=5_002
        )
    assert copy.replica.update_node(node("a", revision=3, created=5_000, MTU=3))
    assert copy.kinds() == [
        (EventKind.UPDATED, "a"),
        (EventKind.UPDATED, "b"),
        (EventKind.UPDATED, "a"),
    ]
    assert copy.node("a").metadata["MTU"] == 3
    assert [copy.node(i).revision for i in "ab"] == [10, 10]
    assert copy.node("a").created_at_ms == 1_000


async def test_an_element_that_is_made_anew_begins_anew() -> None:
    """The shift belongs to the element that outlived the restart, not to its identifier."""
    copy = Copy()
    await copy.replica.sync([node("a", revision=8)], [])
    await copy.replica.sync([node("a", created=5_000)], [])
    assert copy.replica.delete_node(NodeID("a"), at_ms=6_000)
    assert copy.replica.add_node(node("a", created=7_000))
    assert copy.replica.update_node(node("a", created=7_000, revision=2, MTU=1))
    assert copy.node("a") == node("a", created=7_000, revision=2, MTU=1)


@pytest.mark.parametrize("restarted", [False, True])
@given(data=st.data())
def test_after_any_history_a_sync_makes_both_sides_equal(
    restarted: bool, data: st.DataObject
) -> None:
    """Whatever was lost in between, and whatever follows."""
    asyncio.run(_random_history(restarted, data))


async def _random_history(restarted: bool, data: st.DataObject) -> None:
    names = st.sampled_from("abcdef")
    states = st.dictionaries(names, st.tuples(st.integers(1, 5), st.integers(0, 2)))
    pairs = st.sets(st.tuples(names, names), max_size=4)
    copy = Copy()
    for generation in range(3):
        created = 1_000 * (generation + 1 if restarted else 1)
        state = data.draw(states)
        nodes = [
            # While it is not restarted, an origin never gives two contents the same revision.
            node(n, revision=revision + 10 * generation, created=created, MTU=mtu)
            for n, (revision, mtu) in state.items()
        ]
        edges = [
            edge(p, c, created=created) for p, c in data.draw(pairs) if p in state and c in state
        ]
        await copy.replica.sync(nodes, edges)
        view = copy.graph.view()
        assert {n.id: n.metadata for n in view.nodes()} == {n.id: n.metadata for n in nodes}
        assert {e.id for e in view.edges()} == {e.id for e in edges}
        if not restarted:
            assert {n.id: n.revision for n in view.nodes()} == {n.id: n.revision for n in nodes}
        for each in nodes:
            update = node(each.id, revision=each.revision + 1, created=created, MTU=9)
            assert copy.replica.update_node(update)
