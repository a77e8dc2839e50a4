"""Packets that flows carry, as files for Wireshark and its kin: pcap and pcapng.

pcap knows one link type and no interfaces, so packets of others are left out and counted; pcapng
has room for all of it. References: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from skydiver.flow.search import RawPacket

LINK_ETHERNET = 1
LINK_RAW_IP = 101
LINK_IPV4 = 228
LINK_IPV6 = 229

SNAP_BYTES = 4096

_MS_PER_S = 1000
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_COMMENT, _NAME, _RESOLUTION, _PROGRAM = 1, 2, 9, 4


@dataclass(frozen=True, slots=True)
class Interface:
    """Where packets were captured."""

    name: str
    comment: str
    link_type: int


def pcap_file(packets: Sequence[RawPacket]) -> tuple[bytes, int]:
    """A classic pcap file of `packets`, and how many have no place in it.

    Of Ethernet, when any packet is; else of raw IP.
    """
    ethernet = any(packet.link_type == LINK_ETHERNET for packet in packets)
    fitting = (LINK_ETHERNET,) if ethernet or not packets else (LINK_IPV4, LINK_IPV6)
    kept = [packet for packet in packets if packet.link_type in fitting]
    snap_bytes = max((len(packet.data) for packet in kept), default=0)
    link_type = LINK_ETHERNET if LINK_ETHERNET in fitting else LINK_RAW_IP
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, max(snap_bytes, SNAP_BYTES), link_type)]
    for packet in kept:
        seconds, ms = divmod(packet.at_ms, _MS_PER_S)
        length = len(packet.data)
        times = seconds & 0xFFFFFFFF, ms * 1000
        out += [struct.pack("<IIII", *times, length, wire_bytes(packet)), packet.data]
    return b"".join(out), len(packets) - len(kept)


def pcapng_file(
    interfaces: Sequence[Interface], packets: Iterable[tuple[int, RawPacket, str]]
) -> bytes:
    """A pcapng file; each packet with the place of its interface in `interfaces`, and a comment."""
    return b"".join(_blocks(interfaces, packets))


def _blocks(
    interfaces: Sequence[Interface], packets: Iterable[tuple[int, RawPacket, str]]
) -> Iterator[bytes]:
    options = _options((_PROGRAM, b"Skydive"))
    yield _block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options)
    for interface in interfaces:
        options = _options(
            (_COMMENT, interface.comment.encode()),
            (_NAME, interface.name.encode()),
            (_RESOLUTION, b"\x03"),
        )
        yield _block(_INTERFACE, struct.pack("<HHI", interface.link_type, 0, 0) + options)
    for place, packet, comment in packets:
        at, length = packet.at_ms & 0xFFFFFFFFFFFFFFFF, len(packet.data)
        head = struct.pack("<IIIII", place, at >> 32, at & 0xFFFFFFFF, length, wire_bytes(packet))
        yield _block(_PACKET, head + _padded(packet.data) + _options((_COMMENT, comment.encode())))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _options(*options: tuple[int, bytes]) -> bytes:
    """The options that say something."""
    told = [(code, value[:0xFFFF]) for code, value in options if value]
    packed = [struct.pack("<HH", code, len(value)) + _padded(value) for code, value in told]
    return b"".join(packed) + b"\0\0\0\0"


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def wire_bytes(packet: RawPacket) -> int:
    """Length of a packet as its IP header tells it; flows carry what was captured of it."""
    data, at = packet.data, 0
    kind = {LINK_IPV4: 0x0800, LINK_IPV6: 0x86DD}.get(packet.link_type, 0)
    if packet.link_type == LINK_ETHERNET:
        at = 14
        kind = int.from_bytes(data[12:14], "big")
        while kind in _VLAN_TYPES and len(data) >= at + 4:
            kind = int.from_bytes(data[at + 2 : at + 4], "big")
            at += 4
    length = 0
    if kind == 0x0800:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
    elif kind == 0x86DD and (payload := int.from_bytes(data[at + 4 : at + 6], "big")):
        length = 40 + payload
    return max(len(data), at + length if length else 0)
