"""Fields of a flow by name, as filters, sorting and Gremlin address them (gremlin.md §5.4).

Flows are JSON objects in which zeros and empty texts may be left out; a field of a layer that the
flow has therefore reads as 0, "" or false when absent, and a field of a layer it lacks is missing.
DNS, DHCPv4 and VRRPv2 members answer to their own names and to those they carry in JSON, which
changed between releases of the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from skydiver.filters import MISSING, FieldReader
from skydiver.flow.search import Flow


class FieldKind(Enum):
    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"


_ZERO: dict[FieldKind, str | int | bool] = {
    FieldKind.TEXT: "",
    FieldKind.INTEGER: 0,
    FieldKind.BOOLEAN: False,
}


@dataclass(frozen=True, slots=True)
class FlowField:
    """Where a field is found."""

    layer: str
    """Member of the flow; for a field of the flow itself, its name."""
    members: tuple[str, ...]
    """Names inside the layer, the first that is there counts; empty for the flow itself."""
    kind: FieldKind

    def read(self, flow: Flow) -> Any:
        """The value, or `MISSING` when the flow lacks the layer."""
        value = flow.get(self.layer)
        if not self.members:
            return _ZERO[self.kind] if value is None else value
        if value is None:
            return MISSING
        for member in self.members:
            if member in value:
                return value[member]
        return _ZERO[self.kind]


ROOT_TEXTS = (
    "UUID",
    "LayersPath",
    "TrackingID",
    "L3TrackingID",
    "ParentUUID",
    "NodeTID",
    "Application",
    "CaptureID",
)
"""Texts of the flow itself; whatever follows a dot after them is ignored, as upstream."""

ROOT_INTEGERS = ("Start", "Last", "RawPacketsCaptured", "FinishType")

METRIC = ("ABPackets", "ABBytes", "BAPackets", "BABytes", "Start", "Last", "RTT")

_TCP_EACH_WAY = (
    "SynStart",
    "SynTTL",
    "FinStart",
    "RstStart",
    "SegmentOutOfOrder",
    "SegmentSkipped",
    "SegmentSkippedBytes",
    "Packets",
    "Bytes",
    "SawStart",
    "SawEnd",
)

# Name in queries: names in JSON, of 0.28.0 and of later revisions.
_DNS: dict[FieldKind, dict[str, tuple[str, ...]]] = {
    FieldKind.INTEGER: {
        "ID": ("ID",),
        "Z": ("z",),
        "QDCount": ("QDCount", "q_d_count"),
        "ANCount": ("ANCount", "a_n_count"),
        "NSCount": ("NSCount", "n_s_count"),
        "ARCount": ("ARCount", "a_r_count"),
    },
    FieldKind.TEXT: {
        "OpCode": ("op_code",),
        "ResponseCode": ("response_code",),
    },
    FieldKind.BOOLEAN: {name: (name,) for name in ("QR", "AA", "TC", "RD", "RA")},
}

_DHCPV4 = {
    "HardwareLen": ("hardware_len",),
    "HardwareOpts": ("hardware_opts",),
    "Xid": ("xid",),
    "Secs": ("secs",),
    "Flags": ("flags",),
}

_VRRPV2 = {
    "Version": ("version",),
    "VirtualRtrID": ("VirtualRtrID", "virtual_rtrID"),
    "Priority": ("priority",),
    "CountIPAddr": ("CountIPAddr", "count_ipaddr"),
    "AdverInt": ("adver_int",),
    "Checksum": ("checksum",),
}


def _fields() -> Iterator[tuple[str, FlowField]]:
    for name in ROOT_TEXTS:
        yield name, FlowField(name, (), FieldKind.TEXT)
    for name in ROOT_INTEGERS:
        yield name, FlowField(name, (), FieldKind.INTEGER)
    for layer, aliases in (("Link", ("ETHERNET",)), ("Network", ("IPV4", "IPV6"))):
        for member in ("Protocol", "A", "B"):
            # The other names of a layer do not check that it is of that protocol.
            for root in (layer, *aliases):
                yield f"{root}.{member}", FlowField(layer, (member,), FieldKind.TEXT)
        yield f"{layer}.ID", FlowField(layer, ("ID",), FieldKind.INTEGER)
    for root in ("Transport", "TCP", "UDP", "SCTP"):
        yield f"{root}.Protocol", FlowField("Transport", ("Protocol",), FieldKind.TEXT)
    yield "ICMP.Type", FlowField("ICMP", ("Type",), FieldKind.TEXT)
    integers = {
        "Transport": ("A", "B", "ID"),
        "ICMP": ("Code", "ID"),
        "Metric": METRIC,
        "LastUpdateMetric": METRIC,
        "TCPMetric": tuple(f"{way}{name}" for way in ("AB", "BA") for name in _TCP_EACH_WAY),
        "IPMetric": ("Fragments", "FragmentErrors"),
    }
    for layer, members in integers.items():
        for member in members:
            yield f"{layer}.{member}", FlowField(layer, (member,), FieldKind.INTEGER)
    for kind, named in _DNS.items():
        yield from _renamed("DNS", named, kind)
    yield from _renamed("DHCPv4", _DHCPV4, FieldKind.INTEGER)
    yield from _renamed("VRRPv2", _VRRPV2, FieldKind.INTEGER)


def _renamed(
    layer: str, named: Mapping[str, tuple[str, ...]], kind: FieldKind
) -> Iterator[tuple[str, FlowField]]:
    for name, members in named.items():
        for spelling in dict.fromkeys((name, *members)):
            yield f"{layer}.{spelling}", FlowField(layer, members, kind)


FIELDS: dict[str, FlowField] = dict(_fields())
"""Every field that can be tested, sorted by and shown, by each of its names."""

LAYERS = ("Link", "Network", "Transport", "ICMP", "Metric", "LastUpdateMetric", "TCPMetric")
"""Layers that can be shown whole; absent they show as nothing."""

EXTRA_LAYERS = ("DNS", "DHCPv4")
"""Layers that can be shown whole; flows without them are left out."""


def flow_field(key: str) -> FlowField | None:
    """The field called `key`, None when flows have no such field."""
    field = FIELDS.get(key)
    if field is None:
        root, dot, _ = key.partition(".")
        if dot and root in ROOT_TEXTS:
            return FIELDS[root]
    return field


def flow_reader(flow: Flow) -> FieldReader:
    """Reads the fields of `flow`; `MISSING` for what it has not."""

    def read(key: str) -> Any:
        field = flow_field(key)
        return MISSING if field is None else field.read(flow)

    return read


def _names() -> Iterator[str]:
    """All paths of the flow record, in the order of its fields (flows.md §§1.2-1.9)."""
    yield from ("UUID", "LayersPath", "Application")
    for layer in ("Link", "Network", "Transport"):
        yield from (f"{layer}.{member}" for member in ("Protocol", "A", "B", "ID"))
    yield from ("ICMP.Type", "ICMP.Code", "ICMP.ID")
    yield from (
        f"DHCPv4.{member}" for member in ("Contents", "Payload", *_DHCPV4, "ServerName", "File")
    )
    yield from (f"DNS.{member}" for member in _dns_names())
    yield from (f"VRRPv2.{member}" for member in ("Contents", "Payload", *_VRRPV2))
    for layer in ("LastUpdateMetric", "Metric"):
        yield from (f"{layer}.{member}" for member in METRIC)
    yield from (f"TCPMetric.{way}{name}" for way in ("AB", "BA") for name in _TCP_EACH_WAY)
    yield from ("IPMetric.Fragments", "IPMetric.FragmentErrors")
    yield from ("Start", "Last", "TrackingID", "L3TrackingID", "ParentUUID", "NodeTID")
    yield "LastRawPackets"
    yield from (f"LastRawPackets.{m}" for m in ("Timestamp", "Index", "Data", "LinkType"))
    yield from ("RawPacketsCaptured", "CaptureID", "FinishType")


def _dns_names() -> Iterator[str]:
    yield from ("ID", "QR", "OpCode", "AA", "TC", "RD", "RA", "Z", "ResponseCode")
    yield from ("QDCount", "ANCount", "NSCount", "ARCount")
    yield "Questions"
    yield from (f"Questions.{member}" for member in ("Name", "Type", "Class"))
    record = [
        *("Name", "Type", "Class", "TTL", "DataLength", "IP", "NS", "CNAME", "PTR", "TXTs"),
        *(
            f"SOA.{m}"
            for m in ["MName", "RName", "Serial", "Refresh", "Retry", "Expire", "Minimum"]
        ),
        *(f"SRV.{m}" for m in ("Priority", "Weight", "Port", "Name")),
        *("MX.Preference", "MX.Name", "OPT", "OPT.Code", "OPT.Data"),
    ]
    for section in ("Answers", "Authorities", "Additionals"):
        yield section
        yield from (f"{section}.{member}" for member in record)
    yield from ("Timestamp.Seconds", "Timestamp.Nanos")


NAMES: tuple[str, ...] = tuple(_names())
"""Every path of the flow record, for completion; a few cannot be tested (§5.4)."""
