"""What a peer says about itself while it connects (api.md §2.2).

Everything may come as a header or, since browsers cannot set headers, as a query parameter in lower
case; the header wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from skydiver.base.errors import ProtocolError
from skydiver.base.ids import Origin
from skydiver.hub.clocks import speaks
from skydiver.hub.messages import Protocol

EVERYTHING = "*"
"""The namespace that stands for all."""

_PROTOCOLS: Mapping[str, Protocol] = {
    "": Protocol.JSON,
    "json": Protocol.JSON,
    "protobuf": Protocol.PROTOBUF,
}
_POLICIES = ("", "full", "partial")
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Handshake:
    """A peer as it introduced itself."""

    host_id: str
    client_type: str
    protocol: Protocol = Protocol.JSON
    spoken_protocol: str = ""
    """The protocol as the peer wrote it; empty means JSON. Shown in the status."""
    namespaces: frozenset[str] = frozenset({EVERYTHING})
    gremlin_filter: str | None = None
    partial_updates: bool = False
    delete_on_disconnect: bool = False
    tells_clock: bool = False
    """Answers pings with its time (`clocks`)."""

    @property
    def origin(self) -> Origin:
        """What the peer's elements carry as Origin."""
        return Origin(f"{self.client_type}.{self.host_id}")

    def wants(self, namespace: str) -> bool:
        """True when messages of `namespace` are for this peer."""
        return namespace in self.namespaces or EVERYTHING in self.namespaces


def peer_host_id(request: web.Request) -> str:
    """Identity of the peer; `address:port` of the other end when it gives none."""
    given = _parameter(request, "X-Host-ID")
    if given:
        return given[:_LONGEST_NAME]
    address, port = peer_address(request)
    return f"{address}:{port}"


def peer_address(request: web.Request) -> tuple[str, int]:
    """Address and port of the other end; empty and 0 when it is not known."""
    name = request.transport.get_extra_info("peername") if request.transport else None
    if isinstance(name, tuple) and len(name) >= 2:
        return str(name[0]), int(name[1])
    return "", 0


def read_handshake(request: web.Request) -> Handshake:
    """What the peer said; `ProtocolError` when it may not stay."""
    client_type = _parameter(request, "X-Client-Type") or ""
    if not client_type:
        raise ProtocolError(
            "no X-Client-Type in the handshake, expected agent, seed, webui or such"
        )
    if len(client_type) > _LONGEST_NAME:
        raise ProtocolError(f"X-Client-Type of {len(client_type)} characters in the handshake")
    spoken = _parameter(request, "X-Client-Protocol") or ""
    protocol = _PROTOCOLS.get(spoken)
    if protocol is None:
        raise ProtocolError(
            f"X-Client-Protocol is {spoken[:40]!r} in the handshake, expected json or protobuf"
        )
    policy = _parameter(request, "X-Update-Policy") or ""
    if policy.lower() not in _POLICIES:
        raise ProtocolError(
            f"X-Update-Policy is {policy[:40]!r} in the handshake, expected full or partial"
        )
    namespaces = request.headers.getall("X-Websocket-Namespace", None) or request.query.getall(
        "x-websocket-namespace", None
    )
    host_id = peer_host_id(request)
    if not (host_id + client_type).isprintable():
        raise ProtocolError("control characters in X-Host-ID or X-Client-Type of the handshake")
    return Handshake(
        host_id=host_id,
        client_type=client_type,
        protocol=protocol,
        spoken_protocol=spoken,
        namespaces=frozenset(namespaces or (EVERYTHING,)),
        gremlin_filter=_parameter(request, "X-Gremlin-Filter") or None,
        # As in the original: any other spelling is accepted and means full.
        partial_updates=policy == "partial",
        delete_on_disconnect=request.headers.get("X-Persistence-Policy") == "DeleteOnDisconnect",
        tells_clock=speaks(request.headers),
    )


def _parameter(request: web.Request, name: str) -> str | None:
    value = request.headers.get(name)
    return value if value is not None else request.query.get(name.lower())
