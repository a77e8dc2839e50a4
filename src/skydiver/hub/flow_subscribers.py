"""Those that follow the flows as they arrive at the analyzer (api.md §2.17).

Everything is written and framed once for all who want it, and not at all when nobody does. One that
reads too slowly is dropped and counted like any other subscriber; it comes back and goes on with
what arrives then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import orjson
from aiohttp import WSCloseCode, web

from skydiver import native
from skydiver.base.losses import Losses
from skydiver.flow.batch import FlowBatch
from skydiver.hub.connection import Connection
from skydiver.hub.handshake import EVERYTHING
from skydiver.hub.messages import Format, Message, Protocol, event
from skydiver.hub.pool import Authenticate, Pool
from skydiver.hub.settings import HubSettings

log = logging.getLogger(__name__)

PATH = "/ws/subscriber/flow"
FLOW = "flow"
STATS = "stats"
STORE = "store"

_MOST_FLOWS = 100
"""In one message, as originals have them."""
_LARGE = 256 * 1024
"""Bytes of flows that are written in a thread: some milliseconds."""
_ALL_BYTES = 1 << 62


class FlowSubscribers:
    """The peers of the endpoint; a `FlowSink`."""

    def __init__(
        self,
        *,
        host_id: str,
        losses: Losses,
        settings: HubSettings | None = None,
        authenticate: Authenticate | None = None,
    ) -> None:
        self._settings = settings or HubSettings()
        self._pool = Pool(
            "hub.flow_subscriber",
            service="analyzer",
            host_id=host_id,
            settings=self._settings,
            losses=losses,
            authenticate=authenticate,
            largest_message=self._settings.largest_message,
            turn=asyncio.Lock(),
        )

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get(PATH, self._accept)

    def status(self) -> dict[str, Any]:
        """Connected peers (api.md §3.12)."""
        return self._pool.status()

    async def run(self) -> None:
        """Ping the peers; until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._settings.ping_delay_s)
                self._pool.tick()
        finally:
            await self._pool.close(WSCloseCode.GOING_AWAY)

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        async def serve(connection: Connection) -> None:
            await connection.serve(lambda message: None)

        return await self._pool.accept(request, serve)

    # What they get

    async def append(self, batch: FlowBatch) -> None:
        """Send a batch to those that want it, whole or of their capture."""
        wanted = self._wanted()
        if not wanted:
            return
        namespaces = sorted(wanted)
        if len(batch.message) > _LARGE:
            written = await asyncio.to_thread(_written, batch.message, namespaces)
        else:
            written = _written(batch.message, namespaces)
        for message in written:
            self._send(message, message)

    def stats(self, stats: bytes) -> None:
        """Send a serialized `flow.Stats`; in JSON to those that speak it."""
        if any(self._wants(peer, STATS) for peer in self._pool.connections.values()):
            content = orjson.Fragment(native.flow_stats_json(stats))
            as_json = event(STATS, STATS, content)
            as_protobuf = Message(
                STATS, STATS, stats, as_json.uuid, as_json.status, Format.PROTOBUF
            )
            self._send(as_json, as_protobuf)

    def _send(self, as_json: Message, as_protobuf: Message) -> None:
        frames: dict[Protocol, bytes] = {}
        for peer in list(self._pool.connections.values()):
            if not self._wants(peer, as_json.namespace):
                continue
            protocol = peer.handshake.protocol
            if protocol not in frames:
                message = as_protobuf if protocol is Protocol.PROTOBUF else as_json
                frames[protocol] = peer.frame(message)
            peer.send_frames(frames[protocol], 1)

    def _wanted(self) -> set[str]:
        """Namespaces of flows that somebody wants."""
        wanted: set[str] = set()
        for peer in self._pool.connections.values():
            for namespace in peer.handshake.namespaces:
                if namespace == EVERYTHING:
                    wanted.add(FLOW)
                elif namespace == FLOW or namespace.startswith(f"{FLOW}/"):
                    wanted.add(namespace)
        return wanted

    @staticmethod
    def _wants(peer: Connection, namespace: str) -> bool:
        """Who wants everything has every flow once, so those of captures not again."""
        if namespace in peer.handshake.namespaces:
            return True
        return EVERYTHING in peer.handshake.namespaces and namespace in (FLOW, STATS)


def _written(message: bytes, namespaces: list[str]) -> list[Message]:
    """The messages with the flows that belong to each namespace."""
    return [
        event(namespace, STORE, orjson.Fragment(native.flow_message_json(piece)))
        for namespace in namespaces
        for piece in _pieces(message, namespace)
    ]


def _pieces(message: bytes, namespace: str) -> Iterator[bytes]:
    if namespace != FLOW:
        message = native.flows_of_capture(message, namespace.partition("/")[2])
    for start, end, _ in native.flow_message_pieces(message, _MOST_FLOWS, _ALL_BYTES):
        yield message[start:end]
