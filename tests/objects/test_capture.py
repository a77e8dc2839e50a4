"""The capture as people and programs write and read it (api.md §3.6, flows.md §11)."""

from __future__ import annotations

from typing import Any

import pytest

from skydiver.base.errors import ProtocolError, QueryError
from skydiver.objects import Capture, CaptureChecks, new_capture


def checks(*, bad_query: str = "", bad_filter: str = "") -> CaptureChecks:
    """Checks that refuse one text each."""

    async def gremlin(text: str) -> None:
        if text == bad_query:
            raise QueryError("no such step", column=3)

    async def bpf(text: str) -> None:
        if text == bad_filter:
            raise QueryError("syntax error")

    return CaptureChecks(gremlin, bpf)


def test_json_shows_the_members_that_the_original_shows() -> None:
    """Clients test for presence: some are always there, others only when they say something."""
    document = Capture(uuid="u", gremlin_query="G.V()", layer_key_mode="L2").to_json()
    assert document == {
        "UUID": "u",
        "GremlinQuery": "G.V()",
        "Count": 0,
        "SamplingRate": 0,
        "PollingInterval": 0,
        "ExtraTCPMetric": False,
        "IPDefrag": False,
        "ReassembleTCP": False,
        "LayerKeyMode": "L2",
    }


def test_json_goes_both_ways() -> None:
    """Stores and messages between analyzer and agent carry exactly this document."""
    document = {
        "UUID": "u",
        "GremlinQuery": "G.V()",
        "BPFFilter": "tcp port 80",
        "Name": "n",
        "Description": "d",
        "Type": "sflow",
        "Count": 2,
        "Port": 6343,
        "SamplingRate": 4294967295,
        "PollingInterval": 10,
        "RawPacketLimit": 10,
        "HeaderSize": 4096,
        "ExtraTCPMetric": True,
        "IPDefrag": True,
        "ReassembleTCP": True,
        "LayerKeyMode": "L3",
        "ExtraLayers": 7,
        "Target": "10.0.0.1:2055",
        "TargetType": "netflowv5",
    }
    assert Capture.from_json(document).to_json() == document


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"GremlinQuery": " "}, "GremlinQuery: expected a query, got none"),
        ({"Type": "magic"}, "Type: expected one of ovssflow, pcapsocket, ovsmirror, dpdk, "
         "afpacket, pcap, ebpf, sflow, ovsnetflow, got 'magic'"),
        ({"LayerKeyMode": "L4"}, "LayerKeyMode: expected one of L2, L3, got 'L4'"),
        ({"TargetType": "x"}, "TargetType: expected one of local, netflowv5, erspanv1, got 'x'"),
        ({"RawPacketLimit": -1}, "RawPacketLimit: expected int >= 0"),
        ({"RawPacketLimit": 11}, "RawPacketLimit: expected int <= 10"),
        ({"HeaderSize": 13}, "HeaderSize: expected 0 or 14 to 4096, got 13"),
        ({"HeaderSize": 4097}, "HeaderSize: expected int <= 4096"),
        ({"Target": "nowhere"}, "Target: expected host:port, got 'nowhere'"),
        ({"Port": 65536}, "Port: expected int <= 65535"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_what_was_expected(
    members: dict[str, Any], message: str
) -> None:
    """Each becomes HTTP 400 with exactly this line."""
    with pytest.raises(ProtocolError) as raised:
        Capture.from_json({"GremlinQuery": "G.V()"} | members)
    assert str(raised.value) == message


@pytest.mark.parametrize("size", [0, 14, 256, 4096])
def test_header_sizes_of_the_original_are_accepted(size: int) -> None:
    """0 is the default, and 14 is an Ethernet header."""
    assert Capture.from_json({"GremlinQuery": "G", "HeaderSize": size}).header_size == size


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"Type": "ebpf", "BPFFilter": "tcp"}, "ebpf capture doesn't support BPF filtering"),
        ({"Type": "ebpf", "RawPacketLimit": 1}, "ebpf capture doesn't support raw packet capture"),
    ],
)
async def test_a_type_is_not_asked_for_what_it_cannot_do(
    members: dict[str, Any], message: str
) -> None:
    """Refused when it is created, and not by every agent later."""
    with pytest.raises(ProtocolError) as raised:
        await new_capture({"GremlinQuery": "G.V()"} | members, checks())
    assert str(raised.value) == message


async def test_a_type_may_be_asked_for_what_it_can_do() -> None:
    """The table of flows.md §11.2, its positive side."""
    for type_ in ("afpacket", "pcap", ""):
        asked: dict[str, Any] = {
            "Type": type_,
            "BPFFilter": "tcp",
            "ExtraTCPMetric": True,
            "TargetType": "local",
        }
        asked |= {"IPDefrag": True, "ReassembleTCP": True, "ExtraLayers": 255}
        await new_capture({"GremlinQuery": "G.V()"} | asked, checks())
    everything = {"BPFFilter": "tcp", "RawPacketLimit": 1, "ExtraTCPMetric": True}
    for type_ in ("afpacket", "pcap", "sflow", "dpdk", ""):
        Capture.from_json({"GremlinQuery": "G.V()", "Type": type_, **everything}).check_abilities()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"Type": "ovsmirror"}, "Type: captures of type 'ovsmirror' are"),
        ({"Type": "ebpf", "ExtraTCPMetric": True}, "Type: captures of type 'ebpf' are"),
        ({"TargetType": "netflowv5", "Target": "127.0.0.1:9"}, "TargetType 'netflowv5' is"),
        ({"Target": "127.0.0.1:9"}, "Target is"),
        ({"TargetType": "local", "Target": "127.0.0.1:9"}, "Target is"),
    ],
)
async def test_what_no_agent_can_do_is_refused_when_it_is_asked_for(
    members: dict[str, Any], words: str
) -> None:
    """A capture that can run nowhere would only look as if it saw nothing."""
    with pytest.raises(ProtocolError) as raised:
        await new_capture({"GremlinQuery": "G.V()"} | members, checks())
    assert str(raised.value) == f"{words} not available in this version"
    # What is stored already is still read.
    assert Capture.from_json({"GremlinQuery": "G.V()"} | members)


async def test_a_new_capture_gets_an_identifier_and_the_default_mode() -> None:
    """A UUID or a count in the request is overwritten."""
    capture = await new_capture(
        {"GremlinQuery": "G.V()", "UUID": "mine", "Count": 9}, checks(), layer_key_mode="L3"
    )
    assert len(capture.uuid) == 36
    assert capture.count == 0
    assert capture.layer_key_mode == "L3"
    said = await new_capture({"GremlinQuery": "G.V()", "LayerKeyMode": "L2"}, checks())
    assert said.layer_key_mode == "L2"


async def test_queries_and_filters_are_checked_before_anything_is_stored() -> None:
    """Otherwise the mistake would show only as a capture that never starts."""
    with pytest.raises(QueryError, match=r"no such step \(column 3\)"):
        await new_capture({"GremlinQuery": "bad"}, checks(bad_query="bad"))
    with pytest.raises(QueryError, match="syntax error"):
        await new_capture({"GremlinQuery": "G.V()", "BPFFilter": "bad"}, checks(bad_filter="bad"))


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        ({}, {}, True),
        ({}, {"GremlinQuery": "G.V('other')"}, False),
        ({}, {"BPFFilter": "tcp"}, False),
        ({}, {"Name": "other"}, True),
        ({"Type": "afpacket"}, {"Type": "pcap"}, False),
        ({"Type": "afpacket"}, {"Type": "afpacket", "BPFFilter": "tcp"}, False),
        ({"Type": "sflow"}, {"Type": "sflow", "BPFFilter": "tcp"}, True),
    ],
)
def test_duplicates_are_what_the_original_calls_so(
    one: dict[str, Any], other: dict[str, Any], conflict: bool
) -> None:
    """Scripts create their captures again and expect 409."""
    first = Capture.from_json({"GremlinQuery": "G.V()"} | one)
    second = Capture.from_json({"GremlinQuery": "G.V()"} | other)
    assert first.conflicts_with(second) is conflict
    assert second.conflicts_with(first) is conflict
