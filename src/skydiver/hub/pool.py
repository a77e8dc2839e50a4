"""The peers of one endpoint: who may come in, and who is there (api.md §2.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from aiohttp import web

from skydiver.base.clock import ClockMs, ClockNs, wall_ms, wall_ns
from skydiver.base.errors import ProtocolError, Unavailable
from skydiver.base.losses import Losses, LossReason
from skydiver.hub import clocks
from skydiver.hub.connection import Connection
from skydiver.hub.frames import Socket
from skydiver.hub.handshake import peer_host_id, read_handshake
from skydiver.hub.settings import HubSettings

log = logging.getLogger(__name__)

Authenticate: TypeAlias = Callable[[web.Request], Awaitable[object]]
"""Lets a request pass or raises an `aiohttp.web.HTTPException`: 401 or 403."""

_PROOF_S = 1.0
"""How long a peer has to show that it lives when another claims its host id."""


class Pool:
    """The connected peers of one endpoint, by host id."""

    def __init__(
        self,
        part: str,
        *,
        service: str,
        host_id: str,
        settings: HubSettings,
        losses: Losses,
        authenticate: Authenticate | None,
        largest_message: int,
        turn: asyncio.Lock,
        clock_ms: ClockMs = wall_ms,
        clock_ns: ClockNs = wall_ns,
    ) -> None:
        self.part = part
        """Name in the loss counters."""
        self.connections: dict[str, Connection] = {}
        self._answer_headers = {"X-Host-ID": host_id, "X-Service-Type": service}
        self._settings = settings
        self._losses = losses
        self._authenticate = authenticate
        self._largest_message = largest_message
        self._turn = turn
        self._clock_ms = clock_ms
        self._clock_ns = clock_ns
        self._arriving: set[str] = set()

    async def accept(
        self,
        request: web.Request,
        serve: Callable[[Connection], Awaitable[None]],
        *,
        answer: Callable[[], Mapping[str, str]] = dict,
    ) -> web.StreamResponse:
        """Check a request, make it a connection, and run `serve` until the peer is gone.

        `answer` gives further headers, when the peer that had the host id before is gone."""
        await self._admit(request)
        host_id = peer_host_id(request)
        await self._claim(host_id)
        try:
            socket = Socket(request, largest_message=self._largest_message)
            if not socket.can_prepare(request):
                raise web.HTTPUpgradeRequired(
                    headers={"Connection": "close", "Upgrade": "websocket"}
                )
            socket.headers.update(self._answer_headers)
            socket.headers.update(answer())
            if clocks.speaks(request.headers):
                socket.headers[clocks.HEADER] = clocks.SPOKEN
            await socket.prepare(request)
            connection = await self._introduce(socket)
            if connection is not None:
                self.connections[host_id] = connection
        finally:
            self._arriving.discard(host_id)
        if connection is not None:
            try:
                await serve(connection)
            finally:
                if self.connections.get(host_id) is connection:
                    del self.connections[host_id]
        return socket

    async def _admit(self, request: web.Request) -> None:
        if self._authenticate is None:
            return
        try:
            await self._authenticate(request)
        except web.HTTPForbidden as refusal:
            refusal.headers["Connection"] = "close"
            raise

    async def _claim(self, host_id: str) -> None:
        """Take the place of `host_id`; 409 while somebody else has it and lives.

        A host that vanished without a word would keep itself out until the read deadline, so the
        peer that is there must prove that it lives.
        """
        sitting = self.connections.get(host_id)
        if sitting is not None:
            await sitting.prove_alive(_PROOF_S)
            await self._departure(host_id, sitting)
        if host_id in self.connections or host_id in self._arriving:
            raise web.HTTPConflict(
                text=f"host id {host_id!r} is already connected to this endpoint",
                headers={"Connection": "close"},
            )
        self._arriving.add(host_id)

    async def _departure(self, host_id: str, sitting: Connection) -> None:
        """Give a connection that was just dropped the time to clean up after itself."""
        deadline = asyncio.get_running_loop().time() + _PROOF_S
        while sitting.ended and self.connections.get(host_id) is sitting:
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.01)

    async def _introduce(self, socket: Socket) -> Connection | None:
        """The connection of a peer that may stay; None after sending the others away."""
        try:
            return Connection(
                socket,
                read_handshake(socket.request),
                part=self.part,
                settings=self._settings,
                losses=self._losses,
                turn=self._turn,
                connected_at_ms=self._clock_ms(),
                clock_ns=self._clock_ns,
            )
        except ProtocolError as error:
            self._losses.add(self.part, LossReason.INVALID)
            log.warning("%s: %s; closing the connection", self.part, error)
            await socket.close()
        except Unavailable as error:
            log.info("%s: %s", self.part, error)
        return None

    def tick(self) -> None:
        """Once per ping delay."""
        for connection in list(self.connections.values()):
            connection.tick()

    async def close(self, code: int) -> None:
        for connection in list(self.connections.values()):
            await connection.close(code)

    def status(self) -> dict[str, Any]:
        """Connections by host id (api.md §3.12)."""
        return {host_id: peer.status() for host_id, peer in sorted(self.connections.items())}
