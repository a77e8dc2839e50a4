"""``Sockets()``: sockets of nodes, or those at the ends of flows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from skydiver.filters import exists
from skydiver.flow import Flow
from skydiver.graph import GraphView, Node
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import FlowList, NodeList, SocketSeries
from skydiver.gremlin.registry import Step, step

Socket: TypeAlias = Mapping[str, Any]
Connection: TypeAlias = tuple[str, str, int, str, int]
"""Protocol, local address and port, remote address and port."""


@step("Sockets", vocabulary="full")
@dataclass(frozen=True, slots=True)
class Sockets(Step):
    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls()

    def run(self, source: NodeList | FlowList) -> SocketSeries:
        if isinstance(source, FlowList):
            return _of_flows(source)
        series: dict[str, list[Socket]] = {}
        for node in source.items:
            if found := list(_sockets(node)):
                series[node.id] = found
        return SocketSeries(source.scope, series)


def _of_flows(source: FlowList) -> SocketSeries:
    known = _by_connection(source.scope.view)
    series: dict[str, list[Socket]] = {}
    for flow in source.items:
        for connection in _connections(flow):
            for socket in known.get(connection, ()):
                series.setdefault(flow.get("UUID", ""), []).append(socket)
    return SocketSeries(source.scope, series)


def _by_connection(view: GraphView) -> dict[Connection, list[Socket]]:
    found: dict[Connection, list[Socket]] = {}
    for node in view.nodes(exists("Sockets")):
        for socket in _sockets(node):
            connection = (
                str(socket.get("Protocol", "")),
                _address(socket.get("LocalAddress")),
                _port(socket.get("LocalPort")),
                _address(socket.get("RemoteAddress")),
                _port(socket.get("RemotePort")),
            )
            found.setdefault(connection, []).append(socket)
    return found


def _connections(flow: Flow) -> Iterator[Connection]:
    """The connection as its A side sees it, then as its B side does."""
    network, transport = flow.get("Network"), flow.get("Transport")
    if not network or not transport or transport.get("Protocol") not in ("TCP", "UDP"):
        return
    a = _address(network.get("A")), transport.get("A", 0)
    b = _address(network.get("B")), transport.get("B", 0)
    yield (transport["Protocol"], *a, *b)
    yield (transport["Protocol"], *b, *a)


def _sockets(node: Node) -> Iterator[Socket]:
    sockets = node.metadata.get("Sockets")
    if isinstance(sockets, list):
        yield from (socket for socket in sockets if isinstance(socket, Mapping))


def _port(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _address(text: Any) -> str:
    """One spelling of an address; an IPv4 address mapped into IPv6 is that address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
