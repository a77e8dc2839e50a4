"""Nodes, edges and what a probe states about them. All immutable: an update is a new revision.

Nodes, edges and events are `msgspec.Struct`: made in C, a fifth of the time of a frozen dataclass,
and they are what an update consists of. To derive one from another use `msgspec.structs.replace`.
They never refer back to what refers to them, so the collector does not track them (``gc=False``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

from skydiver.base.ids import EdgeID, NodeID, Origin

Metadata: TypeAlias = Mapping[str, Any]
"""A JSON object: str, bool, int, float, None, lists, objects of these. Never changed in place."""


class Node(msgspec.Struct, frozen=True, gc=False):
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


class Edge(msgspec.Struct, frozen=True, gc=False):
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


DERIVED: Final = EdgeID("")


@dataclass(frozen=True, slots=True)
class EdgeSpec:
    """What a probe says about one of its edges.

    An empty `id` means the derived one: UUIDv5 of parent + child + RelationType.
    """

    parent: NodeID
    child: NodeID
    metadata: Metadata = field(default_factory=dict)
    id: EdgeID = DERIVED
