"""TIDs: identifiers that outlive restarts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.ids import NodeID, Origin, derived_id
from skydiver.graph import EdgeSpec, EventKind, Graph, GraphEvent, NodeSpec, Writer
from skydiver.topology.tid import TidMapper

HOST = "1a21f896-ade2-5afd-9969-4d690a305de0"
NS1 = "a261d0e8-7f2d-5746-aadf-88477dad93c5"
ETH0_IN_NS1 = "f1f61850-56ee-56a3-9d30-b3bff1911d8f"
ETH0_ON_HOST = "977e4931-6549-5ef9-a3ab-f7385ef02ad9"


@pytest.fixture
def graph() -> Graph:
    return Graph(host="host1", origin=Origin("agent.host1"))


@pytest.fixture
def writer(graph: Graph) -> Writer:
    return graph.owned_by("test")


def upsert(writer: Writer, node_id: str, **metadata: Any) -> None:
    writer.upsert(NodeSpec(NodeID(node_id), metadata))


def own(writer: Writer, parent: str, child: str) -> None:
    writer.link(EdgeSpec(NodeID(parent), NodeID(child), {"RelationType": "ownership"}))


def tid(graph: Graph, node_id: str) -> str | None:
    node = graph.node(NodeID(node_id))
    assert node is not None
    found: str | None = node.metadata.get("TID")
    return found


STEPS: list[tuple[str, ...]] = [
    ("node", "host"),
    ("node", "ns1"),
    ("node", "lo"),
    ("node", "eth0"),
    ("node", "web"),
    ("node", "heth0"),
    ("node", "bridge"),
    ("node", "port"),
    ("node", "patch0"),
    ("node", "switch"),
    ("own", "host", "ns1"),
    ("own", "ns1", "lo"),
    ("own", "ns1", "eth0"),
    ("own", "ns1", "web"),
    ("own", "host", "heth0"),
    ("own", "host", "bridge"),
    ("own", "bridge", "port"),
    ("own", "bridge", "patch0"),
]
METADATA: dict[str, dict[str, Any]] = {
    "host": {"Type": "host", "Name": "host1"},
    "ns1": {"Type": "netns", "Name": "ns1", "Path": "/var/run/netns/ns1"},
    "lo": {"Type": "device", "Name": "lo"},
    "eth0": {"Type": "veth", "Name": "eth0"},
    "web": {"Type": "container", "Name": "web"},
    "heth0": {"Type": "device", "Name": "eth0"},
    "bridge": {"Type": "ovsbridge", "Name": "b", "UUID": "11111111-2222-3333-4444-555555555555"},
    "port": {"Type": "ovsport", "Name": "p", "UUID": "11111111-2222-3333-4444-666666666666"},
    "patch0": {"Type": "patch", "Name": "patch0"},
    "switch": {"Type": "switch", "Name": "TOR", "Probe": "fabric"},
}
VECTORS = {
    "host": HOST,
    "ns1": NS1,
    "lo": "eaee89ed-ac8e-57a3-b91b-b413cc8a93a9",
    "eth0": ETH0_IN_NS1,
    "web": "502f3242-ac99-55c0-bba7-1c76d5dd0551",
    "heth0": ETH0_ON_HOST,
    "bridge": "46e13b1b-b358-5af2-bf9d-ae5fd1f93821",
    "port": "dcece3f9-bd33-5e9e-9b9a-04553938b763",
    "patch0": "b88e48ea-8f3e-5b6f-b41c-0abf6046c989",
    "switch": "switch",
}


@given(st.permutations(STEPS), st.integers(0, len(STEPS)))
def test_published_vectors_in_any_order_of_arrival(steps: list[tuple[str, ...]], late: int) -> None:
    """Flows refer to nodes by these over restarts, and so do stored flows of originals
    (topology-probes.md §4)."""
    graph = Graph(host="host1", origin=Origin("agent.host1"))
    writer = graph.owned_by("test")
    for index, step in enumerate(steps):
        if index == late:
            TidMapper(graph)
        if step[0] == "node":
            upsert(writer, step[1], **METADATA[step[1]])
        else:
            own(writer, step[1], step[2])
    if late == len(steps):
        TidMapper(graph)
    assert {name: tid(graph, name) for name in VECTORS} == VECTORS


def test_nothing_is_given_while_something_is_missing(graph: Graph, writer: Writer) -> None:
    """Neither without name nor without type, nor under an owner without."""
    TidMapper(graph)
    upsert(writer, "host", Type="host", Name="host1")
    upsert(writer, "ns", Type="netns", Name="ns1")
    upsert(writer, "a", Type="device")
    upsert(writer, "b", Name="b")
    upsert(writer, "c", Type="device", Name="c")
    own(writer, "host", "ns")
    own(writer, "host", "a")
    own(writer, "host", "b")
    own(writer, "ns", "c")
    assert [tid(graph, name) for name in ("ns", "a", "b", "c")] == [None] * 4
    upsert(writer, "ns", Type="netns", Name="ns1", Path="/var/run/netns/ns1")
    assert tid(graph, "ns") == NS1
    assert tid(graph, "c") == derived_id(f"{NS1}cdevice")


def test_moving_into_a_namespace_changes_it(graph: Graph, writer: Writer) -> None:
    """Nowhere it is lost; a new name does not change it (topology-probes.md §4)."""
    TidMapper(graph)
    upsert(writer, "host", Type="host", Name="host1")
    upsert(writer, "ns", Type="netns", Name="ns1", Path="/var/run/netns/ns1")
    upsert(writer, "x", Type="veth", Name="eth0")
    own(writer, "host", "ns")
    own(writer, "host", "x")
    own(writer, "ns", "x")
    assert tid(graph, "x") == ETH0_IN_NS1
    upsert(writer, "x", Type="veth", Name="renamed")
    assert tid(graph, "x") == ETH0_IN_NS1
    writer.unlink(NodeID("ns"), NodeID("x"), "ownership")
    assert tid(graph, "x") is None
    own(writer, "ns", "x")
    assert tid(graph, "x") == derived_id(f"{NS1}renamedveth")


def test_a_node_that_goes_keeps_its_tid_to_the_end(graph: Graph, writer: Writer) -> None:
    """History would otherwise not find its last state by it."""
    TidMapper(graph)
    upsert(writer, "host", Type="host", Name="host1")
    upsert(writer, "x", Type="device", Name="eth0")
    own(writer, "host", "x")
    events: list[GraphEvent] = []
    graph.subscribe(events.append)
    writer.delete(NodeID("x"))
    assert [event.kind for event in events] == [EventKind.DELETED] * 2
    assert events[-1].after.metadata["TID"] == ETH0_ON_HOST


def test_many_children_wait_for_their_owner(graph: Graph, writer: Writer) -> None:
    """More than a listener may change at once."""
    TidMapper(graph)
    for i in range(1_200):
        upsert(writer, f"x{i}", Type="veth", Name=f"veth{i}")
        own(writer, "host", f"x{i}")
    upsert(writer, "host", Type="host", Name="host1")
    missing = [node.id for node in graph.nodes() if "TID" not in node.metadata]
    assert missing == []
    writer.delete(NodeID("host"))
    left = [node.id for node in graph.nodes() if "TID" in node.metadata]
    assert left == []


def test_a_closed_mapper_does_nothing(graph: Graph, writer: Writer) -> None:
    """What it gave stays."""
    mapper = TidMapper(graph)
    upsert(writer, "host", Type="host", Name="host1")
    mapper.close()
    upsert(writer, "x", Type="device", Name="eth0")
    own(writer, "host", "x")
    assert tid(graph, "host") == HOST
    assert tid(graph, "x") is None


def test_the_mapper_does_not_touch_what_has_one(graph: Graph, writer: Writer) -> None:
    """Node rules give their nodes a TID of their own (topology-probes.md §4)."""
    TidMapper(graph)
    upsert(writer, "n", Type="device", Name="x", TID="mine")
    upsert(writer, "host", Type="host", Name="host1")
    assert tid(graph, "n") == "mine"


def test_a_mapper_that_comes_later_knows_the_host(graph: Graph, writer: Writer) -> None:
    """Its TID may have been given by another before."""
    upsert(writer, "host", Type="host", Name="x", TID=HOST)
    upsert(writer, "bridge", **METADATA["bridge"])
    TidMapper(graph)
    assert tid(graph, "bridge") == VECTORS["bridge"]
    upsert(writer, "port", **METADATA["port"])
    assert tid(graph, "port") == VECTORS["port"]
