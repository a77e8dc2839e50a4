"""Reads a socket of kernel events in turns of bounded length, and counts what it lost."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time
from collections.abc import Callable

from skydiver.base.losses import LossReason
from skydiver.probes.netlink.links import HOST

RECEIVE_BUFFER = 32 << 20
"""Room for some ten thousand events; memory is taken only while events wait."""

_SOL_NETLINK = 270
_LISTEN_ALL_NSID = 8
_SO_MEMINFO, _MEMINFO_DROPS, _MEMINFO = 55, 8, struct.Struct("=9I")
_NSID = struct.Struct("=i")
_DATAGRAM = 1 << 16


class EventReader:
    """The events of all namespaces that have a number on the host."""

    def __init__(
        self,
        events: socket.socket,
        *,
        own_nsid: int | None,
        take: Callable[[int, bytes], None],
        lost: Callable[[LossReason, int], None],
    ) -> None:
        self.events = events
        self._own_nsid = own_nsid
        self._take = take
        self._lost = lost
        self._dropped = 0
        self._listening = False
        self.failed = asyncio.Event()
        self.failure = ""

    def read(self, until_s: float) -> tuple[int, bool]:
        """Take in events until the time is over; their number, and whether none is left."""
        count = 0
        while True:
            try:
                data, ancillary, flags, (sender, _) = self.events.recvmsg(_DATAGRAM, 64)
            except BlockingIOError:
                return count, True
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self.failure = str(error)
                    self.failed.set()
                    return count, True
                self._lost(LossReason.OVERRUN, self._new_drops())
                continue
            count += 1
            if flags & socket.MSG_TRUNC:
                self._lost(LossReason.OVERSIZE, 1)
            elif sender == 0:  # the kernel; anybody else has no business here
                self._take(self._origin(ancillary), data)
            if time.monotonic() > until_s:
                return count, False

    def listen(self, call: Callable[[], None] | None) -> None:
        """Call this when there is something to read, from now on; None: no more."""
        if (call is not None) != self._listening:
            loop = asyncio.get_running_loop()
            if call is not None:
                loop.add_reader(self.events.fileno(), call)
            else:
                loop.remove_reader(self.events.fileno())
            self._listening = call is not None

    @property
    def listening(self) -> bool:
        """Whether the next event is waited for; if not, its reader comes by itself."""
        return self._listening

    def _origin(self, ancillary: list[tuple[int, int, bytes]]) -> int:
        """The host's number of the namespace that a datagram comes from."""
        for level, kind, content in ancillary:
            if (level, kind) == (_SOL_NETLINK, _LISTEN_ALL_NSID):
                number = int(_NSID.unpack(content)[0])
                return HOST if number == self._own_nsid else number
        return HOST

    def _new_drops(self) -> int:
        """How many datagrams the kernel had no room for since the last time."""
        information = self.events.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        before, self._dropped = self._dropped, _MEMINFO.unpack(information)[_MEMINFO_DROPS]
        return max(1, (self._dropped - before) & 0xFFFFFFFF)


def until(time_s: float) -> Callable[[], bool]:
    """Says whether this time of the monotonic clock is over."""
    return lambda: time.monotonic() > time_s
