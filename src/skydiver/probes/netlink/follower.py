"""Follows the interfaces of all namespaces by events, with dumps where these do not suffice.

Order is everything here. Events of a namespace that is being dumped wait until the dump is in, and
are then taken in after it: those that are older than the dump are made good by the newer ones
behind them, because every message carries the whole state of what it tells. When the kernel had no
room for events, they are counted, and everything is dumped again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, TypeAlias

from skydiver.base.errors import Unavailable
from skydiver.base.losses import LossReason
from skydiver.broker.client import DumpPart
from skydiver.broker.namespaces import Namespace
from skydiver.native import decode_netlink
from skydiver.probes.netlink.drivers import driver_of
from skydiver.probes.netlink.events import EventReader, until
from skydiver.probes.netlink.links import HOST, LinkTable, Space
from skydiver.probes.probe import Context
from skydiver.topology import host_node_id, netns_node_id

log = logging.getLogger(__name__)

Message: TypeAlias = Mapping[str, Any]

GROUPS = sum(1 << (group - 1) for group in (1, 5, 9, 28))
"""RTNLGRP_LINK, IPV4_IFADDR, IPV6_IFADDR, NSID of linux/rtnetlink.h."""

_TURN_S = 0.004
"""Longest time in one go, so that other work of the agent is not kept waiting."""
_REST_S = 0.004
"""In a storm, after a turn that left nothing: what arrives meanwhile is stated once."""
_QUIET_S = 0.02
"""After this long without events the next one is taken in at once."""
_SILENCE_S = 0.1
"""In a storm that never pauses the graph still learns something this often."""
_DUMPED_AT_ONCE = 64
_DUMP_AGAIN_S, _LONGEST_DUMP_AGAIN_S = 1.0, 60.0
_DOUBT_S = 0.5
"""An interface may be without its peer for a moment, while that moves."""
_MOST_WAITING = 20_000
_TOLD_TO_OTHERS = frozenset(("newlink", "dellink", "newaddr", "deladdr"))
_PART = "probe.netlink"


class Follower:
    """The interfaces from one start of the probe to its end."""

    def __init__(self, ctx: Context, events: socket.socket, *, own_nsid: int | None) -> None:
        self._ctx = ctx
        self._events = EventReader(events, own_nsid=own_nsid, take=self._take, lost=self._on_lost)
        self._table = LinkTable(ctx.graph, host_id=ctx.host_id, own_nsid=own_nsid)
        self._waiting: dict[int, list[Message]] = {}
        """Events of the namespaces that are being dumped."""
        self._to_dump: dict[int, None] = {}
        self._failures: dict[int, int] = {}
        """Dumps that failed in a row."""
        self._work = asyncio.Event()
        self._last_event_s = 0.0
        self._last_stated_s = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.on_event: Callable[[int, Message], None] | None = None
        """Is told of each event about an interface or address, after it was taken in."""
        self.on_lost: Callable[[], None] | None = None
        """Is told when events were lost."""
        self.on_unasked: Callable[[], None] | None = None
        """Is told when there are `LinkTable.unasked` interfaces."""
        self._unsubscribe = ctx.namespaces.subscribe(
            added=self._on_added, removed=self._on_removed, changed=self._on_changed
        )

    @property
    def links(self) -> LinkTable:
        """What is known of all interfaces."""
        return self._table

    async def begin(self) -> None:
        """Dump everything, state it as a whole, and listen."""
        host = self._ctx.namespaces.host
        self._table.add_space(HOST, inode=host.inode, root=host_node_id(self._ctx.host_id), name="")
        self._want_dump(HOST)
        for namespace in self._ctx.namespaces:
            self._on_added(namespace)
        while self._to_dump:
            await self._dump_some()
        with self._ctx.graph.resync() as snapshot:
            self._table.writer = snapshot
            said = False
            while not said:
                said = self._table.state(until(time.monotonic() + _TURN_S))
                await asyncio.sleep(0)
        self._table.writer = self._ctx.graph
        self._turn()

    async def fail(self) -> None:
        """Wait until the event socket cannot be read any more; then a new one is needed."""
        await self._events.failed.wait()
        raise Unavailable(f"kernel events: {self._events.failure}")

    def close(self) -> None:
        """Stop listening."""
        self._unsubscribe()
        self._events.listen(None)
        for timer in self._timers.values():
            timer.cancel()

    # Namespaces

    def _on_added(self, namespace: Namespace) -> None:
        if namespace.nsid is not None:  # otherwise nobody may look inside
            root = netns_node_id(self._ctx.host_id, namespace.device, namespace.inode)
            self._table.add_space(
                namespace.nsid, inode=namespace.inode, root=root, name=namespace.name
            )
            self._want_dump(namespace.nsid)

    def _on_changed(self, namespace: Namespace) -> None:
        if namespace.nsid is not None:
            self._table.rename_space(namespace.nsid, namespace.name)
            self.turn_soon()

    def _on_removed(self, namespace: Namespace) -> None:
        if namespace.nsid is not None:
            self._waiting.pop(namespace.nsid, None)
            self._to_dump.pop(namespace.nsid, None)
            self._failures.pop(namespace.nsid, None)
            self._table.remove_space(namespace.nsid)
            self.turn_soon()

    # Events

    def _turn(self) -> None:
        """Take in events and state what they change, for a bounded time."""
        self._forget_timer("turn")
        began_s = time.monotonic()
        count, drained = self._events.read(began_s + _TURN_S)
        now_s = time.monotonic()
        said = False
        if drained or now_s - self._last_stated_s > _SILENCE_S:
            said = self._table.state(until(now_s + _TURN_S))
            self._last_stated_s = now_s
        self._look_into_doubts()
        in_a_storm = count > 0 and began_s - self._last_event_s < _QUIET_S
        if count:
            self._last_event_s = now_s
        if self._events.failed.is_set():
            self._events.listen(None)
        elif drained and said and not in_a_storm:
            self._events.listen(self._turn)
        else:
            self._events.listen(None)
            # Resting with events left would only make those of other namespaces late.
            self._later("turn", _REST_S if drained and said else 0, self._turn)

    def turn_soon(self) -> None:
        """Something changed without an event."""
        if self._events.listening:
            self._events.listen(None)
            self._later("turn", 0, self._turn)

    def _take(self, nsid: int, data: bytes) -> None:
        for message in decode_netlink(data):
            kind = message["kind"]
            if kind == "invalid":
                self._ctx.losses.add(_PART, LossReason.DECODE)
            elif nsid == HOST and kind == "newnsid":
                self._ctx.namespaces.nsid_seen(message["nsid"])
            elif nsid == HOST and kind == "delnsid":
                self._ctx.namespaces.nsid_gone(message["nsid"])
            else:
                self._take_event(nsid, message)

    def _take_event(self, nsid: int, message: Message) -> None:
        space = self._table.space(nsid)
        if space is None:
            return  # not known yet; when it is, a dump tells all of this
        waiting = self._waiting.get(nsid)
        if waiting is None:
            self._event(space, message, at_ms=self._ctx.clock_ms())
        elif len(waiting) < _MOST_WAITING:
            waiting.append(message)
        else:
            self._ctx.losses.add(_PART, LossReason.QUEUE_FULL, len(waiting))
            waiting.clear()
            self._want_dump(nsid)

    def _event(self, space: Space, message: Message, *, at_ms: int) -> None:
        self._table.event(space, message, at_ms=at_ms)
        if self.on_event is not None and message["kind"] in _TOLD_TO_OTHERS:
            self.on_event(space.nsid, message)

    def _on_lost(self, reason: LossReason, count: int) -> None:
        """Events were lost, nobody knows which: look at everything again."""
        self._ctx.losses.add(_PART, reason, count)
        self._ctx.namespaces.distrust()
        for space in self._table.spaces():
            self._want_dump(space.nsid)
        if self.on_lost is not None:
            self.on_lost()

    # Dumps

    def _want_dump(self, nsid: int) -> None:
        if self._table.space(nsid) is not None:
            self._to_dump[nsid] = None
            self._work.set()

    def _dump_again(self, nsid: int) -> None:
        self._forget_timer(f"dump {nsid}")
        self._want_dump(nsid)

    def _look_into_doubts(self) -> None:
        """Ask again where messages were not understood, or point at something that is gone."""
        for nsid in self._table.wanted():
            self._want_dump(nsid)
        if self._table.has_undriven():
            self._work.set()
        if self.on_unasked is not None and self._table.has_unasked():
            self.on_unasked()
        if self._table.has_doubts() and "doubts" not in self._timers:
            self._later("doubts", _DOUBT_S, self._dump_doubtful)

    def _dump_doubtful(self) -> None:
        self._forget_timer("doubts")
        for nsid in self._table.doubtful():
            self._want_dump(nsid)

    async def dump_on_demand(self) -> None:
        """Dump the namespaces that need it, for ever."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._to_dump:
                began_s = time.monotonic()
                await self._dump_some()
                self.turn_soon()
                # Under overruns dumps must not take all the time that reading events needs.
                await asyncio.sleep(time.monotonic() - began_s)
            await self._ask_for_drivers()

    async def _dump_some(self) -> None:
        nsids = list(islice(self._to_dump, _DUMPED_AT_ONCE))
        for nsid in nsids:
            del self._to_dump[nsid]
            self._waiting[nsid] = []
        spaces = {nsid: self._table.space(nsid) for nsid in nsids}
        with await self._ctx.broker.dump([_number(nsid) for nsid in nsids]) as dump:
            for part in dump.parts:
                nsid = HOST if part.nsid is None else part.nsid
                if spaces[nsid] is self._table.space(nsid):
                    await self._take_in(nsid, part)

    async def _take_in(self, nsid: int, part: DumpPart) -> None:
        """Replace what is known of a namespace by a dump, then repeat the events since."""
        space = self._table.space(nsid)
        if space is None:
            return
        at_ms = self._ctx.clock_ms()
        if part.error:
            log.debug("namespace %d: %s", nsid, part.error)
            failures = self._failures[nsid] = self._failures.get(nsid, 0) + 1
            delay_s = min(_DUMP_AGAIN_S * 2 ** (failures - 1), _LONGEST_DUMP_AGAIN_S)
            self._later(f"dump {nsid}", delay_s, lambda: self._dump_again(nsid))
        else:
            self._failures.pop(nsid, None)
            space.numbering = part.numbering
            addresses = [
                message
                for datagram in part.addresses()
                for message in decode_netlink(datagram)
                if message["kind"] == "newaddr"
            ]
            indexes = set()
            for datagram in part.links():
                for message in decode_netlink(datagram):
                    if message["kind"] == "newlink":
                        indexes.add(message["index"])
                        self._table.set_link(space, message, at_ms=at_ms, dumped=True)
                await asyncio.sleep(0)
                if self._table.space(nsid) is not space:
                    return
            self._table.end_dump(space, indexes, addresses)
        for event in self._waiting.pop(nsid, ()):
            self._event(space, event, at_ms=at_ms)

    async def _ask_for_drivers(self) -> None:
        for space, links in self._table.undriven():
            namespace = self._ctx.namespaces.by_nsid(space.nsid)
            if space.nsid != HOST and namespace is None:
                continue
            try:
                opened = await self._ctx.broker.netlink_socket(
                    None if namespace is None else namespace.ref, groups=0
                )
            except Unavailable as error:
                log.debug("drivers in %s: %s", space.name, error)
                continue
            with opened:
                for link in links:
                    driver, bus_info = driver_of(opened, link.message["name"])
                    self._table.set_driver(link, driver, bus_info)
            self.turn_soon()

    # Counters

    async def sample(self, period_s: float) -> None:
        """Read all counters each `period_s`, for ever."""
        loop = asyncio.get_running_loop()
        before_ms = self._ctx.clock_ms()
        next_s = loop.time() + period_s
        while True:
            await asyncio.sleep(next_s - loop.time())
            next_s = max(next_s + period_s, loop.time())
            now_ms = self._ctx.clock_ms()
            nsids = [space.nsid for space in self._table.spaces()]
            for start in range(0, len(nsids), _DUMPED_AT_ONCE):
                some = nsids[start : start + _DUMPED_AT_ONCE]
                await self._sample_some(some, before_ms=before_ms, now_ms=now_ms)
            before_ms = now_ms
            self.turn_soon()

    async def _sample_some(self, nsids: list[int], *, before_ms: int, now_ms: int) -> None:
        numbers = [_number(nsid) for nsid in nsids]
        with await self._ctx.broker.dump(numbers, links_only=True) as dump:
            for part in dump.parts:
                space = self._table.space(HOST if part.nsid is None else part.nsid)
                if space is None:
                    continue
                for datagram in part.links():
                    for message in decode_netlink(datagram):
                        if message["kind"] == "newlink":
                            self._table.sample(space, message, now_ms=now_ms, before_ms=before_ms)
                    await asyncio.sleep(0)

    # Timers

    def _later(self, name: str, delay_s: float, call: Callable[[], None]) -> None:
        if name not in self._timers:
            self._timers[name] = asyncio.get_running_loop().call_later(delay_s, call)

    def _forget_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def _number(nsid: int) -> int | None:
    """As the broker counts namespaces: None = the host."""
    return None if nsid == HOST else nsid
