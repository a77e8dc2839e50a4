"""A graph in the language of Graphviz."""

from __future__ import annotations

from typing import Any

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.graph import Edge, Node
from skydiver.graph.dot import dot


def node(node_id: str, **metadata: Any) -> Node:
    return Node(NodeID(node_id), metadata, "h", Origin("o"), 1, 1)


def edge(parent: str, child: str, **metadata: Any) -> Edge:
    return Edge(EdgeID("e"), NodeID(parent), NodeID(child), metadata, "h", Origin("o"), 1, 1)


def test_nodes_and_edges() -> None:
    """Labels and arrows as gremlin.md §13.11 says."""
    nodes = [
        node("0123456789", Name="host1", Type="host", Other=1),
        node("eth", Name="eth0", Type="device", IfIndex=2, IPV4=["10.0.0.1/24"]),
    ]
    edges = [
        edge("0123456789", "eth", RelationType="ownership"),
        edge("eth", "0123456789", RelationType="layer2"),
        edge("eth", "eth"),
        edge("eth", "gone", RelationType="layer2"),
    ]
    assert dot(nodes, edges).splitlines() == [
        "digraph g {",
        r'  "host1-01234567" [label="host1-01234567\nType = host"]',
        r'  "eth0-eth" [label="eth0-eth\nType = device\nIfIndex = 2\nIPV4 = [\"10.0.0.1/24\"]"]',
        '  "host1-01234567" -> "eth0-eth" [label="ownership",dir=forward]',
        '  "eth0-eth" -> "host1-01234567" [label="layer2",dir=both]',
        '  "eth0-eth" -> "eth0-eth"',
        "}",
    ]


def test_names_cannot_leave_their_quotes() -> None:
    """A container may be called anything."""
    text = dot([node("n", Name='a"]\\;\nb')], [])
    assert text.splitlines()[1] == r'  "a\"]\\;\nb-n" [label="a\"]\\;\nb-n"]'
