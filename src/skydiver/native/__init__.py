"""The only importer of the compiled module; what it offers is documented in ``_native.pyi``."""

from skydiver.native._native import (
    CaptureEngine,
    FlowTable,
    Routes,
    decode_netlink,
    flow_message_json,
    flow_set_json,
    merge_flow_sets,
)

__all__ = [
    "CaptureEngine",
    "FlowTable",
    "Routes",
    "decode_netlink",
    "flow_message_json",
    "flow_set_json",
    "merge_flow_sets",
]
