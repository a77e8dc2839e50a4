"""Identifiers: random ones, and UUIDv5 as the original derives them (api.md §1.7)."""

from __future__ import annotations

import uuid
from typing import NewType

NodeID = NewType("NodeID", str)
EdgeID = NewType("EdgeID", str)
Origin = NewType("Origin", str)
"""``<service>.<host id>`` of the program that created an element."""


def random_id() -> str:
    """A UUIDv4 in lower case with dashes."""
    return str(uuid.uuid4())


def derived_id(text: str) -> str:
    """UUIDv5 of `text` in the OID namespace; equal text, equal identifier, on any machine."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))


def id_from_parts(*parts: str) -> str:
    """UUIDv5 of the parts joined with ``/``."""
    return derived_id("/".join(parts))
