"""Frames are built by hand, so their layout is checked against an independent reader."""

import asyncio

import pytest
from aiohttp import WSMsgType, web
from tests.hub.conftest import Connect, Serve

from skydiver.hub.frames import PING, Socket, control_frame, frame
from skydiver.hub.messages import Protocol


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
@pytest.mark.parametrize(
    ("protocol", "kind"), [(Protocol.JSON, WSMsgType.TEXT), (Protocol.PROTOBUF, WSMsgType.BINARY)]
)
async def test_a_frame_of_any_size_is_read_back(
    serve: Serve, connect: Connect, size: int, protocol: Protocol, kind: WSMsgType
) -> None:
    """The length has three encodings (RFC 6455 §5.2)."""

    async def endpoint(request: web.Request) -> web.StreamResponse:
        socket = Socket(request, largest_message=100)
        await socket.prepare(request)
        socket.transport.write(frame(b"x" * size, protocol) + control_frame(PING, b"p" * 300))
        await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/", endpoint)
    peer = await connect(await serve(app), "/", autoping=False)
    received = await peer.socket.receive(timeout=5)
    assert received.type is kind
    assert received.data == ("x" * size if kind is WSMsgType.TEXT else b"x" * size)
    ping = await peer.socket.receive(timeout=5)
    assert (ping.type, ping.data) == (WSMsgType.PING, b"p" * 125)


async def test_a_peer_in_the_middle_of_a_huge_message_learns_why_it_is_closed(
    serve: Serve,
) -> None:
    """Closing at once would reset the connection and lose the frame with the code 1009."""

    async def endpoint(request: web.Request) -> web.StreamResponse:
        socket = Socket(request, largest_message=1000)
        await socket.prepare(request)
        received = await socket.receive()
        assert received.type is WSMsgType.ERROR
        return socket

    app = web.Application()
    app.router.add_get("/", endpoint)
    host, port = (await serve(app)).split(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    size = 100 * 1024 * 1024
    writer.write(b"\x82\xff" + size.to_bytes(8, "big") + bytes(4))
    for _ in range(size // 65_536):
        writer.write(bytes(65_536))
        await writer.drain()
    assert await reader.readexactly(4) == b"\x88\x02" + (1009).to_bytes(2, "big")
    writer.close()
