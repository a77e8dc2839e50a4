"""Rules that say which routing table is looked at, as a list on the node of the namespace."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, TypeAlias

from skydiver.probes.netlink.links import LinkTable
from skydiver.probes.netlink.part import Part

Rule: TypeAlias = dict[str, Any]
Decode: TypeAlias = Callable[[bytes], Any]

MOST_RULES = 1000
"""In the metadata of a namespace."""

_FAMILIES: Mapping[int, tuple[str, int]] = {2: ("inet", 4), 10: ("inet6", 16)}
"""Of others, multicast routing for one, there are rules too; they are not for routes."""
_NEW_RULE, _DELETE_RULE, _GET_RULE = 32, 33, 34
_HEADER = struct.Struct("=IHHII")
# struct fib_rule_hdr of linux/fib_rules.h: family, dst_len, src_len, tos, table, …, action, flags
_RULE = struct.Struct("=BBBBBxxBI")
_ATTRIBUTE = struct.Struct("=HH")
_ACTIONS = {1: "table", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_INVERT = 2
_DST, _SRC = 1, 2
_ANY = 0xFFFFFFFF
"""As FRA_SUPPRESS_…: nothing is suppressed."""


class RulePart(Part):
    """The rules of all namespaces."""

    name = "rules"
    groups = (8, 19)
    kinds = (_NEW_RULE, _DELETE_RULE)
    requests = tuple((_GET_RULE, struct.pack("=B11x", family)) for family in _FAMILIES)

    def __init__(self, links: LinkTable, want_dump: Callable[[int], None]) -> None:
        super().__init__(links, want_dump)
        self._rules: dict[int, list[Rule]] = {}
        """In the order of the kernel among those of one priority and family."""
        self._dumped: dict[int, list[Rule]] = {}
        self._changed: dict[int, None] = {}

    def take(self, nsid: int, datagram: bytes) -> None:
        dumped = self._dumped.get(nsid)
        rules = self._rules.setdefault(nsid, []) if dumped is None else dumped
        for kind, rule in rules_in(datagram):
            if dumped is None:
                self._changed[nsid] = None
            if kind == _DELETE_RULE and rule in rules:
                rules.remove(rule)
            elif kind == _NEW_RULE and (dumped is not None or rule not in rules):
                rules.append(rule)

    def begin_dump(self, nsid: int) -> None:
        self._dumped[nsid] = []

    def end_dump(self, nsid: int, *, whole: bool) -> None:
        dumped = self._dumped.pop(nsid, [])
        if whole and dumped != self._rules.get(nsid):
            self._rules[nsid] = dumped
            self._changed[nsid] = None

    def forget(self, nsid: int) -> None:
        for known in (self._rules, self._dumped, self._changed):
            known.pop(nsid, None)

    def state(self, enough: Callable[[], bool]) -> bool:
        while self._changed:
            nsid, _ = self._changed.popitem()
            rules = sorted(
                self._rules.get(nsid, ()), key=lambda rule: (rule["Priority"], rule["Family"])
            )
            cut = len(rules) > MOST_RULES
            self.links.set_root_fact(nsid, "RoutingRules", rules[:MOST_RULES] or None)
            self.links.set_root_fact(nsid, "RoutingRulesCount", len(rules) if cut else None)
            if enough():
                break
        return not self._changed


def rules_in(datagram: bytes) -> Iterator[tuple[int, Rule]]:
    """Type and rule of each message about a rule; `ValueError` for what contradicts itself."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            raise ValueError(f"message of {length} bytes, at {offset} of {len(datagram)}")
        if kind in (_NEW_RULE, _DELETE_RULE):
            rule = _rule(datagram[offset + _HEADER.size : offset + length])
            if rule is not None:
                yield kind, rule
        offset += (length + 3) & ~3


def _rule(content: bytes) -> Rule | None:
    """With the names of docs/probes/netlink.md; what is not asked of packets is left out."""
    try:
        family, dst_len, src_len, tos, table, action, flags = _RULE.unpack_from(content)
        if family not in _FAMILIES:
            return None
        name, size = _FAMILIES[family]
        rule: Rule = {"Priority": 0, "Family": name, "Action": _ACTIONS.get(action, str(action))}
        if table and action == 1:
            rule["Table"] = table
        if tos:
            rule["TOS"] = tos
        if flags & _INVERT:
            rule["Not"] = True
        for kind, value in _attributes(content, _RULE.size):
            if kind == _DST:
                rule["To"] = f"{ip_address(value[:size])}/{dst_len}"
            elif kind == _SRC:
                rule["From"] = f"{ip_address(value[:size])}/{src_len}"
            elif kind in _MEMBERS:
                member, decode = _MEMBERS[kind]
                told = decode(value)
                if told is not None:
                    rule[member] = told
    except struct.error as error:
        raise ValueError(f"a rule is too short: {error}") from error
    if action != 1:
        rule.pop("Table", None)
    return rule


def _attributes(content: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + _ATTRIBUTE.size <= len(content):
        length, kind = _ATTRIBUTE.unpack_from(content, offset)
        if not _ATTRIBUTE.size <= length <= len(content) - offset:
            raise ValueError(f"attribute of {length} bytes, at {offset} of {len(content)}")
        yield kind & 0x3FFF, content[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode(errors="replace")


def _number(form: str) -> Decode:
    packed = struct.Struct(form)
    return lambda value: int(packed.unpack_from(value)[0])


def _nonzero(form: str) -> Decode:
    packed = struct.Struct(form)
    return lambda value: int(packed.unpack_from(value)[0]) or None


def _unless_any(value: bytes) -> int | None:
    (number,) = struct.unpack_from("=I", value)
    return None if number == _ANY else int(number)


def _range(form: str) -> Decode:
    packed = struct.Struct(form)

    def decode(value: bytes) -> str:
        first, last = packed.unpack_from(value)
        return str(first) if first == last else f"{first}-{last}"

    return decode


_MEMBERS: Mapping[int, tuple[str, Decode]] = {
    3: ("IIF", _text),
    4: ("Goto", _number("=I")),
    6: ("Priority", _number("=I")),
    10: ("FwMark", _nonzero("=I")),
    11: ("Realms", _nonzero("=I")),
    12: ("TunID", _nonzero(">Q")),
    13: ("SuppressIfGroup", _unless_any),
    14: ("SuppressPrefixLength", _unless_any),
    15: ("Table", _nonzero("=I")),
    16: ("FwMask", _unless_any),
    17: ("OIF", _text),
    19: ("L3MDev", lambda value: bool(value[:1] > b"\0") or None),
    20: ("UIDRange", _range("=II")),
    21: ("Protocol", _nonzero("=B")),
    22: ("IPProto", _nonzero("=B")),
    23: ("SPort", _range("=HH")),
    24: ("DPort", _range("=HH")),
    25: ("DSCP", _number("=B")),
}
"""FRA_… of linux/fib_rules.h."""
