"""The documents of the API as types: what the published schema is generated from.

Wire names stand here because these types are the wire.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from skydiver.objects import Capture

TimeMs = Annotated[int, Meta(description="Milliseconds since the Unix epoch")]


class Info(msgspec.Struct, rename="pascal"):
    """Which program answers."""

    host: str
    version: str
    service: Literal["analyzer", "agent"]


class TopologyQuery(msgspec.Struct):
    gremlin_query: str = field(default="", name="GremlinQuery")


class Node(msgspec.Struct, rename="pascal"):
    id: str = field(name="ID")
    metadata: dict[str, Any]
    host: str
    origin: str
    created_at: TimeMs
    updated_at: TimeMs
    deleted_at: TimeMs | None
    revision: int


class Edge(msgspec.Struct, rename="pascal"):
    id: str = field(name="ID")
    metadata: dict[str, Any]
    parent: str
    child: str
    host: str
    origin: str
    created_at: TimeMs
    updated_at: TimeMs
    deleted_at: TimeMs | None
    revision: int


class Elements(msgspec.Struct, rename="pascal"):
    """A graph."""

    nodes: list[Node]
    edges: list[Edge]


Captures = dict[str, Capture]


class ImportedFile(msgspec.Struct, rename="pascal"):
    """What became of a capture file."""

    id: Annotated[str, Meta(description="NodeTID and CaptureID of its flows")] = field(name="ID")
    packets: int
    bytes: Annotated[int, Meta(description="Of the packets, on the wire")]
    flows: int
    evicted: Annotated[int, Meta(description="Flows for which there was no room")]
    decode_errors: Annotated[
        int, Meta(description="Packets of which something could not be decoded")
    ]


class Connection(msgspec.Struct, rename="pascal", omit_defaults=True):
    """One peer of the WebSocket protocol."""

    service_type: str
    client_protocol: str
    addr: str
    port: int
    is_connected: bool
    connect_time: str
    remote_host: str = ""
    remote_service_type: str = ""
    is_master: bool | None = None
    queued: Annotated[int, Meta(description="Messages waiting for the peer")] = 0
    refused: Annotated[int, Meta(description="Messages of the peer that were dropped")] = 0


class ProbeStatus(msgspec.Struct, rename="pascal"):
    status: str


class Master(msgspec.Struct, rename="pascal"):
    is_master: bool


LossCounts = Annotated[
    dict[str, dict[str, int]],
    Meta(description="What was dropped, by part of the program and reason"),
]


class HostStatus(msgspec.Struct, rename="pascal", omit_defaults=True):
    """How the agent of a host is, as it says itself."""

    losses: LossCounts
    missing: Annotated[list[str], Meta(description="What the agent lacks, in words")]
    probes: dict[str, ProbeStatus]
    clock_offset_ms: Annotated[
        float, Meta(description="The host's clock ahead of the analyzer's, once it is known")
    ] = 0
    clock_error_ms: Annotated[
        float, Meta(description="The true offset is at most this far away")
    ] = 0
    clock_flagged: Annotated[bool, Meta(description="Off by more than a second")] = False


class AnalyzerStatus(msgspec.Struct, rename="pascal"):
    agents: dict[str, Connection]
    publishers: dict[str, Connection]
    subscribers: dict[str, Connection]
    captures: Master
    probes: dict[str, ProbeStatus]
    hosts: dict[str, HostStatus]
    losses: LossCounts
    missing: Annotated[list[str], Meta(description="What this process lacks, in words")]


class AgentStatus(msgspec.Struct, rename="pascal"):
    clients: dict[str, Connection]
    analyzers: dict[str, Connection]
    topology_probes: dict[str, ProbeStatus]
    flow_probes: list[str]
    captures: Annotated[dict[str, Any], Meta(description="What the captures use")]
    losses: LossCounts
    missing: Annotated[list[str], Meta(description="What this process lacks, in words")]


class Permission(msgspec.Struct, rename="pascal"):
    object: str
    action: str
    allowed: bool


class LoginAnswer(msgspec.Struct, rename="pascal"):
    token: str
    permissions: list[Permission]


class NextHop(msgspec.Struct, rename="pascal", omit_defaults=True):
    """One way on."""

    priority: int
    if_index: int
    ip: str = field(name="IP", default="")
    weight: int = 1


class RouteEntry(msgspec.Struct, rename="pascal", omit_defaults=True):
    """A route as the kernel has it; docs/probes/netlink.md names further members."""

    protocol: int
    prefix: str
    table: int
    next_hops: list[NextHop]
    type: str = "unicast"


class Routes(msgspec.Struct, rename="pascal"):
    """Some routes, and how many answer the question."""

    total: int
    routes: list[RouteEntry]
