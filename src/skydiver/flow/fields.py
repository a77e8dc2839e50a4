"""Fields of a flow by name, as filters, sorting and Gremlin address them (gremlin.md §5.4).

Flows are JSON objects in which zeros and empty texts may be left out; a field of a layer that the
flow has therefore reads as 0, "" or false when absent, and a field of a layer it lacks is missing.
DNS, DHCPv4 and VRRPv2 members answer to their own names and to those they carry in JSON, which
changed between releases of the original. A field inside a list (`DNS.Questions.Name`) reads as the
list of its values; it can be tested and shown, not sorted by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import product
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
    below: tuple[tuple[str, ...], ...] = ()
    """Names inside that, level by level, where it is an object or a list of them."""
    many: bool = False
    """Reads as a list."""

    def read(self, flow: Flow) -> Any:
        """The value, or `MISSING` when the flow lacks the layer."""
        value = flow.get(self.layer)
        if self.many:
            if value is None:
                return MISSING
            return list(_values(value, (self.members, *self.below), _ZERO[self.kind]))
        if not self.members:
            return _ZERO[self.kind] if value is None else value
        if value is None:
            return MISSING
        for member in self.members:
            if member in value:
                return value[member]
        return _ZERO[self.kind]


def _values(value: Any, path: tuple[tuple[str, ...], ...], zero: str | int | bool) -> Iterator[Any]:
    """All values at the end of `path`; what is zero may have been left out of its object."""
    if isinstance(value, list):
        for item in value:
            yield from _values(item, path, zero)
    elif not path:
        yield value
    elif isinstance(value, Mapping):
        names, *rest = path
        found = next((value[name] for name in names if name in value), MISSING)
        if found is not MISSING:
            yield from _values(found, tuple(rest), zero)
        elif not rest and names not in _LISTS:
            yield zero


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

_DNS_LISTS = {
    "Questions": ("questions",),
    "Answers": ("answers",),
    "Authorities": ("authorities",),
    "Additionals": ("additionals",),
}

# Path in a record: kind, and names level by level.
_TEXT, _INTEGER = FieldKind.TEXT, FieldKind.INTEGER
_Path = tuple[FieldKind, tuple[tuple[str, ...], ...]]
_DNS_QUESTION: dict[str, _Path] = {
    "Name": (_TEXT, (("name",),)),
    "Type": (_TEXT, (("type",),)),
    "Class": (_TEXT, (("class",),)),
}
_DNS_RECORD: dict[str, _Path] = {
    **_DNS_QUESTION,
    "TTL": (_INTEGER, (("TTL",),)),
    "DataLength": (_INTEGER, (("data_length",),)),
    "IP": (_TEXT, (("IP",),)),
    "NS": (_TEXT, (("NS",),)),
    "CNAME": (_TEXT, (("CNAME", "c_name"),)),
    "PTR": (_TEXT, (("PTR",),)),
    "TXTs": (_TEXT, (("TXTs",),)),
    "SOA.MName": (_TEXT, (("SOA",), ("MName", "m_name"))),
    "SOA.RName": (_TEXT, (("SOA",), ("RName", "r_name"))),
    **{
        f"SOA.{name}": (_INTEGER, (("SOA",), (name.lower(),)))
        for name in ("Serial", "Refresh", "Retry", "Expire", "Minimum")
    },
    **{
        f"SRV.{name}": (_INTEGER, (("SRV",), (name.lower(),)))
        for name in ("Priority", "Weight", "Port")
    },
    "SRV.Name": (_TEXT, (("SRV",), ("name",))),
    "MX.Preference": (_INTEGER, (("MX",), ("preference",))),
    "MX.Name": (_TEXT, (("MX",), ("name",))),
    "OPT.Code": (_INTEGER, (("OPT",), ("Code", "code"))),
    "OPT.Data": (_TEXT, (("OPT",), ("Data", "data"))),
}

# Layers that the original does not have: members, and those that are lists.
_OURS: dict[str, dict[str, FieldKind]] = {
    "DHCPv6": {
        "MessageType": _TEXT,
        "TransactionID": _INTEGER,
        "ClientID": _TEXT,
        "ServerID": _TEXT,
        "Addresses": _TEXT,
        "Prefixes": _TEXT,
        "Name": _TEXT,
    },
    "TLS": {"Version": _TEXT, "ServerName": _TEXT, "Protocols": _TEXT},
    "HTTP": dict.fromkeys(("Method", "Target", "Version", "Host", "UserAgent"), _TEXT),
    "QUIC": dict.fromkeys(
        ("Version", "DestinationID", "SourceID", "ServerName", "Protocols"), _TEXT
    ),
    "NTP": {
        "LeapIndicator": _INTEGER,
        "Version": _INTEGER,
        "Mode": _TEXT,
        "Stratum": _INTEGER,
        "Poll": _INTEGER,
        "Precision": _INTEGER,
        "ReferenceID": _TEXT,
    },
}
_LISTS = frozenset({("TXTs",), ("Addresses",), ("Prefixes",), ("Protocols",)})

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
    for name, members in _DNS_LISTS.items():
        for path, (kind, below) in (_DNS_QUESTION if name == "Questions" else _DNS_RECORD).items():
            field = FlowField("DNS", members, kind, below, many=True)
            for spelling in _spellings((members, *below), (name, *path.split("."))):
                yield f"DNS.{spelling}", field
    for layer, named_kinds in _OURS.items():
        for name, kind in named_kinds.items():
            many = (name,) in _LISTS
            yield f"{layer}.{name}", FlowField(layer, (name,), kind, many=many)


def _spellings(path: Sequence[tuple[str, ...]], names: Sequence[str]) -> Iterator[str]:
    """A path by the name of each level, and by those that it carries in JSON."""
    levels = (dict.fromkeys((name, *known)) for name, known in zip(names, path, strict=True))
    yield from (".".join(words) for words in product(*levels))


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

EXTRA_LAYERS = ("DNS", "DHCPv4", "VRRPv2", *_OURS)
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
    for layer, members in _OURS.items():
        yield from (f"{layer}.{member}" for member in members)
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
