"""The health of an agent as its host's node carries it."""

from skydiver.base.ids import NodeID, Origin
from skydiver.base.losses import Losses, LossReason
from skydiver.graph import Graph, NodeSpec
from skydiver.topology.health import (
    AGENT,
    CLOCK,
    clock_metadata,
    health_metadata,
    hosts_status,
    lost_on,
)


def test_what_an_agent_says_comes_out_as_status() -> None:
    """Somebody who asks the analyzer must see what was lost on any host."""
    losses = Losses()
    losses.add("capture.afpacket", LossReason.KERNEL_RING, 7)
    graph = Graph(host="h1", origin=Origin("agent.h1"))
    metadata = health_metadata(losses, ("CAP_NET_RAW: no captures",), {"host": {"Status": "x"}})
    node = graph.owned_by("test").upsert(
        NodeSpec(NodeID("h"), {"Type": "host", "Name": "h1", AGENT: metadata})
    )
    assert list(lost_on(node)) == [("capture.afpacket", "kernel_ring", 7)]
    assert hosts_status(graph.view()) == {
        "h1": {
            "Losses": {"capture.afpacket": {"kernel_ring": 7}},
            "Missing": ["CAP_NET_RAW: no captures"],
            "Probes": {"host": {"Status": "x"}},
        }
    }


def test_why_a_probe_does_not_run_is_part_of_the_status() -> None:
    """An installed probe that is broken is found without logging in to its host."""
    graph = Graph(host="h1", origin=Origin("agent.h1"))
    probes = {"host": {"Status": "running"}, "mine": {"Status": "stopped", "Error": "no module"}}
    metadata = health_metadata(Losses(), (), probes)
    graph.owned_by("test").upsert(NodeSpec(NodeID("h"), {"Type": "host", AGENT: metadata}))
    assert hosts_status(graph.view())["h1"]["Probes"] == probes


def test_nonsense_of_a_peer_is_passed_over() -> None:
    """Any publisher may write this key; the status of everybody must survive it."""
    graph = Graph(host="h1", origin=Origin("agent.h1"))
    nonsense = {"Losses": [7, {"Part": 1, "Reason": "x", "Count": "y"}], "Missing": 3, "Probes": []}
    nonsense["ProbeErrors"] = ["x"]
    graph.owned_by("test").upsert(NodeSpec(NodeID("h"), {"Type": "host", AGENT: nonsense}))
    assert hosts_status(graph.view()) == {"h1": {"Losses": {}, "Missing": [], "Probes": {}}}


def test_the_clock_of_a_host_is_part_of_its_status() -> None:
    """Who compares times of two hosts must know what they are worth."""
    graph = Graph(host="h1", origin=Origin("agent.h1"))
    said = clock_metadata(1234.5678, 0.00012, True, "a1")
    assert said == {"OffsetMs": 1234.568, "ErrorMs": 0.001, "Flagged": True, "Analyzer": "a1"}
    for clock in (said, {"OffsetMs": "x"}, 7):
        graph.owned_by("test").upsert(
            NodeSpec(NodeID("h"), {"Type": "host", AGENT: {"Missing": []}, CLOCK: clock})
        )
        shown = {
            key: value
            for key, value in hosts_status(graph.view())["h1"].items()
            if key.startswith("Clock")
        }
        expected = {"ClockOffsetMs": 1234.568, "ClockErrorMs": 0.001, "ClockFlagged": True}
        assert shown == (expected if clock is said else {})
