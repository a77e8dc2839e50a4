"""Neighbours (ARP, NDP) and forwarding databases (bridges, VXLAN, …) of all interfaces.

The kernel keeps both in one kind of message. What makes them less simple than that:

- Most states of a neighbour change all the time (REACHABLE, STALE, DELAY, PROBE), and some of these
  changes are not announced. The list of an interface is stated at most once a second, a long one
  less often, and the last state is the one that counts.
- Neighbours that need no address resolution (NUD_NOARP: multicast, loopback) come without an event
  and are left out, as `ip neigh` does. So are those in no state at all.
- A bridge that finds an address on another port announces the new place only; so does a VXLAN that
  finds it behind another host.
- Multicast addresses that an interface listens to are in the dump of its forwarding database, but
  never announced. Nor is it announced that an address of the bridge itself is now on another of its
  ports. Such things follow from changes of interfaces and addresses, after which the namespace is
  dumped again, once for all that happens within a second.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from heapq import nsmallest
from typing import Any, TypeAlias

from skydiver.probes.netlink.attributes import attributes, messages
from skydiver.probes.netlink.links import LinkTable
from skydiver.probes.netlink.part import Part

MOST_STATED = 1024
"""Entries in one list; beyond that `NeighborsCount` or `FDBCount` tells how many there are."""
MOST_KEPT = 200_000
"""Entries of all interfaces together."""

_NEW, _DELETE, _GET = 28, 29, 30
# struct ndmsg of linux/neighbour.h: family, interface, state, flags, type
_MESSAGE = struct.Struct("=B3xiHBB")
_AF_BRIDGE = 7
_NTF_SELF, _NTF_MASTER, _NTF_PROXY = 0x02, 0x04, 0x08
_NUD_NOARP = 0x40
_NDA_DST, _NDA_LLADDR, _NDA_VLAN, _NDA_PORT, _NDA_VNI, _NDA_IFINDEX = 1, 2, 5, 6, 7, 8
_NDA_MASTER, _NDA_SRC_VNI, _NDA_NH_ID = 9, 11, 13
_LONGEST_ADDRESS = 32
"""MAX_ADDR_LEN of the kernel."""
_NO_VLAN = b"\0\0"

_STATES = (
    *("NUD_INCOMPLETE", "NUD_REACHABLE", "NUD_STALE", "NUD_DELAY"),
    *("NUD_PROBE", "NUD_FAILED", "NUD_NOARP", "NUD_PERMANENT"),
)
_FLAGS = (
    *("NTF_USE", "NTF_SELF", "NTF_MASTER", "NTF_PROXY"),
    *("NTF_EXT_LEARNED", "NTF_OFFLOADED", "NTF_STICKY", "NTF_ROUTER"),
)

_HOLD_S = 1.0
_PER_SECOND = 512
"""A list of more entries is stated less often than each second."""
_REST = 20
"""Dumps for the sake of what is not announced take at most this part of the time,"""
_LONGEST_REST_S = 10.0
"""unless they are long because the agent waits for others."""

List: TypeAlias = tuple[int, bool]
"""Interface index, and whether it is the forwarding database."""
Place: TypeAlias = tuple[int, int, bool]
"""The same, after the number of the namespace."""
# What an entry is about, and what is known of it: bytes, because there may be very many.
# Neighbour: (_ADDRESS or _PROXY) + address → state, flags (3 bytes) + MAC.
# Forwarding: _FORWARD + MAC + VLAN (2) + flags (1) + source VNI (4) + … →
#             state, flags (3 bytes) + VNI (4) + address of the host behind the tunnel.
Entries: TypeAlias = dict[bytes, bytes]
_ADDRESS, _PROXY, _FORWARD = b"\0", b"\1", b"\2"
_ANY_MAC = bytes(6)


class _Tables:
    """Those of one namespace."""

    __slots__ = ("lists", "ports")

    def __init__(self) -> None:
        self.lists: dict[List, Entries] = {}
        self.ports: dict[bytes, int] = {}
        """Of entries that a bridge has once for all ports: the port, by bridge and key."""


class _Notes:
    """What else is remembered of one namespace."""

    __slots__ = ("aspects", "held_until_s")

    def __init__(self) -> None:
        self.aspects: dict[int, tuple[Any, ...]] = {}
        """What an interface was when its namespace was last found in need of a dump."""
        self.held_until_s: dict[List, float] = {}
        """When lists may be stated again."""


class Neighbours(Part):
    name = "neighbours"
    groups = (3,)
    kinds = (_NEW, _DELETE)
    requests = (
        (_GET, _MESSAGE.pack(0, 0, 0, 0, 0)),
        (_GET, _MESSAGE.pack(0, 0, 0, _NTF_PROXY, 0)),
        (_GET, _MESSAGE.pack(_AF_BRIDGE, 0, 0, 0, 0)),
    )

    def __init__(
        self,
        links: LinkTable,
        want_dump: Callable[[int], None],
        *,
        mono_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(links, want_dump)
        self._mono_s = mono_s
        self._tables: dict[int, _Tables] = {}
        self._dumps: dict[int, _Tables] = {}
        """What the dumps that are going on have told."""
        self._dead: dict[int, set[int]] = {}
        """Interfaces that went during the dump of their namespace."""
        self._began_s: dict[int, float] = {}
        self.kept = 0
        """Entries, those of unfinished dumps too."""
        self._changed: dict[Place, None] = {}
        self._held: dict[Place, None] = {}
        """Changed again too early."""
        self._next_s = 0.0
        """When the first of `_held` may be stated."""
        self._notes: dict[int, _Notes] = {}
        self._to_dump_at_s: dict[int, float] = {}
        self._rest_s: dict[int, float] = {}

    # Messages

    def take(self, nsid: int, datagram: bytes) -> None:
        tables = self._dumps.get(nsid)
        dumped = tables is not None
        if tables is None:
            tables = self._tables.get(nsid)
        if tables is None:
            tables = self._tables[nsid] = _Tables()
        full = False
        for kind, message in messages(datagram):
            if kind in (_NEW, _DELETE):
                full = not self._take_one(nsid, tables, kind, message, dumped) or full
        if full:
            raise ValueError(f"more than {MOST_KEPT} neighbours")

    def _take_one(
        self, nsid: int, tables: _Tables, kind: int, message: bytes, dumped: bool
    ) -> bool:
        if len(message) < _MESSAGE.size:
            raise ValueError("a neighbour message without a head")
        family, index, state, flags, _ = _MESSAGE.unpack_from(message)
        told = dict(attributes(message, _MESSAGE.size))
        forwards = family == _AF_BRIDGE
        if forwards:
            key, value = _forwarding(message, flags, told)
            if key is None:
                return True
            if kind == _NEW and not dumped and self._is_half(nsid, index, flags, told):
                self._doubt(nsid)
                return True
            master = b"" if flags & _NTF_SELF else told.get(_NDA_MASTER, b"")
        else:
            address = told.get(_NDA_DST, b"")
            if not 0 < len(address) <= _LONGEST_ADDRESS:
                return True
            if flags & _NTF_PROXY:
                key = _PROXY + address
            else:
                key = _ADDRESS + address
                if state & _NUD_NOARP or not state:
                    kind = _DELETE
            value = message[8:11] + told.get(_NDA_LLADDR, b"")[:_LONGEST_ADDRESS]
            master = b""
        where = (index, forwards)
        if master:
            port = tables.ports.get(master + key)
            if kind == _DELETE:
                if port == index:
                    del tables.ports[master + key]
            elif port != index:
                if port is not None:
                    self._drop(nsid, tables, (port, True), key, dumped)
                tables.ports[master + key] = index
        if kind == _DELETE:
            self._drop(nsid, tables, where, key, dumped)
            return True
        entries = tables.lists.get(where)
        if entries is None:
            entries = tables.lists[where] = {}
        known = entries.get(key)
        if known == value:
            return True
        if known is None:
            if self.kept >= MOST_KEPT:
                return False
            self.kept += 1
        entries[key] = value
        if not dumped:
            self._changed[(nsid, *where)] = None
        return True

    def _is_half(self, nsid: int, index: int, flags: int, told: Mapping[int, bytes]) -> bool:
        """Older kernels announce entries of a VXLAN twice, the second time without the host."""
        space = self.links.space(nsid)
        link = None if space is None else space.links.get(index)
        return (
            bool(flags & _NTF_SELF)
            and _NDA_DST not in told
            and _NDA_NH_ID not in told
            and link is not None
            and link.message["kind_name"] == "vxlan"
        )

    def _drop(self, nsid: int, tables: _Tables, where: List, key: bytes, dumped: bool) -> None:
        entries = tables.lists.get(where)
        if entries is not None and entries.pop(key, None) is not None:
            self.kept -= 1
            if not entries:
                del tables.lists[where]
            if not dumped:
                self._changed[(nsid, *where)] = None

    # Dumps

    def begin_dump(self, nsid: int) -> None:
        self._forget_dump(nsid)
        self._dumps[nsid] = _Tables()
        self._to_dump_at_s.pop(nsid, None)
        self._began_s[nsid] = self._mono_s()

    def end_dump(self, nsid: int, *, whole: bool) -> None:
        told = self._dumps.pop(nsid)
        for index in self._dead.pop(nsid, ()):
            for forwards in (False, True):
                self.kept -= len(told.lists.pop((index, forwards), ()))
        known = self._tables.pop(nsid, None) or _Tables()
        for where in known.lists.keys() | told.lists.keys():
            before, now = known.lists.get(where, {}), told.lists.get(where, {})
            if not whole:
                now = {**before, **now}
                self.kept += len(now) - len(told.lists.get(where, ()))
                told.lists[where] = now
            if before != now:
                self._changed[(nsid, *where)] = None
            self.kept -= len(before)
        if not whole:
            told.ports = {**known.ports, **told.ports}
        self._tables[nsid] = told
        self._rest_s[nsid] = _REST * (self._mono_s() - self._began_s.pop(nsid))

    def _forget_dump(self, nsid: int) -> None:
        tables = self._dumps.pop(nsid, None)
        if tables is not None:
            self.kept -= sum(len(entries) for entries in tables.lists.values())
        self._dead.pop(nsid, None)
        self._began_s.pop(nsid, None)

    def forget(self, nsid: int) -> None:
        self._forget_dump(nsid)
        tables = self._tables.pop(nsid, None)
        if tables is not None:
            self.kept -= sum(len(entries) for entries in tables.lists.values())
        self._to_dump_at_s.pop(nsid, None)
        self._rest_s.pop(nsid, None)
        self._notes.pop(nsid, None)

    # Interfaces

    def link_changed(self, nsid: int, message: Mapping[str, Any]) -> None:
        kind = message["kind"]
        if kind == "dellink" and not message["family"]:
            self._forget_link(nsid, message["index"])
        elif kind == "newlink" and not message["family"]:
            known = self._notes.setdefault(nsid, _Notes()).aspects
            aspects = (message["link_flags"] & 1, message["mac"], message["master"])
            if known.get(message["index"]) != aspects:
                known[message["index"]] = aspects
                self._doubt(nsid)
        elif kind in ("newaddr", "deladdr", "newlink"):
            # Of a bridge port: with a VLAN an address may have gone from one port to another.
            self._doubt(nsid)

    def _forget_link(self, nsid: int, index: int) -> None:
        notes = self._notes.get(nsid)
        if notes is not None:
            notes.aspects.pop(index, None)
            for forwards in (False, True):
                notes.held_until_s.pop((index, forwards), None)
        if nsid in self._dumps:
            self._dead.setdefault(nsid, set()).add(index)
        tables = self._tables.get(nsid)
        for forwards in (False, True):
            self._changed.pop((nsid, index, forwards), None)
            self._held.pop((nsid, index, forwards), None)
            if tables is not None:
                self.kept -= len(tables.lists.pop((index, forwards), ()))

    def _doubt(self, nsid: int) -> None:
        """Something may have changed without an event."""
        if nsid not in self._to_dump_at_s:
            rest_s = min(max(_HOLD_S, self._rest_s.get(nsid, 0.0)), _LONGEST_REST_S)
            self._to_dump_at_s[nsid] = self._mono_s() + rest_s

    # Facts

    def state(self, enough: Callable[[], bool]) -> bool:
        now_s = self._mono_s()
        for nsid in [nsid for nsid, at_s in self._to_dump_at_s.items() if at_s <= now_s]:
            del self._to_dump_at_s[nsid]
            self.want_dump(nsid)
        if self._held and self._next_s <= now_s:
            self._changed.update(self._held)
            self._held.clear()
        for place in list(self._changed):
            if enough():
                return False
            del self._changed[place]
            notes = self._notes.setdefault(place[0], _Notes())
            until_s = notes.held_until_s.get(place[1:], 0.0)
            if until_s > now_s:
                self._next_s = min(self._next_s, until_s) if self._held else until_s
                self._held[place] = None
            else:
                hold_s = self._state_one(*place)
                notes.held_until_s[place[1:]] = now_s + hold_s
        return True

    def due_s(self) -> float | None:
        times = list(self._to_dump_at_s.values())
        if self._held:
            times.append(self._next_s)
        return max(0.0, min(times) - self._mono_s()) if times else None

    def _state_one(self, nsid: int, index: int, forwards: bool) -> float:
        """Set the facts; how long not to do so again."""
        space = self.links.space(nsid)
        tables = self._tables.get(nsid)
        entries = {} if tables is None else tables.lists.get((index, forwards), {})
        if space is None or (not entries and index not in space.facts):
            return 0.0
        name = "FDB" if forwards else "Neighbors"
        translate = _forward_entry if forwards else _neighbour_entry
        count = len(entries)
        keys = nsmallest(MOST_STATED, entries) if count > MOST_STATED else sorted(entries)
        told = [translate(index, key, entries[key]) for key in keys]
        self.links.set_fact(nsid, index, name, told or None)
        self.links.set_fact(nsid, index, f"{name}Count", count if count > MOST_STATED else None)
        return max(_HOLD_S, len(told) / _PER_SECOND)


def _forwarding(
    message: bytes, flags: int, told: Mapping[int, bytes]
) -> tuple[bytes | None, bytes]:
    mac = told.get(_NDA_LLADDR, b"")
    if len(mac) != len(_ANY_MAC):
        return None, b""  # of a link without Ethernet, or a VNI of its own table
    vni = told.get(_NDA_VNI, b"").ljust(4, b"\0")[:4]
    host = told.get(_NDA_DST, b"")
    host = host if len(host) in (4, 16) else b""
    key = b"".join(
        (
            _FORWARD,
            mac,
            told.get(_NDA_VLAN, _NO_VLAN).ljust(2, b"\0")[:2],
            bytes((flags & (_NTF_SELF | _NTF_MASTER),)),
            told.get(_NDA_SRC_VNI, b"").ljust(4, b"\0")[:4],
        )
    )
    if mac[0] & 1 or mac == _ANY_MAC:
        # Goes to several hosts; each of them is an entry.
        for other in (_NDA_PORT, _NDA_IFINDEX):
            key += told.get(other, b"").ljust(4, b"\0")[:4]
        key += vni + host
    return key, message[8:11] + vni + host


def _neighbour_entry(index: int, key: bytes, value: bytes) -> dict[str, Any]:
    entry = _entry(index, value)
    if len(value) > 3:
        entry["MAC"] = value[3:].hex(":")
    text = _text(key[1:])
    if text:
        entry["IP"] = text
    return entry


def _forward_entry(index: int, key: bytes, value: bytes) -> dict[str, Any]:
    entry = _entry(index, value)
    entry["MAC"] = key[1:7].hex(":")
    text = _text(value[7:])
    if text:
        entry["IP"] = text
    for name, number in (
        ("Vlan", int.from_bytes(key[7:9], sys.byteorder)),
        ("VNI", int.from_bytes(value[3:7], sys.byteorder)),
    ):
        if number:
            entry[name] = number
    return entry


def _entry(index: int, value: bytes) -> dict[str, Any]:
    state = int.from_bytes(value[:2], sys.byteorder)
    entry: dict[str, Any] = {"IfIndex": index}
    for name, names, bits in (("Flags", _FLAGS, value[2]), ("State", _STATES, state)):
        if bits:
            entry[name] = [word for bit, word in enumerate(names) if bits >> bit & 1]
    return entry


def _text(address: bytes) -> str:
    match len(address):
        case 4:
            return socket.inet_ntop(socket.AF_INET, address)
        case 16:
            return socket.inet_ntop(socket.AF_INET6, address)
    return ""
