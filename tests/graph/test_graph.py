"""The graph as a whole: rules of replicas, and what holds after any sequence of changes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.filters import Eq
from skydiver.graph import (
    Edge,
    EdgeSpec,
    EventKind,
    Graph,
    GraphEvent,
    GraphView,
    Link,
    Node,
    NodeSpec,
    Op,
    OpKind,
    Ownership,
    Writer,
)
from skydiver.graph.metadata import same
from skydiver.graph.wire import (
    GraphMessage,
    edge_from_json,
    event_message,
    node_from_json,
    partial_from_json,
)

A, B = NodeID("a"), NodeID("b")
THEIRS = Origin("agent.h2")


def node(node_id: str, revision: int = 1, **metadata: Any) -> Node:
    return Node(NodeID(node_id), metadata, "h2", THEIRS, 5, 6, revision)


def edge(edge_id: str, parent: str, child: str, revision: int = 1, **metadata: Any) -> Edge:
    return Edge(
        EdgeID(edge_id), NodeID(parent), NodeID(child), metadata, "h2", THEIRS, 5, 6, revision
    )


def put(key: str, value: Any) -> Op:
    return Op(OpKind.SET, key, value)


@pytest.fixture
def events(graph: Graph) -> list[GraphEvent]:
    events: list[GraphEvent] = []
    graph.subscribe(events.append)
    return events


def test_a_known_id_is_not_added_again(graph: Graph, events: list[GraphEvent]) -> None:
    """A second Sync brings mostly what is known (api.md §1.8)."""
    assert graph.add_node(node("a", Name="x"), cause="hub.agent.h2")
    assert not graph.add_node(node("a", Name="y"))
    assert graph.node(A) == node("a", Name="x")
    assert [event.cause for event in events] == ["hub.agent.h2"]


def test_an_edge_needs_its_ends(graph: Graph) -> None:
    """It is dropped, not kept for later (api.md §1.8)."""
    graph.add_node(node("a"))
    assert not graph.add_edge(edge("e", "a", "b"))
    graph.add_node(node("b"))
    assert graph.edge_count() == 0
    assert graph.add_edge(edge("e", "a", "b"))
    assert not graph.add_edge(edge("e", "b", "a"))
    assert [found.parent for found in graph.edges()] == ["a"]


def test_a_full_update_needs_a_newer_revision(graph: Graph, events: list[GraphEvent]) -> None:
    """It replaces metadata, time and revision, and nothing else."""
    graph.add_node(node("a", 3, Name="x", State="UP"))
    assert not graph.replace_node(node("a", 3, Name="y"))
    assert not graph.replace_node(node("b", 9))
    newer = Node(A, {"Name": "y"}, "other", Origin("other"), 99, 100, 5)
    assert graph.replace_node(newer, cause="c")
    found = graph.node(A)
    assert found == Node(A, {"Name": "y"}, "h2", THEIRS, 5, 100, 5)
    assert events[-1] == GraphEvent(
        EventKind.UPDATED, node("a", 3, Name="x", State="UP"), found, None, "c"
    )


def test_edges_follow_the_same_rules(graph: Graph) -> None:
    """Upstream an edge did not keep the new revision (api.md §1.8)."""
    graph.add_node(node("a"))
    graph.add_node(node("b"))
    graph.add_edge(edge("e", "a", "b", 2, K=1))
    assert not graph.replace_edge(edge("e", "a", "b", 2, K=2))
    assert graph.replace_edge(edge("e", "a", "b", 3, K=2))
    assert not graph.replace_edge(edge("e", "a", "b", 3, K=3))
    assert graph.apply_ops("e", kind="edge", ops=[put("L", 1)], revision=4, updated_at_ms=7)
    assert not graph.apply_ops("x", kind="edge", ops=[], revision=4, updated_at_ms=7)
    found = graph.edge(EdgeID("e"))
    assert found == Edge(EdgeID("e"), A, B, {"K": 2, "L": 1}, "h2", THEIRS, 5, 7, 4)


def test_a_partial_update(graph: Graph, events: list[GraphEvent]) -> None:
    """Operations in order; those that cannot be done are skipped; without any only the time goes
    on (api.md §2.7)."""
    graph.add_node(node("a", 3, Name="x"))
    ops = [put("State", "UP"), put("Name.first", 1), put("O.p", 1), Op(OpKind.DELETE, "O.p")]
    assert graph.apply_ops("a", kind="node", ops=ops, revision=4, updated_at_ms=7, cause="c")
    assert events[-1].after == Node(A, {"Name": "x", "State": "UP"}, "h2", THEIRS, 5, 7, 4)
    assert (events[-1].ops, events[-1].cause) == (tuple(ops), "c")
    assert not graph.apply_ops("a", kind="node", ops=ops, revision=4, updated_at_ms=8)
    assert not graph.apply_ops("b", kind="node", ops=ops, revision=4, updated_at_ms=8)
    assert graph.apply_ops("a", kind="node", ops=(), revision=9, updated_at_ms=8)
    found = graph.node(A)
    assert found is not None
    assert (found.revision, found.metadata) == (9, {"Name": "x", "State": "UP"})


def test_deletion_is_stamped(graph: Graph, events: list[GraphEvent], clock: Any) -> None:
    """With the time that came, or else with now: a store needs one."""
    graph.add_node(node("a"))
    graph.add_node(node("b"))
    clock.now_ms = 50
    assert graph.delete_node(A)
    assert graph.delete_node(B, at_ms=40, cause="c")
    assert not graph.delete_node(B)
    stamps = [event.after.deleted_at_ms for event in events if event.kind is EventKind.DELETED]
    assert stamps == [50, 40]


def test_all_of_an_origin_go(graph: Graph) -> None:
    """With the edges at its nodes and its edges between nodes of others."""
    other = Origin("agent.h3")
    for name, origin in (("a", THEIRS), ("b", other), ("c", other)):
        graph.add_node(Node(NodeID(name), {}, "h", origin, 1, 1))
    graph.add_edge(Edge(EdgeID("1"), A, B, {}, "h", other, 1, 1))
    graph.add_edge(Edge(EdgeID("2"), B, NodeID("c"), {}, "h", THEIRS, 1, 1))
    graph.add_edge(Edge(EdgeID("3"), B, NodeID("c"), {}, "h", other, 1, 1))
    nodes, edges = graph.elements_of(THEIRS)
    assert ([n.id for n in nodes], [e.id for e in edges]) == (["a"], ["2"])
    assert graph.delete_origin(THEIRS, cause="c") == 3
    assert [n.id for n in graph.nodes()] == ["b", "c"]
    assert [e.id for e in graph.edges()] == ["3"]
    assert graph.delete_origin(THEIRS) == 0


def test_the_graph_is_a_view_of_itself(graph: Graph) -> None:
    """What reads a view reads a graph as well."""
    view: GraphView = graph
    graph.add_node(node("a", Name="x"))
    graph.add_node(node("b"))
    graph.add_edge(edge("e", "a", "b"))
    assert [n.id for n in view.nodes(Eq("Name", "x"))] == ["a"]
    assert [n.id for n in view.lookup("Name", "x")] == ["a"]
    assert [e.id for e in view.edges(Eq("Child", "b"))] == ["e"]
    assert [e.id for e in view.out_edges(A)] == ["e"]
    assert [e.id for e in view.in_edges(B)] == ["e"]
    assert (view.node_count(), view.edge_count()) == (2, 1)


def test_edges_share_the_identifiers_of_their_nodes(graph: Graph) -> None:
    """Each message brings its own copy of the same text; most edges have nothing else of size."""
    graph.add_node(node("a" * 40))
    graph.add_edge(edge("e", "".join(["a"] * 40), "".join(["a"] * 40)))
    (found,) = graph.edges()
    (end,) = graph.nodes()
    assert found.parent is end.id
    assert found.child is end.id


def test_the_graph_may_change_while_it_is_walked(graph: Graph) -> None:
    """Listeners and rules do it all the time."""
    for name in "abc":
        graph.add_node(node(name))
    for found in graph.nodes():
        graph.delete_node(found.id)
    assert graph.node_count() == 0


IDS = st.sampled_from("abcde")
SOURCES = st.sampled_from(["one", "two", "three"])
VALUES = st.sampled_from([0, 1, True, "x", None, [1], {"k": 1}, {"k": {"l": 2}}, {}])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "Type": st.sampled_from(["p", "c"]),
        "Name": st.sampled_from(["x", "y"]),
        "IfIndex": VALUES,
        "O": st.dictionaries(st.sampled_from(["k", "l"]), VALUES, max_size=2),
        "dotted.key": VALUES,
    },
)
PATHS = st.sampled_from(["Name", "O.k", "O.k.l", "O", "IfIndex", "P.q"])
OPS = st.lists(
    st.builds(put, PATHS, VALUES) | st.builds(Op, st.just(OpKind.DELETE), PATHS), max_size=3
)
RELATIONS = st.sampled_from(["ownership", "layer2"])


def content(view: GraphView) -> dict[str, Any]:
    """All that a view says, copied."""
    nodes = sorted(view.nodes(), key=lambda n: n.id)
    edges = sorted(view.edges(), key=lambda e: e.id)
    return {
        "nodes": copy.deepcopy(nodes),
        "edges": copy.deepcopy(edges),
        "out": {n.id: sorted(e.id for e in view.out_edges(n.id)) for n in nodes},
        "in": {n.id: sorted(e.id for e in view.in_edges(n.id)) for n in nodes},
        "names": {x: sorted(n.id for n in view.lookup("Name", x)) for x in ("x", "y")},
    }


class AnySequence(RuleBasedStateMachine):
    """Sources state and withdraw, owners elsewhere tell, listeners interfere, views are held."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.graph = Graph(host="h1", origin=Origin("agent.h1"), clock_ms=self.clock_ms)
        self.mirror = Graph(host="h9", origin=Origin("analyzer.h9"))
        self.full_mirror = Graph(host="h8", origin=Origin("analyzer.h8"))
        self.stated: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.known: dict[str, int] = {}
        self.views: list[tuple[GraphView, dict[str, Any]]] = []
        self.revisions: dict[str, int] = {}
        self.theirs: set[str] = set()
        """Nodes of ours that others have told something about."""
        self.graph.add_joins(
            [Link("p", "Name", "c", "Name"), Ownership("p", "IfIndex", "c", "O.k")]
        )
        self.graph.subscribe(self.interfere)
        self.graph.subscribe(self.check_event)
        self.graph.subscribe(lambda event: mirrored(event, self.mirror, full=False))
        self.graph.subscribe(lambda event: mirrored(event, self.full_mirror, full=True))

    def clock_ms(self) -> int:
        self.now_ms += 1
        return self.now_ms

    def writer(self, source: str) -> Writer:
        return self.graph.owned_by(source)

    def interfere(self, event: GraphEvent) -> None:
        """A part of the program that reacts, as the TID mapper does."""
        if event.kind is EventKind.ADDED and isinstance(event.after, Node):
            self.writer("mapper").patch(event.after.id, [put("TID", event.after.id)])
        elif event.kind is EventKind.DELETED and isinstance(event.after, Edge):
            self.writer("mapper").patch(event.after.child, [Op(OpKind.DELETE, "TID")])

    def check_event(self, event: GraphEvent) -> None:
        """Each event goes on from the revision that was told before."""
        before = None if event.before is None else event.before.revision
        assert self.revisions.get(event.after.id) == before
        match event.kind:
            case EventKind.ADDED:
                self.revisions[event.after.id] = event.after.revision
            case EventKind.UPDATED:
                assert before is not None
                assert event.after.revision > before
                self.revisions[event.after.id] = event.after.revision
            case EventKind.DELETED:
                assert event.after.deleted_at_ms is not None
                del self.revisions[event.after.id]

    @rule(source=SOURCES, node_id=IDS, fields=FIELDS)
    def upsert(self, source: str, node_id: str, fields: dict[str, Any]) -> None:
        self.writer(source).upsert(NodeSpec(NodeID(node_id), fields))
        self.stated[source, node_id] = copy.deepcopy(fields)

    @rule(source=SOURCES, node_id=IDS)
    def delete(self, source: str, node_id: str) -> None:
        self.writer(source).delete(NodeID(node_id))
        self.stated.pop((source, node_id), None)

    @rule(node_id=IDS, value=st.integers(0, 3))
    def enrich(self, node_id: str, value: int) -> None:
        self.writer("knower").enrich(NodeID(node_id), {"Known": value})
        self.known[node_id] = value

    @rule(node_id=IDS)
    def forget(self, node_id: str) -> None:
        self.writer("knower").delete(NodeID(node_id))
        self.known.pop(node_id, None)

    @rule(source=SOURCES, node_id=IDS, ops=OPS)
    def patch(self, source: str, node_id: str, ops: list[Op]) -> None:
        self.writer(f"{source}.patches").patch(NodeID(node_id), ops)

    @rule(source=SOURCES, parent=IDS, child=IDS, relation=RELATIONS, value=VALUES)
    def link(self, source: str, parent: str, child: str, relation: str, value: Any) -> None:
        metadata = {"RelationType": relation, "K": value}
        self.writer(source).link(EdgeSpec(NodeID(parent), NodeID(child), metadata))

    @rule(source=SOURCES, parent=IDS, child=IDS, relation=RELATIONS)
    def unlink(self, source: str, parent: str, child: str, relation: str) -> None:
        self.writer(source).unlink(NodeID(parent), NodeID(child), relation)

    @rule(source=SOURCES, listed=st.dictionaries(IDS, FIELDS, max_size=4), fails=st.booleans())
    def resync(self, source: str, listed: dict[str, dict[str, Any]], fails: bool) -> None:
        try:
            with self.writer(source).resync() as snapshot:
                for node_id, fields in listed.items():
                    snapshot.upsert(NodeSpec(NodeID(node_id), fields))
                    self.stated[source, node_id] = copy.deepcopy(fields)
                if fails:
                    raise ConnectionError
        except ConnectionError:
            return
        for key in list(self.stated):
            if key[0] == source and key[1] not in listed:
                del self.stated[key]

    @rule(node_id=st.sampled_from("efg"), fields=FIELDS)
    def add_theirs(self, node_id: str, fields: dict[str, Any]) -> None:
        self.graph.add_node(node(node_id, **fields))

    @rule(node_id=st.sampled_from("abefg"), fields=FIELDS, revision=st.integers(1, 30))
    def replace_theirs(self, node_id: str, fields: dict[str, Any], revision: int) -> None:
        self.theirs.add(node_id)
        self.graph.replace_node(node(node_id, revision, **fields))

    @rule(node_id=st.sampled_from("abefg"), ops=OPS, revision=st.integers(1, 30))
    def apply_theirs(self, node_id: str, ops: list[Op], revision: int) -> None:
        self.theirs.add(node_id)
        self.graph.apply_ops(node_id, kind="node", ops=ops, revision=revision, updated_at_ms=1)

    @rule(node_id=st.sampled_from("aefg"))
    def delete_theirs(self, node_id: str) -> None:
        if self.graph.delete_node(NodeID(node_id)):
            for key in [key for key in self.stated if key[1] == node_id]:
                del self.stated[key]

    @rule(parent=IDS, child=st.sampled_from("efg"))
    def add_their_edge(self, parent: str, child: str) -> None:
        self.graph.add_edge(edge(f"{parent}{child}", parent, child, RelationType="layer2"))

    @rule()
    def delete_their_origin(self) -> None:
        self.graph.delete_origin(THEIRS)
        there = {found.id for found in self.graph.nodes()}
        for key in [key for key in self.stated if key[1] not in there]:
            del self.stated[key]

    @rule()
    def hold_a_view(self) -> None:
        view = self.graph.view()
        self.views = [*self.views[-2:], (view, content(view))]

    @invariant()
    def replicas_equal_the_source(self) -> None:
        """Whether they were told operations or whole elements."""
        source = content(self.graph)
        for mirror in (self.mirror, self.full_mirror):
            assert orjson.dumps(plain(content(mirror))) == orjson.dumps(plain(source))

    @invariant()
    def views_stay_as_they_were(self) -> None:
        for view, expected in self.views:
            assert content(view) == expected

    @invariant()
    def stated_nodes_are_there(self) -> None:
        """And each source's statement, where no other speaks about the same."""
        for (source, node_id), fields in self.stated.items():
            found = self.graph.node(NodeID(node_id))
            assert found is not None
            others: dict[str, Any] = {}
            for (other, other_id), stated in self.stated.items():
                if other != source and other_id == node_id:
                    others.update(stated)
            for key, value in fields.items():
                if key in others or key in PATCHED or node_id in self.theirs:
                    continue
                if found.origin == "agent.h1":
                    assert same(found.metadata[key], value)

    @invariant()
    def what_is_known_of_a_node_shows_while_it_is_there(self) -> None:
        for found in self.graph.nodes():
            assert found.metadata.get("Known") == self.known.get(found.id)

    @invariant()
    def nodes_have_one_stated_owner(self) -> None:
        for found in self.graph.nodes():
            owners = [
                e
                for e in self.graph.in_edges(found.id)
                if e.metadata.get("RelationType") == "ownership" and e.origin == "agent.h1"
            ]
            assert len(owners) <= 1

    @invariant()
    def edges_have_their_ends(self) -> None:
        for found in self.graph.edges():
            assert self.graph.node(found.parent) is not None
            assert self.graph.node(found.child) is not None


PATCHED = {"Name", "O", "IfIndex", "P"}


def plain(told: dict[str, Any]) -> dict[str, Any]:
    """What a replica must know: keys in order, since objects have none."""
    elements = [
        {
            "id": e.id,
            "revision": e.revision,
            "updated": e.updated_at_ms,
            "created": e.created_at_ms,
            "origin": e.origin,
            "host": e.host,
            "metadata": orjson.loads(orjson.dumps(e.metadata, option=orjson.OPT_SORT_KEYS)),
        }
        for e in (*told["nodes"], *told["edges"])
    ]
    return {"elements": elements, "out": told["out"], "in": told["in"], "names": told["names"]}


def mirrored(event: GraphEvent, mirror: Graph, *, full: bool) -> None:
    """Apply an event to a replica as it comes over the wire."""
    kind, document = event_message(event, policy="full" if full else "partial")
    received = orjson.loads(orjson.dumps(document))
    match kind:
        case GraphMessage.NODE_ADDED:
            assert mirror.add_node(node_from_json(received, now_ms=0))
        case GraphMessage.NODE_UPDATED:
            assert mirror.replace_node(node_from_json(received, now_ms=0))
        case GraphMessage.NODE_DELETED:
            assert mirror.delete_node(NodeID(received["ID"]), at_ms=received["DeletedAt"])
        case GraphMessage.EDGE_ADDED:
            assert mirror.add_edge(edge_from_json(received, now_ms=0))
        case GraphMessage.EDGE_UPDATED:
            assert mirror.replace_edge(edge_from_json(received, now_ms=0))
        case GraphMessage.EDGE_DELETED:
            assert mirror.delete_edge(EdgeID(received["ID"]), at_ms=received["DeletedAt"])
        case _:
            update = partial_from_json(received, now_ms=0)
            assert mirror.apply_ops(
                update.id,
                kind="node" if kind is GraphMessage.NODE_PARTIALLY_UPDATED else "edge",
                ops=update.ops,
                revision=update.revision,
                updated_at_ms=update.updated_at_ms,
            )


AnySequence.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnySequence = AnySequence.TestCase
