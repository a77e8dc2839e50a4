"""How far the clocks of the hosts are off, from the pings that are exchanged anyway.

Wall clocks of agents are not trusted: what agents say of time is related to the analyzer's clock by
an offset, and the error of that offset must be known, or small delays between hosts would be shown
that nobody measured.

An agent of ours says in the handshake that it tells its clock, and the analyzer that it listens
(`HEADER`; originals ignore it). Then each ping has a number as its payload, and the pong has the
same number and the wall clock of the agent at that moment. The agent read its clock at some point
between the analyzer's sending and receiving, whatever happened on the way: queues, busy loops,
slow lines. So the offset lies within half of that time around the middle, always, and this half is
the error. Of the last few exchanges the one of the smallest error counts, the error growing with
its age as clocks drift apart. When an exchange contradicts it, a clock was set, and nothing before
counts any more.

Each ping also tells the agent what came of it, so that the agent can show it on the node of its
host: there it is found by queries on all analyzers and travels with the graph. The analyzer itself
cannot write it, since the elements of an agent have the revisions that the agent gave them.

Rejected: asking for the time in messages of their own (they wait behind others in both queues, and
one exchange more in each period); a median or a filter (it has no error that can be promised).
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from skydiver.base.clock import ClockNs, mono_ns, wall_ns
from skydiver.base.ids import NodeID
from skydiver.graph import Writer
from skydiver.topology.health import CLOCK, clock_metadata

log = logging.getLogger(__name__)

HEADER = "X-Skydiver-Clock"
SPOKEN = "1"
"""The value of `HEADER` for what is described here."""

FLAGGED_NS = 1_000_000_000
"""A clock that is off by more is flagged."""
TELL_AGAIN_NS = 60_000_000_000
"""The node of a host follows a clock that moves no more often than this."""

_KEPT = 8
"""Exchanges, a quarter of a minute of them."""
_DRIFT = 100e-6
"""Two clocks drift apart by this at most; quartz of cheap hosts, unlike RFC 5905's 15e-6."""
_MOST_WAITING = 8
_MS = 1_000_000

_PING = struct.Struct("!QBdd")
"""Number, state, and offset and error in ms."""
_PONG = struct.Struct("!Qq")
"""Number, wall clock of the agent in ns."""
_UNKNOWN, _KNOWN, _FLAGGED = range(3)


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a host's clock is off."""

    offset_ms: float
    """Of the host ahead of the analyzer."""
    error_ms: float
    """The true offset is at most this far away."""
    flagged: bool
    """Surely off by more than `FLAGGED_NS`; once it was, until it surely is not."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    at_ns: int
    """Monotonic."""
    offset_ns: int
    error_ns: int

    def error_at(self, mono: int) -> float:
        return self.error_ns + (mono - self.at_ns) * _DRIFT


class PeerClock:
    """The analyzer's end: what it knows of the clock of one peer."""

    __slots__ = ("_exchanges", "_flagged", "_mono_ns", "_name", "_number", "_waiting", "_wall_ns")

    def __init__(
        self, name: str, *, clock_ns: ClockNs = wall_ns, mono_ns: ClockNs = mono_ns
    ) -> None:
        self._name = name
        self._wall_ns = clock_ns
        self._mono_ns = mono_ns
        self._number = 0
        self._waiting: dict[int, int] = {}
        """Number of a ping to when it was sent."""
        self._exchanges: deque[_Exchange] = deque(maxlen=_KEPT)
        self._flagged = False

    def ping(self) -> bytes:
        """The payload of a ping that is sent now."""
        self._number += 1
        self._waiting[self._number] = self._mono_ns()
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        offset = self.offset()
        if offset is None:
            return _PING.pack(self._number, _UNKNOWN, 0, 0)
        state = _FLAGGED if offset.flagged else _KNOWN
        return _PING.pack(self._number, state, offset.offset_ms, offset.error_ms)

    def pong(self, payload: bytes) -> None:
        """Learn from the payload of a pong; one that answers no ping of ours says nothing."""
        if len(payload) != _PONG.size:
            return
        number, peer_ns = _PONG.unpack(payload)
        sent_ns = self._waiting.pop(number, None)
        if sent_ns is None:
            return
        now_ns = self._mono_ns()
        half_ns = (now_ns - sent_ns + 1) // 2
        # From the time of receiving alone: our own clock may have been set meanwhile.
        exchange = _Exchange(now_ns, peer_ns - self._wall_ns() + half_ns, half_ns)
        best = self._best(now_ns)
        if best is not None:
            apart = abs(exchange.offset_ns - best.offset_ns)
            if apart > exchange.error_ns + best.error_at(now_ns):
                self._exchanges.clear()
        self._exchanges.append(exchange)
        self._judge(now_ns)

    def offset(self) -> Offset | None:
        """What is known now; None before the first exchange."""
        now_ns = self._mono_ns()
        best = self._best(now_ns)
        if best is None:
            return None
        return Offset(best.offset_ns / _MS, best.error_at(now_ns) / _MS, self._flagged)

    def _best(self, now_ns: int) -> _Exchange | None:
        return min(self._exchanges, key=lambda one: one.error_at(now_ns), default=None)

    def _judge(self, now_ns: int) -> None:
        best = self._best(now_ns)
        assert best is not None  # there was an exchange just now
        off_ns, error_ns = abs(best.offset_ns), best.error_at(now_ns)
        if not self._flagged and off_ns - error_ns > FLAGGED_NS:
            self._flagged = True
            log.warning(
                "%s: its clock is %.3f s %s this one's, with an error of %.3f s",
                self._name,
                off_ns / 1e9,
                "ahead of" if best.offset_ns > 0 else "behind",
                error_ns / 1e9,
            )
        elif self._flagged and off_ns + error_ns < FLAGGED_NS:
            self._flagged = False
            log.info("%s: its clock is right again", self._name)


def read_ping(payload: bytes, clock_ns: ClockNs) -> tuple[bytes, Offset | None]:
    """The agent's end: the payload to answer a ping with, and what it told of our clock.

    Any other payload comes back as it is (RFC 6455 §5.5.3).
    """
    if len(payload) != _PING.size:
        return payload, None
    number, state, offset_ms, error_ms = _PING.unpack(payload)
    answer = _PONG.pack(number, clock_ns())
    if state not in (_KNOWN, _FLAGGED) or not abs(offset_ms) + abs(error_ms) < float("inf"):
        return answer, None
    return answer, Offset(offset_ms, error_ms, state == _FLAGGED)


def speaks(headers: Mapping[str, str]) -> bool:
    """Whether the other end knows of this."""
    return headers.get(HEADER) == SPOKEN


class HostClock:
    """Shows the offset on the node of the host, without a revision for each exchange.

    Told again is what is known twice as well, and, once a minute at most, what lies outside of what
    was told; at once if the flag or the analyzer is another one.
    """

    def __init__(self, writer: Writer, host: NodeID, *, mono_ns: ClockNs = mono_ns) -> None:
        self._writer = writer
        self._host = host
        self._mono_ns = mono_ns
        self._told: tuple[str, Offset] | None = None
        self._told_at_ns = 0

    def tell(self, analyzer: str, offset: Offset | None) -> None:
        """What `analyzer` says of this host's clock; None = nothing, and never will."""
        if offset is None:
            if self._told is not None:
                self._writer.delete(self._host)
                self._told = None
            return
        if not self._is_news(analyzer, offset):
            return
        self._told = (analyzer, offset)
        self._told_at_ns = self._mono_ns()
        said = clock_metadata(offset.offset_ms, offset.error_ms, offset.flagged, analyzer)
        self._writer.enrich(self._host, {CLOCK: said})

    def _is_news(self, analyzer: str, offset: Offset) -> bool:
        if self._told is None:
            return True
        former_analyzer, former = self._told
        if (analyzer, offset.flagged) != (former_analyzer, former.flagged):
            return True
        if offset.error_ms * 2 < former.error_ms:
            return True
        moved = abs(offset.offset_ms - former.offset_ms) > offset.error_ms + former.error_ms
        return moved and self._mono_ns() - self._told_at_ns >= TELL_AGAIN_NS
