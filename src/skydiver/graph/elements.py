"""Nodes, edges and what a probe states about them. All immutable: an update is a new revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from skydiver.base.ids import EdgeID, NodeID, Origin

Metadata: TypeAlias = Mapping[str, Any]
"""A JSON object: str, bool, int, float, None, lists and objects of these. Never changed in place."""


@dataclass(frozen=True, slots=True)
class Node:
    """One revision of a node."""

    id: NodeID
    metadata: Metadata
    host: str
    """Host id of the agent that owns the element; may be empty."""
    origin: Origin
    created_at_ms: int
    updated_at_ms: int
    revision: int = 1
    deleted_at_ms: int | None = None
    """None while alive."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One revision of an edge from `parent` to `child`."""

    id: EdgeID
    parent: NodeID
    child: NodeID
    metadata: Metadata
    host: str
    origin: Origin
    created_at_ms: int
    updated_at_ms: int
    revision: int = 1
    deleted_at_ms: int | None = None


Element: TypeAlias = Node | Edge


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a probe says about one of its nodes; the whole metadata, not a change to it."""

    id: NodeID
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class EdgeSpec:
    """What a probe says about one of its edges.

    An empty `id` means the derived one: UUIDv5 of parent + child + RelationType.
    """

    parent: NodeID
    child: NodeID
    metadata: Metadata = field(default_factory=dict)
    id: EdgeID = EdgeID("")
