"""VLANs that bridges let through their ports, and through the bridge itself.

The kernel tells them with the interface, in messages of the bridge's family: each event says all
VLANs of one port, in ranges of neighbouring numbers that are treated alike. Some settings of the
bridge (the default VLAN, filtering on and off) change its ports without such an event; then the
namespace is dumped again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from skydiver.probes.netlink.attributes import attribute, attributes, messages
from skydiver.probes.netlink.links import LinkTable
from skydiver.probes.netlink.part import Part

_NEW, _DELETE, _GET = 16, 17, 18
# struct ifinfomsg: family, hardware type, index, flags, change mask
_MESSAGE = struct.Struct("=BxHiII")
_VLAN = struct.Struct("=HH")
_AF_BRIDGE = 7
_IFLA_MASTER, _IFLA_AF_SPEC, _IFLA_EXT_MASK = 10, 26, 29
_BRIDGE_VLAN_INFO = 2
_COMPRESSED = 4
"""RTEXT_FILTER_BRVLAN_COMPRESSED"""
_PVID, _UNTAGGED, _BEGIN, _END = 0x02, 0x04, 0x08, 0x10
_FACT = "BridgeVlans"

Ranges: TypeAlias = tuple[tuple[int, int, int], ...]
"""First, last and flags of VLANs in a row."""


class BridgeVlans(Part):
    name = "bridge VLANs"
    groups = (1,)
    kinds = (_NEW, _DELETE)
    requests = (
        (
            _GET,
            _MESSAGE.pack(_AF_BRIDGE, 0, 0, 0, 0)
            + attribute(_IFLA_EXT_MASK, struct.pack("=I", _COMPRESSED)),
        ),
    )

    def __init__(self, links: LinkTable, want_dump: Callable[[int], None]) -> None:
        super().__init__(links, want_dump)
        self._vlans: dict[int, dict[int, Ranges]] = {}
        """By namespace and interface; only those that have any."""
        self._dumps: dict[int, dict[int, Ranges]] = {}
        self._bridges: dict[int, dict[int, Any]] = {}
        """Settings of the bridges, as they were at the last look."""
        self._changed: dict[tuple[int, int], None] = {}

    def take(self, nsid: int, datagram: bytes) -> None:
        for kind, message in messages(datagram):
            if kind not in (_NEW, _DELETE):
                continue
            if len(message) < _MESSAGE.size:
                raise ValueError("a link message without a head")
            if message[0] == _AF_BRIDGE:
                self._take_port(nsid, kind, message)
            elif kind == _DELETE and not message[0]:
                self._set(nsid, _MESSAGE.unpack_from(message)[2], ())

    def _take_port(self, nsid: int, kind: int, message: bytes) -> None:
        index = _MESSAGE.unpack_from(message)[2]
        told = dict(attributes(message, _MESSAGE.size))
        if kind == _DELETE:
            self._set(nsid, index, ())
            return
        settings = attributes(told.get(_IFLA_AF_SPEC, b""))
        ranges = _ranges(settings)
        if not ranges and settings:
            return  # how a card switches between its functions: not from a bridge
        self._set(nsid, index, ranges if _IFLA_MASTER in told else ())

    def _set(self, nsid: int, index: int, ranges: Ranges) -> None:
        told = self._dumps.get(nsid)
        known = self._vlans.get(nsid, {}) if told is None else told
        if known.get(index, ()) == ranges:
            return
        if ranges:
            if told is None:
                known = self._vlans.setdefault(nsid, known)
            known[index] = ranges
        else:
            del known[index]
        if told is None:
            self._changed[nsid, index] = None

    def begin_dump(self, nsid: int) -> None:
        self._dumps[nsid] = {}

    def end_dump(self, nsid: int, *, whole: bool) -> None:
        told = self._dumps.pop(nsid)
        known = self._vlans.pop(nsid, {})
        if not whole:
            told = {**known, **told}
        for index in known.keys() | told.keys():
            if known.get(index) != told.get(index):
                self._changed[nsid, index] = None
        if told:
            self._vlans[nsid] = told

    def forget(self, nsid: int) -> None:
        for tables in (self._vlans, self._dumps, self._bridges):
            tables.pop(nsid, None)

    def link_changed(self, nsid: int, message: Mapping[str, Any]) -> None:
        if message["family"] or message["kind_name"] != "bridge":
            return
        bridges = self._bridges.setdefault(nsid, {})
        if message["kind"] == "dellink":
            bridges.pop(message["index"], None)
            return
        info = message.get("info", {})
        settings = [info.get(name) for name in ("VlanFiltering", "VlanProtocol", "VlanDefaultPvid")]
        if bridges.get(message["index"], settings) != settings:
            self.want_dump(nsid)
        bridges[message["index"]] = settings

    def state(self, enough: Callable[[], bool]) -> bool:
        for nsid, index in list(self._changed):
            if enough():
                return False
            del self._changed[nsid, index]
            space = self.links.space(nsid)
            ranges = self._vlans.get(nsid, {}).get(index, ())
            if space is not None and (ranges or index in space.facts):
                vlans = [_vlan(*some) for some in ranges]
                self.links.set_fact(nsid, index, _FACT, vlans or None)
        return True


def _ranges(settings: list[tuple[int, bytes]]) -> Ranges:
    ranges = []
    first = 0
    for kind, content in settings:
        if kind != _BRIDGE_VLAN_INFO or len(content) < _VLAN.size:
            continue
        flags, number = _VLAN.unpack_from(content)
        if flags & _BEGIN:
            first = number
            continue
        start = first if flags & _END and first else number
        ranges.append((start, number, flags & (_PVID | _UNTAGGED)))
        first = 0
    return tuple(ranges)


def _vlan(first: int, last: int, flags: int) -> dict[str, Any]:
    vlan: dict[str, Any] = {"ID": first}
    if last != first:
        vlan["End"] = last
    if flags & _PVID:
        vlan["PVID"] = True
    if flags & _UNTAGGED:
        vlan["Untagged"] = True
    return vlan
