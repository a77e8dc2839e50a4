"""The analyzer's end of the flows: batches of agents of ours, messages and datagrams of originals.

Everything that comes is checked and joined in the data plane and waits in one queue, bounded in
flows, from which it is handed to every sink in turn. An agent that speaks of streams is not read
while the queue is full, and learns that a batch was taken when all sinks have it. The others cannot
be stopped, so what they send into a full queue is dropped and counted.

A stream is remembered for as long as its agent may come back, so that a batch that was taken and
whose acknowledgement was lost is not taken again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import WSCloseCode, web

from skydiver import native
from skydiver.base.clock import ClockMs, wall_ms
from skydiver.base.errors import ConfigError, ProtocolError, SkydiverError
from skydiver.base.losses import Losses, LossReason
from skydiver.base.settings_kinds import Address
from skydiver.flow.batch import FlowBatch, FlowSink
from skydiver.hub import flow_stream
from skydiver.hub.connection import Complaints, Connection
from skydiver.hub.frames import frame
from skydiver.hub.messages import Protocol
from skydiver.hub.pool import Authenticate, Pool
from skydiver.hub.settings import HubSettings

log = logging.getLogger(__name__)

PART = "hub.flows"
"""Name in the loss counters."""

_BULK_FLOWS = 10_000
_LINGER_S = 0.02
"""Between two bulks, so that single datagrams become one."""
_LAST_S = 1.0
"""For what waits when the analyzer ends."""
_LOOK_AGAIN_S = 0.1
"""Whether an agent that is made to wait is still there."""
_MOST_STREAMS = 10_000
_DATAGRAMS = 256
"""Read before others get their turn."""
_RECEIVE_BYTES = 4 * 1024 * 1024
"""Asked of the kernel for datagrams; it may give less."""
_SO_RXQ_OVFL = 40
"""asm-generic/socket.h; the module `socket` does not have it."""

StatsListener = Callable[[bytes], None]
"""Gets a serialized `flow.Stats`; must be quick."""


@dataclass(slots=True)
class _Stream:
    """What is known of the batches of one agent."""

    queued: int = 0
    taken: int = 0
    connection: Connection | None = None


@dataclass(slots=True)
class _Entry:
    message: bytes
    flows: int
    stream: _Stream | None = None
    sequence: int = 0


class FlowServer:
    """Where the flows of all agents arrive."""

    def __init__(
        self,
        *,
        host_id: str,
        losses: Losses,
        most_flows: int,
        sinks: Sequence[FlowSink],
        stats: StatsListener | None = None,
        settings: HubSettings | None = None,
        authenticate: Authenticate | None = None,
        clock_ms: ClockMs = wall_ms,
    ) -> None:
        """At most `most_flows` wait, and one message more. `stats` gets the statistics of agents.
        `authenticate` lets agents in; None = everybody."""
        self._losses = losses
        self._most_flows = most_flows
        self._sinks = tuple(sinks)
        self._stats = stats
        self._settings = settings or HubSettings()
        self._clock_ms = clock_ms
        self._agents = Pool(
            "hub.flows",
            service="analyzer",
            host_id=host_id,
            settings=self._settings,
            losses=losses,
            authenticate=authenticate,
            largest_message=self._settings.largest_message,
            turn=asyncio.Lock(),
            clock_ms=clock_ms,
        )
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._queue: deque[_Entry] = deque()
        self._waiting = 0
        """Flows in the queue."""
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._received = 0
        self._repeated = 0
        self._datagrams: list[socket.socket] = []
        self._complaints = Complaints("flows of originals")

    def add_routes(self, app: web.Application) -> None:
        """Add the endpoint of agents to `app`."""
        app.router.add_get(flow_stream.PATH, self._accept)

    def status(self) -> dict[str, Any]:
        """For the status of the analyzer."""
        return {
            "Received": self._received,
            "Repeated": self._repeated,
            "Waiting": self._waiting,
            "Agents": self._agents.status(),
        }

    async def run(self) -> None:
        """Hand over what arrives, ping the agents; until cancelled, then hand over the rest."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hand_over_all(), name="flows")
                group.create_task(self._ping(), name="pings of flow clients")
        finally:
            self.stop_listening()
            await self._agents.close(WSCloseCode.GOING_AWAY)
            await self._hand_over_the_rest()

    # Datagrams

    def listen(self, address: Address) -> None:
        """Take datagrams at `address`, on which the API listens by TCP, until `run` ends."""
        loop = asyncio.get_running_loop()
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
            for family, kind, number, _, at in dict.fromkeys(found):
                datagrams = socket.socket(family, kind, number)
                self._datagrams.append(datagrams)
                datagrams.setblocking(False)
                if family == socket.AF_INET6:
                    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
                datagrams.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
                datagrams.bind(at)
                loop.add_reader(datagrams, _Reader(datagrams, self._take_datagrams).read)
        except OSError as error:
            self.stop_listening()
            words = (error.strerror or str(error)).lower()
            raise ConfigError(
                f"analyzer.listen: cannot take flows by UDP on {address}: {words}"
            ) from error

    def stop_listening(self) -> None:
        """Close the sockets of datagrams. Safe to repeat."""
        loop = asyncio.get_running_loop()
        for datagrams in self._datagrams:
            loop.remove_reader(datagrams)
            datagrams.close()
        self._datagrams.clear()

    def _take_datagrams(self, datagrams: list[bytes], oversize: int, overrun: int) -> None:
        self._losses.add(PART, LossReason.OVERSIZE, oversize)
        self._losses.add(PART, LossReason.OVERRUN, overrun)
        refused = self._take(datagrams)
        self._losses.add(PART, LossReason.DECODE, refused)
        if refused:
            self._complaints.say(f"{refused} of {len(datagrams)} are no flow messages")

    # WebSocket

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        name = flow_stream.stream_name(request.headers.get(flow_stream.HEADER))
        stream = None if name is None else self._stream(name)

        def answer() -> dict[str, str]:
            return {} if stream is None else {flow_stream.HEADER: str(stream.taken)}

        async def serve(connection: Connection) -> None:
            log.info("flows of %s: connected", connection.name)
            try:
                if stream is None:
                    await connection.serve_bytes(lambda data: self._on_message(connection, data))
                else:
                    stream.connection = connection
                    await connection.serve_bytes(
                        lambda data: self._on_batch(connection, stream, data)
                    )
            finally:
                if stream is not None and stream.connection is connection:
                    stream.connection = None
                log.info("flows of %s: disconnected", connection.name)

        return await self._agents.accept(request, serve, answer=answer)

    def _stream(self, name: str) -> _Stream:
        stream = self._streams.setdefault(name, _Stream())
        self._streams.move_to_end(name)
        if len(self._streams) > _MOST_STREAMS:
            for old, known in self._streams.items():
                if known.connection is None and known.queued == known.taken and old != name:
                    del self._streams[old]
                    break
        return stream

    def _on_message(self, connection: Connection, data: bytes) -> None:
        if self._take([data]):
            raise ProtocolError(f"{len(data)} bytes are no flow message")

    async def _on_batch(self, connection: Connection, stream: _Stream, data: bytes) -> None:
        sequence, message = flow_stream.unpack(data)
        # Whoever waits longest goes first, and may leave no room for the next.
        while sequence > stream.queued and self._waiting >= self._most_flows:
            if connection.gone:
                return  # its agent sends again, and needs the place of this connection
            with suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), _LOOK_AGAIN_S)
        # It may have come by another connection, too, while this one waited.
        if sequence <= stream.queued:
            self._repeated += 1
            self._acknowledge(stream)
            return
        joined, flows, stats, refused = native.join_flow_messages([message])
        self._tell(stats)
        # Also one that cannot be read: sent again, it would be no better.
        stream.queued = sequence
        self._put(_Entry(joined, flows, stream, sequence))
        if refused:
            raise ProtocolError(f"batch {sequence} of {len(message)} bytes is no flow message")

    def _acknowledge(self, stream: _Stream) -> None:
        if stream.connection is not None:
            number = flow_stream.pack_acknowledgement(stream.taken)
            stream.connection.send_frames(frame(number, Protocol.PROTOBUF), 1)

    # The queue

    def _take(self, messages: Sequence[bytes]) -> int:
        """Queue what cannot be sent again; the number of messages that are none.

        The caller counts those, if the connection does not."""
        joined, flows, stats, refused = native.join_flow_messages(messages)
        self._tell(stats)
        if self._waiting >= self._most_flows:
            self._losses.add(PART, LossReason.QUEUE_FULL, flows)
            self._complaints.say(f"{flows} dropped, {self._waiting} are waiting")
        elif flows:
            self._put(_Entry(joined, flows))
        return refused

    def _tell(self, stats: Iterable[bytes]) -> None:
        if self._stats is not None:
            for one in stats:
                self._stats(one)

    def _put(self, entry: _Entry) -> None:
        self._queue.append(entry)
        self._waiting += entry.flows
        if self._waiting >= self._most_flows:
            self._room.clear()
        self._wake.set()

    async def _hand_over_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._hand_over()
            await asyncio.sleep(_LINGER_S)

    async def _hand_over(self) -> None:
        while self._queue:
            taken: list[_Entry] = []
            flows = 0
            while self._queue and flows < _BULK_FLOWS:
                taken.append(self._queue.popleft())
                flows += taken[-1].flows
            message = b"".join(entry.message for entry in taken)
            batch = FlowBatch(message, flows, self._clock_ms())
            if flows:
                for sink in self._sinks:
                    await self._append(sink, batch)
            self._received += flows
            self._waiting -= flows
            if self._waiting < self._most_flows:
                self._room.set()
            self._settle(taken)
            await asyncio.sleep(0)

    async def _hand_over_the_rest(self) -> None:
        try:
            async with asyncio.timeout(_LAST_S):
                await self._hand_over()
        except TimeoutError:
            # What was not acknowledged comes again; the others have nobody who would send it.
            lost = sum(entry.flows for entry in self._queue if entry.stream is None)
            self._losses.add(PART, LossReason.TIMEOUT, lost)
            log.warning("flows are not taken in time at the end; %d are lost", lost)

    async def _append(self, sink: FlowSink, batch: FlowBatch) -> None:
        try:
            await sink.append(batch)
        except SkydiverError as error:
            self._losses.add(PART, LossReason.FAILED, batch.flows)
            log.warning("%d flows were not taken by %s: %s", batch.flows, type(sink), error)

    def _settle(self, taken: Iterable[_Entry]) -> None:
        streams: dict[int, _Stream] = {}
        for entry in taken:
            if entry.stream is not None:
                entry.stream.taken = entry.sequence
                streams[id(entry.stream)] = entry.stream
        for stream in streams.values():
            self._acknowledge(stream)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._settings.ping_delay_s)
            self._agents.tick()


class _Reader:
    """Reads one socket of datagrams, and how many the kernel had no room for."""

    def __init__(
        self, datagrams: socket.socket, take: Callable[[list[bytes], int, int], None]
    ) -> None:
        self._datagrams = datagrams
        self._take = take
        self._overrun = 0

    def read(self) -> None:
        found: list[bytes] = []
        oversize = 0
        before = self._overrun
        for _ in range(_DATAGRAMS):
            try:
                data, extra, flags, _ = self._datagrams.recvmsg(
                    flow_stream.LARGEST_DATAGRAM, socket.CMSG_SPACE(4)
                )
            except (BlockingIOError, InterruptedError):
                break
            for level, kind, value in extra:
                if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                    (self._overrun,) = struct.unpack("=I", value)
            if flags & socket.MSG_TRUNC:
                oversize += 1
            else:
                found.append(data)
        self._take(found, oversize, (self._overrun - before) & 0xFFFFFFFF)
