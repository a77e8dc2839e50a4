"""Follows the other tables of all namespaces (routes, rules, neighbours) by events and dumps.

Beside the follower of interfaces, on a socket of its own: a hundred thousand routes may come in
one batch, and the interfaces must not wait for them.

These tables cannot be asked for from outside: a dump opens a socket inside the namespace, which
keeps that alive, so it is closed as soon as the answer is in, or the namespace gone. Before a dump
begins, the events that are older are taken in. Those that come during it wait, and are taken in
after it. So what the kernel deletes without a word (IPv4 routes of an interface that goes down)
is deleted here too, because each such interface makes a new dump.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from skydiver.base.errors import Unavailable
from skydiver.base.losses import LossReason
from skydiver.broker.namespaces import Namespace
from skydiver.probes.netlink.events import EventReader, until
from skydiver.probes.netlink.follower import Follower
from skydiver.probes.netlink.links import HOST, LinkTable
from skydiver.probes.netlink.part import Part
from skydiver.probes.probe import Context

log = logging.getLogger(__name__)

SomePart = TypeVar("SomePart", bound=Part)
Event: TypeAlias = tuple[Part, bytes]

_TURN_S = 0.004
"""Longest time in one go, so that other work of the agent is not kept waiting."""
_REST_S = 0.004
"""Between two turns in a storm: what arrives meanwhile is stated once."""
_QUIET_S = 0.02
"""After this long without events the next one is taken in at once."""
_SILENCE_S = 0.1
"""In a storm that never pauses the graph still learns something this often."""
_DUMPED_AT_ONCE = 4
"""Sockets inside namespaces at one time."""
_DUMP_WITHIN_S = 30.0
_CAUGHT_UP_WITHIN_S = 1.0
_REST = 4
"""After a dump its namespace is left alone for so many times its length, in which many reasons for
another one become one."""
_DUMP_AGAIN_S, _LONGEST_DUMP_AGAIN_S = 1.0, 60.0
_LOST_S = 0.5
_MOST_WAITING = 20_000
_PART = "probe.netlink"

_SOL_NETLINK, _STRICT_CHECK = 270, 12
_HEADER = struct.Struct("=IHHII")
_ERRNO = struct.Struct("=i")
_ERROR, _DONE = 2, 3
_DUMP_REQUEST = 0x301
_INTERRUPTED = 0x10
_DATAGRAM = 1 << 16


class TableFollower:
    """All parts, from one start of the probe to its end."""

    def __init__(
        self,
        ctx: Context,
        links: Follower,
        kinds: Sequence[type[Part]],
        events: socket.socket,
        *,
        own_nsid: int | None,
    ) -> None:
        self._ctx = ctx
        self._links = links
        self._events = EventReader(events, own_nsid=own_nsid, take=self._take, lost=self._on_lost)
        self.parts: list[Part] = []
        self._by_kind: dict[int, Part] = {}
        for kind in kinds:
            self._add(kind)
        self._waiting: dict[int, deque[Event]] = {}
        """Events of the namespaces that are being dumped."""
        self._to_dump: dict[int, dict[Part, None]] = {}
        self._resting: dict[int, asyncio.TimerHandle] = {}
        """Namespaces not to be dumped before that."""
        self._failures: dict[int, int] = {}
        """Dumps that failed in a row."""
        self._dumps: dict[int, asyncio.Task[None]] = {}
        self._work = asyncio.Event()
        self._caught_up: list[asyncio.Future[None]] = []
        self._last_event_s = 0.0
        self._last_stated_s = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._unsubscribe = ctx.namespaces.subscribe(added=self._on_added, removed=self._on_removed)
        links.on_event = self._on_link_event
        links.on_lost = self._dump_everything_soon

    def _add(self, kind: type[Part]) -> None:
        def want_dump(nsid: int) -> None:
            self._want_dump(nsid, part)

        part = kind(self._links.links, want_dump)
        self.parts.append(part)
        self._by_kind.update(dict.fromkeys(kind.kinds, part))

    @property
    def links(self) -> LinkTable:
        """What is known of all interfaces."""
        return self._links.links

    def part(self, kind: type[SomePart]) -> SomePart:
        """The part of this kind."""
        return next(part for part in self.parts if isinstance(part, kind))

    def begin(self) -> None:
        """Listen, and ask for everything."""
        self._dump_everything()
        self._turn()

    async def fail(self) -> None:
        """Wait until the event socket cannot be read any more; then a new one is needed."""
        await self._events.failed.wait()
        raise Unavailable(f"kernel events: {self._events.failure}")

    def close(self) -> None:
        """Stop listening."""
        self._unsubscribe()
        self._links.on_event = self._links.on_lost = None
        self._events.listen(None)
        for timer in (*self._timers.values(), *self._resting.values()):
            timer.cancel()

    # Namespaces

    def _on_added(self, namespace: Namespace) -> None:
        if namespace.nsid is not None:
            self._want_all(namespace.nsid)

    def _on_removed(self, namespace: Namespace) -> None:
        nsid = namespace.nsid
        if nsid is None:
            return
        self._to_dump.pop(nsid, None)
        self._waiting.pop(nsid, None)
        self._failures.pop(nsid, None)
        resting = self._resting.pop(nsid, None)
        if resting is not None:
            resting.cancel()
        dump = self._dumps.get(nsid)
        if dump is not None:
            dump.cancel()  # and its socket is closed
        for part in self.parts:
            part.forget(nsid)

    # Events

    def _turn(self) -> None:
        """Take in events and state what they change, for a bounded time."""
        self._forget_timer("turn")
        began_s = time.monotonic()
        count, drained = self._events.read(began_s + _TURN_S)
        if drained:
            for future in self._caught_up:
                if not future.done():
                    future.set_result(None)
            self._caught_up.clear()
        now_s = time.monotonic()
        said = True
        in_a_storm = count > 0 and began_s - self._last_event_s < _QUIET_S
        if not in_a_storm or now_s - self._last_stated_s > _SILENCE_S:
            said = self._state(until(now_s + _TURN_S))
            self._last_stated_s = now_s
        if count:
            self._last_event_s = now_s
        if self._events.failed.is_set():
            self._events.listen(None)
        elif drained and said and not in_a_storm:
            self._events.listen(self._turn)
        else:
            self._events.listen(None)
            self._later("turn", _REST_S, self._turn)

    def _state(self, enough: Callable[[], bool]) -> bool:
        said = True
        for part in self.parts:
            said = part.state(enough) and said
        due_s = min((due for part in self.parts if (due := part.due_s()) is not None), default=None)
        if due_s is not None:
            self._later("due", due_s, self._on_due)
        self._links.turn_soon()
        return said

    def _on_due(self) -> None:
        self._forget_timer("due")
        self._turn_soon()

    def _turn_soon(self) -> None:
        """Something changed without an event."""
        if self._events.listening:
            self._events.listen(None)
            self._later("turn", 0, self._turn)

    def _take(self, nsid: int, datagram: bytes) -> None:
        if len(datagram) < _HEADER.size:
            self._ctx.losses.add(_PART, LossReason.DECODE)
            return
        part = self._by_kind.get(_HEADER.unpack_from(datagram)[1])
        if part is None or self._links.links.space(nsid) is None:
            return  # of no interest, or not known yet; when it is, a dump tells all of this
        waiting = self._waiting.get(nsid)
        if waiting is None:
            self._tell(part, nsid, datagram)
        elif len(waiting) < _MOST_WAITING:
            waiting.append((part, datagram))
        else:
            self._ctx.losses.add(_PART, LossReason.QUEUE_FULL, len(waiting))
            waiting.clear()
            self._want_all(nsid)

    def _tell(self, part: Part, nsid: int, datagram: bytes) -> None:
        try:
            part.take(nsid, datagram)
        except ValueError as error:
            log.debug("%s of namespace %d: %s", part.name, nsid, error)
            self._ctx.losses.add(_PART, LossReason.DECODE)

    def _on_link_event(self, nsid: int, message: Mapping[str, Any]) -> None:
        for part in self.parts:
            part.link_changed(nsid, message)
        self._turn_soon()

    def _on_lost(self, reason: LossReason, count: int) -> None:
        """Events were lost, nobody knows which: look at everything again."""
        self._ctx.losses.add(_PART, reason, count)
        self._dump_everything_soon()

    def _dump_everything_soon(self) -> None:
        """In a moment, because a socket that ran over once does so many times in a row."""
        self._later("lost", _LOST_S, self._dump_everything)

    # Dumps

    def _dump_everything(self) -> None:
        self._forget_timer("lost")
        for space in self._links.links.spaces():
            self._want_all(space.nsid)

    def _want_all(self, nsid: int) -> None:
        for part in self.parts:
            self._want_dump(nsid, part)

    def _want_dump(self, nsid: int, part: Part) -> None:
        if self._links.links.space(nsid) is not None:
            self._to_dump.setdefault(nsid, {})[part] = None
            self._work.set()

    async def dump_on_demand(self) -> None:
        """Dump the namespaces that need it, for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._work.wait()
                self._work.clear()
                for nsid in list(self._to_dump):
                    if len(self._dumps) == _DUMPED_AT_ONCE:
                        break
                    if nsid not in self._resting and nsid not in self._dumps:
                        parts = list(self._to_dump.pop(nsid))
                        dump = tasks.create_task(
                            self._dump(nsid, parts), name=f"netlink dump {nsid}"
                        )
                        # Not at the end of the dump itself: one that is cancelled before its
                        # first step, as its namespace ended, never gets there.
                        dump.add_done_callback(partial(self._dumped, nsid))
                        self._dumps[nsid] = dump

    async def _dump(self, nsid: int, parts: list[Part]) -> None:
        """Replace what is known of a namespace, then repeat the events since."""
        began_s = time.monotonic()
        rest_s = 0.0
        try:
            async with asyncio.timeout(_DUMP_WITHIN_S):
                whole = await self._ask(nsid, parts)
            self._failures.pop(nsid, None)
            rest_s = _REST * (time.monotonic() - began_s)
            if not whole:
                for part in parts:
                    self._want_dump(nsid, part)
        # A time limit is an OSError.
        except (OSError, Unavailable) as error:
            log.debug("tables of namespace %d: %s", nsid, error)
            failures = self._failures[nsid] = self._failures.get(nsid, 0) + 1
            rest_s = min(_DUMP_AGAIN_S * 2 ** (failures - 1), _LONGEST_DUMP_AGAIN_S)
            for part in parts:
                self._want_dump(nsid, part)
        finally:
            if self._links.links.space(nsid) is not None:
                self._rest(nsid, rest_s)
        self._turn_soon()

    def _dumped(self, nsid: int, _dump: asyncio.Task[None]) -> None:
        del self._dumps[nsid]
        self._work.set()

    def _rest(self, nsid: int, rest_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._resting[nsid] = loop.call_later(rest_s, self._rested, nsid)

    def _rested(self, nsid: int) -> None:
        self._resting.pop(nsid, None)
        if nsid in self._to_dump:
            self._work.set()

    async def _ask(self, nsid: int, parts: Sequence[Part]) -> bool:
        """Dump some parts of a namespace; whether nothing changed meanwhile."""
        namespace = self._ctx.namespaces.by_nsid(nsid)
        if nsid != HOST and namespace is None:
            return True
        with await self._ctx.broker.netlink_socket(
            None if namespace is None else namespace.ref, groups=0
        ) as opened:
            opened.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
            whole = await self._catch_up()
            self._waiting[nsid] = deque()
            try:
                for part in parts:
                    whole = await self._ask_part(opened, nsid, part) and whole
            finally:
                opened.close()
                waiting = self._waiting.get(nsid)
                if waiting is not None:
                    await self._repeat(nsid, waiting)
        return whole

    async def _catch_up(self) -> bool:
        """Take in all events that are there by now; whether that was possible in bounded time."""
        future = asyncio.get_running_loop().create_future()
        self._caught_up.append(future)
        self._turn()
        if future.done():
            return True
        try:
            async with asyncio.timeout(_CAUGHT_UP_WITHIN_S):
                await future
        except TimeoutError:
            return False
        return True

    async def _ask_part(self, opened: socket.socket, nsid: int, part: Part) -> bool:
        whole = True
        part.begin_dump(nsid)
        complete = False
        try:
            for kind, body in part.requests:
                whole = (
                    await dump_table(opened, kind, body, partial(self._tell, part, nsid)) and whole
                )
            complete = True
        finally:
            if self._links.links.space(nsid) is not None:
                part.end_dump(nsid, whole=complete and whole)
        return whole

    async def _repeat(self, nsid: int, waiting: deque[Event]) -> None:
        """Take in the events that waited, and let those that come now do so no more."""
        enough = until(time.monotonic() + _TURN_S)
        while waiting and self._waiting.get(nsid) is waiting:
            part, datagram = waiting.popleft()
            self._tell(part, nsid, datagram)
            if enough():
                await asyncio.sleep(_REST_S)
                enough = until(time.monotonic() + _TURN_S)
        if self._waiting.get(nsid) is waiting:
            del self._waiting[nsid]

    # Timers

    def _later(self, name: str, delay_s: float, call: Callable[[], None]) -> None:
        if name not in self._timers:
            self._timers[name] = asyncio.get_running_loop().call_later(delay_s, call)

    def _forget_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def groups_of(kinds: Iterable[type[Part]]) -> int:
    """What the event socket of these parts has to be bound to."""
    return sum(1 << (group - 1) for group in {group for kind in kinds for group in kind.groups})


async def dump_table(
    opened: socket.socket, kind: int, body: bytes, take: Callable[[bytes], None]
) -> bool:
    """Ask for a table; whether it stayed the same during the answer.

    The kernel writes each further datagram when the last one is read, so this never waits long.
    """
    sequence = int(time.monotonic_ns() // 1000) & 0x7FFFFFFF | 1
    header = _HEADER.pack(_HEADER.size + len(body), kind, _DUMP_REQUEST, sequence, 0)
    opened.send(header + body)
    whole = True
    enough = until(time.monotonic() + _TURN_S)
    while True:
        try:
            datagram = opened.recv(_DATAGRAM)
        except BlockingIOError:
            await _readable(opened)
            continue
        done, interrupted, error = _progress(datagram, sequence)
        if error == errno.EOPNOTSUPP:
            return True  # a kernel without such a table
        if error:
            raise OSError(error, f"dump {kind}: {errno.errorcode.get(error, error)}")
        whole = whole and not interrupted
        take(datagram)
        if done:
            return whole
        if enough():
            await asyncio.sleep(_REST_S)
            enough = until(time.monotonic() + _TURN_S)


def _progress(datagram: bytes, sequence: int) -> tuple[bool, bool, int]:
    """Whether a dump is done with this datagram, was interrupted in it, or failed and why."""
    offset, interrupted = 0, False
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, answered, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size or answered != sequence:
            return True, True, 0
        interrupted = interrupted or bool(flags & _INTERRUPTED)
        if kind in (_ERROR, _DONE):
            content = offset + _HEADER.size
            number = 0
            if length >= _HEADER.size + _ERRNO.size and content + _ERRNO.size <= len(datagram):
                number = -_ERRNO.unpack_from(datagram, content)[0]
            return True, interrupted, max(number, 0)
        offset += (length + 3) & ~3
    return False, interrupted, 0


async def _readable(opened: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(opened.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(opened.fileno())
