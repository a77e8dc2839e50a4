"""A graph as one document, written while the graph goes on."""

import orjson
import pytest

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.graph import Edge, Node
from skydiver.graph.wire import elements_from_json
from skydiver.hub.snapshot import graph_json

ORIGIN = Origin("agent.h1")


@pytest.mark.parametrize("size", [0, 1, 199, 200, 201, 1_000])
async def test_the_pieces_make_one_document(size: int) -> None:
    """Also where a piece ends exactly at the last element; empty lists are not null (§1.5)."""
    nodes = [Node(NodeID(f"n{i}"), {"Name": "x"}, "h1", ORIGIN, 1, 2) for i in range(size)]
    edges = [
        Edge(EdgeID(f"e{i}"), NodeID("n0"), NodeID(f"n{i}"), {}, "h1", ORIGIN, 1, 2)
        for i in range(size)
    ]
    document = orjson.loads(orjson.dumps(await graph_json(iter(nodes), iter(edges))))
    assert list(document) == ["Nodes", "Edges"]
    assert elements_from_json(document, now_ms=0) == (nodes, edges)
