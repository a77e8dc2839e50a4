"""``NextHop('ip')``: where each node would send a packet to, by its own routing tables."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from skydiver.graph import Node
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import NextHops, NodeList
from skydiver.gremlin.registry import Step, step

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Route: TypeAlias = tuple[str, int]
"""Gateway and interface index."""


@step("NextHop", vocabulary="full")
@dataclass(frozen=True, slots=True)
class NextHop(Step):
    """The first route that fits decides, not the longest prefix (gremlin.md §9.8)."""

    address: Address

    @classmethod
    def parse(cls, args: Args) -> Self:
        text = args.one_text()
        try:
            return cls(ipaddress.ip_address(text))
        except ValueError:
            raise args.error("an IP address", at=args.items[0]) from None

    def run(self, source: NodeList) -> NextHops:
        hops: dict[str, Mapping[str, Any]] = {}
        for node in source.items:
            route = self._route(node)
            if route is not None:
                hops[node.id] = _hop(node, *route)
        return NextHops(source.scope, hops)

    def _route(self, node: Node) -> Route | None:
        for table in _maps(node.metadata.get("RoutingTables")):
            found = self._in_table(table)
            if found is not None:
                return found
        return None

    def _in_table(self, table: Mapping[str, Any]) -> Route | None:
        """A gateway at once, else the destination itself on a link, else the default gateway."""
        on_link: Route | None = None
        default: Route | None = None
        for route in _maps(table.get("Routes")):
            hops = [(_gateway(hop), hop.get("IfIndex", 0)) for hop in _maps(route.get("NextHops"))]
            network = _network(route.get("Prefix"))
            if network is None or not hops:
                continue
            if network.prefixlen == 0:
                default = hops[0]
            elif self.address in network:
                for gateway, index in hops:
                    if gateway:
                        return gateway, index
                    on_link = str(self.address), index
        return on_link or (default if default and default[0] else None)


def _hop(node: Node, address: str, index: int) -> dict[str, Any]:
    hop: dict[str, Any] = {"Priority": 0, "IP": address}
    for neighbour in _maps(node.metadata.get("Neighbors")):
        if neighbour.get("IP") == address and neighbour.get("MAC"):
            hop["MAC"] = neighbour["MAC"]
            break
    return {**hop, "IfIndex": index}


def _maps(value: Any) -> Iterator[Mapping[str, Any]]:
    """The members of a list that are objects; metadata may hold anything."""
    if isinstance(value, list):
        yield from (member for member in value if isinstance(member, Mapping))


def _gateway(hop: Mapping[str, Any]) -> str:
    address = hop.get("IP")
    return address if isinstance(address, str) and address != "<nil>" else ""


def _network(prefix: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if not isinstance(prefix, str):
        return None
    try:
        return ipaddress.ip_network(prefix, strict=False)
    except ValueError:
        return None
