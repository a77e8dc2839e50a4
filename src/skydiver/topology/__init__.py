"""Vocabulary: node types, relations, well-known metadata, identifiers."""

from skydiver.topology.identifiers import (
    fabric_node_id,
    host_node_id,
    link_node_id,
    netns_node_id,
    node_rule_id,
    published_edge_id,
    relation_edge_id,
)
from skydiver.topology.vocabulary import (
    AFPACKET_TYPES,
    CAPTURABLE_TYPES,
    Key,
    NodeType,
    Relation,
)

__all__ = [
    "AFPACKET_TYPES",
    "CAPTURABLE_TYPES",
    "Key",
    "NodeType",
    "Relation",
    "fabric_node_id",
    "host_node_id",
    "link_node_id",
    "netns_node_id",
    "node_rule_id",
    "published_edge_id",
    "relation_edge_id",
]
