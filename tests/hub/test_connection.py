"""One peer: order, bounds, liveness, requests, and garbage that harms nobody else."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from tests.hub.conftest import Connect, Serve, eventually

from skydiver.base.errors import Unavailable
from skydiver.base.losses import Losses, LossReason
from skydiver.hub.connection import Connection
from skydiver.hub.messages import Message, event
from skydiver.hub.pool import Pool
from skydiver.hub.settings import HubSettings


class Endpoint:
    """An endpoint that echoes, and answers `slow` only after `release`."""

    def __init__(self, **settings: float | int) -> None:
        self.losses = Losses()
        self.settings = HubSettings(**settings)  # type: ignore[arg-type]
        self.pool = Pool(
            "hub.test",
            service="analyzer",
            host_id="a1",
            settings=self.settings,
            losses=self.losses,
            authenticate=None,
            largest_message=1024 * 1024,
            turn=asyncio.Lock(),
        )
        self.release = asyncio.Event()
        self.app = web.Application()
        self.app.router.add_get("/ws", self._accept)
        self.app.cleanup_ctx.append(self._ticking)

    async def connection(self, host_id: str = "peer") -> Connection:
        await eventually(lambda: host_id in self.pool.connections)
        return self.pool.connections[host_id]

    async def _ticking(self, _app: web.Application) -> AsyncIterator[None]:
        async def tick() -> None:
            while True:
                await asyncio.sleep(self.settings.ping_delay_s)
                self.pool.tick()

        task = asyncio.get_running_loop().create_task(tick(), name="ticks")
        yield
        task.cancel()

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        return await self.pool.accept(request, self._serve)

    async def _serve(self, connection: Connection) -> None:
        async def later(message: Message) -> None:
            await self.release.wait()
            connection.send(message)

        def handle(message: Message) -> asyncio.Future[None] | None:
            if message.type == "slow":
                return asyncio.ensure_future(later(message))
            connection.send(message)
            return None

        await connection.serve(handle)


async def test_messages_of_a_peer_are_handled_in_order(serve: Serve, connect: Connect) -> None:
    """A node must be there before its edge; one that takes time holds back those behind it."""
    endpoint = Endpoint()
    peer = await connect(await serve(endpoint.app), "/ws")
    for type_ in ("a", "slow", "b"):
        await peer.send(event("N", type_, None))
    assert (await peer.receive()).type == "a"
    assert await peer.silent()
    endpoint.release.set()


async def test_a_bad_message_costs_only_itself(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """A publisher with one bad element must not lose its session (contract test WS2)."""
    endpoint = Endpoint()
    peer = await connect(await serve(endpoint.app), "/ws")
    for garbage in (b"[]", b"garbage", b"", b'{"Namespace":7}', b"\xff" * 1000):
        await peer.socket.send_bytes(garbage)
    await peer.send(event("N", "good", 1))
    assert (await peer.receive()).type == "good"
    assert endpoint.losses.counts() == {("hub.test", LossReason.INVALID): 5}
    assert endpoint.pool.status()["peer"]["Refused"] == 5
    await peer.socket.close()
    await eventually(lambda: not endpoint.pool.connections)
    lines = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert lines == [
        "test peer: message is not a JSON object: '[]'",
        "test peer: 4 more messages were refused",
    ]


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 100 * 1024 * 1024])
async def test_a_message_above_the_limit_closes_its_connection_with_1009(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    """The declared length is enough to refuse it; others notice nothing."""
    endpoint = Endpoint()
    address = await serve(endpoint.app)
    other = await connect(address, "/ws", "other")
    peer = await connect(address, "/ws")
    await peer.socket.send_bytes(bytes(size))
    received = await peer.socket.receive(timeout=10)
    assert received.data == 1009
    assert endpoint.losses.counts() == {("hub.test", LossReason.OVERSIZE): 1}
    lines = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert lines == [
        "test peer: sent a message above the limit of 1048576 bytes; closing the connection"
    ]
    await other.send(event("N", "T", 1))
    assert (await other.receive()).type == "T"


@pytest.mark.parametrize("bytes_", [b"\x8f\x80" + bytes(4), b"\xf1\x80" + bytes(4), b"\x09\x80"])
async def test_broken_frames_end_the_connection_only(
    serve: Serve, connect: Connect, bytes_: bytes
) -> None:
    """Unknown opcodes, reserved bits, fragmented control frames: not WebSocket."""
    endpoint = Endpoint()
    address = await serve(endpoint.app)
    other = await connect(address, "/ws", "other")
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(
        b"GET /ws?x-client-type=t HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + bytes_
    )
    rest = await reader.read()
    assert rest.endswith(b"\x88\x02" + (1002).to_bytes(2, "big"))
    writer.close()
    await eventually(lambda: list(endpoint.pool.connections) == ["other"])
    assert endpoint.losses.counts() == {("hub.test", LossReason.DECODE): 1}
    await other.send(event("N", "T", 1))
    assert (await other.receive()).type == "T"


async def test_nothing_is_sent_outside_the_namespaces_asked_for(
    serve: Serve, connect: Connect
) -> None:
    """A client of `Alert` must not be flooded with the graph."""
    endpoint = Endpoint()
    peer = await connect(
        await serve(endpoint.app), "/ws", headers={"X-Websocket-Namespace": "Alert"}
    )
    connection = await endpoint.connection()
    connection.send(event("Graph", "NodeAdded", {}))
    connection.send(event("Alert", "Alert", {}))
    assert (await peer.receive()).namespace == "Alert"


async def test_what_follows_a_reserved_place_waits_for_it(serve: Serve, connect: Connect) -> None:
    """The answer to a synchronisation is written piecemeal; events after it must stay after it."""
    endpoint = Endpoint()
    peer = await connect(await serve(endpoint.app), "/ws")
    connection = await endpoint.connection()
    connection.send(event("N", "before", None))
    slot = connection.reserve()
    empty = connection.reserve()
    connection.send(event("N", "after", None))
    assert (await peer.receive()).type == "before"
    assert await peer.silent(0.05)
    empty.leave_empty()
    slot.fill(event("N", "reply", None))
    slot.leave_empty()
    assert (await peer.receive()).type == "reply"
    assert (await peer.receive()).type == "after"


async def test_a_request_is_answered_by_its_identifier(serve: Serve, connect: Connect) -> None:
    """Answers come in any order, between other messages."""
    endpoint = Endpoint()
    peer = await connect(await serve(endpoint.app), "/ws")
    connection = await endpoint.connection()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(connection.request(event("Flow", "A", 1)), name="first")
        second = group.create_task(connection.request(event("Flow", "B", 2)), name="second")
        requests = [await peer.receive(), await peer.receive()]
        await peer.send(event("N", "echo", None))
        for request in reversed(requests):
            await peer.send(request.reply(request.type + "Reply", request.obj))
        assert (await peer.receive()).type == "echo"
    assert (first.result().type, first.result().obj) == ("AReply", 1)
    assert (second.result().type, second.result().obj) == ("BReply", 2)


async def test_a_request_fails_when_the_peer_is_slow_or_leaves(
    serve: Serve, connect: Connect
) -> None:
    """A query must not wait for ever for one host."""
    endpoint = Endpoint()
    peer = await connect(await serve(endpoint.app), "/ws")
    connection = await endpoint.connection()
    with pytest.raises(Unavailable, match=r"test peer did not answer Flow/A in 0\.05 s"):
        await connection.request(event("Flow", "A", None), timeout_s=0.05)
    async with asyncio.TaskGroup() as group:
        request = group.create_task(
            _outcome(connection.request(event("Flow", "B", None))), name="request"
        )
        await peer.receive()
        await peer.receive()
        await peer.socket.close()
    assert "disconnected before it answered" in request.result()
    with pytest.raises(Unavailable, match="not connected"):
        await connection.request(event("Flow", "C", None))


async def _outcome(request: object) -> str:
    try:
        await request  # type: ignore[misc]
    except Unavailable as error:
        return str(error)
    return ""


async def test_a_silent_peer_is_dropped(serve: Serve, connect: Connect) -> None:
    """Its host lost power; nothing else would ever say so."""
    endpoint = Endpoint(ping_delay_s=0.05, pong_timeout_s=0.1)
    address = await serve(endpoint.app)
    await connect(address, "/ws", "silent", autoping=False)
    await endpoint.connection("silent")
    answering = await connect(address, "/ws", "answers")
    reading = asyncio.get_running_loop().create_task(
        answering.socket.receive(), name="answers pings"
    )
    await eventually(lambda: "silent" not in endpoint.pool.connections)
    for _ in range(3):
        await asyncio.sleep(endpoint.settings.read_deadline_s)
    assert list(endpoint.pool.connections) == ["answers"]
    reading.cancel()


async def test_a_peer_whose_message_takes_long_is_not_taken_for_silent(
    serve: Serve, connect: Connect
) -> None:
    """Its pongs wait in the socket that we do not read meanwhile."""
    endpoint = Endpoint(ping_delay_s=0.02, pong_timeout_s=0.02)
    peer = await connect(await serve(endpoint.app), "/ws")
    await peer.send(event("N", "slow", None))
    connection = await endpoint.connection()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(peer.receive(), name="answers pings")
        for _ in range(5):
            await asyncio.sleep(endpoint.settings.read_deadline_s)
        assert not connection.ended
        endpoint.release.set()
    assert reading.result().type == "slow"


async def test_a_peer_that_reads_too_slowly_is_dropped_and_counted(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory is bounded; the client connects again and asks for everything."""
    endpoint = Endpoint(queue_size=50)
    await connect(await serve(endpoint.app), "/ws")
    connection = await endpoint.connection()
    message = event("N", "T", "x" * 100_000)
    for _ in range(1_000):
        connection.send(message)
    assert connection.ended
    counted = endpoint.losses.counts()["hub.test", LossReason.QUEUE_FULL]
    assert 50 <= counted <= 100
    assert "does not keep up" in caplog.text
    await eventually(lambda: not endpoint.pool.connections)


async def test_a_peer_that_reads_nothing_is_dropped_after_the_write_timeout(
    serve: Serve, connect: Connect
) -> None:
    """A stopped process keeps its connection and takes nothing from it."""
    endpoint = Endpoint(ping_delay_s=0.05, pong_timeout_s=60, write_timeout_s=0.2)
    host, port = (await serve(endpoint.app)).split(":")
    _reader, writer = await asyncio.open_connection(host, port, limit=1024)
    writer.write(
        b"GET /ws?x-client-type=t&x-host-id=peer HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    connection = await endpoint.connection()
    connection.send(event("N", "T", "x" * 50_000_000))
    connection.send(event("N", "T", None))
    await eventually(lambda: not endpoint.pool.connections)
    assert endpoint.losses.counts() == {("hub.test", LossReason.WIRE): 1}
    writer.close()


async def test_closing_says_good_bye(serve: Serve, connect: Connect) -> None:
    """A client can tell a stopped analyzer from a broken network."""
    endpoint = Endpoint()
    peer = await connect(await serve(endpoint.app), "/ws")
    connection = await endpoint.connection()
    connection.send(event("N", "last", None))
    await connection.close(1001)
    assert (await peer.receive()).type == "last"
    assert (await peer.socket.receive(timeout=5)).data == 1001
