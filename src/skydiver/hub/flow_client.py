"""The agent's flows on their way to the analyzers.

What leaves the tables waits here, bounded in bytes, until an analyzer of ours says that it has it
(`flow_stream`). An analyzer that was away gets what waited. Past the bound, the oldest flows that
were not sent yet are dropped and counted: a later update of the same flow has the same totals. What
was sent and not acknowledged is never dropped, since nobody could say whether it is lost.

A batch belongs to the stream of one analyzer once it was sent, and goes to that one again after an
interruption, by which it is taken exactly once. Only when an analyzer stays away while another is
there, the other gets it, and might be the second to have it.

Originals get what their own agents would send: one flow in a datagram, or ten in a message of the
WebSocket, and do not say whether they got it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import (
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    WSMsgType,
    WSServerHandshakeError,
)

from skydiver import native
from skydiver.base.errors import ProtocolError, Unavailable
from skydiver.base.losses import Losses, LossReason
from skydiver.base.settings_kinds import Address
from skydiver.base.tasks import heed_cancellation
from skydiver.hub import flow_stream
from skydiver.hub.dialling import dial, dialling_session, why
from skydiver.hub.settings import HubSettings

log = logging.getLogger(__name__)

PART = "hub.flows"
"""Name in the loss counters."""

UDP = "udp"
WEBSOCKET = "websocket"
ACKNOWLEDGED = "acknowledged"

_PIECE_BYTES = 256 * 1024
_PIECE_FLOWS = 1024
_OVERHEAD_BYTES = 256
"""Of memory, for a batch however small."""
_WINDOW_BYTES = 4 * 1024 * 1024
"""Sent to one analyzer and not acknowledged yet."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 3.0
_DRAIN_S = 2.0
_GIVE_UP_S = 60.0
"""After which another analyzer gets what one that is away did not acknowledge."""
_ASK_AGAIN_S = 30.0
"""How long datagrams are sent before the analyzer is asked again what it speaks."""
_DATAGRAMS = 32
"""Sent before others get their turn, and the receiver a moment."""
_LARGEST_ANSWER = 1024
_ABSENT = 404


@dataclass(slots=True)
class _Batch:
    message: memoryview
    """Of the message that left the tables, which lives until its last batch is gone."""
    flows: int
    sequence: int = 0
    """In the stream of the analyzer that it was sent to."""

    @property
    def size(self) -> int:
        return len(self.message) + _OVERHEAD_BYTES


class FlowClient:
    """The flows of an agent that are to reach its analyzers."""

    def __init__(
        self,
        *,
        analyzers: Iterable[Address],
        host_id: str,
        protocol: str,
        buffer_bytes: int,
        losses: Losses,
        settings: HubSettings | None = None,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        give_up_s: float = _GIVE_UP_S,
    ) -> None:
        """`protocol` (``udp`` or ``websocket``) is for originals. What waits takes at most
        `buffer_bytes` and one update of all tables."""
        self.protocol = protocol
        self.losses = losses
        self.settings = settings or HubSettings()
        self.give_up_s = give_up_s
        self._buffer_bytes = buffer_bytes
        self._headers = {
            **(headers or {}),
            "X-Host-ID": host_id,
            "X-Client-Type": "agent",
        }
        self._tls = tls
        self._waiting: deque[_Batch] = deque()
        self._bytes = 0
        self._taken = 0
        self._acknowledged = 0
        self._sent = 0
        self._lost = 0
        self._links = [_Link(address, self) for address in analyzers]

    def send(self, message: bytes) -> None:
        """Take a serialized `flow.Message`. An agent without analyzers has nowhere to send it."""
        if not self._links:
            return
        # What waits already decides: a single update of all tables may be larger than the buffer.
        self._make_room()
        whole = memoryview(message)
        for start, end, flows in native.flow_message_pieces(message, _PIECE_FLOWS, _PIECE_BYTES):
            batch = _Batch(whole[start:end], flows)
            self._waiting.append(batch)
            self._bytes += batch.size
            self._taken += flows
        self.wake()

    def _make_room(self) -> None:
        dropped = 0
        while self._bytes > self._buffer_bytes and self._waiting:
            batch = self._waiting.popleft()
            self._bytes -= batch.size
            dropped += batch.flows
        if dropped and self._waiting:
            # The message of which only a part is left would stay in memory as a whole.
            whole = self._waiting[0].message.obj
            for batch in self._waiting:
                if batch.message.obj is not whole:
                    break
                batch.message = memoryview(bytes(batch.message))
        self.lose(LossReason.QUEUE_FULL, dropped)

    def wake(self) -> None:
        for link in self._links:
            link.wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stay connected while the block runs, and a moment longer for what it left."""
        async with (
            dialling_session(self._headers) as session,
            asyncio.TaskGroup() as group,
        ):
            tasks = [
                group.create_task(link.run(session, self._tls), name=f"flows to {link.address}")
                for link in self._links
            ]
            try:
                yield
                await self._drain()
            finally:
                for task in tasks:
                    task.cancel()
        left = sum(batch.flows for batch in self._waiting)
        left += sum(link.waiting_flows() for link in self._links)
        if left:
            self.losses.add(PART, LossReason.WIRE, left)
            log.warning("%d flow updates reached no analyzer", left)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DRAIN_S
        while self._bytes and loop.time() < deadline:
            if not any(link.speaks for link in self._links):
                return
            await asyncio.sleep(0.02)

    def status(self) -> dict[str, Any]:
        """Flow updates: `Taken` is the sum of the others."""
        in_flight = sum(link.waiting_flows() for link in self._links)
        return {
            "Taken": self._taken,
            "Acknowledged": self._acknowledged,
            "Sent": self._sent,
            "Waiting": sum(batch.flows for batch in self._waiting) + in_flight,
            "Lost": self._lost,
            "WaitingBytes": self._bytes,
            "BufferBytes": self._buffer_bytes,
            "Analyzers": {str(link.address): link.speaks or "away" for link in self._links},
        }

    # What the links do

    def take(self) -> _Batch | None:
        """The oldest batch that was not sent; it is the caller's from now on."""
        return self._waiting.popleft() if self._waiting else None

    def give_back(self, batches: Iterable[_Batch]) -> None:
        """They were not taken and may go to anybody."""
        self._waiting.extendleft(reversed(list(batches)))
        self.wake()

    def settle(self, batch: _Batch) -> None:
        """`batch` was acknowledged."""
        self._bytes -= batch.size
        self._acknowledged += batch.flows

    def settle_part(self, batch: _Batch, done: int, sent: int, *, lost: int = 0) -> None:
        """`sent` flows of `batch` left, and `lost` did not; beyond `done` it waits again."""
        self._bytes -= batch.size
        self._sent += sent
        if done < len(batch.message):
            rest = _Batch(batch.message[done:], batch.flows - sent - lost)
            self._bytes += rest.size
            self.give_back([rest])

    def lose(self, reason: LossReason, flows: int) -> None:
        self._lost += flows
        self.losses.add(PART, reason, flows)

    def others_speak(self, link: _Link) -> bool:
        return any(other.speaks for other in self._links if other is not link)


class _Link:
    """The way to one analyzer."""

    def __init__(self, address: Address, client: FlowClient) -> None:
        self.address = address
        self.wake = asyncio.Event()
        self.speaks = ""
        """What is spoken with the analyzer; empty while it is away."""
        self._client = client
        self._stream = secrets.token_hex(16)
        self._sequence = 0
        self._unacknowledged: deque[_Batch] = deque()
        self._in_flight_bytes = 0
        self._gone_at: float | None = None
        self._said = ""

    def waiting_flows(self) -> int:
        return sum(batch.flows for batch in self._unacknowledged)

    async def run(self, session: ClientSession, tls: ssl.SSLContext | None) -> None:
        """Connect, send, and again after each outage, which is logged once."""
        loop = asyncio.get_running_loop()
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._connect_and_send(session, tls)
            except Unavailable as error:
                heed_cancellation()
                if str(error) != self._said:
                    log.warning("flows to analyzer %s: %s; trying again", self.address, error)
                    self._said = str(error)
            if self.speaks:
                self.speaks = ""
                self._gone_at = loop.time()
                pause_s = _FIRST_PAUSE_S
            self._give_up(loop.time())
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _give_up(self, now: float) -> None:
        """Leave to the others what an analyzer that stays away did not acknowledge."""
        away = self._gone_at is not None and now - self._gone_at > self._client.give_up_s
        if away and self._unacknowledged and self._client.others_speak(self):
            batches, self._unacknowledged = self._unacknowledged, deque()
            self._in_flight_bytes = 0
            # Should the analyzer have some of them after all, it is asked for a new stream.
            self._stream = secrets.token_hex(16)
            self._client.give_back(batches)

    async def _connect_and_send(self, session: ClientSession, tls: ssl.SSLContext | None) -> None:
        connected = await self._connect(session, tls)
        if connected is None:
            await self._send_datagrams()
            return
        web_socket, taken = connected
        try:
            if taken is None:
                await self._both(web_socket, self._send_messages(web_socket), self._ignore)
            else:
                self._on_acknowledged(taken)
                await self._both(web_socket, self._send_batches(web_socket), self._on_frame)
        finally:
            await web_socket.close()

    async def _connect(
        self, session: ClientSession, tls: ssl.SSLContext | None
    ) -> tuple[ClientWebSocketResponse, int | None] | None:
        """The WebSocket, and what it says it has if it speaks of streams; None = datagrams."""
        try:
            web_socket = await dial(
                session,
                self.address,
                flow_stream.PATH,
                tls=tls,
                timeout_s=self._client.settings.request_timeout_s,
                largest_message=_LARGEST_ANSWER,
                headers={flow_stream.HEADER: self._stream},
            )
        except WSServerHandshakeError as error:
            if error.status == _ABSENT and self._client.protocol == UDP:
                return None
            words = "takes no flows by WebSocket" if error.status == _ABSENT else "refuses flows"
            raise Unavailable(f"{words} (status {error.status})") from error
        return web_socket, flow_stream.position(web_socket.answer.headers.get(flow_stream.HEADER))

    # By WebSocket

    async def _both(
        self,
        web_socket: ClientWebSocketResponse,
        sending: Awaitable[None],
        take: Callable[[bytes], None],
    ) -> None:
        """Send, and read what comes; always ends with `Unavailable`, which says why."""
        self._said = ""
        self._gone_at = None
        reason = "connection lost"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_awaited(sending), name=f"sending flows to {self.address}")
                await self._read(web_socket, take)
        except* Unavailable as errors:
            reason = str(errors.exceptions[0])
        except* (ClientError, OSError) as failures:
            reason = f"connection lost ({why(failures.exceptions[0])})"
        raise Unavailable(reason)

    async def _read(
        self, web_socket: ClientWebSocketResponse, take: Callable[[bytes], None]
    ) -> None:
        settings = self._client.settings
        silence_s = settings.read_deadline_s + settings.ping_delay_s
        while True:
            try:
                # For each frame anew, and the analyzer pings.
                received = await web_socket.receive(timeout=silence_s)
            except TimeoutError:
                raise Unavailable(f"silent for {silence_s:g} s") from None
            if received.type is WSMsgType.BINARY:
                take(received.data)
            elif received.type is not WSMsgType.TEXT:
                raise Unavailable("connection lost")

    def _on_frame(self, frame: bytes) -> None:
        try:
            self._on_acknowledged(flow_stream.unpack_acknowledgement(frame))
        except ProtocolError as error:
            raise Unavailable(str(error)) from error

    def _ignore(self, frame: bytes) -> None:
        """Originals say nothing."""

    def _on_acknowledged(self, sequence: int) -> None:
        while self._unacknowledged and self._unacknowledged[0].sequence <= sequence:
            batch = self._unacknowledged.popleft()
            self._in_flight_bytes -= batch.size
            self._client.settle(batch)
        self.wake.set()

    async def _send_batches(self, web_socket: ClientWebSocketResponse) -> None:
        self.speaks = ACKNOWLEDGED
        for sent in list(self._unacknowledged):
            await web_socket.send_bytes(flow_stream.pack(sent.sequence, sent.message))
        while True:
            self.wake.clear()
            while self._in_flight_bytes < _WINDOW_BYTES:
                batch = self._client.take()
                if batch is None:
                    break
                self._sequence += 1
                batch.sequence = self._sequence
                self._unacknowledged.append(batch)
                self._in_flight_bytes += batch.size
                await web_socket.send_bytes(flow_stream.pack(batch.sequence, batch.message))
            await self.wake.wait()

    async def _send_messages(self, web_socket: ClientWebSocketResponse) -> None:
        self.speaks = WEBSOCKET
        while True:
            batch = await self._next()
            done, sent = 0, 0
            try:
                for start, end, flows in _cut(batch, flow_stream.MOST_FLOWS):
                    await web_socket.send_bytes(bytes(batch.message[start:end]))
                    done, sent = end, sent + flows
            finally:
                self._client.settle_part(batch, done, sent)

    async def _next(self) -> _Batch:
        while True:
            self.wake.clear()
            batch = self._client.take()
            if batch is not None:
                return batch
            await self.wake.wait()

    # By datagrams

    async def _send_datagrams(self) -> None:
        """Send for a while; whether they arrive, nobody says."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                self.address.host, self.address.port, type=socket.SOCK_DGRAM
            )
            family, kind, number, _, peer = found[0]
            with socket.socket(family, kind, number) as datagrams:
                datagrams.setblocking(False)
                datagrams.connect(peer)
                self.speaks = UDP
                self._said = ""
                async with asyncio.timeout(_ASK_AGAIN_S):
                    while True:
                        await self._send_datagrams_of(await self._next(), datagrams)
        except TimeoutError:
            return
        except OSError as error:
            raise Unavailable(f"cannot send datagrams ({why(error)})") from error

    async def _send_datagrams_of(self, batch: _Batch, datagrams: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        done, sent, large = 0, 0, 0
        try:
            for number, (start, end, flows) in enumerate(_cut(batch, 1)):
                if end - start > flow_stream.LARGEST_DATAGRAM:
                    large += flows
                else:
                    await self._send_one(loop, datagrams, batch.message[start:end])
                    sent += flows
                done = end
                if number % _DATAGRAMS == _DATAGRAMS - 1:
                    await asyncio.sleep(0)
        finally:
            self._client.lose(LossReason.OVERSIZE, large)
            self._client.settle_part(batch, done, sent, lost=large)

    async def _send_one(
        self, loop: asyncio.AbstractEventLoop, datagrams: socket.socket, data: memoryview
    ) -> None:
        while True:
            try:
                datagrams.send(data)
            except BlockingIOError:
                await loop.sock_sendall(datagrams, data)
            except ConnectionRefusedError:
                # Of an earlier datagram, which was counted as sent; this one did not leave.
                self._client.losses.add(f"{PART}.refused", LossReason.WIRE)
                continue
            return


async def _awaited(sending: Awaitable[None]) -> None:
    await sending


def _cut(batch: _Batch, most_flows: int) -> list[tuple[int, int, int]]:
    return native.flow_message_pieces(
        bytes(batch.message), most_flows, flow_stream.LARGEST_DATAGRAM
    )
