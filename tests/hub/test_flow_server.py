"""Flows at the analyzer: what comes by datagram, from originals, and from agents of ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web
from tests.hub.conftest import Serve, eventually, flow_message, ports_of

from skydiver.base.errors import ConfigError, StoreError
from skydiver.base.losses import Losses, LossReason
from skydiver.base.settings_kinds import Address
from skydiver.flow.batch import FlowBatch
from skydiver.hub import flow_stream
from skydiver.hub.flow_server import PART, FlowServer
from skydiver.native import flow_stats_message

MOST = 5


class Analyzer:
    """A server of flows and what came out of it."""

    def __init__(self) -> None:
        self.losses = Losses()
        self.ports: list[int] = []
        self.stats: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False
        self.server = FlowServer(
            host_id="a1",
            losses=self.losses,
            most_flows=MOST,
            sinks=[self],
            stats=self.stats.append,
        )
        self.address = ""

    async def append(self, batch: FlowBatch) -> None:
        await self.open.wait()
        if self.broken:
            raise StoreError("no room on the disk")
        assert batch.flows == len(ports_of(batch.message))
        self.ports += ports_of(batch.message)


@pytest.fixture
async def analyzer(serve: Serve) -> AsyncIterator[Analyzer]:
    made = Analyzer()
    app = web.Application()
    made.server.add_routes(app)
    made.address = await serve(app)
    running = asyncio.get_running_loop().create_task(made.server.run(), name="flows")
    yield made
    made.open.set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as made:
        yield made


async def connected(
    session: ClientSession, analyzer: Analyzer, stream: str = ""
) -> ClientWebSocketResponse:
    headers = {"X-Client-Type": "agent", "X-Host-ID": "h1"}
    if stream:
        headers[flow_stream.HEADER] = stream
    return await session.ws_connect(f"ws://{analyzer.address}/ws/agent/flow", headers=headers)


async def acknowledged(web_socket: ClientWebSocketResponse) -> int:
    received = await web_socket.receive(timeout=5)
    assert received.type is WSMsgType.BINARY
    return flow_stream.unpack_acknowledgement(received.data)


def datagram_socket(analyzer: Analyzer) -> socket.socket:
    """Connected to the port of datagrams, which is that of the API."""
    host, _, port = analyzer.address.rpartition(":")
    analyzer.server.listen(Address(host, int(port)))
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect((host, int(port)))
    return made


async def test_datagrams_of_originals_are_taken_and_garbage_is_counted(analyzer: Analyzer) -> None:
    """Anybody can send a datagram, so garbage must cost nothing but itself."""
    with datagram_socket(analyzer) as datagrams:
        datagrams.send(flow_message(1))
        datagrams.send(b"\x0a\x05abc")
        datagrams.send(b"GET / HTTP/1.1\r\n\r\n")
        datagrams.send(b"")
        datagrams.send(bytes(flow_stream.LARGEST_DATAGRAM + 1))
        datagrams.send(flow_stats_message("c1", (1, 0, 0, 0, 9)))
        datagrams.send(flow_message(2))
        await eventually(lambda: analyzer.ports == [1, 2])
        await eventually(lambda: len(analyzer.stats) == 1)
    assert analyzer.losses.counts() == {
        (PART, LossReason.DECODE): 2,
        (PART, LossReason.OVERSIZE): 1,
    }


async def test_datagrams_beyond_the_queue_are_dropped_and_taking_goes_on(
    analyzer: Analyzer,
) -> None:
    """The original stops for good at the first overflow."""
    analyzer.open.clear()
    with datagram_socket(analyzer) as datagrams:

        def known() -> int:
            dropped = analyzer.losses.counts().get((PART, LossReason.QUEUE_FULL), 0)
            waiting: int = analyzer.server.status()["Waiting"]
            return waiting + dropped

        for port in range(1, MOST + 4):
            datagrams.send(flow_message(port))
            # One by one, as each reading is taken whole.
            while known() < port:
                await asyncio.sleep(0.005)
        analyzer.open.set()
        await eventually(lambda: analyzer.ports == list(range(1, MOST + 1)))
        datagrams.send(flow_message(99))
        await eventually(lambda: analyzer.ports[-1] == 99)
    assert analyzer.losses.counts() == {(PART, LossReason.QUEUE_FULL): 3}


async def test_a_port_that_is_taken_is_a_clear_error(analyzer: Analyzer) -> None:
    """It is the user's to find another."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"by UDP on 127.0.0.1:{port}: address already"):
            analyzer.server.listen(Address("127.0.0.1", port))


async def test_an_original_agent_sends_messages_of_some_flows(
    analyzer: Analyzer, session: ClientSession
) -> None:
    """Without our header nothing is answered, as originals read nothing."""
    async with await connected(session, analyzer) as web_socket:
        assert flow_stream.HEADER not in web_socket._response.headers
        await web_socket.send_bytes(flow_message(1, 2))
        await web_socket.send_bytes(b"\x0a\x05abc")
        await web_socket.send_bytes(flow_message(3))
        await eventually(lambda: analyzer.ports == [1, 2, 3])
        with pytest.raises(TimeoutError):
            await web_socket.receive(timeout=0.1)
    assert analyzer.losses.counts() == {("hub.flows", LossReason.INVALID): 1}


async def test_a_batch_is_acknowledged_when_it_was_taken(
    analyzer: Analyzer, session: ClientSession
) -> None:
    """Before, it might still be lost with the analyzer."""
    analyzer.open.clear()
    async with await connected(session, analyzer, "s1") as web_socket:
        await web_socket.send_bytes(flow_stream.pack(1, flow_message(1)))
        with pytest.raises(TimeoutError):
            await web_socket.receive(timeout=0.1)
        analyzer.open.set()
        assert await acknowledged(web_socket) == 1
    async with await connected(session, analyzer, "s1") as web_socket:
        assert web_socket._response.headers[flow_stream.HEADER] == "1"
        await web_socket.send_bytes(flow_stream.pack(1, flow_message(1)))
        assert await acknowledged(web_socket) == 1
    assert analyzer.ports == [1]


async def test_a_full_queue_stops_a_stream_and_loses_nothing(
    analyzer: Analyzer, session: ClientSession
) -> None:
    """The agent has the memory to wait; that is what its buffer is for."""
    analyzer.open.clear()
    async with await connected(session, analyzer, "s1") as web_socket:
        for number in range(1, 31):
            await web_socket.send_bytes(flow_stream.pack(number, flow_message(number)))
        await eventually(lambda: analyzer.server.status()["Waiting"] == MOST)
        analyzer.open.set()
        while await acknowledged(web_socket) < 30:
            pass
    assert analyzer.ports == list(range(1, 31))
    assert analyzer.losses.counts() == {}


async def test_a_batch_that_waits_at_two_connections_is_taken_once(
    analyzer: Analyzer, session: ClientSession
) -> None:
    """The first was cut while the queue was full, and its handler may live on for a moment."""
    analyzer.open.clear()
    async with await connected(session, analyzer, "s0") as filling:
        await filling.send_bytes(flow_stream.pack(1, flow_message(*range(1, MOST + 1))))
        await eventually(lambda: analyzer.server.status()["Waiting"] == MOST)
    cut = await connected(session, analyzer, "s1")
    await cut.send_bytes(flow_stream.pack(1, flow_message(99)))
    assert cut._response.connection is not None
    transport = cut._response.connection.transport
    assert transport is not None
    transport.abort()
    async with await connected(session, analyzer, "s1") as again:
        assert again._response.headers[flow_stream.HEADER] == "0"
        await again.send_bytes(flow_stream.pack(1, flow_message(99)))
        analyzer.open.set()
        assert await acknowledged(again) == 1
    assert analyzer.ports == [*range(1, MOST + 1), 99]


async def test_a_batch_that_cannot_be_read_is_counted_and_not_asked_for_again(
    analyzer: Analyzer, session: ClientSession
) -> None:
    """It would come again for ever, and hold up all that follow."""
    async with await connected(session, analyzer, "s1") as web_socket:
        await web_socket.send_bytes(b"abc")
        await web_socket.send_bytes(flow_stream.pack(1, b"\x0a\x05abc"))
        await web_socket.send_bytes(flow_stream.pack(2, flow_message(1)))
        while await acknowledged(web_socket) < 2:
            pass
    assert analyzer.ports == [1]
    assert analyzer.losses.counts() == {("hub.flows", LossReason.INVALID): 2}


async def test_flows_that_a_sink_does_not_take_are_counted(
    analyzer: Analyzer, session: ClientSession
) -> None:
    """The agents cannot help; whoever reads the status can."""
    analyzer.broken = True
    async with await connected(session, analyzer, "s1") as web_socket:
        await web_socket.send_bytes(flow_stream.pack(1, flow_message(1, 2)))
        assert await acknowledged(web_socket) == 1
    assert analyzer.losses.counts() == {(PART, LossReason.FAILED): 2}
