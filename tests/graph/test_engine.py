"""Changes told in order, whatever listeners do."""

from __future__ import annotations

import pytest

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.base.losses import Losses, LossReason
from skydiver.graph import Edge, EventKind, Graph, GraphEvent, Node
from skydiver.graph.engine import MAX_NESTED


def node(node_id: str) -> Node:
    return Node(NodeID(node_id), {}, "h2", Origin("agent.h2"), 1, 1)


def edge(edge_id: str, parent: str, child: str) -> Edge:
    return Edge(EdgeID(edge_id), NodeID(parent), NodeID(child), {}, "h2", Origin("agent.h2"), 1, 1)


def test_all_listeners_see_all_events_in_the_same_order(graph: Graph) -> None:
    """Also those caused by a listener while the first is being told."""
    seen: list[tuple[str, str]] = []

    def first(event: GraphEvent) -> None:
        seen.append(("first", event.after.id))
        if event.after.id == "a":
            graph.add_node(node("b"))

    graph.subscribe(first)
    graph.subscribe(lambda event: seen.append(("second", event.after.id)))
    graph.add_node(node("a"))
    assert seen == [("first", "a"), ("second", "a"), ("first", "b"), ("second", "b")]


def test_a_listener_that_fails_harms_nobody(
    graph: Graph, losses: Losses, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and counted, and the others are told."""
    seen: list[str] = []

    def fails(event: GraphEvent) -> None:
        raise KeyError("bug")

    graph.subscribe(fails)
    graph.subscribe(lambda event: seen.append(event.after.id))
    graph.add_node(node("a"))
    graph.add_node(node("b"))
    assert seen == ["a", "b"]
    assert losses.counts() == {("graph.listener", LossReason.FAILED): 2}
    assert "a listener failed on added of a" in caplog.text


def test_changes_that_listeners_cause_are_bounded(graph: Graph, losses: Losses) -> None:
    """The change beyond is refused, so what was told still says what is there."""
    told: list[str] = []

    def storms(event: GraphEvent) -> None:
        if event.after.id == "start":
            for i in range(MAX_NESTED + 10):
                graph.add_node(node(f"n{i}"))

    graph.subscribe(storms)
    graph.subscribe(lambda event: told.append(event.after.id))
    graph.add_node(node("start"))
    assert told == [found.id for found in graph.nodes()]
    assert graph.node_count() == MAX_NESTED + 1
    assert losses.counts() == {("graph.listener", LossReason.FAILED): 1}


def test_unsubscribing_in_the_middle_is_heeded(graph: Graph) -> None:
    """A connection that closes because of an event must not get it any more."""
    seen: list[str] = []
    forget = None

    def first(event: GraphEvent) -> None:
        assert forget is not None
        forget()

    graph.subscribe(first)
    forget = graph.subscribe(lambda event: seen.append(event.after.id))
    graph.add_node(node("a"))
    graph.add_node(node("b"))
    assert seen == []


def test_the_same_listener_can_be_there_twice(graph: Graph) -> None:
    """Each subscription ends by itself."""
    seen: list[str] = []

    def listener(event: GraphEvent) -> None:
        seen.append(event.after.id)

    forget = graph.subscribe(listener)
    graph.subscribe(listener)
    graph.add_node(node("a"))
    forget()
    forget()
    graph.add_node(node("b"))
    assert seen == ["a", "a", "b"]


def test_edges_are_told_before_the_node_that_they_go_with(graph: Graph) -> None:
    """All bear the same time, and nothing is left when the first is told."""
    for name in "abc":
        graph.add_node(node(name))
    graph.add_edge(edge("1", "a", "b"))
    graph.add_edge(edge("2", "c", "a"))
    graph.add_edge(edge("3", "a", "a"))
    events: list[GraphEvent] = []
    left: list[int] = []

    def listener(event: GraphEvent) -> None:
        events.append(event)
        left.append(graph.edge_count())

    graph.subscribe(listener)
    graph.delete_node(NodeID("a"), at_ms=77, cause="peer")
    assert [event.after.id for event in events] == ["1", "3", "2", "a"]
    assert {event.kind for event in events} == {EventKind.DELETED}
    assert {event.after.deleted_at_ms for event in events} == {77}
    assert {event.cause for event in events} == {"peer"}
    assert left == [0, 0, 0, 0]
    assert [n.id for n in graph.nodes()] == ["b", "c"]
