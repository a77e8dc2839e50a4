"""WebSocket frames of a server, and the socket that says why it refuses a message."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from aiohttp import WSCloseCode, web

from skydiver.base.errors import Unavailable
from skydiver.hub.messages import Protocol

TEXT = 0x81
BINARY = 0x82
CLOSE = 0x88
PING = 0x89
PONG = 0x8A
"""First bytes of frames: final, with the opcode (RFC 6455 §5.2)."""

_LINGER_S = 3.0
_LOOK_AGAIN_S = 0.02


class Socket(web.WebSocketResponse[Any]):
    """A WebSocket whose close frame reaches a peer that is still sending what we refuse.

    Closing a socket with unread bytes makes the kernel send a reset, and the peer loses the frame
    that says why. So the frame goes first, then what still comes is thrown away for a moment.
    """

    def __init__(self, request: web.Request, *, largest_message: int) -> None:
        super().__init__(
            timeout=3.0,
            autoping=False,
            compress=False,
            decode_text=False,
            max_msg_size=largest_message,
        )
        self.request = request
        self.largest_message = largest_message
        self.on_too_big: Callable[[], None] = _nothing
        """Called when a message is refused for its size, before the wait for the peer to notice."""

    @property
    def transport(self) -> asyncio.Transport:
        """What the frames are written to; `Unavailable` when the peer is already gone."""
        transport = self.request.transport
        if transport is None:
            raise Unavailable("peer left during the handshake")
        return transport

    async def close(
        self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True
    ) -> bool:
        transport = self.request.transport
        if code == WSCloseCode.MESSAGE_TOO_BIG and not self.closed and transport is not None:
            self.on_too_big()
            now = asyncio.get_running_loop().time
            deadline = now() + _LINGER_S
            transport.write(control_frame(CLOSE, struct.pack("!H", code)))
            # aiohttp tells nobody but the reader, which has stopped.
            while self.request.transport is not None and now() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_AGAIN_S)
        return await super().close(code=code, message=message, drain=drain)


def _nothing() -> None:
    """Nobody wants to know."""


def frame(payload: bytes, protocol: Protocol) -> bytes:
    """`payload` as one frame of a server: final, not masked (RFC 6455 §5.2)."""
    opcode = BINARY if protocol is Protocol.PROTOBUF else TEXT
    size = len(payload)
    if size < 126:
        return bytes((opcode, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", opcode, 126, size) + payload
    return struct.pack("!BBQ", opcode, 127, size) + payload


def control_frame(opcode: int, payload: bytes) -> bytes:
    """A ping, pong or close frame; its payload is at most 125 bytes."""
    payload = payload[:125]
    return bytes((opcode, len(payload))) + payload
