"""Identifiers that follow from what nodes and edges are."""

from __future__ import annotations

from skydiver.base.ids import NodeID, id_from_parts
from skydiver.topology import (
    fabric_node_id,
    host_node_id,
    link_node_id,
    netns_node_id,
    node_rule_id,
    published_edge_id,
    relation_edge_id,
)

A, B = NodeID("A"), NodeID("B")


def test_published_vectors() -> None:
    """Programs of either kind must agree on these (topology-probes.md §4)."""
    assert id_from_parts("a", "b") == "e557c849-a9bd-5c1d-ad6c-db261d9c9e22"
    assert relation_edge_id(A, B, "ownership") == "6a472590-205a-5279-ae7f-955322ad3f43"
    assert relation_edge_id(A, B, "layer2") == "48d29edd-af72-5715-a949-4a174e08dfd2"
    assert fabric_node_id("TOR") == "a5182659-131c-596b-9ef0-72e175ae886d"
    assert node_rule_id("fabric", "TestNode") == "6e349e33-bed8-5252-9549-fd6824db4db4"


def test_edges_without_id_are_named_by_their_ends() -> None:
    """Plain concatenation, so that publishing twice gives one edge (api.md §1.7)."""
    assert published_edge_id(A, B) == relation_edge_id(A, B, "")


def test_every_thing_has_its_own() -> None:
    """A new namespace at an old index is a new interface."""
    made = [
        host_node_id("h1"),
        host_node_id("h2"),
        netns_node_id("h1", 4, 7),
        netns_node_id("h1", 5, 7),
        netns_node_id("h2", 4, 7),
        link_node_id("h1", 7, 1),
        link_node_id("h1", 7, 2),
        link_node_id("h1", 8, 1),
        link_node_id("h2", 7, 1),
    ]
    assert len(set(made)) == len(made)
    assert netns_node_id("h1", 4, 7) == netns_node_id("h1", 4, 7)
