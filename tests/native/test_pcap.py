"""Capture files in pieces, packets kept with flows and filters over them, seen from Python."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.native.test_flow_table import ECHO, FRAMES

from skydiver.filters.bpf import compile_bpf
from skydiver.flow.search import FlowSearch
from skydiver.flow.wire import search_to_wire
from skydiver.native import FlowTable, PcapFeed, bpf_matches, flow_set_packets

ALL = search_to_wire(FlowSearch())
SECOND_NS = 1_000_000_000


def pcap(*frames: bytes) -> bytes:
    out = [struct.pack(">IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)]
    for number, frame in enumerate(frames):
        out += [struct.pack(">IIII", number, 5, len(frame), len(frame)), frame]
    return b"".join(out)


@given(st.integers(1, 200))
def test_a_file_in_pieces_gives_the_flows_of_the_whole_file(size: int) -> None:
    """Wherever it is cut."""
    file = pcap(*FRAMES)
    whole, table = FlowTable(), FlowTable()
    whole.feed_pcap(file)
    feed = PcapFeed(table)
    for at in range(0, len(file), size):
        assert feed.push(file[at : at + size]) is None
    feed.end()
    assert feed.stats()["packets"] == len(FRAMES)
    assert table.query(ALL) == whole.query(ALL)


def test_a_replay_says_when_it_wants_to_go_on() -> None:
    """So that nobody polls."""
    table = FlowTable()
    feed = PcapFeed(table, replay=True)
    now_ns = 1_000 * SECOND_NS
    assert feed.push(pcap(ECHO, ECHO), now_ns=now_ns) == SECOND_NS
    assert feed.push(b"", now_ns=now_ns + SECOND_NS // 2) == SECOND_NS // 2
    assert feed.push(b"", now_ns=now_ns + SECOND_NS) is None
    assert table.stats()["packets"] == 2


def test_a_feed_filters_by_link_type() -> None:
    """A program for Ethernet says nothing about other frames."""
    for link_type, refused in ((1, 1), (228, 2)):
        feed = PcapFeed(FlowTable(), filters={link_type: compile_bpf("icmp")})
        feed.push(pcap(ECHO, FRAMES[0]))
        assert feed.stats() == {
            "packets": 2,
            "bytes": len(ECHO) + len(FRAMES[0]),
            "refused": refused,
        }


def test_what_is_no_program_or_no_file_is_one_line() -> None:
    """Both come from outside."""
    with pytest.raises(ValueError, match=r"^not a valid BPF program$"):
        PcapFeed(FlowTable(), filters={1: [(0x15, 9, 9, 0)]})
    with pytest.raises(ValueError, match=r"^not a valid BPF program$"):
        bpf_matches([], [b""])
    with pytest.raises(ValueError, match=r"^not a pcap or pcapng file$"):
        PcapFeed(FlowTable()).push(b"nothing")
    with pytest.raises(ValueError, match=r"^not a pcap or pcapng file$"):
        PcapFeed(FlowTable()).end()


def test_a_program_says_which_frames_it_takes() -> None:
    """In the order of the frames."""
    frames = [ECHO, FRAMES[0], b"", ECHO[:20]]
    assert bpf_matches(compile_bpf("icmp"), frames) == [True, False, False, False]
    assert bpf_matches(compile_bpf(""), []) == []


def test_packets_are_read_with_the_flow_that_keeps_them() -> None:
    """Up to the limit, cut as they were captured."""
    table = FlowTable(raw_packet_limit=1)
    table.feed(ECHO, at_ns=7 * SECOND_NS)
    table.feed(ECHO, at_ns=8 * SECOND_NS)
    [(uuid, packets)] = flow_set_packets(table.query(ALL))
    assert len(uuid) == 16
    assert packets == [(7000, 1, ECHO, 1)]
    table.update(9000)
    assert flow_set_packets(table.query(ALL)) == []


@given(st.binary())
def test_garbage_instead_of_flows_is_refused_or_read(data: bytes) -> None:
    """It comes from agents; a panic would be a `RuntimeError`."""
    with suppress(ValueError):
        assert isinstance(flow_set_packets(data), list)
