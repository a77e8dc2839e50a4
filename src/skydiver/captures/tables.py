"""The flow table of a capture, whatever its packets come from: what it is told, and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skydiver.base.settings import FlowSettings
from skydiver.captures.capture import CaptureTarget, Counters
from skydiver.objects.capture import Capture as Request


def table_options(flow: FlowSettings, target: CaptureTarget, request: Request) -> dict[str, Any]:
    """Arguments of `native.FlowTable`, and of `native.CaptureEngine.start`."""
    return {
        "node_tid": target.tid,
        "capture_id": request.uuid,
        "first_layer": target.encap,
        "key_mode": request.layer_key_mode or flow.default_layer_key_mode,
        "max_flows": flow.max_entries,
        "raw_packet_limit": request.raw_packet_limit,
        "extra_tcp_metric": request.extra_tcp_metric,
        "ip_defrag": request.ip_defrag,
        "reassemble_tcp": request.reassemble_tcp,
        "extra_layers": request.extra_layers,
        "mpls_udp_port": target.mpls_udp_port,
        "application_timeouts_ms": {
            name.upper(): int(timeout_s * 1000)
            for name, timeout_s in flow.application_timeout_s.items()
        },
        "application_ports": {
            "tcp": dict(flow.application_ports.tcp),
            "udp": dict(flow.application_ports.udp),
        },
    }


def table_counters(stats: Mapping[str, Any]) -> Counters:
    """What a table counted; the rest is for the source to say."""
    return Counters(
        evicted=stats["evicted"],
        undecoded=stats["decode_errors"],
        flows=stats["flows"],
        fragments_joined=stats["fragments_joined"],
        fragments_invalid=stats["fragments_invalid"],
        fragments_incomplete=stats["fragments_incomplete"],
        fragments_crowded=stats["fragments_crowded"],
        messages_left_out=stats["layers_left_out"],
    )
