"""Packets become flows, and searches over them mean the same as over flows in Python."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydiver.filters import And, Eq, Filter, Gt, Gte, IPv4Range, Lt, Lte, Missing, Not, Or, Regex
from skydiver.flow.fields import FIELDS
from skydiver.flow.flow_set import merge, select
from skydiver.flow.search import FlowSearch, SortOrder
from skydiver.flow.wire import search_to_wire
from skydiver.native import FlowTable, flow_message_json, flow_set_json, merge_flow_sets

SECOND_NS = 1_000_000_000


def ethernet(a: int, b: int, kind: int, payload: bytes) -> bytes:
    return bytes([2, 0, 0, 0, 0, b, 2, 0, 0, 0, 0, a]) + struct.pack(">H", kind) + payload


def ipv4(a: str, b: str, protocol: int, payload: bytes) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    return head + IPv4Address(a).packed + IPv4Address(b).packed + payload


def tcp(a: int, b: int, flags: int = 0x10, payload: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", a, b, 1, 1, 0x50, flags, 65535, 0, 0) + payload


def udp(a: int, b: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", a, b, 8 + len(payload), 0) + payload


def ping(identifier: int, kind: int = 8) -> bytes:
    return struct.pack(">BBHHH", kind, 0, 0, identifier, 1) + bytes(56)


ECHO = ethernet(1, 2, 0x0800, ipv4("10.0.0.1", "10.0.0.2", 1, ping(255)))

FRAMES = [
    ethernet(1, 2, 0x0800, ipv4("10.0.0.1", "10.0.0.2", 6, tcp(80, 5001, payload=b"x" * 10))),
    ethernet(1, 2, 0x0800, ipv4("10.0.0.1", "10.0.1.2", 6, tcp(80, 5002, payload=b"x" * 20))),
    ethernet(3, 4, 0x0800, ipv4("192.168.0.1", "10.0.0.2", 17, udp(53, 40000))),
    ECHO,
    ethernet(1, 2, 0x8100, b"\x00\x08\x08\x00" + ipv4("10.0.0.9", "10.0.0.2", 1, ping(7))),
    ethernet(5, 255, 0x0806, bytes([0, 1, 8, 0, 6, 4, 0, 1]) + bytes(20)),
    ethernet(6, 7, 0x86DD, bytes([0x60, 0, 0, 0, 0, 8, 17, 64]) + bytes(31) + b"\x01" + udp(1, 2)),
    ethernet(
        1,
        2,
        0x0800,
        ipv4(
            "10.0.0.1",
            "10.0.0.2",
            17,
            udp(
                40001,
                4789,
                bytes([8, 0, 0, 0, 0, 0, 10, 0])
                + ethernet(8, 9, 0x0800, ipv4("10.9.0.1", "10.9.0.2", 6, tcp(1, 2))),
            ),
        ),
    ),
]


def table_of(frames: list[bytes], **options: Any) -> FlowTable:
    """A table that saw one frame a second, from second 1 on."""
    table = FlowTable(**options)
    for number, frame in enumerate(frames, start=1):
        table.feed(frame, at_ns=number * SECOND_NS)
    return table


def flows_of(flow_set: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(flow_set_json(flow_set))
    return found


def test_a_flow_reads_as_the_documented_json() -> None:
    """Scripts and the original's clients read these names (api.md §9.3)."""
    table = FlowTable(node_tid="tid-1", capture_id="capture-1")
    reply = ethernet(2, 1, 0x0800, ipv4("10.0.0.2", "10.0.0.1", 1, ping(255, 0)))
    table.feed(ECHO, at_ns=1_700_000_000_000_000_000)
    table.feed(reply, at_ns=1_700_000_000_000_061_000, wire_bytes=100)
    [flow] = flows_of(table.query(b""))
    assert flow.pop("UUID")
    assert flow == {
        "LayersPath": "Ethernet/IPv4/ICMPv4",
        "Application": "ICMPv4",
        "Link": {
            "Protocol": "ETHERNET",
            "A": "02:00:00:00:00:01",
            "B": "02:00:00:00:00:02",
            "ID": 0,
        },
        "Network": {"Protocol": "IPV4", "A": "10.0.0.1", "B": "10.0.0.2", "ID": 0},
        "ICMP": {"Type": "ECHO", "ID": 255},
        "Metric": {
            "ABPackets": 1,
            "ABBytes": 98,
            "BAPackets": 1,
            "BABytes": 100,
            "Start": 1_700_000_000_000,
            "Last": 1_700_000_000_000,
            "RTT": 61_000,
        },
        "Start": 1_700_000_000_000,
        "Last": 1_700_000_000_000,
        "TrackingID": flow["TrackingID"],
        "L3TrackingID": flow["L3TrackingID"],
        "ParentUUID": "",
        "NodeTID": "tid-1",
        "CaptureID": "capture-1",
        "RawPacketsCaptured": 0,
    }


def test_ticks_tell_what_changed_and_what_ended() -> None:
    """An update sends a flow with the difference, an expiry sends it once more and forgets it."""
    table = table_of([ECHO, ECHO], extra_tcp_metric=True)
    [changed] = orjson.loads(flow_message_json(table.update(10_000)))
    assert changed["LastUpdateMetric"] == {
        "ABPackets": 2,
        "ABBytes": 196,
        "BAPackets": 0,
        "BABytes": 0,
        "Start": 1000,
        "Last": 10_000,
    }
    assert table.update(20_000) == b""
    assert table.expire(30_000) == b""
    [ended] = orjson.loads(flow_message_json(table.expire(40_000)))
    assert ended["FinishType"] == 1
    assert table.stats()["flows"] == 0


def test_a_flush_ends_every_flow() -> None:
    """What a capture saw last is sent when it stops, however young."""
    table = table_of(FRAMES)
    assert len(orjson.loads(flow_message_json(table.flush(0)))) == 9
    assert table.stats()["flows"] == 0


def test_stats_count_packets_and_losses() -> None:
    """Nothing is dropped without a number that says so."""
    table = table_of([*FRAMES, b"\x01\x02"], max_flows=3)
    stats = table.stats()
    assert (stats["flows"], stats["packets"]) == (3, 9)
    assert (stats["evicted"], stats["decode_errors"]) == (6, 1)
    assert stats["memory_bytes"] > 0
    assert set(stats) == {
        *("flows", "packets", "decode_errors", "evicted", "memory_bytes", "layers_left_out"),
        *("fragments_joined", "fragments_waiting"),
        *("fragments_invalid", "fragments_incomplete", "fragments_crowded"),
    }


def test_messages_are_read_by_those_who_ask() -> None:
    """Each kind has its bit, and what is shown is what a filter finds."""
    table = table_of(MESSAGES, extra_layers=2 | 32)
    found = flows_of(table.query(b""))
    shown = {layer for flow in found for layer in ("DNS", "HTTP", "TLS", "NTP") if layer in flow}
    assert shown == {"DNS", "HTTP"}
    search = FlowSearch(where=Eq("DNS.Answers.CNAME", "web.example"))
    [flow] = flows_of(table.query(search_to_wire(search)))
    assert flow["DNS"]["questions"] == [{"name": "a.example", "type": "A", "class": "IN"}]
    with pytest.raises(ValueError, match=r"flows have no field \"DNS.Answers.IP\" to sort by"):
        table.query(search_to_wire(FlowSearch(sort=True, sort_by="DNS.Answers.IP")))


def test_fragments_are_joined_or_counted() -> None:
    """A packet is in a flow or in a counter."""
    packet = ipv4("10.0.0.1", "10.0.0.2", 17, udp(1, 2, bytes(16)))
    first, last = packet[:6] + b"\x20\x00" + packet[8:36], packet[:6] + b"\x00\x02" + packet[8:20]
    first, last = first[:2] + b"\x00\x24" + first[4:], last[:2] + b"\x00\x1c" + last[4:]
    frames = [ethernet(1, 2, 0x0800, part) for part in (first, first, last + packet[36:])]
    table = table_of([*frames, frames[0]], ip_defrag=True)
    [flow] = flows_of(table.query(b""))
    assert flow["LayersPath"] == "Ethernet/IPv4/Fragment/UDP"
    assert flow["IPMetric"] == {"Fragments": 1, "FragmentErrors": 0}
    table.update(60_000)
    stats = {name: count for name, count in table.stats().items() if "fragments" in name}
    assert stats == {
        "fragments_joined": 2,
        "fragments_waiting": 0,
        "fragments_invalid": 0,
        "fragments_incomplete": 1,
        "fragments_crowded": 0,
    }


def test_ports_name_applications_and_end_their_flows() -> None:
    """Settings of the original: names by port, timeouts by name in any case."""
    table = table_of(
        FRAMES[:1],
        application_ports={"tcp": {5001: "iperf"}, "udp": {}},
        application_timeouts_ms={"IPerf": 5000},
    )
    [flow] = flows_of(table.query(b""))
    assert flow["Application"] == "IPERF"
    table.update(2000)
    [ended] = orjson.loads(flow_message_json(table.update(7000)))
    assert ended["FinishType"] == 1


def test_nodes_without_ethernet_are_decoded_from_their_first_layer() -> None:
    """Tunnel devices carry bare IP; the loopback of another file format would not."""
    packet = ipv4("10.0.0.1", "10.0.0.2", 1, ping(1))
    for first_layer in ("none", "gre", "sit"):
        [flow] = flows_of(table_of([packet], first_layer=first_layer).query(b""))
        assert flow["LayersPath"] == "IPv4/ICMPv4"
        assert "Link" not in flow


def test_a_udp_port_carries_mpls_when_told_so() -> None:
    """Nothing in the packet says it; to guess would find MPLS in what is none."""
    inner = ipv4("10.65.65.5", "10.35.35.3", 1, bytes([8, 0, 0, 0, 0, 1, 0, 1]))
    label = bytes([0, 1, 1, 64])
    frame = ethernet(
        1, 2, 0x0800, ipv4("10.11.0.55", "10.11.0.56", 17, udp(5, 51234, label + inner))
    )
    plain = flows_of(table_of([frame]).query(b""))
    told = flows_of(table_of([frame], mpls_udp_port=51234).query(b""))
    assert [flow["LayersPath"] for flow in plain] == ["Ethernet/IPv4/UDP"]
    assert [flow["LayersPath"] for flow in told] == ["Ethernet/IPv4/UDP/MPLS", "IPv4/ICMPv4"]
    assert told[0]["Application"] == "MPLS"
    assert told[1]["ParentUUID"] == told[0]["UUID"]


def pcap(frames: list[bytes], link_type: int = 1) -> bytes:
    records = [
        struct.pack("<IIII", 1000 + number, 0, len(frame), len(frame)) + frame
        for number, frame in enumerate(frames)
    ]
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type) + b"".join(records)


def test_a_capture_file_gives_the_flows_of_its_packets() -> None:
    """A file and the same packets one by one are one truth."""
    table = FlowTable()
    assert table.feed_pcap(pcap(FRAMES)) == len(FRAMES)
    other = table_of(FRAMES)
    keys = ("LayersPath", "TrackingID", "L3TrackingID")
    assert {tuple(f[k] for k in keys) for f in flows_of(table.query(b""))} == {
        tuple(f[k] for k in keys) for f in flows_of(other.query(b""))
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a pcap or pcapng file"),
        (b"\x7fELF", "not a pcap or pcapng file"),
        (pcap(FRAMES)[:-1], "the capture file ends in the middle, after 7 packets"),
        (
            pcap(FRAMES, 105),
            "link type 105 of the capture file is not supported; 0 packets before it",
        ),
    ],
)
def test_a_bad_capture_file_is_one_line(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}$"):
        FlowTable().feed_pcap(data)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"key_mode": "L4"}, ValueError),
        ({"raw_packet_limit": 11}, ValueError),
        ({"application_ports": {"sctp": {1: "x"}}}, ValueError),
        ({"unheard_of": 1}, TypeError),
        ({"node_tid": 7}, TypeError),
        ({"max_flows": -1}, OverflowError),
        ({"mpls_udp_port": 65536}, OverflowError),
    ],
)
def test_options_that_mean_nothing_are_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        FlowTable(**options)


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (FlowSearch(sort=True, sort_by="nope"), 'flows have no field "nope" to sort by'),
        (FlowSearch(dedup=True, dedup_by="nope"), 'flows have no field "nope" to dedup by'),
        (FlowSearch(where=Regex("Application", "(")), "not a regular expression: unclosed group"),
    ],
)
def test_a_search_that_means_nothing_says_why(search: FlowSearch, words: str) -> None:
    with pytest.raises(ValueError, match=r"^not a|^flows have no") as raised:
        FlowTable().query(search_to_wire(search))
    assert str(raised.value) == words


def test_bytes_that_are_no_message_are_refused() -> None:
    refusing: list[Callable[[], bytes]] = [
        lambda: FlowTable().query(b"\x0a\xff"),
        lambda: flow_set_json(b"\x0a\xff"),
        lambda: flow_message_json(b"\x0a\xff"),
        lambda: merge_flow_sets([b"\x0a\xff"], b""),
        lambda: merge_flow_sets([], b"\x0a\xff"),
    ]
    for refuse in refusing:
        with pytest.raises(ValueError, match="not a valid protobuf message"):
            refuse()


def test_threads_may_use_one_table() -> None:
    """Queries come while packets do; the work runs without the interpreter's lock."""
    table = FlowTable()

    def feed(first: int) -> None:
        for number in range(first, first + 500):
            packet = ipv4("10.0.0.1", "10.0.0.2", 1, ping(number))
            table.feed(ethernet(1, 2, 0x0800, packet), at_ns=number)
            table.query(b"")

    threads = [threading.Thread(target=feed, args=(first,)) for first in (0, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.stats()["flows"] == 1000


# Searches in the table against the same searches over JSON.

KEYS = [
    *FIELDS,
    "nope",
    "Network",
    "Transport.X",
    "UUID.whatever",
]
TEXTS = [
    *("", "TCP", "ICMPv4", "10.0.0.1", "10.0.0.2", "::", "::1", "02:00:00:00:00:01", "ECHO"),
    *("UDP", "IPV4", "Ethernet/IPv4/TCP", "tid-1", "80", "0x50", "ETHERNET"),
    *("web.example", "a.example", "A", "IN", "No Error", "GET", "10.0.0.9", "two", "TLS 1.3"),
]
NUMBERS = [-1, 0, 1, 2, 7, 8, 10, 53, 64, 74, 80, 98, 255, 1000, 4000, 5001, 2**62]
PATTERNS = ["", "^TCP$", "IPv4", r"^10\.0\..*$", "[0-9a-f]+", "^(Ethernet|IPv6)", "ECHO|UDP"]
CIDRS = ["10.0.0.0/24", "10.0.0.77/8", "0.0.0.0/0", "192.168.0.1/32", "255.0.0.0/1"]

keys = st.sampled_from(KEYS)
leaves: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Eq, keys, st.sampled_from([*TEXTS, *NUMBERS, True, False])),
    *(st.builds(compare, keys, st.sampled_from(NUMBERS)) for compare in (Gt, Gte, Lt, Lte)),
    st.builds(Regex, keys, st.sampled_from(PATTERNS)),
    st.builds(Missing, keys),
    st.builds(IPv4Range, keys, st.sampled_from(CIDRS)),
)


def several(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    lists = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(st.builds(And, lists), st.builds(Or, lists), st.builds(Not, lists))


filters = st.recursive(leaves, several, max_leaves=6)
bounds = st.one_of(st.none(), st.integers(0, 12))
searches = st.builds(
    FlowSearch,
    where=st.one_of(st.none(), filters),
    sort=st.booleans(),
    # Of the latter several flows have the same: they stay as they came, or the other way round.
    sort_by=st.sampled_from(
        ["", "Start", "UUID", "Last", "Application", "NodeTID", "Network.A", "ICMP.ID", "Link.ID"]
    ),
    order=st.sampled_from(SortOrder),
    dedup=st.booleans(),
    dedup_by=st.sampled_from(["", "Application", "Network.B", "Transport.A", "Link.ID", "NodeTID"]),
    first=st.integers(0, 10),
    last=bounds,
)


def record(kind: int, data: bytes, ttl: int = 60) -> bytes:
    """A record of the name that the message asks for."""
    return b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


ANSWER = (
    struct.pack(">HHHHHH", 7, 0x8180, 1, 5, 1, 1)
    + b"\x01a\x07example\x00\x00\x01\x00\x01"
    + record(1, bytes([10, 0, 0, 9]))
    + record(5, b"\x03web\xc0\x0e", ttl=0)
    + record(16, b"\x03one\x03two")
    + record(15, b"\x00\x0a\x02mx\xc0\x0e")
    + record(33, bytes([0, 1, 0, 2, 0, 53]) + b"\x01s\xc0\x0e")
    + record(6, b"\x02ns\xc0\x0e\x04mail\xc0\x0e" + struct.pack(">IIIII", 1, 2, 0, 4, 5))
    + b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x07\x00\x0a\x00\x03abc"
)
ROOT_QUESTION = struct.pack(">HHHHHH", 8, 0, 1, 0, 0, 0) + b"\x00\x00\x02\x00\x01"
REQUEST = b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"
MESSAGES = [
    ethernet(1, 2, 0x0800, ipv4("10.0.0.1", "10.0.0.2", protocol, packet))
    for protocol, packet in (
        (17, udp(53, 4001, ANSWER)),
        (17, udp(4002, 53, ROOT_QUESTION)),
        (17, udp(123, 123, bytes([0x24, 2, 6, 0xE9]) + bytes(44))),
        (17, udp(547, 546, bytes([7, 0, 0, 1, 0, 2, 0, 2, 1, 2]))),
        (6, tcp(4003, 80, payload=REQUEST)),
        (6, tcp(4004, 443, payload=bytes([22, 3, 1, 0, 38, 1, 0, 0, 34, 3, 3]) + bytes(32))),
        (112, bytes([0x21, 7, 100, 1, 0, 5, 0, 0])),
    )
]


def searched() -> FlowTable:
    """Flows with and without an update record, and a tunnel with a flow in it."""
    table = table_of(
        [*FRAMES, *MESSAGES],
        node_tid="tid-1",
        extra_tcp_metric=True,
        ip_defrag=True,
        reassemble_tcp=True,
        extra_layers=255,
    )
    table.update(9000)
    table.feed(FRAMES[0], at_ns=20 * SECOND_NS)
    table.feed(ethernet(9, 9, 0x0800, ipv4("10.0.0.1", "10.0.0.1", 6, tcp(7, 8))), at_ns=1)
    return table


TABLE = searched()
FLOWS = flows_of(TABLE.query(b""))


@settings(max_examples=400, deadline=None)
@given(filters)
def test_filters_mean_what_they_mean_in_python(where: Filter) -> None:
    """One semantics, two executors: a query must not depend on where it is evaluated."""
    search = FlowSearch(where=where)
    found = flows_of(TABLE.query(search_to_wire(search)))
    assert found == select(FLOWS, search)


@settings(max_examples=400, deadline=None)
@given(searches)
def test_searches_mean_what_they_mean_in_python(search: FlowSearch) -> None:
    table = table_of(FRAMES[:7], node_tid="tid-1")
    flows = flows_of(table.query(b""))
    assert flows_of(table.query(search_to_wire(search))) == list(select(flows, search))


@settings(max_examples=200, deadline=None)
@given(searches, st.integers(0, 7), st.integers(0, 7))
def test_merging_answers_gives_what_one_table_would(search: FlowSearch, a: int, b: int) -> None:
    """Who asks several tables must not see that they are several."""
    a, b = min(a, b), max(a, b)
    tables = [table_of([]), table_of([]), table_of([])]
    for number, frame in enumerate(FRAMES[:7]):
        table = tables[(number >= a) + (number >= b)]
        table.feed(frame, at_ns=number * SECOND_NS)
    asked = search_to_wire(search)
    whole = FlowSearch(
        where=search.where,
        sort=search.sort,
        sort_by=search.sort_by,
        order=search.order,
        dedup=search.dedup,
        dedup_by=search.dedup_by,
    )
    parts = [table.query(search_to_wire(whole)) for table in tables]
    merged = flows_of(merge_flow_sets(parts, asked))
    assert merged == merge([flows_of(part) for part in parts], search)
