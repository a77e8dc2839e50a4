"""Publish nodes and edges to an analyzer or agent, as `topology import` and small programs do.

A blocking face over one WebSocket connection with the JSON envelope (api.md §2.4, §2.8). The
protocol has no acknowledgement, but a server reads in order and answers pings: so each call ends
with a ping, and returns when its answer says that everything before it was read. The server's own
pings are answered meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from skydiver.base.errors import ConfigError, ProtocolError, Unavailable
from skydiver.client.rest import Access, refused_tls, unreachable
from skydiver.client.tls import reason_of

ANSWER_TIMEOUT_S = 30.0
"""How long the server may take to work through what it was sent."""
ATTEND_EVERY = 64
"""Messages between two looks at what the server says."""

_ENDS = {
    aiohttp.WSMsgType.CLOSE,
    aiohttp.WSMsgType.CLOSING,
    aiohttp.WSMsgType.CLOSED,
    aiohttp.WSMsgType.ERROR,
}


class Publisher:
    """A connection that states nodes and edges."""

    def __init__(
        self,
        access: Access,
        *,
        endpoint: str = "/ws/publisher",
        client_type: str = "CLI",
        host_id: str = "",
        delete_on_disconnect: bool = False,
    ) -> None:
        """`host_id` is by default the host name; ``<client_type>.<host_id>`` becomes the origin."""
        self._access = access
        self._url = f"{'wss' if access.tls else 'ws'}://{access.authority}{endpoint}"
        self._headers = {
            **access.headers(),
            "X-Host-ID": host_id or socket.gethostname(),
            "X-Client-Type": client_type,
            "X-Client-Protocol": "json",
            "X-Persistence-Policy": "DeleteOnDisconnect" if delete_on_disconnect else "Persistent",
        }
        self._runner = asyncio.Runner()
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    def __enter__(self) -> Publisher:
        try:
            self._runner.run(self._connect())
        except BaseException:
            self._runner.run(self._disconnect())
            self._runner.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._runner.run(self._finish() if kind is None else self._disconnect())
        finally:
            self._runner.close()

    def publish(self, messages: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Send ``(type, element)`` pairs: ``NodeAdded``, ``EdgeUpdated``, … (api.md §2.7).

        Returns when the server has read them all.
        """
        self._runner.run(self._publish(messages))

    def add(self, nodes: Iterable[Mapping[str, Any]], edges: Iterable[Mapping[str, Any]]) -> None:
        """State a graph: its nodes, then its edges."""
        self.publish(("NodeAdded", node) for node in nodes)
        self.publish(("EdgeAdded", edge) for edge in edges)

    async def _connect(self) -> None:
        access = self._access
        context = access.ssl_context() if access.tls else True
        self._session = aiohttp.ClientSession()
        try:
            self._socket = await self._session.ws_connect(
                self._url, headers=self._headers, ssl=context, autoping=False
            )
        except aiohttp.WSServerHandshakeError as error:
            raise self._refused(error.status) from error
        except (aiohttp.ClientError, OSError) as error:
            if access.tls and (refused := reason_of(error)):
                raise refused_tls(access.authority, refused) from error
            reason = getattr(error, "strerror", None) or str(error)
            raise unreachable(access.authority, reason) from error

    def _refused(self, status: int) -> Exception:
        where = self._access.authority
        if status == 401:
            return ConfigError(f"{where} refuses the credentials; give a user name and a password")
        if status == 409:
            host = self._headers["X-Host-ID"]
            return Unavailable(f"{where} has a publisher named {host!r} already; try again later")
        return ProtocolError(f"{self._url}: refused with status {status}")

    async def _publish(self, messages: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        connection = self._open()
        token = uuid.uuid4().bytes
        try:
            for number, (type_, element) in enumerate(messages, 1):
                await connection.send_str(_envelope(type_, element))
                if number % ATTEND_EVERY == 0:
                    await asyncio.sleep(0)  # lets the loop read from the connection
                    await self._attend(connection)
            await connection.ping(token)
            await self._attend(connection, token)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Unavailable(f"{self._url}: the server closed the connection") from error

    async def _attend(
        self, connection: aiohttp.ClientWebSocketResponse, token: bytes | None = None
    ) -> None:
        """Answer what the server has sent so far, or, with a token, until it was answered."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S if token else 0):
                while True:
                    message = await connection.receive()
                    if message.type is aiohttp.WSMsgType.PING:
                        await connection.pong(message.data)
                    elif message.type is aiohttp.WSMsgType.PONG and bytes(message.data) == token:
                        return
                    elif message.type in _ENDS:
                        raise Unavailable(f"{self._url}: the server closed the connection")
        except TimeoutError as error:
            if token:
                raise Unavailable(
                    f"{self._url}: the server did not read everything in {ANSWER_TIMEOUT_S:g} s"
                ) from error

    async def _finish(self) -> None:
        """Close in order; what was published has been read already."""
        try:
            await self._open().close()
        finally:
            await self._disconnect()

    async def _disconnect(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientWebSocketResponse:
        if self._socket is None:
            raise RuntimeError("not connected: use it as 'with Publisher(...) as publisher:'")
        return self._socket


def _envelope(type_: str, element: Mapping[str, Any]) -> str:
    return orjson.dumps(
        {
            "Namespace": "Graph",
            "Type": type_,
            "UUID": str(uuid.uuid4()),
            "Status": 200,
            "Obj": dict(element),
        }
    ).decode()
