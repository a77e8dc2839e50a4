"""Flows of rebuilt packets are those that the original makes, identifiers to the last bit.

`tests/data/flows/vectors.json` has the facts of the recordings that the original replays in its
tests: 21 of its 22 files with the flows, counters and identifiers they give. `frames.py` beside it
makes packets of them.

What the facts do not determine stands with each vector under ``undetermined``: sizes of single
packets and times between the first and the last where only sums and ends are known, payloads,
sequence numbers, the order of packets of one moment, MPLS labels, the content of Geneve options.
None of it enters what is compared here.

Left out, with reasons in ``left_out`` of the data: fragments put together, TCP reassembly and the
DNS layer of the recordings whose flows are checked, identifiers of flows that were not made from
packets (eBPF), and those of icmpv4-symetric, whose link addresses are unknown.

A second, independent implementation of the keys (`Oracle`) is compared on random packets.
"""

from __future__ import annotations

import importlib.util
import struct
import sys
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from skydiver.native import FlowTable, flow_set_json

Flow = dict[str, Any]


def _frames() -> ModuleType:
    """The generator beside the data, which is no package."""
    path = Path(__file__).parents[1] / "data/flows/frames.py"
    spec = importlib.util.spec_from_file_location("golden_frames", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


frames = _frames()
VECTORS: dict[str, Any] = frames.load()["vectors"]


def flows_of(table: FlowTable) -> list[Flow]:
    """All flows of `table`, oldest first."""
    flows: list[Flow] = orjson.loads(flow_set_json(table.query(b"")))
    return flows


def replay(vector: dict[str, Any], *, reverse: bool = False, **options: Any) -> list[Flow]:
    """The flows of the packets rebuilt from `vector`, read from a capture file."""
    packets = frames.packets_of(vector["flows"], reverse=reverse)
    table = FlowTable(mpls_udp_port=vector.get("mpls_udp_port", 0), **options)
    read = table.feed_pcap(frames.pcap(packets, vector.get("link_type", frames.ETHERNET)))
    assert read == len(packets)
    return flows_of(table)


def endpoints(part: dict[str, Any] | None) -> list[Any] | None:
    return None if part is None else [part["A"], part["B"], part["ID"]]


def as_row(flow: Flow, numbers: dict[str, int]) -> dict[str, Any]:
    """`flow` in the words of the table of facts; `numbers`: the row of each UUID."""
    transport, icmp, metric = flow.get("Transport"), flow.get("ICMP"), flow["Metric"]
    return {
        "path": flow["LayersPath"],
        "link": endpoints(flow.get("Link")),
        "network": endpoints(flow.get("Network")),
        "transport": transport and [transport["Protocol"], transport["A"], transport["B"]],
        "icmp": icmp and [icmp["Type"], icmp.get("Code", 0), icmp.get("ID", 0)],
        "ab": [metric["ABPackets"], metric["ABBytes"]],
        "ba": [metric["BAPackets"], metric["BABytes"]],
        "rtt_ns": metric.get("RTT", 0),
        "tracking_id": flow["TrackingID"],
        "l3_tracking_id": flow["L3TrackingID"],
        "uuid": flow["UUID"],
        "parent": numbers[flow["ParentUUID"]] if flow["ParentUUID"] else None,
        "start_ms": flow["Start"],
        "last_ms": flow["Last"],
    }


def in_columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of facts without what only the generator reads."""
    columns = ["path", "link", "network", "transport", "icmp", "ab", "ba", "rtt_ns"]
    columns += ["tracking_id", "l3_tracking_id", "uuid", "parent", "start_ms", "last_ms"]
    return [{name: row[name] for name in columns} for row in rows]


def as_rows(flows: list[Flow], expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of `expected` as far as UUIDs agree; others after them, so they show."""
    order = {row["uuid"]: number for number, row in enumerate(expected, start=1)}
    flows = sorted(flows, key=lambda flow: order.get(flow["UUID"], len(order) + 1))
    numbers = {flow["UUID"]: number for number, flow in enumerate(flows, start=1)}
    return [as_row(flow, numbers) for flow in flows]


@pytest.mark.parametrize("name", VECTORS)
def test_flows_are_those_of_the_original(name: str) -> None:
    """Whoever compares with old recordings, or with agents of the original, joins on these IDs."""
    expected = in_columns(VECTORS[name]["flows"])
    flows = replay(VECTORS[name])
    assert as_rows(flows, expected) == expected
    assert all(flow["Application"] == flow["LayersPath"].split("/")[-1] for flow in flows)


@pytest.mark.parametrize("name", [name for name in VECTORS if "l3_flows" in VECTORS[name]])
def test_flows_by_network_are_those_of_the_original(name: str) -> None:
    """One conversation that comes over two routers is one flow in key mode L3."""
    expected = in_columns(VECTORS[name]["l3_flows"])
    assert as_rows(replay(VECTORS[name], key_mode="L3"), expected) == expected


@pytest.mark.parametrize("name", [name for name in VECTORS if "l3_tracking_ids" in VECTORS[name]])
def test_identifiers_by_network_are_those_of_the_original(name: str) -> None:
    """Of these, only the identifiers of some flows are known in key mode L3."""

    def who(network: list[Any], transport: list[Any] | None, path: str) -> tuple[Any, ...]:
        return (*network[:2], *(transport or [])[1:], path)

    vector = VECTORS[name]
    flows = {
        who(row["network"], row["transport"], row["path"]): row
        for row in as_rows(replay(vector, key_mode="L3"), [])
        if row["network"]
    }
    for number, tracking_id in vector["l3_tracking_ids"].items():
        row = vector["flows"][int(number) - 1]
        flow = flows[who(row["network"], row["transport"], row["path"])]
        assert (flow["tracking_id"], flow["l3_tracking_id"]) == (tracking_id, tracking_id)


# Of MPLS over UDP the source ports count, and both ends send to one port: no conversation.
@pytest.mark.parametrize("key_mode", ["L2", "L3"])
@pytest.mark.parametrize(
    "name", [name for name in VECTORS if not VECTORS[name].get("mpls_udp_port")]
)
def test_each_direction_has_the_same_identifiers(name: str, key_mode: str) -> None:
    """An answer must find the flow of its question, whichever was seen first."""
    there, back = (
        Counter(
            (flow["LayersPath"], flow["TrackingID"], flow["L3TrackingID"], flow["UUID"])
            for flow in replay(VECTORS[name], reverse=reverse, key_mode=key_mode)
        )
        for reverse in (False, True)
    )
    assert back == there


def test_the_node_is_part_of_the_uuid_only() -> None:
    """The same flow seen at two nodes is two flows with one TrackingID."""
    vector = VECTORS["simple-tcpv4"]
    node_tid, uuid = vector["uuid_with_node_tid"]
    [flow] = replay(vector, node_tid=node_tid)
    assert (flow["NodeTID"], flow["UUID"]) == (node_tid, uuid)
    assert flow["TrackingID"] == vector["flows"][0]["tracking_id"]


def test_times_and_hop_limits_of_a_connection_are_kept_when_asked_for() -> None:
    """They come from flags alone, without looking at sequence numbers."""
    vector = VECTORS["simple-tcpv4"]
    [flow] = replay(vector, extra_tcp_metric=True)
    wanted = vector["tcp_metric"]
    assert {name: flow["TCPMetric"][name] for name in wanted} == wanted


def test_a_port_names_the_application_of_its_flows() -> None:
    """The identifiers do not depend on the name."""
    vector = VECTORS["simple-tcpv4"]
    [flow] = replay(vector, application_ports={"tcp": {3333: "DEMO"}, "udp": {36108: "OTHER"}})
    assert flow["Application"] == "DEMO"
    assert flow["UUID"] == vector["flows"][0]["uuid"]


def test_pings_both_ways_between_fifty_pairs_are_a_hundred_flows() -> None:
    """Each has its identifier of ICMP; the facts of this recording leave out the link addresses."""
    rows = []
    for number in range(100):
        a, b = number + 1, number + 51 if number < 50 else number - 49
        rows.append(
            {
                "path": "Ethernet/IPv4/ICMPv4",
                "link": ["02:00:00:00:00:01", "02:00:00:00:00:02", 0],
                "network": [f"176.16.13.{a}", f"176.16.13.{b}", 0],
                "transport": None,
                "icmp": ["ECHO", 0, 18_196 + number],
                "ab": [1, 98],
                "ba": [1, 98],
                "rtt_ns": 50_000,
                "parent": None,
                "start_ms": 1_500_000_000_000 + number,
                "last_ms": 1_500_000_000_000 + number,
            }
        )
    flows = replay({"flows": rows})
    assert len({flow["UUID"] for flow in flows}) == len(flows) == 100
    assert {(flow["Metric"]["ABBytes"], flow["Metric"]["BABytes"]) for flow in flows} == {(98, 98)}


# The packet that killed the original's agent


def udp_packet(source: int, destination: int, payload: bytes) -> bytes:
    udp = struct.pack(">HHHH", source, destination, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0)
    addresses = IPv4Address("10.0.0.1").packed + IPv4Address("10.0.0.2").packed
    return bytes.fromhex("020000000002020000000001") + b"\x08\x00" + ip + addresses + udp


SIZES = (*range(40), 1400)
HOSTILE = [udp_packet(6081, port, bytes(size)) for port in (9, 6081) for size in SIZES]


@pytest.mark.parametrize("key_mode", ["L2", "L3"])
def test_zeros_from_the_port_of_geneve_harm_nobody(key_mode: str) -> None:
    """A tunnel without anything in it: one such datagram ended the original's agent."""
    for frame in HOSTILE:
        table = FlowTable(key_mode=key_mode)
        table.feed(frame, at_ns=1_000_000_000)
        # Neither half a header nor what is no packet inside a whole one is lost in silence.
        assert table.stats()["decode_errors"] == (len(frame) - 42 not in (0, 8))
        table.feed(udp_packet(1000, 2000, b"after"), at_ns=2_000_000_000)
        hostile, after = sorted(flows_of(table), key=lambda flow: int(flow["Start"]))
        tunnel = "/Geneve" if len(frame) >= 42 + 8 else ""
        assert hostile["LayersPath"] == "Ethernet/IPv4/UDP" + tunnel
        assert hostile["Metric"]["ABBytes"] == len(frame)
        assert after["Transport"] == {"Protocol": "UDP", "A": 1000, "B": 2000, "ID": 0}


def test_frames_cut_anywhere_harm_nobody() -> None:
    """What a header size cuts off, a decoder must not miss; the counters are of the wire."""
    for frame in HOSTILE[:48:8]:
        for kept in range(len(frame)):
            table = FlowTable()
            table.feed(frame[:kept] or b"\0", at_ns=1_000_000_000, wire_bytes=len(frame))
            assert all(flow["Metric"]["ABBytes"] == len(frame) for flow in flows_of(table))


def test_a_file_cut_anywhere_gives_the_packets_before_the_cut() -> None:
    """Recordings end in the middle when a disk is full; one clear line says so."""
    sent = [frames.Packet(1_000_000_000, frame, len(frame)) for frame in HOSTILE[:10]]
    whole = frames.pcap(sent)
    ends = [len(frames.pcap(sent[:count])) for count in range(len(sent) + 1)]
    for kept in range(len(whole)):
        table = FlowTable()
        if kept in ends:
            assert table.feed_pcap(whole[:kept]) == ends.index(kept)
            continue
        with pytest.raises(ValueError, match=r"capture file|pcap") as refused:
            table.feed_pcap(whole[:kept])
        assert "\n" not in str(refused.value)
        assert table.stats()["packets"] == sum(end <= kept for end in ends[1:])


# The keys, written a second time


@dataclass(frozen=True)
class Header:
    """The addresses that enter the key of one flow."""

    macs: tuple[bytes, bytes] | None
    ips: tuple[bytes, bytes] | None
    ports: tuple[bytes, bytes] | None = None
    port_kind: int = 0
    tunnel: bytes = b""
    """VNI and destination port."""
    application: bytes = b""


class Oracle:
    """Keys, TrackingIDs and UUIDs as flows.md §4 words them."""

    def __init__(self, mode: str, node_tid: str) -> None:
        self.mode = mode
        self.node_tid = node_tid.encode()

    def swapped(self, header: Header) -> bool:
        macs, ips = header.macs, header.ips
        by_network, swap = True, False
        if (self.mode == "L2" and macs) or not ips:
            assert macs is not None
            by_network = False
            swap = macs[0] > macs[1]
            if macs[0] == macs[1] and ips:
                by_network = True
        if by_network and ips:
            swap = ips[0] > ips[1]
            if ips[0] == ips[1] and header.ports:
                swap = header.ports[0] > header.ports[1]
        return swap

    def identify(self, header: Header, at_ms: int, parent: str = "") -> tuple[str, str, str]:
        """TrackingID, L3TrackingID and UUID."""
        swap = self.swapped(header)
        state = xxhash.xxh64(seed=0)

        def block(kind: int, pair: tuple[bytes, bytes]) -> None:
            for part in reversed(pair) if swap else pair:
                state.update(part)
            state.update(struct.pack(">Q", kind))

        if header.ips:
            block(1 if len(header.ips[0]) == 4 else 2, header.ips)
        if header.tunnel:
            state.update(header.tunnel + bytes(8))
        elif header.ports:
            block(header.port_kind, header.ports)
        if header.application:
            state.update(header.application + bytes(8))
        l3 = l2 = state.intdigest()
        if header.macs and (self.mode == "L2" or not header.ips):
            block(3, header.macs)
            l2 = state.intdigest()
        state.update(parent.encode())
        uuid = xxhash.xxh64(seed=state.intdigest())
        uuid.update(struct.pack(">Q", at_ms) + self.node_tid)
        return f"{l2:x}", f"{l3:x}", f"{uuid.intdigest():x}"


def ids(flow: Flow) -> tuple[str, str, str]:
    return flow["TrackingID"], flow["L3TrackingID"], flow["UUID"]


# Few addresses, so that equal ones meet often.
MACS = st.one_of(st.sampled_from([bytes(6), b"\x02\0\0\0\0\1"]), st.binary(min_size=6, max_size=6))
IPV4 = st.one_of(st.sampled_from(["10.0.0.1", "10.0.0.2"]).map(IPv4Address), st.ip_addresses(v=4))
IPV6 = st.one_of(st.sampled_from(["fd00::1", "::"]).map(IPv6Address), st.ip_addresses(v=6))
PORTS = st.one_of(st.sampled_from([1, 256, 53, 4789, 6081]), st.integers(0, 65_535))
ICMP_V4 = {0: 2, 8: 2, 3: 1, 4: 9, 5: 7, 9: 8, 10: 8, 11: 10, 12: 6, 13: 11, 14: 11} | {
    15: 5,
    16: 5,
    17: 4,
    18: 4,
}
ICMP_V6 = {128: 2, 129: 2, 1: 1, 2: 12, 3: 10, 4: 6, 133: 8, 134: 8, 135: 3, 136: 3, 137: 7}


def draw_transport(draw: st.DrawFn, ipv6: bool) -> tuple[int, bytes, dict[str, Any]]:
    """Protocol number, bytes, and what of them enters the key. Without any payload."""
    kind = draw(st.sampled_from(["tcp", "udp", "sctp", "icmp", "other"]))
    if kind == "other":
        return 253, b"rest", {}
    if kind == "icmp":
        number, code = draw(st.integers(0, 255)), draw(st.integers(0, 255))
        identifier = draw(st.integers(0, 65_535))
        known = (ICMP_V6 if ipv6 else ICMP_V4).get(number, 0)
        word = known << 24 | code << 16 | identifier
        if ipv6:
            word = 2 << 24 | identifier if known == 2 else known << 24 | code << 16
        body = struct.pack(">BBHHH", number, code, 0, identifier, 1) + bytes(24)
        return (58 if ipv6 else 1), body, {"application": struct.pack(">I", word)}
    a, b = (struct.pack(">H", draw(PORTS)) for _ in "ab")
    number, port_kind, rest = {
        "tcp": (6, 4, struct.pack(">IIBBHHH", 1, 0, 0x50, 0x10, 1, 0, 0)),
        "udp": (17, 5, struct.pack(">HH", 8, 0)),
        "sctp": (132, 6, bytes(8)),
    }[kind]
    return number, a + b + rest, {"ports": (a, b), "port_kind": port_kind}


def ip_packet(a: Any, b: Any, protocol: int, body: bytes) -> bytes:
    if a.version == 4:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0)
    else:
        head = struct.pack(">IHBB", 6 << 28, len(body), protocol, 64)
    return bytes(head + a.packed + b.packed + body)


@st.composite
def packets(draw: st.DrawFn) -> tuple[bytes, Header]:
    """An Ethernet frame without payload, and what of it enters the key."""
    source, destination = draw(MACS), draw(MACS)
    tags = draw(st.lists(st.integers(0, 4095), max_size=3))
    link = destination + source + b"".join(struct.pack(">HH", 0x8100, tag) for tag in tags)
    version = draw(st.sampled_from([0, 4, 6]))
    if not version:
        arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + bytes(20)
        return link + b"\x08\x06" + arp, Header((source, destination), None)
    a, b = (draw(IPV4 if version == 4 else IPV6) for _ in "ab")
    protocol, body, keys = draw_transport(draw, ipv6=version == 6)
    frame = link + (b"\x08\x00" if version == 4 else b"\x86\xdd") + ip_packet(a, b, protocol, body)
    return frame, Header((source, destination), (a.packed, b.packed), **keys)


@given(
    packet=packets(),
    mode=st.sampled_from(["L2", "L3"]),
    node_tid=st.text(max_size=12),
    at_ms=st.integers(0, 2**42),
)
def test_any_flow_has_the_identifiers_that_the_rules_give(
    packet: tuple[bytes, Header], mode: str, node_tid: str, at_ms: int
) -> None:
    """The vectors are few; this is every combination of addresses, ports and protocols."""
    frame, header = packet
    table = FlowTable(key_mode=mode, node_tid=node_tid)
    table.feed(frame, at_ns=at_ms * 1_000_000 + 999_999)
    [flow] = flows_of(table)
    assert ids(flow) == Oracle(mode, node_tid).identify(header, at_ms)


@given(
    inner=packets(),
    macs=st.tuples(MACS, MACS),
    ips=st.one_of(st.tuples(IPV4, IPV4), st.tuples(IPV6, IPV6)),
    source_port=st.integers(20_000, 65_535),
    vni=st.integers(0, 2**24 - 1),
    geneve=st.booleans(),
    mode=st.sampled_from(["L2", "L3"]),
)
def test_what_a_tunnel_carries_has_the_tunnel_in_its_key(
    inner: tuple[bytes, Header],
    macs: tuple[bytes, bytes],
    ips: tuple[Any, Any],
    source_port: int,
    vni: int,
    geneve: bool,
    mode: str,
) -> None:
    """TrackingIDs do not depend on the tunnel, UUIDs do; its source port is in neither."""
    inner_frame, inner_header = inner
    port = 6081 if geneve else 4789
    first = 0x6558 if geneve else 0x08 << 24
    body = struct.pack(">II", first, vni << 8) + inner_frame
    udp = struct.pack(">HHHH", source_port, port, 8 + len(body), 0) + body
    kind = b"\x08\x00" if ips[0].version == 4 else b"\x86\xdd"
    frame = macs[1] + macs[0] + kind + ip_packet(*ips, 17, udp)
    outer_header = Header(
        macs, (ips[0].packed, ips[1].packed), tunnel=struct.pack(">IH", vni, port)
    )
    table = FlowTable(key_mode=mode)
    table.feed(frame, at_ns=7_000_000)
    flows = flows_of(table)
    oracle = Oracle(mode, "")
    outer = oracle.identify(outer_header, 7)
    [carrier] = [flow for flow in flows if not flow["ParentUUID"]]
    [carried] = [flow for flow in flows if flow["ParentUUID"]]
    assert ids(carrier) == outer
    assert carrier["Network"]["ID"] == vni
    assert ip_address(carrier["Network"]["A"]) == ips[0]
    assert carried["ParentUUID"] == outer[2]
    assert ids(carried) == oracle.identify(inner_header, 7, parent=outer[2])
