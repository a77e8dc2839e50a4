"""Reading fields of flows that are JSON objects."""

from __future__ import annotations

from typing import Any

import pytest

from skydiver.filters import MISSING
from skydiver.flow.fields import FIELDS, NAMES, flow_field, flow_reader

FLOW: dict[str, Any] = {
    "UUID": "u",
    "Application": "DNS",
    "Link": {"Protocol": "ETHERNET", "A": "aa", "ID": 0},
    "Network": {"Protocol": "IPV6", "A": "::1", "B": "::2", "ID": 7},
    "Transport": {"Protocol": "UDP", "A": 5353, "B": 53, "ID": 0},
    "DNS": {"ID": 77, "QR": True, "op_code": "Query", "q_d_count": 1},
    "VRRPv2": {"virtual_rtrID": 9},
    "Metric": {"ABPackets": 1, "ABBytes": 75, "BAPackets": 0, "BABytes": 0, "Start": 5, "Last": 6},
    "Start": 5,
    "Last": 6,
    "ParentUUID": "",
    "RawPacketsCaptured": 0,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("UUID", "u"),
        # Whatever follows a text of the flow itself is ignored, as upstream.
        ("UUID.x", "u"),
        ("Start", 5),
        ("Start.x", MISSING),
        # Zeros and empty texts may be left out of the JSON.
        ("CaptureID", ""),
        ("FinishType", 0),
        ("Link.B", ""),
        ("Metric.RTT", 0),
        ("DNS.ResponseCode", ""),
        ("DNS.TC", False),
        # The other names of a layer do not check its protocol.
        ("IPV4.A", "::1"),
        ("ETHERNET.A", "aa"),
        ("TCP.Protocol", "UDP"),
        ("TCP.A", MISSING),
        ("ETHERNET.ID", MISSING),
        ("Transport.A", 5353),
        ("Network.ID", 7),
        # Layers that the flow lacks.
        ("ICMP.ID", MISSING),
        ("LastUpdateMetric.ABBytes", MISSING),
        # Names of queries, of 0.28.0 and of later revisions.
        ("DNS.QDCount", 1),
        ("DNS.q_d_count", 1),
        ("DNS.OpCode", "Query"),
        ("DNS.op_code", "Query"),
        ("DNS.QR", True),
        ("VRRPv2.VirtualRtrID", 9),
        ("VRRPv2.virtual_rtrID", 9),
        # Nothing is called so.
        ("nope", MISSING),
        ("Network", MISSING),
        ("Network.A.B", MISSING),
    ],
)
def test_a_field_reads_as_the_flow_record_has_it(key: str, value: Any) -> None:
    """A filter must not depend on whether a zero was written out."""
    assert flow_reader(FLOW)(key) == value


def test_there_are_as_many_paths_as_the_original_lists() -> None:
    """The interface offers them for completion."""
    ours = ("DHCPv6.", "TLS.", "HTTP.", "QUIC.", "NTP.")
    assert len(NAMES) == len(set(NAMES))
    assert len([name for name in NAMES if not name.startswith(ours)]) == 187


ANSWERED = {
    "DNS": {
        "questions": [{"name": "a.example", "type": "A"}],
        "answers": [
            {"name": "a.example", "TTL": 60, "IP": "10.0.0.1"},
            {"c_name": "b.example", "MX": {"preference": 5}, "TXTs": ["one", "two"]},
        ],
    },
    "TLS": {"ServerName": "shop.example"},
}


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("DNS.Questions.Name", ["a.example"]),
        ("DNS.questions.class", [""]),
        ("DNS.Answers.TTL", [60, 0]),
        ("DNS.Answers.CNAME", ["", "b.example"]),
        ("DNS.Answers.MX.Preference", [5]),
        ("DNS.Answers.MX.Name", [""]),
        ("DNS.Answers.TXTs", ["one", "two"]),
        ("DNS.Authorities.NS", []),
        ("TLS.ServerName", "shop.example"),
        ("TLS.Protocols", []),
        ("HTTP.Host", MISSING),
        ("DHCPv6.Addresses", MISSING),
    ],
)
def test_a_field_inside_a_list_reads_as_all_its_values(key: str, values: Any) -> None:
    """Who asks for a name does not care which of the answers has it."""
    assert flow_reader(ANSWERED)(key) == values


def test_paths_for_completion_can_be_tested_but_for_lists_texts_of_bytes_and_packets() -> None:
    """What completion offers should not silently match nothing."""
    untested = {name for name in NAMES if flow_field(name) is None}
    lists = {f"DNS.{name}" for name in ("Questions", "Answers", "Authorities", "Additionals")}
    lists |= {f"{section}.OPT" for section in lists if section != "DNS.Questions"}
    times = {"DNS.Timestamp.Seconds", "DNS.Timestamp.Nanos"}
    bytes_of = ("DHCPv4.Contents", "DHCPv4.Payload", "DHCPv4.ServerName", "DHCPv4.File")
    left = {name for name in untested if not name.startswith("LastRawPackets")}
    assert left == {*lists, *times, *bytes_of, "VRRPv2.Contents", "VRRPv2.Payload"}
    assert set(FIELDS) >= set(NAMES) - untested
