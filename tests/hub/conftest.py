"""Real servers on loopback for the tests of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, web

from skydiver.hub.messages import Message, Protocol, decode, encode

Serve: TypeAlias = Callable[[web.Application], Awaitable[str]]
Connect: TypeAlias = Callable[..., Awaitable["Peer"]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start applications on ephemeral loopback ports; each gives its `host:port`."""
    runners: list[web.AppRunner] = []

    async def start(app: web.Application) -> str:
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"{host}:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()


class Peer:
    """A client that speaks the protocol by hand, as foreign programs do."""

    def __init__(self, socket: ClientWebSocketResponse, protocol: Protocol) -> None:
        self.socket = socket
        self.protocol = protocol

    async def send(self, message: Message) -> None:
        data = encode(message, self.protocol)
        if self.protocol is Protocol.PROTOBUF:
            await self.socket.send_bytes(data)
        else:
            await self.socket.send_str(data.decode())

    async def receive(self, timeout_s: float = 5.0) -> Message:
        """The next message."""
        received = await self.socket.receive(timeout=timeout_s)
        data = received.data
        assert isinstance(data, str | bytes), f"no message but {received}"
        return decode(data.encode() if isinstance(data, str) else data, self.protocol)

    async def silent(self, timeout_s: float = 0.15) -> bool:
        """True when nothing comes for a moment."""
        try:
            await self.receive(timeout_s)
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connect to an endpoint with headers of the handshake."""
    peers: list[Peer] = []
    async with ClientSession() as session:

        async def open_(
            address: str,
            path: str,
            host_id: str = "peer",
            client_type: str = "test",
            protocol: str = "json",
            headers: Mapping[str, str] | None = None,
            **options: Any,
        ) -> Peer:
            socket = await session.ws_connect(
                f"ws://{address}{path}",
                headers={
                    "X-Host-ID": host_id,
                    "X-Client-Type": client_type,
                    "X-Client-Protocol": protocol,
                    **(headers or {}),
                },
                max_msg_size=0,
                **options,
            )
            peers.append(Peer(socket, Protocol(protocol or "json")))
            return peers[-1]

        yield open_
        for peer in peers:
            await peer.socket.close()


async def eventually(
    condition: Callable[[], object], what: str = "", timeout_s: float = 10.0
) -> None:
    """Wait until `condition` holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        assert loop.time() < deadline, f"did not happen: {what or condition}"
        await asyncio.sleep(0.005)
