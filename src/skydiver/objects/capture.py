"""Capture: which interfaces are to be captured, and how (api.md §3.6, flows.md §11)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from skydiver.base.errors import ProtocolError
from skydiver.base.ids import random_id
from skydiver.objects.resource import Resource

MAX_QUERY = 65_536
"""Characters of a query or a filter."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What captures of one type can do (flows.md §11.2)."""

    bpf: bool = True
    raw_packets: bool = True
    extra_tcp_metric: bool = True
    several_per_node: bool = False
    available: bool = False
    """True when agents of this version have a source that serves the type."""


CAPTURE_TYPES: Mapping[str, Abilities] = {
    "ovssflow": Abilities(),
    "pcapsocket": Abilities(available=True),
    "ovsmirror": Abilities(),
    "dpdk": Abilities(),
    "afpacket": Abilities(several_per_node=True, available=True),
    "pcap": Abilities(several_per_node=True, available=True),
    "ebpf": Abilities(bpf=False, raw_packets=False),
    "sflow": Abilities(),
    "ovsnetflow": Abilities(),
}

_ANY_TYPE = Abilities(several_per_node=True, available=True)
_MODES = ("", "L2", "L3")
_TARGETS = ("", "local", "netflowv5", "erspanv1")
_TARGET = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s\[\]:]+):[0-9]{1,5}")

_Text = Annotated[str, Meta(max_length=MAX_QUERY)]
_U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class Capture(Resource, frozen=True, kw_only=True):
    """A wish for captures on all nodes that a query selects, now and later."""

    kind: ClassVar[str] = "capture"
    always: ClassVar[frozenset[str]] = frozenset(
        {
            "Count",
            "SamplingRate",
            "PollingInterval",
            "ExtraTCPMetric",
            "IPDefrag",
            "ReassembleTCP",
            "LayerKeyMode",
        }
    )

    gremlin_query: Annotated[
        str,
        Meta(max_length=MAX_QUERY, description="Gremlin query that selects the nodes to capture"),
    ] = msgspec.field(default="", name="GremlinQuery")
    bpf_filter: Annotated[
        str, Meta(max_length=MAX_QUERY, description="Packet filter, as of tcpdump")
    ] = msgspec.field(default="", name="BPFFilter")
    name: _Text = msgspec.field(default="", name="Name")
    description: _Text = msgspec.field(default="", name="Description")
    type: Annotated[str, Meta(extra_json_schema={"enum": ["", *CAPTURE_TYPES]})] = msgspec.field(
        default="", name="Type"
    )
    """Empty = the default of the node's type."""
    count: Annotated[int, Meta(description="Active captures, computed when read")] = msgspec.field(
        default=0, name="Count"
    )
    port: Annotated[int, Meta(ge=0, le=65535)] = msgspec.field(default=0, name="Port")
    """Of the sFlow listener; 0 = 6343."""
    sampling_rate: _U32 = msgspec.field(default=0, name="SamplingRate")
    """0 = no flow samples."""
    polling_interval: _U32 = msgspec.field(default=0, name="PollingInterval")
    """Seconds; 0 = no counter samples."""
    raw_packet_limit: Annotated[int, Meta(ge=0, le=10)] = msgspec.field(
        default=0, name="RawPacketLimit"
    )
    """Packets kept of each flow. The −1 of old documentation is refused, as it always was."""
    header_size: Annotated[int, Meta(ge=0, le=4096)] = msgspec.field(default=0, name="HeaderSize")
    """Bytes kept of each packet; 0 = 256, or 1514 when messages are looked into."""
    extra_tcp_metric: bool = msgspec.field(default=False, name="ExtraTCPMetric")
    ip_defrag: bool = msgspec.field(default=False, name="IPDefrag")
    reassemble_tcp: bool = msgspec.field(default=False, name="ReassembleTCP")
    layer_key_mode: Annotated[str, Meta(extra_json_schema={"enum": list(_MODES)})] = msgspec.field(
        default="", name="LayerKeyMode"
    )
    extra_layers: Annotated[
        int,
        Meta(
            ge=0,
            le=255,
            description="Sum of 1 VRRP, 2 DNS, 4 DHCPv4, 8 DHCPv6, 16 TLS, 32 HTTP, 64 QUIC, "
            "128 NTP",
        ),
    ] = msgspec.field(default=0, name="ExtraLayers")
    """Messages that are looked into. The original knows the first three, and its 255 means all."""
    target: str = msgspec.field(default="", name="Target")
    """``host:port`` that packets or flows are sent to instead of the agent's own table."""
    target_type: Annotated[str, Meta(extra_json_schema={"enum": list(_TARGETS)})] = msgspec.field(
        default="", name="TargetType"
    )

    @property
    def abilities(self) -> Abilities:
        """What captures of this type can do."""
        return CAPTURE_TYPES[self.type] if self.type else _ANY_TYPE

    def check(self) -> None:
        _one_of("Type", self.type, ("", *CAPTURE_TYPES))
        _one_of("LayerKeyMode", self.layer_key_mode, _MODES)
        _one_of("TargetType", self.target_type, _TARGETS)
        if not self.gremlin_query.strip():
            raise ProtocolError("GremlinQuery: expected a query, got none")
        if 0 < self.header_size < 14:
            raise ProtocolError(f"HeaderSize: expected 0 or 14 to 4096, got {self.header_size}")
        if self.target and not _TARGET.fullmatch(self.target):
            raise ProtocolError(f"Target: expected host:port, got {self.target[:60]!r}")

    def check_abilities(self) -> None:
        """Raise `ProtocolError` when the type cannot do what is asked of it."""
        abilities = self.abilities
        for asked, able, what in (
            (self.bpf_filter, abilities.bpf, "BPF filtering"),
            (self.raw_packet_limit, abilities.raw_packets, "raw packet capture"),
            (self.extra_tcp_metric, abilities.extra_tcp_metric, "extra TCP metrics capture"),
        ):
            if asked and not able:
                raise ProtocolError(f"{self.type} capture doesn't support {what}")

    def check_available(self) -> None:
        """Raise `ProtocolError` for what no agent of this version can do.

        Documents may carry it all the same: they are exchanged with others, and stored ones are
        read again by later versions.
        """
        for asked, what in (
            (not self.abilities.available, f"Type: captures of type {self.type!r} are"),
            (self.target_type not in ("", "local"), f"TargetType {self.target_type!r} is"),
            (self.target, "Target is"),
        ):
            if asked:
                raise ProtocolError(f"{what} not available in this version")

    def conflicts_with(self, other: Capture) -> bool:
        return (
            self.type == other.type
            and self.gremlin_query == other.gremlin_query
            and (not self.abilities.several_per_node or self.bpf_filter == other.bpf_filter)
        )


@dataclass(frozen=True, slots=True)
class CaptureChecks:
    """How queries and filters are checked; both raise a `SkydiverError`."""

    gremlin: Callable[[str], Awaitable[object]]
    """Takes its time: whether a query gives nodes shows when it is run."""
    bpf: Callable[[str], Awaitable[object]]
    """Takes its time: a host name in a filter is looked up."""


async def new_capture(
    document: object, checks: CaptureChecks, *, layer_key_mode: str = "L2"
) -> Capture:
    """The capture that `document` asks for, checked, with an identifier of its own.

    `layer_key_mode` is for requests that do not say theirs.
    """
    capture = Capture.from_json(document)
    capture.check_abilities()
    capture.check_available()
    await checks.gremlin(capture.gremlin_query)
    if capture.bpf_filter:
        await checks.bpf(capture.bpf_filter)
    changes: dict[str, Any] = {
        "uuid": random_id(),
        "count": 0,
        "layer_key_mode": capture.layer_key_mode or layer_key_mode,
    }
    return msgspec.structs.replace(capture, **changes)


def _one_of(member: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ProtocolError(
            f"{member}: expected one of {', '.join(word for word in allowed if word)}, "
            f"got {value[:60]!r}"
        )
