"""Packets of flows as files that other programs read; here our own reader and tcpdump's do."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.flow import FlowSearch, RawPacket
from skydiver.flow.capture_files import Interface, pcap_file, pcapng_file, wire_bytes
from skydiver.flow.wire import search_to_wire
from skydiver.native import FlowTable, flow_set_json

IPV4 = bytes.fromhex("4500003000010000401100000a0000010a0000020007004d001c") + bytes(22)
ETHERNET = bytes.fromhex("0200000000020200000000010800") + IPV4
AT_MS = 1_700_000_000_123


def flows(file: bytes) -> list[dict[str, Any]]:
    table = FlowTable()
    table.feed_pcap(file)
    found = table.query(search_to_wire(FlowSearch()))
    return list(orjson.loads(flow_set_json(found)))


def test_a_pcap_file_is_read_back_as_the_same_packets() -> None:
    """Times in milliseconds, as flows carry them, and the length that the IP header tells."""
    file, left_out = pcap_file([RawPacket(AT_MS, 1, ETHERNET[:42], 1)])
    assert left_out == 0
    [flow] = flows(file)
    assert flow["LayersPath"] == "Ethernet/IPv4/UDP"
    assert flow["Start"] == AT_MS
    assert flow["Metric"]["ABBytes"] == len(ETHERNET)


def test_packets_of_another_link_type_are_left_out_of_pcap_and_counted() -> None:
    """The format has one link type for all; it is that of most captures, unless none is."""
    bare = RawPacket(AT_MS, 1, IPV4, 228)
    file, left_out = pcap_file([bare, RawPacket(AT_MS, 1, ETHERNET, 1)])
    assert (left_out, len(flows(file))) == (1, 1)
    file, left_out = pcap_file([bare, RawPacket(AT_MS, 1, b"hello", 147)])
    assert left_out == 1
    assert [flow["LayersPath"] for flow in flows(file)] == ["IPv4/UDP"]
    assert flows(pcap_file([])[0]) == []


def interfaces() -> bytes:
    return pcapng_file(
        [Interface("eth0", "TID abc, host h1", 1), Interface("tun0", "TID déf, host h2", 228)],
        [
            (0, RawPacket(AT_MS, 1, ETHERNET, 1), "flow 17"),
            (1, RawPacket(AT_MS + 1, 2, IPV4[:21], 228), "flow 18"),
        ],
    )


def test_pcapng_has_room_for_all_interfaces() -> None:
    """Several nodes can be in one file, each packet with its own."""
    file = interfaces()
    assert sorted(flow["Start"] for flow in flows(file)) == [AT_MS, AT_MS + 1]
    for text in ("eth0", "TID abc, host h1", "TID déf, host h2", "flow 17"):
        assert text.encode() in file


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_tcpdump_reads_both_formats() -> None:
    """What matters is that other programs do."""
    packet = RawPacket(AT_MS, 1, ETHERNET, 1)
    # Of pcapng it reads one link type a file; Wireshark reads any.
    ng = pcapng_file([Interface("eth0", "TID abc", 1)] * 2, [(1, packet, "flow 17")])
    for file in (pcap_file([packet])[0], ng):
        done = subprocess.run(
            ["tcpdump", "-nn", "-tt", "-r", "-"],
            input=file,
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert b"1700000000.123" in done.stdout, done.stderr
        assert b"10.0.0.1.7 > 10.0.0.2.77" in done.stdout


@pytest.mark.parametrize(
    ("data", "link_type", "expected"),
    [
        (ETHERNET[:20], 1, len(ETHERNET)),
        (ETHERNET, 1, len(ETHERNET)),
        (IPV4[:4], 228, 48),
        (ETHERNET[:12] + b"\x81\x00\x00\x05\x08\x00" + IPV4[:8], 1, len(ETHERNET) + 4),
        (b"\x60\x00\x00\x00\x01\x00" + bytes(34), 229, 40 + 256),
        (b"\x60\x00\x00\x00\x00\x00" + bytes(34), 229, 40),
        (b"", 1, 0),
        (b"hello", 1, 5),
        (ETHERNET[:12] + b"\x81\x00", 1, 14),
    ],
)
def test_the_length_on_the_wire_is_what_the_header_tells(
    data: bytes, link_type: int, expected: int
) -> None:
    """Wireshark would call every packet cut otherwise, or none."""
    assert wire_bytes(RawPacket(0, 1, data, link_type)) == expected


@given(
    st.lists(
        st.builds(
            RawPacket,
            st.integers(-(2**63), 2**63 - 1),
            st.integers(-(2**63), 2**63 - 1),
            st.binary(max_size=70),
            st.sampled_from([0, 1, 12, 228, 229, 2**32 - 1]),
        )
    )
)
def test_any_packets_make_files_that_can_be_read(packets: list[RawPacket]) -> None:
    """Flows come from agents, and their times and sizes are theirs."""
    file, left_out = pcap_file(packets)
    table = FlowTable()
    assert table.feed_pcap(file) == len(packets) - left_out
    ethernet = [packet for packet in packets if packet.link_type == 1]
    file = pcapng_file([Interface("x" * 70_000, "", 1)], [(0, each, "c") for each in ethernet])
    assert table.feed_pcap(file) == len(ethernet)
    assert struct.unpack("<I", file[:4]) == (0x0A0D0D0A,)
