"""Flow records, sets of flows, and the contract of what can search them."""

from skydiver.flow.search import (
    Flow,
    FlowAnswer,
    FlowSearch,
    FlowSource,
    Packets,
    RawPacket,
    SortOrder,
)

__all__ = [
    "Flow",
    "FlowAnswer",
    "FlowSearch",
    "FlowSource",
    "Packets",
    "RawPacket",
    "SortOrder",
]
