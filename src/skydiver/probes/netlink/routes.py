"""Routes of all tables and nexthop objects: a list on each interface, counts on the namespace.

The routes themselves are kept by `native.Routes`; the graph gets the most important ones, with how
many there are. IPv4 routes vanish without an event when their interface goes down or away, or the
address that they are from: then the namespace is dumped again.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeAlias

from skydiver.native import Routes
from skydiver.probes.netlink.links import LinkTable
from skydiver.probes.netlink.part import Part

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Key: TypeAlias = tuple[int, int]
"""Namespace and interface; interface 0 stands for the namespace itself."""

MOST_ROUTES = 256
"""Of each table, in the metadata of an interface."""
_MOST_NEXTHOPS = 256
_TABLES_KEY, _COUNTS_KEY, _NEXTHOPS_KEY = "RoutingTables", "Routes", "Nexthops"

_AF_INET, _AF_INET6 = 2, 10
_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_NEW_NEXTHOP, _DELETE_NEXTHOP, _GET_NEXTHOP = 104, 105, 106
_IFF_UP = 1

_EVERY_S = 1.0
"""Between two statements about an interface."""
_AT_ONCE = 256
_MOST_REMEMBERED = 1000


class RoutePart(Part):
    """Routes and nexthop objects of all namespaces."""

    name = "routes"
    groups = (7, 11, 32)
    kinds = (_NEW_ROUTE, _DELETE_ROUTE, _NEW_NEXTHOP, _DELETE_NEXTHOP)
    requests = (
        (_GET_NEXTHOP, bytes(8)),
        (_GET_ROUTE, struct.pack("=B11x", _AF_INET)),
        (_GET_ROUTE, struct.pack("=B11x", _AF_INET6)),
    )

    def __init__(
        self,
        links: LinkTable,
        want_dump: Callable[[int], None],
        *,
        mono_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(links, want_dump)
        self.routes = Routes()
        self.most_routes = MOST_ROUTES
        self._mono_s = mono_s
        self._changed: dict[Key, None] = {}
        self._stated_s: dict[Key, float] = {}
        """When that was last stated; only of late."""

    def take(self, nsid: int, datagram: bytes) -> None:
        if not self.routes.take(nsid, datagram):
            self.want_dump(nsid)

    def begin_dump(self, nsid: int) -> None:
        self.routes.begin_dump(nsid)

    def end_dump(self, nsid: int, *, whole: bool) -> None:
        self.routes.end_dump(nsid, whole)

    def forget(self, nsid: int) -> None:
        self.routes.forget(nsid)
        for keys in (self._changed, self._stated_s):
            for key in [key for key in keys if key[0] == nsid]:
                keys.pop(key, None)

    def link_changed(self, nsid: int, message: Mapping[str, Any]) -> None:
        index = message["index"]
        gone = message["kind"] == "dellink" and not message["family"]
        if gone:
            # Its facts are forgotten, also if the index is in use again already.
            self._changed[nsid, index] = None
        down = message["kind"] == "newlink" and not message["link_flags"] & _IFF_UP
        if (gone or down or message["kind"] == "deladdr") and self.routes.uses(nsid, index):
            self.want_dump(nsid)

    # Statements

    def state(self, enough: Callable[[], bool]) -> bool:
        self._changed.update(dict.fromkeys(self.routes.changed()))
        now_s = self._mono_s()
        due: dict[int, list[int]] = {}
        for key in self._changed:
            if now_s - self._stated_s.get(key, 0.0) >= _EVERY_S:
                due.setdefault(key[0], []).append(key[1])
        for nsid, indexes in due.items():
            for first in range(0, len(indexes), _AT_ONCE):
                self._state(nsid, indexes[first : first + _AT_ONCE], now_s)
                if enough():
                    return False
        return True

    def due_s(self) -> float | None:
        if not self._changed:
            return None
        now_s = self._mono_s()
        next_s = min(self._stated_s.get(key, 0.0) + _EVERY_S for key in self._changed)
        return max(0.0, next_s - now_s)

    def _state(self, nsid: int, indexes: list[int], now_s: float) -> None:
        tables = self.routes.tables(nsid, indexes, self.most_routes)
        for index in indexes:
            found = tables.get(index) or None
            if index:
                self.links.set_fact(nsid, index, _TABLES_KEY, found)
            else:
                nexthops = self.routes.nexthops(nsid, _MOST_NEXTHOPS)
                self.links.set_root_fact(nsid, _TABLES_KEY, found)
                self.links.set_root_fact(nsid, _COUNTS_KEY, self.routes.counts(nsid) or None)
                self.links.set_root_fact(nsid, _NEXTHOPS_KEY, nexthops or None)
            del self._changed[nsid, index]
            self._stated_s[nsid, index] = now_s
        if len(self._stated_s) > _MOST_REMEMBERED:
            late = [key for key, at_s in self._stated_s.items() if now_s - at_s >= _EVERY_S]
            for key in late:
                del self._stated_s[key]

    # Questions

    def page(
        self,
        nsid: int,
        *,
        through: int | None = None,
        table: int | None = None,
        within: Network | None = None,
        lookup: Address | None = None,
        skip: int = 0,
        most: int = 1000,
    ) -> tuple[list[dict[str, Any]], int]:
        """Some of the routes that answer a question, and how many there are of them."""
        network = None if within is None else (within.network_address, within.prefixlen)
        return self.routes.page(
            nsid,
            through=through,
            table=table,
            within=network,
            lookup=lookup,
            skip=skip,
            most=most,
        )
