"""Capture from a TCP socket of the agent: whoever connects sends a capture file, as it grows.

For packets that no interface of the host shows: ``tcpdump -w - | nc`` on a switch, in an appliance,
on a machine without an agent. The file is replayed in time: gaps between packets are kept, and
each has the time of its delivery, since the clock of the sender is not ours.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from skydiver.base.clock import ClockNs, wall_ns
from skydiver.base.errors import ConfigError, QueryError, Unavailable
from skydiver.base.settings import Settings
from skydiver.captures.capture import Capture, CaptureTarget, Counters, Stopped
from skydiver.captures.tables import table_counters, table_options
from skydiver.filters.bpf import Instruction, compile_bpf
from skydiver.native import FlowTable, PcapFeed
from skydiver.objects.capture import Capture as Request

log = logging.getLogger(__name__)

MOST_SENDERS = 8
"""Connections of one capture at a time."""

_PIECE = 64 * 1024
_LONGEST_WAIT_S = 60.0
_LINK_TYPES: Mapping[int, int] = {
    number: {14: 12, 101: 12}.get(number, number)
    for number in (0, 1, 9, 12, 14, 101, 108, 113, 228, 229, 276)
}
"""Link types of files, with the number that libpcap has for them inside."""


@dataclass(slots=True)
class _Listening:
    """One capture."""

    table: FlowTable
    filters: dict[int, tuple[Instruction, ...]] | None
    """By link type; None = all packets."""
    name: str
    server: asyncio.Server | None = None
    address: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    senders: dict[asyncio.StreamWriter, PcapFeed] = field(default_factory=dict)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody is connected."""
    received: int = 0
    """Packets of senders that are gone."""
    broken: int = 0
    """Files that broke."""


class PcapSocket(Capture):
    """All captures of the agent that listen for capture files."""

    names = ("pcapsocket",)

    def __init__(self, _: object, settings: Settings, *, clock_ns: ClockNs = wall_ns) -> None:
        self._flow = settings.flow
        self._socket = settings.agent.flow.pcapsocket
        self._clock_ns = clock_ns
        self._listening: dict[int, _Listening] = {}
        self._next = 1

    async def start(self, target: CaptureTarget, request: Request) -> int:
        for name, asked in (("Target", request.target), ("HeaderSize", request.header_size)):
            if asked:
                raise ConfigError(f"capture option {name} does not apply to pcapsocket captures")
        # In a thread, since a name in the filter is looked up.
        filters = await asyncio.to_thread(_filters, request.bpf_filter)
        table = FlowTable(**table_options(self._flow, target, request))
        capture = _Listening(table, filters, target.name)
        capture.idle.set()
        await self._listen(capture)
        number, self._next = self._next, self._next + 1
        self._listening[number] = capture
        return number

    async def stop(self, number: int, *, now_ms: int) -> Stopped:
        capture = self._listening.pop(number)
        await _close(capture)
        flows = await asyncio.to_thread(capture.table.flush, now_ms)
        return Stopped(flows, await asyncio.to_thread(_counters, capture))

    async def counters(self) -> Mapping[int, Counters]:
        listening = dict(self._listening)
        return await asyncio.to_thread(
            lambda: {number: _counters(capture) for number, capture in listening.items()}
        )

    async def query(self, search: bytes) -> list[bytes]:
        return await self._of_all(lambda table: table.query(search))

    async def update(self, now_ms: int) -> bytes:
        # Messages one behind the other are one message.
        return b"".join(await self._of_all(lambda table: table.update(now_ms)))

    async def expire(self, now_ms: int) -> bytes:
        return b"".join(await self._of_all(lambda table: table.expire(now_ms)))

    def status(self) -> dict[str, int]:
        return {
            "Sockets": len(self._listening),
            "Senders": sum(len(capture.senders) for capture in self._listening.values()),
        }

    async def close(self) -> None:
        for capture in self._listening.values():
            await _close(capture)
        self._listening.clear()

    async def _of_all(self, work: Callable[[FlowTable], bytes]) -> list[bytes]:
        tables = [capture.table for capture in self._listening.values()]
        if not tables:
            return []
        return await asyncio.to_thread(lambda: [work(table) for table in tables])

    async def _listen(self, capture: _Listening) -> None:
        """Take the first port of the range that is free."""
        at = self._socket

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(capture, reader, writer)

        for port in range(at.min_port, at.max_port + 1):
            try:
                capture.server = await asyncio.start_server(serve, at.bind_address, port)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                words = (error.strerror or str(error)).rpartition(": ")[2].lower()
                raise Unavailable(f"cannot listen on {at.bind_address}:{port}: {words}") from error
            host = f"[{at.bind_address}]" if ":" in at.bind_address else at.bind_address
            capture.address = f"{host}:{port}"
            return
        raise Unavailable(
            f"no port from {at.min_port} to {at.max_port} on {at.bind_address} is free"
        )

    async def _serve(
        self, capture: _Listening, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("peername")
        if len(capture.senders) >= MOST_SENDERS or capture.ended.is_set():
            log.warning("pcapsocket of %s: no room for another sender, %s", capture.name, peer)
            writer.transport.abort()
            return
        feed = PcapFeed(capture.table, filters=capture.filters, replay=True)
        capture.senders[writer] = feed
        capture.idle.clear()
        try:
            while not capture.ended.is_set() and (piece := await reader.read(_PIECE)):
                await self._replay(capture, feed, piece)
            if not capture.ended.is_set():
                feed.end()
        except ValueError as error:
            capture.broken += 1
            log.warning("pcapsocket of %s: %s sent: %s", capture.name, peer, error)
        except ConnectionError as error:
            log.info("pcapsocket of %s: %s broke off: %s", capture.name, peer, error)
        finally:
            del capture.senders[writer]
            capture.received += _taken(feed)
            writer.close()
            if not capture.senders:
                capture.idle.set()

    async def _replay(self, capture: _Listening, feed: PcapFeed, piece: bytes) -> None:
        """Feed a piece; each of its packets when it is due. Meanwhile nothing more is read."""
        while not capture.ended.is_set():
            now_ns = self._clock_ns()
            wait_ns = await asyncio.to_thread(feed.push, piece, now_ns=now_ns)
            if wait_ns is None:
                return
            piece = b""
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait_ns / 1e9, _LONGEST_WAIT_S)):
                    await capture.ended.wait()


async def _close(capture: _Listening) -> None:
    """Listen no longer, and let the senders go."""
    capture.ended.set()
    if capture.server is not None:
        capture.server.close()
    for writer in capture.senders:
        writer.transport.abort()
    await capture.idle.wait()


def _filters(text: str) -> dict[int, tuple[Instruction, ...]] | None:
    """The filter for every link type that it can be compiled for; packets of others do not match.

    Raises `QueryError` when it is none for Ethernet.
    """
    if not text.strip():
        return None
    filters = {1: compile_bpf(text)}
    for number, inside in _LINK_TYPES.items():
        with suppress(QueryError):
            filters[number] = compile_bpf(text, inside)
    return filters


def _taken(feed: PcapFeed) -> int:
    stats = feed.stats()
    return stats["packets"] - stats["refused"]


def _counters(capture: _Listening) -> Counters:
    counted = table_counters(capture.table.stats())
    senders = list(capture.senders.values())
    return replace(
        counted,
        received=capture.received + sum(map(_taken, senders)),
        undecoded=counted.undecoded + capture.broken,
        socket=capture.address,
    )
