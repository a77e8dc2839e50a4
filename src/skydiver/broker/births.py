"""Which processes may be in a new network namespace, told by the kernel at once.

One ring of memory per processor, written by the tracepoints that the broker opened and read here,
without privilege. A ring is small: in a storm it may run over, the kernel counts what it had no
room for, and whoever reads answers with a look at all processes.

A descriptor is readable only until somebody asked, and epoll asks already when it is told to
listen, and forgets the answer (kernel/events/core.c, perf_poll). So what came before is looked for
by hand.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from fcntl import ioctl

from skydiver.base.errors import Unavailable
from skydiver.broker.client import Broker

_PAGES = 8
"""For some hundred records; a power of two."""
_ONLINE = "/sys/devices/system/cpu/online"

_ENABLE, _SET_OUTPUT = 0x2400, 0x2405
_HEAD, _TAIL = 1024, 1032
"""Where struct perf_event_mmap_page has data_head and data_tail."""
_POSITION = struct.Struct("=Q")
_HEADER = struct.Struct("=IHH")
_LOST, _SAMPLE = 2, 9
_LOST_BODY = struct.Struct("=QQ")
_PID = struct.Struct("=i")
_KIND = struct.Struct("=H")
_SIZE = 4
"""Of the length in front of the record of a tracepoint."""


class Births:
    """The rings of all processors."""

    def __init__(self) -> None:
        self._rings: list[_Ring] = []
        self._listening = False

    @classmethod
    async def open(cls, broker: Broker) -> Births:
        """Begin; raises `Unavailable` when this kernel, or this user, cannot."""
        births = cls()
        failure: Unavailable | OSError | None = None
        for processor in _processors():
            try:
                descriptors, formats = await broker.births(processor)
                births._rings.append(_Ring(descriptors, formats))
            except (Unavailable, OSError) as error:
                failure = error  # one that went offline just now is no reason
        if failure is not None and not births._rings:
            words = failure.strerror if isinstance(failure, OSError) else str(failure)
            raise Unavailable(str(words)) from failure
        return births

    def listen(self, call: Callable[[], None]) -> None:
        """Call this once there is something to read; then no more until asked again."""
        if self._listening:
            return
        self._listening = True

        def readable() -> None:
            self.pause()
            call()

        loop = asyncio.get_running_loop()
        for ring in self._rings:
            loop.add_reader(ring.fileno(), readable)
        if any(ring.has_records() for ring in self._rings):
            readable()

    def pause(self) -> None:
        """Do not call."""
        if self._listening:
            self._listening = False
            loop = asyncio.get_running_loop()
            for ring in self._rings:
                loop.remove_reader(ring.fileno())

    def read(self) -> tuple[set[int], int]:
        """Processes, by their numbers in the first pid namespace, and how many were lost."""
        processes: set[int] = set()
        return processes, sum(ring.read(processes) for ring in self._rings)

    def close(self) -> None:
        """End the tracepoints."""
        self.pause()
        for ring in self._rings:
            ring.close()
        self._rings.clear()


class _Ring:
    """The tracepoints of one processor, which write into the ring of the first of them."""

    def __init__(self, descriptors: list[int], formats: Mapping[int, int]) -> None:
        self._descriptors = descriptors
        self._formats = formats
        try:
            first, *others = descriptors
            self._memory = mmap.mmap(first, (1 + _PAGES) * mmap.PAGESIZE)
            for other in others:
                ioctl(other, _SET_OUTPUT, first)
            for descriptor in descriptors:
                ioctl(descriptor, _ENABLE, 0)
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise

    def fileno(self) -> int:
        return self._descriptors[0]

    def has_records(self) -> bool:
        return self._memory[_HEAD : _HEAD + 8] != self._memory[_TAIL : _TAIL + 8]

    def read(self, processes: set[int]) -> int:
        """Add the processes of all records; the number of those that had no room."""
        (head,) = _POSITION.unpack_from(self._memory, _HEAD)
        (tail,) = _POSITION.unpack_from(self._memory, _TAIL)
        if head == tail:
            return 0
        size = _PAGES * mmap.PAGESIZE
        begin, end = mmap.PAGESIZE + tail % size, mmap.PAGESIZE + head % size
        if begin < end:
            records = self._memory[begin:end]
        else:
            records = self._memory[begin:] + self._memory[mmap.PAGESIZE : end]
        _POSITION.pack_into(self._memory, _TAIL, head)
        return _read_records(records, self._formats, processes)

    def close(self) -> None:
        self._memory.close()
        for descriptor in self._descriptors:
            with suppress(OSError):
                os.close(descriptor)


def _read_records(records: bytes, formats: Mapping[int, int], processes: set[int]) -> int:
    lost = offset = 0
    while offset + _HEADER.size <= len(records):
        kind, _, size = _HEADER.unpack_from(records, offset)
        if size < _HEADER.size:
            return lost + 1  # not what a kernel writes: whatever follows cannot be read
        body = records[offset + _HEADER.size : offset + size]
        if kind == _LOST and len(body) >= _LOST_BODY.size:
            lost += _LOST_BODY.unpack_from(body)[1]
        elif kind == _SAMPLE and len(body) >= _SIZE + _KIND.size:
            place = _SIZE + formats.get(_KIND.unpack_from(body, _SIZE)[0], len(body))
            if place + _PID.size <= len(body):
                processes.add(_PID.unpack_from(body, place)[0])
        offset += size
    return lost


def _processors() -> list[int]:
    """Those that are online."""
    try:
        with open(_ONLINE, encoding="ascii") as file:
            ranges = file.read().strip().split(",")
    except OSError:
        return list(range(os.cpu_count() or 1))
    found: list[int] = []
    for one in ranges:
        first, _, last = one.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
