"""What ethtool says of interfaces: features, speed and duplex.

Asked by ioctl, on any socket of the namespace: all kernels know it, no privilege is needed, and it
takes a few microseconds per interface. An interface is asked when it is new and when it went up or
down or changed its master; many changes become one question. Features that change later are
announced by generic netlink (Linux 5.6 and newer), for all namespaces over one socket. Where they
are not, everything is asked again now and then.
"""

from __future__ import annotations

import array
import asyncio
import errno
import logging
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fcntl import ioctl
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from skydiver.base.errors import Unavailable
from skydiver.base.losses import LossReason
from skydiver.probes.netlink.attributes import attribute, attributes, message, messages
from skydiver.probes.netlink.drivers import driver_of
from skydiver.probes.netlink.events import EventReader
from skydiver.probes.netlink.follower import Follower
from skydiver.probes.netlink.links import HOST, Link, Space
from skydiver.probes.probe import Context

log = logging.getLogger(__name__)

Features: TypeAlias = Mapping[str, bool]

_SIOCGIFNAME, _SIOCGIFINDEX, _SIOCETHTOOL = 0x8910, 0x8933, 0x8946
_GET_STRINGS, _GET_STRING_COUNTS, _GET_FEATURES, _GET_LINK = 0x1B, 0x37, 0x3A, 0x4C
_FEATURE_STRINGS, _STRING = 4, 32
_POINTER_REQUEST = struct.Struct("@16sP16x")
_INDEX_REQUEST = struct.Struct("@16si20x")
# struct ethtool_sset_info, ethtool_gstrings, ethtool_gfeatures
_COUNTS, _STRINGS, _FEATURES = struct.Struct("=IIQI"), struct.Struct("=III"), struct.Struct("=II")
# struct ethtool_link_settings: command, speed, duplex, …, words of a mask
_LINK = struct.Struct("=IIB6xb32x")
_UNKNOWN_SPEEDS = (0, 0xFFFFFFFF)
_DUPLEX = MappingProxyType({0: "half", 1: "full"})
_ONE = 4
"""Words per 32 features: available, requested, active, never changed."""

_GENL_CONTROL, _GET_FAMILY = 16, 3
_FAMILY_ID, _FAMILY_NAME, _GROUPS = 1, 2, 7
_GROUP_NAME, _GROUP_ID = 1, 2
_GENL_HEAD = 4
_FEATURES_CHANGED = 13
_HEADER, _ACTIVE = 1, 4
_DEVICE_INDEX = 1
_BITSET_VALUE = 4
_ERROR = 2
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1

_DELAY_S = 0.2
"""A new interface is seldom alone, and goes up a moment later."""
_REST_S = 1.0
_REST = 20
"""Questions take at most this part of the time, for one namespace."""
_ASKED_IN_A_ROW = 32
_ASK_ALL_EVERY_S = 30.0
_TURN_S = 0.004
_MOST_SETS = 1024
_PART = "probe.netlink.ethtool"


class Answer(NamedTuple):
    """About one interface."""

    driver: str
    """Empty when it has none."""
    active: bytes
    """Features that are on, a bit each."""
    speed: int | None
    """Mbit/s"""
    duplex: str | None


class Questions:
    """What there is to know of the kernel before interfaces can be asked."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """Of all features, by number; empty until `learn`."""
        self._link_words = -1
        self._sets: dict[bytes, Features] = {}

    def learn(self, opened: socket.socket) -> None:
        """Ask for the names of features; `OSError` when the kernel does not tell."""
        # Each question names an interface; there is always a loopback.
        counts = array.array("B", _COUNTS.pack(_GET_STRING_COUNTS, 0, 1 << _FEATURE_STRINGS, 0))
        _ethtool(opened, "lo", counts)
        count = _COUNTS.unpack(counts)[3]
        strings = array.array("B", _STRINGS.pack(_GET_STRINGS, _FEATURE_STRINGS, count))
        strings.extend(bytes(count * _STRING))
        _ethtool(opened, "lo", strings)
        content = strings.tobytes()[_STRINGS.size :]
        self.names = [
            content[at : at + _STRING].partition(b"\0")[0].decode(errors="replace")
            for at in range(0, count * _STRING, _STRING)
        ]

    def ask(self, opened: socket.socket, index: int) -> Answer | None:
        """None when there is no such interface any more, or it gets another name just now."""
        request = bytearray(_INDEX_REQUEST.pack(b"", index))
        try:
            ioctl(opened, _SIOCGIFNAME, request)
            named = request[:16].partition(b"\0")[0]
            name = named.decode(errors="surrogateescape")
            driver, _ = driver_of(opened, name)
            answer = Answer(driver, self._features(opened, name), *self._link(opened, name))
            again = bytearray(_INDEX_REQUEST.pack(named, 0))
            ioctl(opened, _SIOCGIFINDEX, again)
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO):
                return None
            raise
        return answer if _INDEX_REQUEST.unpack(again)[1] == index else None

    def features(self, active: bytes) -> Features:
        """By name. Equal sets are one object, as most interfaces of a host have the same."""
        found = self._sets.get(active)
        if found is None:
            if len(self._sets) >= _MOST_SETS:
                self._sets.clear()
            bits = int.from_bytes(active, "little")
            found = {name: bool(bits >> bit & 1) for bit, name in enumerate(self.names) if name}
            self._sets[active] = found
        return found

    def _features(self, opened: socket.socket, name: str) -> bytes:
        words = (len(self.names) + 31) // 32
        answer = array.array("I", [_GET_FEATURES, words, *([0] * _ONE * words)])
        try:
            _ethtool(opened, name, answer)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return b""
            raise
        return words_as_bytes(answer[2 + 2 :: _ONE])

    def _link(self, opened: socket.socket, name: str) -> tuple[int | None, str | None]:
        """Speed and duplex."""
        try:
            if self._link_words < 0:
                answer = _link_question(0)
                _ethtool(opened, name, answer)
                self._link_words = -_LINK.unpack_from(answer)[3]
            answer = _link_question(self._link_words)
            _ethtool(opened, name, answer)
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO):
                raise
            return None, None  # the driver does not know, or cannot tell just now
        _, speed, duplex, _ = _LINK.unpack_from(answer)
        return None if speed in _UNKNOWN_SPEEDS else speed, _DUPLEX.get(duplex)


def _link_question(words: int) -> array.array[int]:
    answer = array.array("B", _LINK.pack(_GET_LINK, 0, 0, words))
    answer.extend(bytes(3 * 4 * words))
    return answer


def _ethtool(opened: socket.socket, name: str, content: array.array[int]) -> None:
    encoded = name.encode(errors="surrogateescape")[:15]
    ioctl(opened, _SIOCETHTOOL, _POINTER_REQUEST.pack(encoded, content.buffer_info()[0]))


def words_as_bytes(words: array.array[int]) -> bytes:
    """Little-endian bytes of 32-bit words, so that bit n is bit n % 8 of byte n / 8."""
    return b"".join(word.to_bytes(4, "little") for word in words)


def monitor(opened: socket.socket) -> int | None:
    """Listen to what ethtool announces; its number as a family, None if this kernel has none."""
    name = attribute(_FAMILY_NAME, b"ethtool\0")
    request = struct.pack("=BBH", _GET_FAMILY, 1, 0) + name
    opened.send(message(_GENL_CONTROL, request, flags=1, sequence=1))
    # The kernel has answered before `send` returns.
    for kind, content in messages(opened.recv(1 << 16)):
        if kind == _ERROR:
            return None
        told = dict(attributes(content, _GENL_HEAD))
        for _, group in attributes(told.get(_GROUPS, b"")):
            known = dict(attributes(group))
            if known.get(_GROUP_NAME) == b"monitor\0":
                number = struct.unpack("=I", known[_GROUP_ID])[0]
                opened.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, number)
                return int(struct.unpack("=H", told[_FAMILY_ID])[0])
    return None


class EthtoolFollower:
    """Keeps `Features`, `Speed` and `Duplex` of all interfaces, from one start to its end."""

    def __init__(
        self, ctx: Context, follower: Follower, events: socket.socket, *, own_nsid: int | None
    ) -> None:
        self._ctx = ctx
        self._follower = follower
        self._events = EventReader(events, own_nsid=own_nsid, take=self._take, lost=self._on_lost)
        self._family: int | None = None
        self._questions = Questions()
        self._to_ask: dict[int, dict[int, None]] = {}
        """Interfaces by namespace."""
        self._due_s: dict[int, float] = {}
        self._rest_until_s: dict[int, float] = {}
        self._wake = asyncio.Event()
        follower.on_unasked = self._wake.set

    def begin(self) -> None:
        """Listen."""
        with suppress(OSError):
            self._family = monitor(self._events.events)
        if self._family is None:
            self._ctx.broker.lack("changes of ethtool features are noticed late")
        else:
            self._events.listen(self._turn)
        self._wake.set()

    def close(self) -> None:
        """Stop listening."""
        self._follower.on_unasked = None
        self._events.listen(None)

    async def fail(self) -> None:
        """Wait until the event socket cannot be read any more; then a new one is needed."""
        await self._events.failed.wait()
        raise Unavailable(f"events of ethtool: {self._events.failure}")

    async def ask_on_demand(self) -> None:
        """Ask interfaces that are new or changed, for ever."""
        next_poll_s = time.monotonic() + _ASK_ALL_EVERY_S
        while True:
            now_s = time.monotonic()
            waits_s = [due_s - now_s for due_s in self._due_s.values()]
            if self._family is None:
                waits_s.append(next_poll_s - now_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(waits_s)) if waits_s else None):
                    await self._wake.wait()
            self._wake.clear()
            self._collect()
            now_s = time.monotonic()
            if self._family is None and next_poll_s <= now_s:
                self._want_all()
                next_poll_s = now_s + _ASK_ALL_EVERY_S
            for nsid in [nsid for nsid, due_s in self._due_s.items() if due_s <= now_s]:
                del self._due_s[nsid]
                await self._ask(nsid, list(self._to_ask.pop(nsid)))

    # What to ask

    def _collect(self) -> None:
        for nsid, index in self._follower.links.unasked():
            self._want(nsid, index)

    def _want(self, nsid: int, index: int) -> None:
        self._to_ask.setdefault(nsid, {})[index] = None
        if nsid not in self._due_s:
            soon_s = time.monotonic() + _DELAY_S
            self._due_s[nsid] = max(soon_s, self._rest_until_s.get(nsid, 0.0))

    def _want_all(self) -> None:
        for space in self._follower.links.spaces():
            for index in space.links:
                self._want(space.nsid, index)

    async def _ask(self, nsid: int, indexes: list[int]) -> None:
        space = self._follower.links.space(nsid)
        namespace = self._ctx.namespaces.by_nsid(nsid)
        if space is None or (nsid != HOST and namespace is None):
            self._rest_until_s.pop(nsid, None)
            return
        began_s = time.monotonic()
        left = dict.fromkeys(indexes)
        try:
            for some in _in_rows(indexes):
                # A socket inside keeps the namespace alive: not while others have their turn.
                with await self._ctx.broker.netlink_socket(
                    None if namespace is None else namespace.ref, groups=0
                ) as opened:
                    if self._follower.links.space(nsid) is space:
                        self._ask_some(space, opened, some, left)
        except (Unavailable, OSError) as error:
            log.debug("ethtool in %s: %s", space.name or "the host", error)
        now_s = time.monotonic()
        self._rest_until_s[nsid] = now_s + max(_REST_S, _REST * (now_s - began_s))
        for index in left:
            # It failed, or was renamed in the middle; or it is gone, which will be told.
            if index in space.links:
                self._want(nsid, index)
        self._follower.turn_soon()

    def _ask_some(
        self, space: Space, opened: socket.socket, indexes: list[int], left: dict[int, None]
    ) -> None:
        """Ask these interfaces; those that answered are not `left` any more."""
        if not self._questions.names:
            self._questions.learn(opened)
        for index in indexes:
            link = space.links.get(index)
            answer = None if link is None else self._questions.ask(opened, index)
            if link is not None and answer is not None:
                self._set(space.nsid, link, answer)
                left.pop(index)

    def _set(self, nsid: int, link: Link, answer: Answer) -> None:
        facts: dict[str, Any] = {"Speed": answer.speed, "Duplex": answer.duplex}
        has_driver = bool(answer.driver or link.message["kind_name"])
        features = has_driver and answer.active
        facts["Features"] = self._questions.features(answer.active) if features else None
        space = self._follower.links.space(nsid)
        if space is not None and space.facts.get(link.key[1], {}).get("Speed") != answer.speed:
            # A bridge has it from its ports and a tunnel from what it leaves by; no event tells.
            for above in self._follower.links.resting_on(link.key):
                self._want(*above)
        for name, value in facts.items():
            self._follower.links.set_fact(nsid, link.key[1], name, value)

    # What is announced

    def _turn(self) -> None:
        count, _ = self._events.read(time.monotonic() + _TURN_S)
        if self._events.failed.is_set():
            self._events.listen(None)
        if count:
            self._follower.turn_soon()
            self._wake.set()

    def _take(self, nsid: int, datagram: bytes) -> None:
        try:
            for kind, content in messages(datagram):
                if kind == self._family and len(content) > _GENL_HEAD:
                    self._take_one(nsid, content)
        except (ValueError, struct.error) as error:
            log.debug("ethtool of namespace %d: %s", nsid, error)
            self._ctx.losses.add(_PART, LossReason.DECODE)

    def _take_one(self, nsid: int, content: bytes) -> None:
        told = dict(attributes(content, _GENL_HEAD))
        header = dict(attributes(told.get(_HEADER, b"")))
        (index,) = struct.unpack("=I", header.get(_DEVICE_INDEX, b""))
        space = self._follower.links.space(nsid)
        if space is None:
            return  # not known yet; when it is, all of it is asked
        active = dict(attributes(told.get(_ACTIVE, b""))).get(_BITSET_VALUE)
        known = "Features" in space.facts.get(index, ())
        if content[0] == _FEATURES_CHANGED and active is not None and known:
            words = array.array("I", active)
            features = self._questions.features(words_as_bytes(words))
            self._follower.links.set_fact(nsid, index, "Features", features)
        else:
            self._want(nsid, index)

    def _on_lost(self, reason: LossReason, count: int) -> None:
        self._ctx.losses.add(_PART, reason, count)
        self._want_all()


def _in_rows(indexes: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(indexes), _ASKED_IN_A_ROW):
        yield indexes[start : start + _ASKED_IN_A_ROW]
