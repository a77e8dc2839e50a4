"""People know an interface by its namespace and its name, not by an identifier."""

from __future__ import annotations

from skydiver.base.ids import NodeID, Origin
from skydiver.graph import EdgeSpec, Graph, NodeSpec
from skydiver.topology.places import owner_of, place


def test_a_place_is_the_nearest_namespace_or_host_and_the_name() -> None:
    """Bridges and bonds between do not count; without an owner the name must do."""
    graph = Graph(host="h1", origin=Origin("agent.h1"))
    writer = graph.owned_by("test")
    for id_, type_, owner in (
        ("h1", "host", ""),
        ("web", "netns", "h1"),
        ("br0", "ovsbridge", "h1"),
        ("eth0", "veth", "web"),
        ("port", "ovsport", "br0"),
        ("lost", "veth", ""),
    ):
        writer.upsert(NodeSpec(NodeID(id_), {"Type": type_, "Name": id_}))
        if owner:
            writer.link(EdgeSpec(NodeID(owner), NodeID(id_), {"RelationType": "ownership"}))
    places = {str(node.id): place(graph, node) for node in graph.nodes()}
    assert (places["eth0"], places["port"], places["lost"]) == ("web/eth0", "h1/port", "lost")
    port = graph.node(NodeID("port"))
    assert port is not None
    owner_node = owner_of(graph, port)
    assert owner_node is not None
    assert owner_node.id == "br0"
