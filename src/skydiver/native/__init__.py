"""The only importer of the compiled module; what it offers is documented in ``_native.pyi``."""

from skydiver.native._native import (
    CaptureEngine,
    FlowTable,
    PcapFeed,
    Routes,
    bpf_matches,
    decode_netlink,
    flow_message_json,
    flow_message_pieces,
    flow_set_json,
    flow_set_packets,
    flow_stats_json,
    flow_stats_message,
    flows_of_capture,
    join_flow_messages,
    merge_flow_sets,
)

__all__ = [
    "CaptureEngine",
    "FlowTable",
    "PcapFeed",
    "Routes",
    "bpf_matches",
    "decode_netlink",
    "flow_message_json",
    "flow_message_pieces",
    "flow_set_json",
    "flow_set_packets",
    "flow_stats_json",
    "flow_stats_message",
    "flows_of_capture",
    "join_flow_messages",
    "merge_flow_sets",
]
