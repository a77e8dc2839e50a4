"""What happened to an element: one event per revision, in order."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, StrEnum
from typing import Any, TypeAlias

import msgspec

from skydiver.graph.elements import Element


class OpKind(Enum):
    """Numbers as on the wire (api.md §2.7)."""

    SET = 1
    DELETE = 2


class Op(msgspec.Struct, frozen=True, gc=False):
    """One change inside an update: set or delete the metadata path `key` (dots descend)."""

    kind: OpKind
    key: str
    value: Any = None


class EventKind(StrEnum):
    ADDED = "added"
    UPDATED = "updated"
    DELETED = "deleted"


class GraphEvent(msgspec.Struct, frozen=True, gc=False):
    """One element changed.

    `before` is None for an addition. `after` is None never: a deleted element is its last revision
    with `deleted_at_ms` set. `ops` lists the changes of an update, None when they are not known.
    `cause` names who made the change (``hub.agent.h1``), so that it is not sent back to it.
    """

    kind: EventKind
    before: Element | None
    after: Element
    ops: tuple[Op, ...] | None = None
    cause: str = ""


Listener: TypeAlias = Callable[[GraphEvent], None]
"""Called in order, in the task that owns the graph; must be quick and must not raise."""
