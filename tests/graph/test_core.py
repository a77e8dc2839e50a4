"""Elements in dictionaries: indexes and snapshots."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.filters import And, Eq, Filter, Not, Or
from skydiver.graph import Edge, Node
from skydiver.graph.core import DictCore


def node(node_id: str, metadata: dict[str, Any], origin: str = "agent.h1") -> Node:
    return Node(NodeID(node_id), metadata, "h1", Origin(origin), 1, 1)


def edge(edge_id: str, parent: str, child: str) -> Edge:
    metadata = {"RelationType": "layer2"}
    return Edge(
        EdgeID(edge_id), NodeID(parent), NodeID(child), metadata, "h1", Origin("agent.h1"), 1, 1
    )


def ids(found: Any) -> list[str]:
    return [element.id for element in found]


def emptied(core: DictCore) -> DictCore:
    for found in list(core.nodes()):
        core.remove_node(found)
    return core


VALUES = st.one_of(
    st.sampled_from(["eth0", "eth1", "42", "0", "0x10", ""]),
    st.sampled_from([0, 1, 42, 16]),
    st.sampled_from([True, False, None, 1.5, 42.0]),
)
FIELD = VALUES | st.lists(VALUES, max_size=3) | st.lists(st.lists(VALUES, max_size=2), max_size=2)
STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.none()
        | st.fixed_dictionaries({}, optional={"Name": FIELD, "Type": FIELD, "Other": FIELD}),
    ),
    max_size=20,
)
EQUALITIES = st.builds(
    Eq,
    st.sampled_from(["Name", "Metadata.Name", "Type", "Other"]),
    st.sampled_from(["eth0", "42", "", 0, 1, 42, 16, True, False]),
)
WHERE: st.SearchStrategy[Filter] = EQUALITIES | st.lists(EQUALITIES, max_size=3).flatmap(
    lambda parts: st.sampled_from([And(tuple(parts)), Or(tuple(parts)), Not(tuple(parts))])
)


@given(STEPS, WHERE)
def test_indexes_find_what_a_scan_finds(
    steps: list[tuple[str, dict[str, Any] | None]], where: Filter
) -> None:
    """A value is found by all that it may be taken for: text, number, member of a list."""
    indexed, plain = DictCore(), DictCore(indexes=())
    for node_id, metadata in steps:
        for core in (indexed, plain):
            before = core.node(NodeID(node_id))
            if metadata is not None:
                core.put_node(node(node_id, metadata), before)
            elif before is not None:
                core.remove_node(before)
    assert sorted(ids(indexed.nodes(where))) == sorted(ids(plain.nodes(where)))
    for value in ("eth0", 0, 1, 42):
        assert sorted(ids(indexed.lookup("Name", value))) == sorted(
            ids(plain.lookup("Name", value))
        )
    assert {len(index.sets.table.rows) for index in emptied(indexed)._node_indexes} == {0}


@given(STEPS, st.sampled_from(["Name", "Other"]), st.sampled_from(["42", 42, True, 1, 0]))
def test_lookup_is_strict(
    steps: list[tuple[str, dict[str, Any] | None]], key: str, value: Any
) -> None:
    """Contrary to a filter: the very value, or a list that holds it."""
    core = DictCore()
    for node_id, metadata in steps:
        core.put_node(node(node_id, metadata or {}), core.node(NodeID(node_id)))

    def holds(found: Any) -> bool:
        if isinstance(found, list):
            return any(holds(member) for member in found)
        return type(found) is type(value) and found == value

    expected = [n.id for n in core.nodes() if holds(n.metadata.get(key))]
    assert sorted(ids(core.lookup(key, value))) == sorted(expected)


def test_identifiers_and_origins_are_found_without_a_scan() -> None:
    """Every reconnection of an agent asks for its elements."""
    core = DictCore()
    core.put_node(node("a", {}), None)
    core.put_node(node("b", {}, origin="agent.h2"), None)
    core.put_edge(edge("e", "a", "b"), None)
    assert ids(core.nodes_of("agent.h2")) == ["b"]
    assert ids(core.edges_of("agent.h1")) == ["e"]
    assert ids(core.nodes(Eq("@ID", "b"))) == ["b"]
    assert ids(core.nodes(Eq("@Origin", "agent.h1"))) == ["a"]
    assert ids(core.nodes(Eq("Metadata.@Origin", "agent.h1"))) == []
    assert ids(core.nodes(Eq("@ID", "nope"))) == []
    bare = DictCore(indexes=())
    bare.put_node(node("a", {}), None)
    assert ids(bare.nodes_of("agent.h1")) == ["a"]


def test_edges_are_found_at_both_ends() -> None:
    """An edge that leads back to its node is at both."""
    core = DictCore()
    for name in "abc":
        core.put_node(node(name, {}), None)
    for name, parent, child in (("1", "a", "b"), ("2", "a", "c"), ("3", "a", "a")):
        core.put_edge(edge(name, parent, child), None)
    assert ids(core.out_edges(NodeID("a"))) == ["1", "2", "3"]
    assert ids(core.in_edges(NodeID("a"))) == ["3"]
    core.remove_edge(edge("3", "a", "a"))
    assert ids(core.in_edges(NodeID("a"))) == []
    assert ids(core.edges(Eq("Child", "c"))) == ["2"]


@pytest.mark.parametrize("count", [3, 50])
def test_a_snapshot_stays_as_it_was(count: int) -> None:
    """Nodes, edges, neighbourhoods and indexes alike, also of a node with many edges."""
    core = DictCore()
    core.put_node(node("hub", {"Name": "hub"}), None)
    for i in range(count):
        core.put_node(node(f"n{i}", {"Name": "leaf"}), None)
        core.put_edge(edge(f"e{i}", "hub", f"n{i}"), None)
    before = core.view()
    assert core.view() is before
    for i in range(count):
        core.remove_edge(edge(f"e{i}", "hub", f"n{i}"))
        core.remove_node(node(f"n{i}", {"Name": "leaf"}))
    core.put_node(node("hub", {"Name": "other"}), node("hub", {"Name": "hub"}))
    assert before.node_count() == count + 1
    assert before.edge_count() == count
    assert len(list(before.out_edges(NodeID("hub")))) == count
    assert len(list(before.lookup("Name", "leaf"))) == count
    assert ids(before.nodes(Eq("Name", "hub"))) == ["hub"]
    after = core.view()
    assert after.node_count() == 1
    assert list(after.lookup("Name", "leaf")) == []
    assert ids(after.nodes(Eq("Name", "other"))) == ["hub"]


def test_iteration_goes_on_while_the_graph_changes() -> None:
    """A generator over a snapshot holds it, though nobody else does."""
    core = DictCore()
    for name in "abc":
        core.put_node(node(name, {}), None)
    seen = []
    for found in core.view().nodes():
        seen.append(found.id)
        core.remove_node(found)
    assert seen == ["a", "b", "c"]
    assert core.node_count() == 0
