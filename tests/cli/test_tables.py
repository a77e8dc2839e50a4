"""Each kind of result has a table that says what matters in it."""

import datetime
import io
from typing import Any

import pytest
from rich.console import Console

from skydiver.cli import tables
from skydiver.cli.places import Places
from skydiver.client.rest import Access, Client

NODE = {
    "ID": "n1",
    "Metadata": {
        "Name": "eth0", "Type": "veth", "State": "UP",
        "TID": "f1f61850-56ee-56a3-9d30-b3bff1911d8f",
        "IPV4": ["10.0.0.18/24"], "IPV6": ["fe80::1/64"],
        "Captures": [{"ID": "u", "State": "active", "PacketsReceived": 9, "PacketsDropped": 2}],
    },
    "Host": "h", "Origin": "agent.h", "CreatedAt": 1, "UpdatedAt": 2, "DeletedAt": None,
    "Revision": 1,
}  # fmt: skip
NAMESPACE = {**NODE, "ID": "ns", "Metadata": {"Name": "web", "Type": "netns"}}
EDGE = {**NODE, "ID": "e", "Parent": "ns", "Child": "n1",
        "Metadata": {"RelationType": "ownership", "weight": 3}}  # fmt: skip
FLOW = {
    "UUID": "u", "LayersPath": "Ethernet/IPv4/TCP", "Application": "TCP",
    "Network": {"Protocol": "IPV4", "A": "10.0.0.17", "B": "10.0.0.18", "ID": 0},
    "Transport": {"Protocol": "TCP", "A": 40000, "B": 80, "ID": 0},
    "Metric": {"ABPackets": 6, "ABBytes": 475, "BAPackets": 5, "BABytes": 1112, "RTT": 98034},
    "Start": 1, "Last": 2, "TrackingID": "aaaa", "L3TrackingID": "bbbb",
    "NodeTID": "t1", "RawPacketsCaptured": 0,
}  # fmt: skip


class Known(Places):
    """Names without a server; `Places` itself has its own tests."""

    def __init__(self) -> None:
        super().__init__(Client(Access()))

    def owners(self, ids: Any) -> dict[str, str]:
        return {"n1": "web"}

    def names(self, ids: Any) -> dict[str, str]:
        return {"n1": "eth0", "ns": "web"}

    def capture_points(self, tids: Any) -> dict[str, str]:
        return {"t1": "web/eth0"}


def screen(width: int = 150) -> Console:
    return Console(file=io.StringIO(), width=width, highlight=False)


def words(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().split()


def shown(value: Any, width: int = 150) -> list[str]:
    console = screen(width)
    tables.show(value, console, Known())
    return words(console)


def test_nodes_show_where_they_are_and_what_is_captured() -> None:
    """Name alone says nothing: every namespace has an eth0."""
    assert shown([NODE]) == [
        "Name", "Type", "In", "State", "Addresses", "Captures", "Host", "TID",
        "eth0", "veth", "web", "UP", "10.0.0.18/24", "active", "2", "dropped", "h",
        "f1f61850-56ee-56a3-9d30-b3bff1911d8f", "fe80::1/64",
        "1", "node",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80])
def test_identifiers_stay_whole_on_a_narrow_terminal(width: int) -> None:
    """They are there to be copied into the next command."""
    assert "f1f61850-56ee-56a3-9d30-b3bff1911d8f" in shown([NODE], width)


def test_edges_show_the_names_of_their_ends() -> None:
    """Identifiers of nodes mean nothing to a person."""
    assert shown([EDGE])[-8:] == [
        "ownership", "web", "eth0", '{"weight":3}', "h", "e", "1", "edge",
    ]  # fmt: skip


def test_flows_show_both_ends_both_ways_and_where() -> None:
    """The questions that flows are there to answer."""
    found = shown([FLOW])
    for expected in ("10.0.0.17:40000", "10.0.0.18:80", "475", "1.1", "kB", "98", "µs",
                     "web/eth0", "aaaa", "bbbb"):  # fmt: skip
        assert expected in found


def test_a_flow_without_network_shows_hardware_addresses() -> None:
    """ARP has no other ends."""
    link = {"Protocol": "ETHERNET", "A": "02:00:00:00:00:01", "B": "ff:ff:ff:ff:ff:ff", "ID": 0}
    bare = {**FLOW, "Link": link, "Network": None, "Transport": None}
    assert "02:00:00:00:00:01" in shown([bare])


def test_ipv6_ends_are_in_brackets() -> None:
    """Otherwise the port looks like a part of the address."""
    v6 = {**FLOW, "Network": {"Protocol": "IPV6", "A": "fd00::1", "B": "fd00::2", "ID": 0}}
    assert "[fd00::1]:40000" in shown([v6])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"Nodes": [NODE], "Edges": [EDGE]}], ["node", "edge"]),
        ([{"Nodes": None, "Edges": None}], ["0", "nodes", "0", "edges"]),
        ([[NODE, NAMESPACE]], ["web/eth0", "→", "1", "path"]),
        (42, ["42"]),
        (["a", "b"], ["a", "b"]),
        ([], ["nothing", "found"]),
        (None, ["nothing", "found"]),
        ([{"n1": [{"RxBytes": 7}]}], ["n1", "RxBytes", "7"]),
        ([{"x": 1}, {"y": "z"}], ["x", "y", "1", "z", "2", "entries"]),
        ({"ABPackets": 3}, ["ABPackets", "3"]),
        ("text", ["text"]),
        ([[]], []),
    ],
)
def test_every_kind_of_result_is_shown(value: Any, expected: list[str]) -> None:
    """A query must never end in a traceback because of its result's shape."""
    found = shown(value)
    assert [word for word in expected if word not in found] == []


@pytest.mark.parametrize(
    "value",
    [
        [{"ID": 1, "Metadata": None}],
        [{"ID": "n", "Metadata": {"IPV4": "x", "Captures": ["y", {}]}}],
        [{"Start": "x", "Last": "y", "RawPacketsCaptured": 0, "Metric": {"ABBytes": "many"}}],
        [{"Start": 1, "Last": 1 << 62, "RawPacketsCaptured": 0, "Transport": 5}],
        [{"Nodes": 5}],
        [{"[bold]": "[/bold]"}],
    ],
)
def test_results_that_no_server_should_send_are_survived(value: Any) -> None:
    """What comes over the network is not trusted, not even to have the documented types."""
    assert shown(value)


def test_a_huge_result_is_cut_and_says_so() -> None:
    """Laying out a table takes time that nobody reading it would wait."""
    nodes = [{**NODE, "ID": str(number)} for number in range(tables.MOST_ROWS + 5)]
    assert " ".join(shown(nodes)).endswith("1000 nodes and 5 more: --format json shows all")


def test_metrics_tell_local_time() -> None:
    """Nobody reads milliseconds since 1970."""
    start_ms, last_ms = 1_700_000_000_000, 1_700_000_030_000
    metric = {"ABPackets": 3, "Start": start_ms, "Last": last_ms, "RTT": 98_034}
    told = {
        datetime.datetime.fromtimestamp(ms / 1000).strftime("%H:%M:%S")
        for ms in (start_ms, last_ms)
    }
    for value in ([{"f1": [metric]}], metric):
        assert {*told, "98", "µs", "3"} <= set(shown(value))
    assert "1700000000000" in shown([{"Start": start_ms, "Name": "no metric"}])
    assert str(1 << 60) in shown({"ABPackets": 3, "Last": 1 << 60})


def test_a_node_that_many_flows_passed_is_shown_once() -> None:
    """The answer to `Flows().Nodes()` holds three nodes for each flow."""
    assert " ".join(shown([NODE, NAMESPACE, NODE])).endswith("2 nodes (3 with repetitions)")


def test_markup_in_names_is_text() -> None:
    """A name with brackets must be seen as it is, not interpreted."""
    named = {**NODE, "Metadata": {"Name": "[red]x[/red]"}}
    assert "[red]x[/red]" in shown([named])


def test_captures_show_what_they_did() -> None:
    """A capture that drops packets or fails must say so where people look."""
    console = screen()
    running: list[dict[str, Any]] = [
        {"ID": "u", "State": "active", "PacketsReceived": 7, "PacketsDropped": 1},
        {"ID": "u", "State": "error", "Error": "no such device"},
        {"ID": "u", "State": "error", "Error": "interface is down"},
        {"ID": "other", "State": "active", "PacketsReceived": 100},
    ]
    tables.show_captures([{"UUID": "u", "GremlinQuery": "G.V()"}], console, running)
    assert words(console)[-11:] == [
        "u",
        "G.V()",
        "1",
        "7",
        "1",
        "2",
        "no",
        "such",
        "device",
        "1",
        "capture",
    ]


def test_a_status_shows_connections_probes_and_losses() -> None:
    """The three questions: who is there, what runs, what was lost."""
    console = screen()
    peer = {"ServiceType": "agent", "ClientProtocol": "protobuf", "Addr": "127.0.0.1", "Port": 4,
            "IsConnected": True, "ConnectTime": "2026-01-01T10:00:00.5Z"}  # fmt: skip
    status = {
        "Agents": {"h1": peer},
        "Peers": {"Incomers": {}, "Outgoers": {"h2": {**peer, "IsConnected": False}}},
        "Publishers": {},
        "Captures": {"IsMaster": True},
        "Probes": {"netlink": {"Status": "running"}},
        "FlowProbes": ["afpacket"],
        "Losses": {"hub": {"queue_full": 3}},
        "Missing": ["CAP_NET_RAW: no captures"],
    }
    tables.show_status(status, console)
    found = " ".join(words(console))
    for expected in ("h1 connected agent 127.0.0.1:4 protobuf 2026-01-01 10:00:00",
                     "Peers Incomers: none", "h2 away", "Publishers: none",
                     "Captures: IsMaster true", "netlink running", "FlowProbes: afpacket",
                     "hub queue_full 3", "Missing: CAP_NET_RAW: no captures"):  # fmt: skip
        assert expected in found


def test_a_host_shows_its_system() -> None:
    """What one asks of a host first, without the rest of its metadata."""
    console = screen()
    metadata = {
        "Name": "h1",
        "Type": "host",
        "Platform": "debian",
        "PlatformVersion": "12.11",
        "OS": "linux",
        "KernelVersion": "6.1.0",
        "Clock": {"OffsetMs": -3000.5, "ErrorMs": 1, "Flagged": True},
    }
    tables.show_nodes([{"ID": "i", "Metadata": metadata}], console, Known())
    found = " ".join(words(console))
    for expected in ("System", "debian 12.11", "linux 6.1.0", "clock 3.001 s behind"):
        assert expected in found


@pytest.mark.parametrize(
    ("offset", "expected"), [(0.075, "0.075 ms ahead, ± 0.362 ms"), (-90_000, "90.000 s behind")]
)
def test_a_status_shows_the_clocks_of_hosts(offset: float, expected: str) -> None:
    """One line for each, in words."""
    console = screen()
    clock = {"ClockOffsetMs": offset, "ClockErrorMs": 0.362, "ClockFlagged": False}
    tables.show_status({"Hosts": {"h1": {**clock, "Losses": {}, "Missing": []}}}, console)
    found = " ".join(words(console))
    assert f"h1: Clock: {expected}" in found
    assert "ClockOffsetMs" not in found


def test_no_losses_are_said_too() -> None:
    """Silence would leave open whether anybody counted."""
    console = screen()
    tables.show_status({"Losses": {}}, console)
    assert words(console) == ["Losses:", "none"]


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2 * 10**15, "2000.0 TB")]
)
def test_bytes_have_a_unit(count: int, expected: str) -> None:
    """A row of ten digits is not read, it is counted."""
    assert tables._bytes(count) == expected
