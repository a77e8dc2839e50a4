"""Facts of sources: statements, patches, transactions, resynchronisation."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.graph import EdgeSpec, EventKind, Graph, GraphEvent, Node, NodeSpec, Op, OpKind

A, B, C = NodeID("a"), NodeID("b"), NodeID("c")


def spec(node_id: str, **metadata: Any) -> NodeSpec:
    return NodeSpec(NodeID(node_id), metadata)


def owns(parent: str, child: str) -> EdgeSpec:
    return EdgeSpec(NodeID(parent), NodeID(child), {"RelationType": "ownership"})


def linked(parent: str, child: str, **metadata: Any) -> EdgeSpec:
    return EdgeSpec(NodeID(parent), NodeID(child), {"RelationType": "layer2", **metadata})


def put(key: str, value: Any) -> Op:
    return Op(OpKind.SET, key, value)


def drop(key: str) -> Op:
    return Op(OpKind.DELETE, key)


@pytest.fixture
def events(graph: Graph) -> list[GraphEvent]:
    events: list[GraphEvent] = []
    graph.subscribe(events.append)
    return events


def told(events: list[GraphEvent]) -> list[str]:
    """``added a``, … since the last call."""
    taken = [f"{event.kind} {event.after.id}" for event in events]
    events.clear()
    return taken


def owner_of(graph: Graph, child: str) -> list[str]:
    return [edge.parent for edge in graph.in_edges(NodeID(child))]


def test_a_stated_node_belongs_to_this_program(graph: Graph) -> None:
    """Host, origin and times are the graph's, the revision the first."""
    node = graph.owned_by("x").upsert(spec("a", Name="eth0"))
    assert node == Node(A, {"Name": "eth0"}, "h1", Origin("agent.h1"), 1000, 1000, 1)
    assert graph.node(A) is node


def test_stating_the_same_again_changes_nothing(graph: Graph, events: list[GraphEvent]) -> None:
    """Probes restate whole interfaces at each event of the kernel."""
    writer = graph.owned_by("x")
    first = writer.upsert(spec("a", Name="eth0", IPV4=["10.0.0.1/24"]))
    assert writer.upsert(spec("a", Name="eth0", IPV4=["10.0.0.1/24"])) is first
    assert told(events) == ["added a"]


def test_a_change_is_one_revision_and_one_event_with_operations(
    graph: Graph, events: list[GraphEvent], clock: Any
) -> None:
    """What a source stated before and does not now goes."""
    writer = graph.owned_by("x")
    before = writer.upsert(spec("a", Name="eth0", State="DOWN", MTU=1500))
    clock.now_ms = 2_000
    after = writer.upsert(spec("a", Name="eth1", MTU=1500))
    assert (after.revision, after.created_at_ms, after.updated_at_ms) == (2, 1000, 2000)
    assert after.metadata == {"Name": "eth1", "MTU": 1500}
    assert events[1] == GraphEvent(
        EventKind.UPDATED, before, after, (put("Name", "eth1"), drop("State"))
    )


def test_sources_do_not_overwrite_each_other(graph: Graph) -> None:
    """Each may restate and withdraw its own facts."""
    netlink, ovs = graph.owned_by("netlink"), graph.owned_by("ovs")
    netlink.upsert(spec("a", Name="eth0", MTU=1500))
    ovs.upsert(spec("a", Name="port0", Ovs={"UUID": "u"}))
    netlink.upsert(spec("a", Name="eth1"))
    found = graph.node(A)
    assert found is not None
    assert found.metadata == {"Name": "eth1", "Ovs": {"UUID": "u"}}
    netlink.delete(A)
    found = graph.node(A)
    assert found is not None
    assert found.metadata == {"Name": "port0", "Ovs": {"UUID": "u"}}
    ovs.delete(A)
    assert graph.node(A) is None


def test_deleting_what_one_did_not_state_does_nothing(
    graph: Graph, events: list[GraphEvent]
) -> None:
    """A source owns its own facts only."""
    graph.owned_by("x").upsert(spec("a"))
    other = graph.owned_by("y")
    other.patch(A, [put("K", 1)])
    told(events)
    other.delete(A)
    other.delete(B)
    other.unlink(A, B, "layer2")
    assert told(events) == []


def test_an_edge_waits_for_its_ends(graph: Graph, events: list[GraphEvent]) -> None:
    """Probes state links to nodes of others, in whatever order they come."""
    one, two = graph.owned_by("one"), graph.owned_by("two")
    one.link(linked("a", "b"))
    two.upsert(spec("b"))
    assert graph.edge_count() == 0
    two.upsert(spec("a"))
    (edge,) = graph.edges()
    assert (edge.parent, edge.child, edge.origin) == ("a", "b", "agent.h1")
    assert told(events) == ["added b", "added a", f"added {edge.id}"]
    two.delete(A)
    assert told(events) == [f"deleted {edge.id}", "deleted a"]
    two.upsert(spec("a"))
    assert told(events) == ["added a", f"added {edge.id}"]
    one.unlink(A, B, "layer2")
    assert told(events) == [f"deleted {edge.id}"]


def test_deleting_a_node_withdraws_what_the_source_said_of_its_edges(graph: Graph) -> None:
    """Otherwise links of containers long gone would be remembered for ever."""
    writer = graph.owned_by("x")
    for name in "ab":
        writer.upsert(spec(name))
    writer.link(linked("a", "b"))
    writer.delete(B)
    writer.upsert(spec("b"))
    assert graph.edge_count() == 0


def test_an_edge_stays_while_any_source_states_it(graph: Graph) -> None:
    """Its metadata are of all of them."""
    one, two = graph.owned_by("one"), graph.owned_by("two")
    for name in "ab":
        one.upsert(spec(name))
    one.link(linked("a", "b", Speed=10))
    two.link(linked("a", "b", Duplex="full"))
    (edge,) = graph.edges()
    assert edge.metadata == {"RelationType": "layer2", "Speed": 10, "Duplex": "full"}
    assert edge.revision == 2
    one.unlink(A, B, "layer2")
    (edge,) = graph.edges()
    assert edge.metadata == {"RelationType": "layer2", "Duplex": "full"}
    two.unlink(A, B, "layer2")
    assert graph.edge_count() == 0


def test_an_edge_id_that_is_given_is_kept(graph: Graph) -> None:
    """And an edge whose ends change is another edge."""
    writer = graph.owned_by("x")
    for name in "abc":
        writer.upsert(spec(name))
    writer.link(EdgeSpec(A, B, {"RelationType": "layer2"}, EdgeID("e")))
    writer.link(EdgeSpec(A, C, {"RelationType": "layer2"}, EdgeID("e")))
    (edge,) = graph.edges()
    assert (edge.id, edge.child, edge.revision) == ("e", "c", 1)
    writer.unlink(A, C, "layer2")
    assert graph.edge_count() == 0


def test_a_new_owner_replaces_the_old(graph: Graph, events: list[GraphEvent]) -> None:
    """An interface that moves into a namespace leaves the host (topology-probes.md §2.4)."""
    writer = graph.owned_by("x")
    for name in "abc":
        writer.upsert(spec(name))
    writer.link(owns("a", "c"))
    writer.link(owns("b", "c"))
    assert owner_of(graph, "c") == ["b"]
    writer.unlink(B, C, "ownership")
    assert owner_of(graph, "c") == []
    kinds = [event.kind for event in events if event.after.id not in "abc"]
    assert kinds == ["added", "deleted", "added", "deleted"]


def test_the_owner_before_counts_again(graph: Graph) -> None:
    """Two sources disagree; the latest new statement counts, repetition is not new."""
    one, two = graph.owned_by("one"), graph.owned_by("two")
    for name in "abc":
        one.upsert(spec(name))
    one.link(owns("a", "c"))
    two.link(owns("b", "c"))
    one.link(owns("a", "c"))
    assert owner_of(graph, "c") == ["b"]
    two.unlink(B, C, "ownership")
    assert owner_of(graph, "c") == ["a"]


def test_an_owner_that_is_not_there_yet_does_not_count(graph: Graph) -> None:
    """The other one does until it comes, and again when it goes."""
    one, two = graph.owned_by("one"), graph.owned_by("two")
    one.upsert(spec("a"))
    one.upsert(spec("c"))
    one.link(owns("a", "c"))
    two.link(owns("b", "c"))
    assert owner_of(graph, "c") == ["a"]
    two.upsert(spec("b"))
    assert owner_of(graph, "c") == ["b"]
    graph.delete_node(B)
    assert owner_of(graph, "c") == ["a"]


def test_patches(graph: Graph, events: list[GraphEvent]) -> None:
    """On any node, with the operations that did something, one revision for all of them."""
    graph.owned_by("x").upsert(spec("a", Name="n"))
    writer = graph.owned_by("y")
    assert writer.patch(A, [put("M", {"Rx": 1}), put("N.o", 2), drop("nope")])
    assert events[-1].ops == (put("M", {"Rx": 1}), put("N.o", 2))
    assert writer.patch(A, [put("M", {"Rx": 1.0})])
    assert len(events) == 2
    assert not writer.patch(B, [put("M", 1)])
    found = graph.node(A)
    assert found is not None
    assert (found.revision, found.metadata) == (2, {"Name": "n", "M": {"Rx": 1}, "N": {"o": 2}})


def test_a_patch_cannot_change_what_another_source_states(graph: Graph) -> None:
    """It shows when the other withdraws it."""
    one = graph.owned_by("one")
    one.upsert(spec("a", Name="n"))
    graph.owned_by("two").patch(A, [put("Name", "m"), drop("Name"), put("Name", "m")])
    found = graph.node(A)
    assert found is not None
    assert found.metadata == {"Name": "n"}
    assert one.upsert(spec("a")).metadata == {"Name": "m"}


def test_a_transaction_is_one_revision(graph: Graph, events: list[GraphEvent]) -> None:
    """Of each node; nothing is told before the end."""
    writer = graph.owned_by("x")
    for name in "ab":
        writer.upsert(spec(name))
    told(events)
    with writer.transaction():
        writer.patch(A, [put("K", 1)])
        with writer.transaction():
            writer.patch(B, [put("K", 1)])
        writer.patch(A, [put("L", 2)])
        assert not writer.patch(C, [put("K", 1)])
        assert told(events) == []
    assert [event.ops for event in events] == [(put("K", 1), put("L", 2)), (put("K", 1),)]


def test_a_transaction_that_fails_changes_nothing(graph: Graph, events: list[GraphEvent]) -> None:
    """Half of what belongs together is worse than nothing."""
    writer = graph.owned_by("x")
    writer.upsert(spec("a"))
    told(events)
    with suppress(ConnectionError), writer.transaction():
        writer.patch(A, [put("K", 1)])
        raise ConnectionError
    writer.patch(A, [put("L", 1)])
    assert [event.ops for event in events] == [(put("L", 1),)]


def test_a_statement_inside_a_transaction_comes_after_earlier_patches(graph: Graph) -> None:
    """In the order in which they were made."""
    writer = graph.owned_by("x")
    writer.upsert(spec("a", State="DOWN"))
    with writer.transaction():
        writer.patch(A, [put("State", "UP")])
        writer.upsert(spec("a", State="GONE"))
    found = graph.node(A)
    assert found is not None
    assert found.metadata == {"State": "GONE"}


def test_what_a_listing_did_not_state_is_withdrawn(graph: Graph) -> None:
    """Nodes and edges of this source; those of others stay."""
    writer = graph.owned_by("x")
    other = graph.owned_by("y")
    for name in "abc":
        writer.upsert(spec(name))
    other.upsert(spec("d"))
    writer.link(linked("a", "b"))
    writer.link(linked("a", "c"))
    other.link(linked("d", "a"))
    with writer.resync() as snapshot:
        for name in "ab":
            snapshot.upsert(spec(name))
        snapshot.link(linked("a", "b"))
    assert [node.id for node in graph.nodes()] == ["a", "b", "d"]
    assert [(edge.parent, edge.child) for edge in graph.edges()] == [("a", "b"), ("d", "a")]


def test_a_failed_listing_deletes_nothing(graph: Graph) -> None:
    """Half a list is no evidence that the other half is gone."""
    node = graph.owned_by("docker.h1").upsert(spec("old"))
    with suppress(ConnectionError), graph.owned_by("docker.h1").resync():
        raise ConnectionError
    assert graph.node(node.id) is node


def test_what_comes_beside_a_listing_counts_as_listed(graph: Graph) -> None:
    """An event handled by another task during a listing is newer than the list."""
    writer = graph.owned_by("x")
    writer.upsert(spec("old"))
    with writer.resync() as snapshot:
        snapshot.upsert(spec("a"))
        graph.owned_by("x").upsert(spec("b"))
    assert [node.id for node in graph.nodes()] == ["a", "b"]


def test_patched_values_survive_a_listing(graph: Graph) -> None:
    """Counters and the like are not part of a list."""
    writer = graph.owned_by("x")
    writer.upsert(spec("a", Name="n"))
    writer.patch(A, [put("Metric", {"RxBytes": 1})])
    with writer.resync() as snapshot:
        snapshot.upsert(spec("a", Name="n"))
    found = graph.node(A)
    assert found is not None
    assert found.metadata == {"Name": "n", "Metric": {"RxBytes": 1}}


def test_a_source_may_speak_about_a_node_of_another_program(
    graph: Graph, events: list[GraphEvent]
) -> None:
    """A rule on the analyzer adds to an agent's node, which goes on being updated."""
    theirs = Node(A, {"Name": "n"}, "h2", Origin("agent.h2"), 1, 1, 5)
    graph.add_node(theirs)
    writer = graph.owned_by("rule")
    writer.patch(A, [put("Rack", 7)])
    assert graph.apply_ops(
        "a", kind="node", ops=[put("State", "UP")], revision=6, updated_at_ms=9, cause="h2"
    )
    assert not graph.apply_ops("a", kind="node", ops=[], revision=6, updated_at_ms=9)
    assert [event.after.revision for event in events] == [5, 6, 7]
    assert events[-1].after.metadata == {"Name": "n", "State": "UP", "Rack": 7}
    assert events[-1].ops == (put("State", "UP"),)
    assert events[-1].cause == "h2"
    assert graph.replace_node(Node(A, {"Name": "m"}, "h2", Origin("agent.h2"), 1, 10, 7))
    found = graph.node(A)
    assert found is not None
    assert (found.revision, found.metadata) == (8, {"Name": "m", "Rack": 7})
    writer.upsert(spec("a", Rack=8))
    writer.delete(A)
    found = graph.node(A)
    assert found is not None
    assert found.metadata == {"Name": "m"}
    graph.delete_node(A)
    assert graph.node_count() == 0


def test_nothing_is_kept_about_what_is_gone(graph: Graph) -> None:
    """Containers come and go by the thousand."""
    writer = graph.owned_by("x")
    for i in range(20):
        writer.upsert(spec("host"))
        writer.upsert(spec(f"c{i}"))
        writer.link(owns("host", f"c{i}"))
        graph.owned_by("tid").patch(NodeID(f"c{i}"), [put("TID", "t")])
        writer.delete(NodeID(f"c{i}"))
    writer.delete(NodeID("host"))
    assert graph.statement_count() == 0


def test_facts_about_a_node_of_another_source_wait_for_it(
    graph: Graph, events: list[GraphEvent]
) -> None:
    """Probes start in any order, and none may make the node of another."""
    hardware, host = graph.owned_by("hardware"), graph.owned_by("host")
    hardware.enrich(A, {"OS": "linux", "Name": "unknown"})
    assert told(events) == []
    assert graph.node(A) is None
    host.upsert(spec("a", Name="h1"))
    assert told(events) == ["added a"]
    node = graph.node(A)
    assert node is not None
    assert node.metadata == {"Name": "h1", "OS": "linux"}


def test_facts_about_a_node_return_with_it(graph: Graph) -> None:
    """A namespace that gets another name is deleted and stated again by its probe."""
    netns, docker = graph.owned_by("netns"), graph.owned_by("docker")
    netns.upsert(spec("a", Name="sleep-1"))
    docker.enrich(A, {"Manager": "docker"})
    docker.link(linked("a", "b"))
    netns.delete(A)
    assert graph.node(A) is None
    node = netns.upsert(spec("a", Name="web"))
    assert node.metadata == {"Name": "web", "Manager": "docker"}
    docker.delete(A)
    netns.delete(A)
    assert graph.node(A) is None
    assert graph.statement_count() == 0


def test_what_is_known_of_a_node_is_withdrawn_by_a_resync(graph: Graph) -> None:
    """Also when the node itself is not there."""
    docker = graph.owned_by("docker")
    docker.enrich(A, {"Manager": "docker"})
    docker.enrich(B, {"Manager": "docker"})
    with docker.resync() as snapshot:
        snapshot.enrich(B, {"Manager": "runc"})
    assert graph.owned_by("netns").upsert(spec("a", Name="x")).metadata == {"Name": "x"}
    node = graph.owned_by("netns").upsert(spec("b", Name="y"))
    assert node.metadata == {"Name": "y", "Manager": "runc"}


def test_a_node_that_nobody_states_any_more_goes_though_something_is_known_of_it(
    graph: Graph,
) -> None:
    """The last to state it changes its mind to only knowing of it."""
    writer = graph.owned_by("x")
    writer.upsert(spec("a", Name="x"))
    writer.enrich(A, {"Name": "x"})
    assert graph.node(A) is None


def test_what_is_known_here_of_a_node_elsewhere_shows_on_it(graph: Graph) -> None:
    """The owner of the node is another program, which may be late."""
    writer = graph.owned_by("rule")
    writer.enrich(A, {"Rack": 3})
    theirs = Node(A, {"Name": "eth0"}, "h2", Origin("agent.h2"), 5, 5, 7)
    assert graph.add_node(theirs)
    node = graph.node(A)
    assert node is not None
    assert (node.metadata, node.host) == ({"Name": "eth0", "Rack": 3}, "h2")
    assert graph.delete_node(A)
    assert graph.add_node(theirs)
    node = graph.node(A)
    assert node is not None
    assert node.metadata == {"Name": "eth0", "Rack": 3}
    writer.delete(A)
    node = graph.node(A)
    assert node is not None
    assert node.metadata == {"Name": "eth0"}


@pytest.mark.parametrize("wrong", ["", 5, None, "\ud800"])
def test_identifiers_are_texts_that_can_be_told(graph: Graph, wrong: Any) -> None:
    """What JSON cannot say would end the connection to the analyzer."""
    writer = graph.owned_by("x")
    with pytest.raises(ValueError, match="an ID is"):
        writer.upsert(NodeSpec(wrong, {}))
    with pytest.raises(ValueError, match="an ID is"):
        writer.enrich(wrong, {})
    with pytest.raises(ValueError, match="an ID is"):
        writer.link(EdgeSpec(A, wrong))
    assert graph.statement_count() == 0


def test_plain_metadata_is_taken_as_it_is(graph: Graph, events: list[GraphEvent]) -> None:
    """Ten thousand interfaces that change at once are not copied on the way."""
    features = {"gro": True}
    stated = {"Name": "eth0", "Features": features}
    writer = graph.owned_by("x")
    node = writer.upsert(NodeSpec(A, stated), plain=True)
    assert node.metadata is stated
    writer.patch(A, [put("Vfs", features)], plain=True)
    node = graph.owned_by("x").upsert(NodeSpec(A, dict(stated)), plain=True)
    assert node.metadata["Vfs"] is features
    assert told(events) == ["added a", "updated a"]
