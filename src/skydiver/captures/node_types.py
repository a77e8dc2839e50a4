"""Which capture types go with which nodes (flows.md §11.3)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from skydiver.base.errors import ConfigError
from skydiver.topology import AFPACKET_TYPES, NodeType

ALLOWED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        NodeType.OVSBRIDGE: ("ovssflow", "pcapsocket", "ovsnetflow"),
        NodeType.OVSPORT: ("ovsmirror",),
        NodeType.DPDKPORT: ("dpdk",),
        **dict.fromkeys(AFPACKET_TYPES, ("afpacket", "pcap", "pcapsocket", "sflow", "ebpf")),
    }
)
"""Capture types by node type, the default first. Nodes of other types cannot be captured."""


def capture_type(node_type: str, asked: str) -> str:
    """The capture type for a node; `asked` "" = its default. Raises `ConfigError`."""
    allowed = ALLOWED.get(node_type)
    if allowed is None:
        raise ConfigError(f"a node of type {node_type!r} cannot be captured")
    if not asked:
        return allowed[0]
    if asked not in allowed:
        raise ConfigError(
            f"capture type {asked!r} on a node of type {node_type!r}: one of "
            f"{', '.join(allowed)} expected"
        )
    return asked
