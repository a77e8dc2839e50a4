"""Connecting to an analyzer by WebSocket: what goes wrong is one reason in words."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from typing import Any

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    ClientWSTimeout,
    WSServerHandshakeError,
)

from skydiver.base.errors import Unavailable
from skydiver.client.tls import reason_of

_CONNECT_S = 5.0
_CLOSE_S = 1.0
"""How long a peer has to answer a good-bye."""


class DialledSocket(ClientWebSocketResponse):
    """A client's WebSocket that remembers the server's answer to the handshake."""

    def __init__(
        self,
        reader: Any,
        writer: Any,
        protocol: Any,
        response: ClientResponse,
        *args: Any,
        **kw: Any,
    ) -> None:
        super().__init__(reader, writer, protocol, response, *args, **kw)
        self.answer = response

    def bytes_waiting(self) -> int:
        """Bytes that were written and have not left."""
        connection = self.answer.connection
        transport = connection.transport if connection is not None else None
        return transport.get_write_buffer_size() if transport is not None else 0


def dialling_session(headers: Mapping[str, str]) -> ClientSession:
    """For `dial`; `headers` go with each connection."""
    return ClientSession(
        ws_response_class=DialledSocket,
        headers=headers,
        timeout=ClientTimeout(total=None, connect=_CONNECT_S, sock_connect=_CONNECT_S),
    )


async def dial(
    session: ClientSession,
    address: object,
    path: str,
    *,
    tls: ssl.SSLContext | None,
    timeout_s: float,
    largest_message: int,
    autoping: bool = True,
    headers: Mapping[str, str] | None = None,
) -> DialledSocket:
    """Connect within `timeout_s`.

    `WSServerHandshakeError` when the server answers with another status, `Unavailable` with the
    reason when there is no connection at all.
    """
    try:
        # A stopped process still accepts connections; only the answer shows that it lives.
        async with asyncio.timeout(timeout_s):
            socket = await session.ws_connect(
                f"{'wss' if tls else 'ws'}://{address}{path}",
                headers=headers,
                autoping=autoping,
                max_msg_size=largest_message,
                ssl=tls or True,
                timeout=ClientWSTimeout(ws_close=_CLOSE_S),
            )
    except WSServerHandshakeError:
        raise
    except TimeoutError:
        raise Unavailable(f"no answer in {timeout_s:g} s") from None
    except (ClientError, OSError) as error:
        raise Unavailable(f"cannot connect ({why(error)})") from error
    assert isinstance(socket, DialledSocket)
    return socket


def why(error: BaseException) -> str:
    """Why a connection could not be made, or was lost."""
    if refused := reason_of(error):
        return refused
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
