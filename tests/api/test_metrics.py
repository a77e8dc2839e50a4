"""``/metrics`` as Prometheus reads it."""

from __future__ import annotations

import re
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tests.api.conftest import Api, Start

from skydiver.base.ids import NodeID
from skydiver.base.losses import LossReason
from skydiver.graph import EdgeSpec, NodeSpec, Op, OpKind


async def scrape(api: Api) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Samples by name, as Prometheus' own parser reads them."""
    answer = await api.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


async def test_interface_counters_carry_host_namespace_name_and_type(api: Api) -> None:
    """What every dashboard of a network begins with."""
    samples = await scrape(api)
    assert samples["skydive_interface_rx_bytes_total"] == [
        ({"host": "h1", "netns": "", "name": "eth0", "type": "veth"}, 10),
        ({"host": "h1", "netns": "vm1", "name": "eth1", "type": "veth"}, 20),
    ]
    assert samples["skydive_interface_tx_packets_total"] == [
        ({"host": "h1", "netns": "", "name": "eth0", "type": "veth"}, 3)
    ]
    assert "skydive_interface_last_total" not in samples


async def test_what_was_lost_has_a_part_and_a_reason(api: Api) -> None:
    """Alerts are made of this (principle 1)."""
    api.losses.add("hub.subscriber", LossReason.QUEUE_FULL, 7)
    samples = await scrape(api)
    assert samples["skydive_lost_items_total"] == [
        ({"part": "hub.subscriber", "reason": "queue_full"}, 7)
    ]


async def test_captures_count_what_they_saw_and_lost(api: Api) -> None:
    """A capture that loses packets must show on a dashboard, with the reason."""
    capture = {"ID": "c1", "PacketsReceived": 5, "PacketsDropped": 2, "PacketsIfDropped": 1}
    api.graph.owned_by("captures").patch(NodeID("eth1"), [Op(OpKind.SET, "Captures", [capture])])
    samples = await scrape(api)
    ((labels, value),) = samples["skydive_capture_received_packets_total"]
    assert (labels["capture"], labels["netns"], value) == ("c1", "vm1", 5)
    assert [
        (labels["reason"], value)
        for labels, value in samples["skydive_capture_dropped_packets_total"]
    ] == [("kernel_ring", 2), ("interface", 1)]


async def test_our_own_health_is_there(start: Start) -> None:
    """Elements, peers, queues, the loop, memory: what says why an analyzer is slow."""
    peers: dict[str, Any] = {
        "Agents": {"h1": {"IsConnected": True, "Queued": 4}, "h2": {"IsConnected": False}},
        "Subscribers": {},
        "Captures": {"IsMaster": True},
    }
    async with start(status=lambda: peers) as api:
        samples = await scrape(api)
    assert samples["skydive_graph_nodes"] == [({}, 4)]
    assert samples["skydive_graph_edges"] == [({}, 4)]
    assert samples["skydive_hub_peers"] == [({"kind": "agents"}, 1), ({"kind": "subscribers"}, 0)]
    assert samples["skydive_hub_queued_messages"][0] == ({"kind": "agents"}, 4)
    assert samples["skydive_loop_worst_lag_seconds"][0][1] >= 0
    assert samples["process_resident_memory_bytes"][0][1] > 1_000_000


async def test_names_follow_one_rule(api: Api) -> None:
    """`skydive_<part>_<what>_<unit>`, and `_total` for what only grows."""
    api.losses.add("x", LossReason.DECODE)
    for name in await scrape(api):
        if not name.startswith("process_"):
            assert re.fullmatch(r"skydive_[a-z]+_[a-z0-9_]+", name)


async def test_hostile_names_break_neither_the_format_nor_the_scrape(api: Api) -> None:
    """Interface names and labels come from whoever may make interfaces."""
    source = api.graph.owned_by("hostile")
    metric = {"RxBytes": 1, "Weird Key\n": 2, "Tx": "text", "RxDropped": True}
    name = 'a"b\\c\nd'
    source.upsert(
        NodeSpec(NodeID("x"), {"Name": name, "Type": "veth", "IfIndex": 1, "Metric": metric})
    )
    source.upsert(
        NodeSpec(NodeID("y"), {"Name": "y", "Type": "veth", "IfIndex": 1, "Metric": "none",
                               "Captures": [3, {"ID": None, "PacketsReceived": "x"}]})
    )  # fmt: skip
    samples = await scrape(api)
    assert ({"host": "h1", "netns": "", "name": name, "type": "veth"}, 1.0) in samples[
        "skydive_interface_rx_bytes_total"
    ]


async def test_no_set_of_labels_comes_twice(api: Api) -> None:
    """Prometheus refuses the whole scrape; two namespaces may share a name."""
    source = api.graph.owned_by("twin")
    source.upsert(NodeSpec(NodeID("vm1b"), {"Name": "vm1", "Type": "netns"}))
    source.upsert(
        NodeSpec(
            NodeID("eth1b"),
            {"Name": "eth1", "Type": "veth", "IfIndex": 3, "Metric": {"RxBytes": 5}},
        )
    )
    for parent, child in (("host", "vm1b"), ("vm1b", "eth1b")):
        source.link(EdgeSpec(NodeID(parent), NodeID(child), {"RelationType": "ownership"}))
    labels = [
        tuple(sorted(labels.items()))
        for labels, _ in (await scrape(api))["skydive_interface_rx_bytes_total"]
    ]
    assert len(labels) == len(set(labels)) == 3


async def test_thousands_of_interfaces_are_written_in_turns(api: Api) -> None:
    """Every one is there, and others were served in between."""
    source = api.graph.owned_by("many")
    for number in range(1_000):
        metadata = {"Name": f"n{number}", "Type": "veth", "IfIndex": 9, "Metric": {"RxBytes": 1}}
        source.upsert(NodeSpec(NodeID(f"n{number}"), metadata))
    assert len((await scrape(api))["skydive_interface_rx_bytes_total"]) == 1_002
