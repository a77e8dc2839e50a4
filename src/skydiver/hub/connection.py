"""One peer on one of our WebSocket endpoints.

Reading is a loop in the task that serves the request: one message after the other, handled where
it is read, so that order is kept and nothing is queued on the way in. What arrives faster than it
is handled stays in the socket.

Writing never waits. What the transport has no room for goes into a bounded queue, as whole frames.
A peer that reads too slowly is found by the fill of that queue, or by bytes that do not leave for
the write time-out, and is then dropped, counted: it connects again and asks for the whole state.
Frames are built here and not by aiohttp because a server's frames carry no mask: one change to a
hundred subscribers is encoded and framed once, and costs each of them one `write`.

Liveness: every peer is pinged, and one that stays silent is dropped (api.md §2.5). The original
counts only pongs as a sign of life; here any frame counts, since a pong may be stuck behind
megabytes of data that we have not read yet.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from aiohttp import WSCloseCode, WSMsgType
from aiohttp.http import WebSocketError

from skydiver.base.clock import ClockNs, wall_ns
from skydiver.base.errors import ProtocolError, Unavailable
from skydiver.base.losses import Losses, LossReason
from skydiver.hub.clocks import PeerClock
from skydiver.hub.frames import CLOSE, PING, PONG, Socket, control_frame, frame
from skydiver.hub.handshake import Handshake, peer_address
from skydiver.hub.messages import Message, decode, encode
from skydiver.hub.settings import HubSettings

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Message], Awaitable[None] | None]
"""What to do with a message; returns something to wait for only if it is not done at once."""

BytesHandler: TypeAlias = Callable[[bytes], Awaitable[None] | None]
"""The same for a message without envelope."""

_PING_FRAME = bytes((PING, 0))
_HIGH_WATER = 512 * 1024
"""Bytes in the transport above which the rest stays in our queue."""
_PIECE = 64 * 1024
_LARGE = 64 * 1024
"""Bytes of a message that takes long to read: half a millisecond and more."""
_LOOK_AGAIN_S = 0.01
_SLICE_S = 0.005
"""Time that one peer's messages are handled before others get their turn."""
_SLICE_CHECK = 32


class Slot:
    """A place in the queue for a message that is still being written; what follows waits for it."""

    __slots__ = ("_connection", "data")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.data: bytes | None = None

    def fill(self, message: Message) -> None:
        """The message is ready."""
        self.data = self._connection.frame(message)
        self._connection.slot_filled(len(self.data))

    def leave_empty(self) -> None:
        """There will be no message. Does nothing after `fill`."""
        if self.data is None:
            self.data = b""
            self._connection.slot_filled(0)


class Complaints:
    """Says what is wrong with a peer, at most once a second, however much it sends."""

    __slots__ = ("_left_out", "_next_at", "_who")

    def __init__(self, who: str) -> None:
        self._who = who
        self._next_at = 0.0
        self._left_out = 0

    def say(self, what: object) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next_at:
            self._left_out += 1
            return
        self._next_at = now + 1.0
        if self._left_out:
            log.warning("%s: %s (and %d more before)", self._who, what, self._left_out)
            self._left_out = 0
        else:
            log.warning("%s: %s", self._who, what)

    def finish(self) -> None:
        """The peer is gone; say how much was not said."""
        if self._left_out:
            log.warning("%s: %d more messages were refused", self._who, self._left_out)
            self._left_out = 0


class Connection:
    """A connected peer. Of idle ones there may be ten thousand, so they are kept small."""

    __slots__ = (
        "_address",
        "_busy",
        "_connected_at_ms",
        "_flush_handle",
        "_heard",
        "_left",
        "_left_at",
        "_loop",
        "_losses",
        "_part",
        "_pending",
        "_port",
        "_proof",
        "_queue",
        "_queued",
        "_queued_bytes",
        "_seen_at",
        "_settings",
        "_socket",
        "_transport",
        "_turn",
        "_written",
        "clock",
        "complaints",
        "ended",
        "handshake",
        "name",
        "refused",
    )

    def __init__(
        self,
        socket: Socket,
        handshake: Handshake,
        *,
        part: str,
        settings: HubSettings,
        losses: Losses,
        turn: asyncio.Lock,
        connected_at_ms: int,
        clock_ns: ClockNs = wall_ns,
    ) -> None:
        """`turn` is held while a large message is read, so that of many that arrive at once only
        one is read between two looks at everything else."""
        self.handshake = handshake
        self.name = f"{handshake.client_type} {handshake.host_id}"
        self.complaints = Complaints(self.name)
        self.clock = PeerClock(self.name, clock_ns=clock_ns) if handshake.tells_clock else None
        self.refused = 0
        """Messages of this peer that were dropped."""
        self._socket = socket
        socket.on_too_big = self._too_big
        self._transport = socket.transport
        self._part = part
        self._settings = settings
        self._losses = losses
        self._turn = turn
        self._connected_at_ms = connected_at_ms
        self._address, self._port = peer_address(socket.request)
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[bytes | Slot, int]] = deque()
        self._queued = 0
        self._queued_bytes = 0
        self._flush_handle: asyncio.Handle | None = None
        self._written = 0
        self._left = 0
        self._left_at = self._loop.time()
        self._seen_at = self._loop.time()
        self._heard = False
        self._busy = False
        self._pending: dict[str, asyncio.Future[Message]] = {}
        self._proof: asyncio.Future[None] | None = None
        self.ended = False
        """True once nothing more goes to the peer and nothing of it is handled."""

    # What goes out

    def frame(self, message: Message) -> bytes:
        """`message` as one WebSocket frame in the encoding that this peer speaks."""
        return frame(encode(message, self.handshake.protocol), self.handshake.protocol)

    def send(self, message: Message) -> None:
        """Queue one message; nothing happens if the peer does not want its namespace."""
        if self.handshake.wants(message.namespace):
            self.send_frames(self.frame(message), 1)

    async def room(self) -> None:
        """Wait until what was sent before is on its way, so that large answers do not pile up."""
        # The transport's own drain is aiohttp's, and says nothing about our queue.
        while not self.ended and self._crowded():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _crowded(self) -> bool:
        return bool(self._queue) or self._transport.get_write_buffer_size() >= _HIGH_WATER

    def reserve(self) -> Slot:
        """Keep the place of a message in the order of what is sent."""
        slot = Slot(self)
        self._queue.append((slot, 1))
        self._queued += 1
        return slot

    def slot_filled(self, size: int) -> None:
        self._queued_bytes += size
        self._flush()

    def send_frames(self, data: bytes, count: int) -> None:
        """Queue `count` complete frames that were built before."""
        if self.ended:
            return
        # What waits already decides: a burst may be larger than the queue, and is no one's fault.
        if (
            self._queued >= self._settings.queue_size
            or self._queued_bytes >= self._settings.queue_bytes
        ):
            self._losses.add(self._part, LossReason.QUEUE_FULL, self._queued + count)
            self.drop(f"does not keep up, {self._queued} messages are waiting for it")
            return
        if not self._crowded():
            self._write(data)
            return
        self._queue.append((data, count))
        self._queued += count
        self._queued_bytes += len(data)
        if self._flush_handle is None:
            self._flush_handle = self._loop.call_later(_LOOK_AGAIN_S, self._flush)

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if self.ended or self._transport.is_closing():
            return
        while self._queue and self._transport.get_write_buffer_size() < _HIGH_WATER:
            piece = self._take_piece()
            if piece is None:
                return  # the slot in front calls again when it is filled
            self._write(piece)
        if self._queue:
            self._flush_handle = self._loop.call_later(_LOOK_AGAIN_S, self._flush)

    def _take_piece(self) -> bytes | None:
        """The frames at the front of the queue, together; None when the first is not ready."""
        frames: list[bytes] = []
        size = 0
        while self._queue and size < _PIECE:
            entry, count = self._queue[0]
            data = entry.data if isinstance(entry, Slot) else entry
            if data is None:
                break
            self._queue.popleft()
            self._queued -= count
            size += len(data)
            frames.append(data)
        self._queued_bytes -= size
        return b"".join(frames) if frames else None

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)
            self._written += len(data)

    # What comes in

    async def serve(self, handle: Handler) -> None:
        """Handle messages until the peer is gone, whoever ended it."""
        await self._serve(handle, decode)

    async def serve_bytes(self, handle: BytesHandler) -> None:
        """The same for a peer whose messages have no envelope."""
        await self._serve(handle, _as_it_is)

    async def _serve(self, handle: Callable[[Any], Any], decode_: Callable[..., Any]) -> None:
        self._ping()  # some browsers wait for it
        try:
            await self._read(handle, decode_)
        finally:
            self._end()
            self.complaints.finish()

    async def _read(self, handle: Callable[[Any], Any], decode_: Callable[..., Any]) -> None:
        receive = self._socket.receive
        protocol = self.handshake.protocol
        loop_time = self._loop.time
        handled = 0
        slice_ends_at = loop_time() + _SLICE_S
        while not self.ended:
            received = await receive()
            self._heard = True
            kind = received.type
            if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY:
                try:
                    if len(received.data) > _LARGE:
                        async with self._turn:
                            message = decode_(received.data, protocol)
                    else:
                        message = decode_(received.data, protocol)
                    if self._pending and self._answers(message):
                        continue
                    waiting = handle(message)
                    if waiting is not None:
                        await self._wait(waiting)
                except ProtocolError as error:
                    self.refuse(error)
                handled += 1
                if handled % _SLICE_CHECK == 0 and loop_time() > slice_ends_at:
                    await asyncio.sleep(0)
                    slice_ends_at = loop_time() + _SLICE_S
            elif kind is WSMsgType.PING:
                self._write(control_frame(PONG, received.data))
            elif kind is WSMsgType.ERROR:
                self._report(received.data)
                return
            elif kind is WSMsgType.PONG:
                if self.clock is not None:
                    self.clock.pong(received.data)
                if self._proof is not None and not self._proof.done():
                    self._proof.set_result(None)
            else:
                return

    def _answers(self, message: Message) -> bool:
        """True when `message` is the answer to a request of ours."""
        future = self._pending.get(message.uuid)
        if future is None:
            return False
        if not future.done():
            future.set_result(message)
        return True

    async def _wait(self, waiting: Awaitable[None]) -> None:
        """Wait for a message to be handled; if the peer seems silent, it is we who do not read."""
        self._busy = True
        try:
            await waiting
        finally:
            self._busy = False
            self._heard = True

    def refuse(self, error: object, reason: LossReason = LossReason.INVALID) -> None:
        """Count and report a message that is dropped; the peer stays."""
        self.refused += 1
        self._losses.add(self._part, reason)
        self.complaints.say(error)

    def _too_big(self) -> None:
        self._losses.add(self._part, LossReason.OVERSIZE)
        log.warning(
            "%s: sent a message above the limit of %d bytes; closing the connection",
            self.name,
            self._socket.largest_message,
        )

    def _report(self, error: object) -> None:
        """Say once why the reader gave up."""
        if isinstance(error, WebSocketError) and error.code != WSCloseCode.MESSAGE_TOO_BIG:
            self._losses.add(self._part, LossReason.DECODE)
            log.warning("%s: not WebSocket (%s); closing the connection", self.name, error)

    # Requests

    async def request(self, message: Message, *, timeout_s: float | None = None) -> Message:
        """Send `message` and wait for its answer; `Unavailable` without one in time."""
        timeout_s = self._settings.request_timeout_s if timeout_s is None else timeout_s
        if self.ended:
            raise Unavailable(f"{self.name} is not connected")
        future: asyncio.Future[Message] = self._loop.create_future()
        self._pending[message.uuid] = future
        self.send(message)
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise Unavailable(
                f"{self.name} did not answer {message.namespace}/{message.type} in {timeout_s:g} s"
            ) from None
        finally:
            del self._pending[message.uuid]

    # Life

    def tick(self) -> None:
        """Once per ping delay: ping, and drop a peer that does not read or is silent."""
        now = self._loop.time()
        if self.ended or self._transport.is_closing():
            return
        waiting = self._transport.get_write_buffer_size()
        left = self._written - waiting
        if not waiting or left != self._left:
            self._left, self._left_at = left, now
        elif now - self._left_at > self._settings.write_timeout_s:
            self._losses.add(self._part, LossReason.WIRE, max(self._queued, 1))
            self.drop(f"has read nothing for {self._settings.write_timeout_s:g} s")
            return
        if self._heard or self._busy:
            self._heard = False
            self._seen_at = now
        elif now - self._seen_at > self._settings.read_deadline_s:
            self.drop(f"silent for {self._settings.read_deadline_s:g} s")
            return
        if waiting < _HIGH_WATER:
            self._ping()

    def _ping(self) -> None:
        self._write(_PING_FRAME if self.clock is None else control_frame(PING, self.clock.ping()))

    async def prove_alive(self, timeout_s: float) -> None:
        """Ask for a sign of life now; without one in time the connection is dropped."""
        self._heard = False
        proof = self._proof = self._loop.create_future()
        self._write(_PING_FRAME)
        try:
            async with asyncio.timeout(timeout_s):
                await proof
        except TimeoutError:
            if not (self._heard or self._busy):
                self.drop("no sign of life, and its host connects again")
        finally:
            self._proof = None

    def drop(self, reason: str) -> None:
        """Cut the connection at once."""
        if not self.ended:
            log.warning("%s: %s; dropping the connection", self.name, reason)
            self._end()
            self._transport.abort()

    async def close(self, code: int = WSCloseCode.OK) -> None:
        """Say good-bye and close."""
        self._flush()
        self._end()
        if not self._socket.closed:
            self._write(control_frame(CLOSE, struct.pack("!H", code)))
            self._transport.close()

    @property
    def gone(self) -> bool:
        """The peer left, perhaps while one of its messages is being handled."""
        return self.ended or self._transport.is_closing()

    def _end(self) -> None:
        self.ended = True
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        self._queue.clear()
        self._queued = self._queued_bytes = 0
        if self._proof is not None and not self._proof.done():
            self._proof.set_result(None)
        for future in self._pending.values():
            if not future.done():
                future.set_exception(Unavailable(f"{self.name} disconnected before it answered"))

    def status(self) -> dict[str, Any]:
        """The record of api.md §3.12, and what is waiting or was refused."""
        record = connection_status(
            client_type=self.handshake.client_type,
            protocol=self.handshake.spoken_protocol,
            address=self._address,
            port=self._port,
            connected=not self.ended,
            connected_at_ms=self._connected_at_ms,
            remote_host=self.handshake.host_id,
        )
        if self._queued:
            record["Queued"] = self._queued
        if self.refused:
            record["Refused"] = self.refused
        return record


def connection_status(
    *,
    client_type: str,
    protocol: str,
    address: str,
    port: int,
    connected: bool,
    connected_at_ms: int,
    remote_host: str = "",
    remote_service: str = "",
) -> dict[str, Any]:
    """One connection as status shows it."""
    record: dict[str, Any] = {
        "ServiceType": client_type,
        "ClientProtocol": protocol,
        "Addr": address,
        "Port": port,
        "IsConnected": connected,
        "ConnectTime": rfc3339(connected_at_ms),
    }
    if remote_host:
        record["RemoteHost"] = remote_host
    if remote_service:
        record["RemoteServiceType"] = remote_service
    return record


def rfc3339(at_ms: int) -> str:
    """A wall-clock time as text, UTC, with milliseconds."""
    text = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _as_it_is(data: bytes, _: object) -> bytes:
    return data
