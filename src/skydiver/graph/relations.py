"""What the engine knows about relations: how edges are named, and that ownership is unique."""

from __future__ import annotations

from skydiver.base.ids import EdgeID, NodeID, derived_id, id_from_parts
from skydiver.graph.elements import Edge, Metadata

RELATION_TYPE = "RelationType"
OWNERSHIP = "ownership"
LAYER2 = "layer2"


def relation_edge_id(parent: NodeID, child: NodeID, relation: str) -> EdgeID:
    """The edge that a probe states between two nodes (api.md §1.7)."""
    return EdgeID(derived_id(f"{parent}{child}{relation}"))


def linked_edge_id(parent: NodeID, child: NodeID, metadata: Metadata) -> EdgeID:
    """The edge that a join makes: named by all that it says, keys in order (api.md §1.7)."""
    facts = [str(part) for key in sorted(metadata) for part in (key, metadata[key])]
    return EdgeID(id_from_parts(parent, child, *facts))


def relation_of(metadata: Metadata) -> str:
    """The ``RelationType``, "" when there is none."""
    relation = metadata.get(RELATION_TYPE, "")
    return str(relation) if isinstance(relation, str) else ""


def is_ownership(edge: Edge) -> bool:
    """Whether the parent of `edge` contains its child."""
    return bool(edge.metadata.get(RELATION_TYPE) == OWNERSHIP)
