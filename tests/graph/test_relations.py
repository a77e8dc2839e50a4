"""Names of edges."""

from __future__ import annotations

from skydiver.base.ids import NodeID
from skydiver.graph.relations import linked_edge_id, relation_edge_id, relation_of

A, B = NodeID("A"), NodeID("B")


def test_edges_are_named_as_the_original_names_them() -> None:
    """Published vectors (topology-probes.md §4): two programs must agree on the name of a link."""
    assert relation_edge_id(A, B, "ownership") == "6a472590-205a-5279-ae7f-955322ad3f43"
    assert relation_edge_id(A, B, "layer2") == "48d29edd-af72-5715-a949-4a174e08dfd2"
    peering = linked_edge_id(A, B, {"RelationType": "layer2"})
    assert peering == "4d26ba1f-e972-52f9-9d92-bc05e53d7b4e"


def test_the_order_of_metadata_does_not_name_an_edge() -> None:
    """Upstream it did, and the same link got one of two names."""
    assert linked_edge_id(A, B, {"x": 1, "y": 2}) == linked_edge_id(A, B, {"y": 2, "x": 1})


def test_a_relation_that_is_no_text_is_none() -> None:
    """Metadata of peers may hold anything."""
    assert relation_of({"RelationType": ["ownership"]}) == ""
    assert relation_of({}) == ""
