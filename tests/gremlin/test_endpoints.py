"""From flows to nodes."""

from __future__ import annotations

from collections.abc import Iterable

from skydiver.filters import Eq
from skydiver.flow import Flow
from skydiver.graph import GraphView, Node
from skydiver.gremlin.endpoints import Endpoints

FLOWS: list[Flow] = [
    {"NodeTID": "tA", "Link": {"A": "aa", "B": "bb"}},
    {"NodeTID": "gone", "Link": {"A": "cc", "B": "zz"}},
    {"NodeTID": "", "ICMP": {}},
]


def ids(nodes: Iterable[Node]) -> list[str]:
    return [node.id for node in nodes]


def test_flows_without_a_link_layer_or_a_known_node_lead_nowhere(view: GraphView) -> None:
    """The original crashed on them (gremlin.md §15, Q24)."""
    endpoints = Endpoints(view, None)
    assert ids(endpoints.interfaces(FLOWS, sides="AB")) == ["A", "B", "C"]
    assert ids(endpoints.captures(FLOWS)) == ["A"]


def test_the_peer_of_an_interface_counts_for_sides_only(view: GraphView) -> None:
    """`Nodes` looks for the interface itself, `In` and `Out` also behind it."""
    assert ids(Endpoints(view, None).all(FLOWS)) == ["A", "A", "B"]


def test_a_filter_chooses_among_nodes_with_the_same_address(view: GraphView) -> None:
    """A MAC address may be on an interface and on its bridge."""
    assert ids(Endpoints(view, Eq("Type", "veth")).interfaces(FLOWS, sides="AB")) == ["B"]
