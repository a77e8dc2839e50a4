"""Rebuild packets from the facts in `vectors.json`, as classic pcap files.

The recordings that the original's tests replay are not ours to copy, but what decides an
identifier is known of each: addresses, ports, tunnel identifiers, times, and how many packets and
bytes went which way. A vector lists these facts by flow; `packets_of` makes up packets that have
them, from each flow that carries no other, through all the tunnels around it.

What the facts leave open is chosen here and told in ``undetermined`` of each vector: the sizes of
single packets where only their sum is known (even shares, the last takes the rest), times between
the first and the last packet (evenly spread), checksums, identifiers of IP, sequence numbers, and
payloads (zeros, or the smallest message that decodes).

Keys of a flow that are facts beyond the columns of the table: ``sizes`` and ``link_ids`` of its
packets, which are known one by one; ``captured``: frames are cut there; ``recorded``: length in
the record header where it lies about the packet; ``closed``: both ends sent FIN;
``geneve_options``: header bytes that follow from the byte counts of the
tunnel and of what it carries; ``erspan``: what GRE carries is ERSPAN II; ``tunnel_port``: source
port of the tunnel around this flow.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FACTS = Path(__file__).with_name("vectors.json")
ETHERNET, RAW_IP = 1, 101

_FIN, _SYN, _ACK = 0x01, 0x02, 0x10
_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMPv4": 1, "GRE": 47, "Fragment": 1}
_ETHER_TYPES = {"IPv4": 0x0800, "IPv6": 0x86DD, "ARP": 0x0806, "Dot1Q": 0x8100, "MPLS": 0x8847}
_TRANSPARENT_ETHERNET, _ERSPAN = 0x6558, 0x88BE
_TUNNELS = ("GRE", "VXLAN", "Geneve", "MPLS")


@dataclass(frozen=True, slots=True)
class Packet:
    """One record of a capture file."""

    at_ns: int
    frame: bytes
    """What was captured."""
    wire_bytes: int
    """Length that its record states."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What one packet adds to the flow that carries no other."""

    at_ns: int
    from_a: bool
    size: int
    link_id: int
    tcp_flags: int = _ACK
    number: int = 0
    """Of the packets this way."""


def load() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(FACTS.read_text())
    return facts


def pcap(packets: Iterable[Packet], link_type: int = ETHERNET) -> bytes:
    """A little-endian classic pcap file in microseconds."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, link_type)]
    for packet in packets:
        second, rest_ns = divmod(packet.at_ns, 1_000_000_000)
        lengths = (len(packet.frame), packet.wire_bytes)
        out += [struct.pack("<IIII", second, rest_ns // 1000, *lengths), packet.frame]
    return b"".join(out)


def packets_of(rows: list[Row], *, reverse: bool = False) -> list[Packet]:
    """Packets that make up the flows `rows`; with `reverse`, each going the other way."""
    carriers = {row["parent"] for row in rows}
    timed = [
        (step.at_ns, index, _packet(rows, index, step, reverse))
        for index, row in enumerate(rows)
        if index + 1 not in carriers
        for step in _steps(row)
    ]
    timed.sort(key=lambda entry: entry[:2])
    return [packet for _, _, packet in timed]


# Which packets, when


def _steps(row: Row) -> Iterator[_Step]:
    """The packets of a flow that carries no other, in their order."""
    first_way, other_way = row["ab"], row["ba"]
    flip = _first_speaker_is_b(row)
    if flip:
        first_way, other_way = other_way, first_way
    sizes = (_sizes(row, first_way), _sizes(row, other_way))
    order = _order(row, len(sizes[0]), len(sizes[1]))
    times = _times(row, order)
    sent = [0, 0]
    link_ids = row.get("link_ids") or [row["link"][2] if row["link"] else 0]
    for position, (way, at_ns) in enumerate(zip(order, times, strict=True)):
        number = sent[way]
        sent[way] += 1
        last_of_way = number == len(sizes[way]) - 1
        flags = _ACK
        if row["rtt_ns"] and number == 0:
            flags = (_SYN | _ACK) if way else _SYN
        elif row.get("closed") and last_of_way:
            flags = _FIN | _ACK
        yield _Step(
            at_ns,
            way == 0,
            sizes[way][number],
            link_ids[number % len(link_ids)],
            flags,
            position,
        )


def _first_speaker_is_b(row: Row) -> bool:
    """Between equal addresses the first speaker is counted as B (flows.md §5.2)."""
    link, network = row["link"], row["network"]
    return bool(link and network and link[0] == link[1] and network[0] == network[1])


def _sizes(row: Row, way: list[int]) -> list[int]:
    packets, total = way
    if "sizes" in row and packets:
        sizes: list[int] = row["sizes"]
        assert (len(sizes), sum(sizes)) == (packets, total)
        return sizes
    if not packets:
        return []
    share = total // packets
    return [share] * (packets - 1) + [total - share * (packets - 1)]


def _order(row: Row, a: int, b: int) -> list[int]:
    """0 for a packet of the first speaker, 1 for an answer.

    Of a ping that was measured, the latest pair is what counts, so packets without a counterpart
    come early; of a TCP connection it is the first pair, so they come late.
    """
    pairs = [0, 1] * min(a, b)
    alone = [0] * (a - min(a, b)) + [1] * (b - min(a, b))
    return alone + pairs if row["icmp"] else pairs + alone


def _times(row: Row, order: list[int]) -> list[int]:
    start_ns, last_ns = row["start_ms"] * 1_000_000, row["last_ms"] * 1_000_000
    count, rtt_ns = len(order), row["rtt_ns"]
    if count == 1:
        return [start_ns]
    if count == 2 and rtt_ns:
        start_ns = max(start_ns, last_ns - rtt_ns)
        return [start_ns, start_ns + rtt_ns]
    last_ns += 900_000
    if not rtt_ns:
        return _spread(start_ns, last_ns, count)
    if row["icmp"]:
        return [*_spread(start_ns, last_ns - rtt_ns, count - 1), last_ns]
    times = [start_ns, *_spread(start_ns + rtt_ns, last_ns, count - 1)]
    if row.get("closed"):
        first_fin = min(count - 1 - order[::-1].index(way) for way in (0, 1))
        times[first_fin:] = [last_ns] * (count - first_fin)
    return times


def _spread(first_ns: int, last_ns: int, count: int) -> list[int]:
    if count == 1:
        return [first_ns]
    return [first_ns + (last_ns - first_ns) * i // (count - 1) // 1000 * 1000 for i in range(count)]


# Their bytes


def _packet(rows: list[Row], index: int, step: _Step, reverse: bool) -> Packet:
    leaf = rows[index]
    around = list(_ancestors(rows, leaf))
    extra = 8 if around and around[0].get("erspan") else 0
    frame = _headers(leaf, step, step.from_a ^ reverse, size=step.size - extra)
    inner = leaf
    for row in around:
        # A tunnel that was seen one way only carries both directions of what is in it.
        from_a = (step.from_a or not row["ba"][0]) ^ reverse
        frame = _tunnel(row, inner, from_a, frame)
        inner = row
    captured = leaf.get("captured", len(frame))
    return Packet(step.at_ns, frame[:captured], leaf.get("recorded", len(frame)))


def _ancestors(rows: list[Row], row: Row) -> Iterator[Row]:
    while row["parent"]:
        row = rows[row["parent"] - 1]
        yield row


def _headers(row: Row, step: _Step, from_a: bool, *, size: int) -> bytes:
    """A packet of a flow that carries no other, `size` bytes long."""
    layers = row["path"].split("/")
    link = _link(row, layers, step.link_id, from_a)
    room = size - len(link)
    if layers[-1] == "ARP":
        arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1 if step.from_a else 2) + bytes(20)
        return link + arp.ljust(room, b"\0")
    address_bytes = 40 if row["network"][0].count(":") else 20
    return link + _ip(row, layers, from_a, _body(row, layers, step, from_a, room - address_bytes))


def _body(row: Row, layers: list[str], step: _Step, from_a: bool, room: int) -> bytes:
    """What follows the IP header."""
    if "Fragment" in layers:
        return bytes(room)
    if row["icmp"]:
        kind = 8 if step.from_a else 0
        echo = struct.pack(">BBHHH", kind, 0, 0, row["icmp"][2], step.number)
        return echo.ljust(room, b"\0")
    name, a, b = row["transport"]
    source, destination = (a, b) if from_a else (b, a)
    if name == "TCP":
        rest = (step.number, 0, 0x50, step.tcp_flags, 65_535, 0, 0)
        return struct.pack(">HHIIBBHHH", source, destination, *rest).ljust(room, b"\0")
    payload = _dns(room - 8, answer=not step.from_a) if layers[-1] == "DNS" else bytes(room - 8)
    return struct.pack(">HHHH", source, destination, room, 0) + payload


def _dns(size: int, *, answer: bool) -> bytes:
    """A question about the root, filled up with one record of no known type."""
    head = struct.pack(">HHHHHH", 1, 0x8180 if answer else 0x0100, 1, 0, 0, 1)
    question = struct.pack(">BHH", 0, 28, 1)
    filler = size - len(head) - len(question) - 11
    return head + question + struct.pack(">BHHIH", 0, 41, 1, 0, filler) + bytes(filler)


def _tunnel(row: Row, inner: Row, from_a: bool, frame: bytes) -> bytes:
    """`frame` inside the tunnel packet of the flow `row`."""
    layers = row["path"].split("/")
    number = row["network"][2]
    inner_is_ethernet = inner["path"].startswith("Ethernet")
    kind = layers[-1]
    assert kind in _TUNNELS
    if kind == "MPLS":
        frame = struct.pack(">I", 16 << 12 | 1 << 8 | 64) + frame
    elif kind == "VXLAN":
        frame = struct.pack(">II", 0x08 << 24, number << 8) + frame
    elif kind == "Geneve":
        options = row.get("geneve_options", 0)
        protocol = _TRANSPARENT_ETHERNET if inner_is_ethernet else _ETHER_TYPES["IPv4"]
        head = struct.pack(">BBHI", options // 4, 0, protocol, number << 8)
        frame = head + _geneve_options(options) + frame
    if "GRE" in layers:
        frame = _gre(row, kind, inner_is_ethernet) + frame
    if "UDP" in layers:
        # Both ends of a tunnel send to its well-known port.
        _, source, destination = row["transport"]
        source = inner.get("tunnel_port", source)
        frame = struct.pack(">HHHH", source, destination, 8 + len(frame), 0) + frame
    link_id = row["link"][2] if row["link"] else 0
    return _link(row, layers, link_id, from_a) + _ip(row, layers, from_a, frame)


def _geneve_options(size: int) -> bytes:
    return struct.pack(">HBB", 0xFFFF, 0, size // 4 - 1) + bytes(size - 4) if size else b""


def _gre(row: Row, kind: str, inner_is_ethernet: bool) -> bytes:
    if row.get("erspan"):
        return struct.pack(">HHI", 0x1000, _ERSPAN, 1) + struct.pack(">II", 0x1000_0000, 0)
    protocol = _ETHER_TYPES["MPLS" if kind == "MPLS" else "IPv4"]
    if inner_is_ethernet and kind == "GRE":
        protocol = _TRANSPARENT_ETHERNET
    return struct.pack(">HH", 0, protocol)


def _link(row: Row, layers: list[str], link_id: int, from_a: bool) -> bytes:
    """Ethernet and its tags, outermost in the low bits of `link_id`; nothing without a link."""
    if not row["link"]:
        return b""
    a, b = (bytes.fromhex(text.replace(":", "")) for text in row["link"][:2])
    out = (b + a) if from_a else (a + b)
    while link_id:
        out += struct.pack(">HH", _ETHER_TYPES["Dot1Q"], link_id & 0xFFF)
        link_id >>= 12
    network = next(name for name in layers if name in ("IPv4", "IPv6", "ARP"))
    return out + struct.pack(">H", _ETHER_TYPES[network])


def _ip(row: Row, layers: list[str], from_a: bool, body: bytes) -> bytes:
    name = next(layer for layer in layers if layer in ("IPv4", "IPv6"))
    after = layers[layers.index(name) + 1]
    protocol = _PROTOCOLS[after]
    family = socket.AF_INET if name == "IPv4" else socket.AF_INET6
    a, b = (socket.inet_pton(family, text) for text in row["network"][:2])
    addresses = (a + b) if from_a else (b + a)
    if name == "IPv6":
        return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + addresses + body
    fragment = 0x2000 if after == "Fragment" else 0
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, fragment, 64, protocol, 0)
    return head + addresses + body
