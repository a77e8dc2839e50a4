"""Every source tells its tables the same and counts the same."""

from __future__ import annotations

from typing import Any

from skydiver.base.ids import NodeID
from skydiver.base.settings import load_settings
from skydiver.captures.capture import CaptureTarget, Counters
from skydiver.captures.tables import table_counters, table_options
from skydiver.graph import Node
from skydiver.native import FlowTable
from skydiver.objects.capture import Capture


def target(**more: Any) -> CaptureTarget:
    node = Node(NodeID("n"), {}, host="h", origin="agent.h", created_at_ms=1, updated_at_ms=1)  # type: ignore[arg-type]
    return CaptureTarget(node, None, 2, "eth0", "ether", "tid", **more)


def test_a_table_takes_all_that_a_capture_asks_for() -> None:
    """A member that is not passed on would be ignored in silence."""
    flow = load_settings([], {"host_id": "h", "flow.max_entries": 7}, {}).flow
    request = Capture(
        gremlin_query="G.V()", uuid="u", raw_packet_limit=3, ip_defrag=True, extra_layers=2
    )
    options = table_options(flow, target(mpls_udp_port=5), request)
    asked = {"node_tid": "tid", "capture_id": "u", "max_flows": 7, "raw_packet_limit": 3}
    asked |= {"ip_defrag": True, "extra_layers": 2, "mpls_udp_port": 5, "key_mode": "L2"}
    assert {name: options[name] for name in asked} == asked
    assert options["application_timeouts_ms"] == {"ARP": 10_000, "DNS": 10_000}
    table = FlowTable(**options)
    assert table_counters(table.stats()) == Counters()
