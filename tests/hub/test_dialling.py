from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSServerHandshakeError, web

from skydiver.base.errors import Unavailable
from skydiver.hub.dialling import DialledSocket, dial, dialling_session
from skydiver.lab.running import free_port

PATH = "/ws/agent/topology"


async def dialled(port: int, *, path: str = PATH, timeout_s: float = 5.0) -> DialledSocket:
    async with dialling_session({"X-Host-ID": "h1"}) as session:
        opened = await dial(
            session,
            f"127.0.0.1:{port}",
            path,
            tls=None,
            timeout_s=timeout_s,
            largest_message=1024,
            headers={"X-More": "1"},
        )
        await opened.close()
        return opened


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server that takes WebSockets, and tells the headers that came with one."""

    async def accept(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        opened.headers["X-Told"] = f"{request.headers['X-Host-ID']} {request.headers['X-More']}"
        await opened.prepare(request)
        async for _ in opened:
            pass
        return opened

    app = web.Application()
    app.router.add_get(PATH, accept)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield port
    await runner.cleanup()


async def test_the_answer_to_the_handshake_is_kept(port: int) -> None:
    """It says who the server is, and what it speaks."""
    opened = await dialled(port)
    assert opened.answer.headers["X-Told"] == "h1 1"
    assert opened.bytes_waiting() == 0


async def test_another_answer_is_for_the_caller_to_say(port: int) -> None:
    """Only that knows what a status means on its path."""
    with pytest.raises(WSServerHandshakeError) as raised:
        await dialled(port, path="/ws/elsewhere")
    assert raised.value.status == 404


async def test_nobody_there_is_said_in_words() -> None:
    """Not with the representation of an exception."""
    with pytest.raises(Unavailable, match=r"^cannot connect \(connection refused\)$"):
        await dialled(free_port())


async def test_a_stopped_server_does_not_keep_anybody_waiting() -> None:
    """Its kernel still takes connections."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(Unavailable, match=r"^no answer in 0\.2 s$"),
    ):
        await dialled(silent.getsockname()[1], timeout_s=0.2)
