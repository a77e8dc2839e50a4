"""Flows of an agent: to analyzers of ours, to originals, and while there is none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web
from tests.hub.conftest import Serve, eventually, flow_message, ports_of

from skydiver.base.losses import Losses, LossReason
from skydiver.base.settings_kinds import Address
from skydiver.flow.batch import FlowBatch
from skydiver.hub.flow_client import PART, FlowClient
from skydiver.hub.flow_server import FlowServer
from skydiver.hub.settings import HubSettings

MANY = list(range(2000, 4500))


class Sink:
    """Remembers what it gets; waits while it is held."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.open = asyncio.Event()
        self.open.set()

    async def append(self, batch: FlowBatch) -> None:
        await self.open.wait()
        self.ports += ports_of(batch.message)


@asynccontextmanager
async def analyzer(port: int, sink: Sink) -> AsyncIterator[FlowServer]:
    """An analyzer for flows alone."""
    server = FlowServer(host_id="a1", losses=Losses(), most_flows=1000, sinks=[sink])
    app = web.Application()
    server.add_routes(app)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    running = asyncio.get_running_loop().create_task(server.run(), name="flows")
    try:
        yield server
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await runner.cleanup()


def client(*ports: int, **options: Any) -> FlowClient:
    given = {"protocol": "udp", "buffer_bytes": 1 << 20, "losses": Losses(), **options}
    return FlowClient(
        analyzers=[Address("127.0.0.1", port) for port in ports],
        host_id="h1",
        settings=HubSettings(request_timeout_s=2.0),
        **given,
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def balanced(flows: FlowClient) -> bool:
    """Every flow that was taken is in exactly one place."""
    status = flows.status()
    parts = ("Acknowledged", "Sent", "Waiting", "Lost")
    return bool(status["Taken"] == sum(status[part] for part in parts))


async def test_an_analyzer_gets_every_flow_once() -> None:
    """The plain case, with more than fits into one batch."""
    port, sink = free_port(), Sink()
    flows = client(port)
    async with analyzer(port, sink), flows.running():
        flows.send(flow_message(*MANY))
        flows.send(flow_message(1, 2, 3))
        await eventually(lambda: flows.status()["Acknowledged"] == len(MANY) + 3)
        assert sorted(sink.ports) == [1, 2, 3, *MANY]
        assert flows.status()["Waiting"] == 0
        assert flows.status()["WaitingBytes"] == 0
        assert flows.status()["Analyzers"] == {f"127.0.0.1:{port}": "acknowledged"}


async def test_an_analyzer_that_was_away_gets_what_waited() -> None:
    """A restart of the analyzer is an everyday event, and no hole in the history."""
    port, first, second = free_port(), Sink(), Sink()
    flows = client(port)
    async with flows.running():
        flows.send(flow_message(1))
        async with analyzer(port, first):
            await eventually(lambda: flows.status()["Acknowledged"] == 1)
        await eventually(lambda: flows.status()["Analyzers"] == {f"127.0.0.1:{port}": "away"})
        flows.send(flow_message(2, 3))
        flows.send(flow_message(4))
        assert flows.status()["Waiting"] == 3
        async with analyzer(port, second):
            await eventually(lambda: flows.status()["Acknowledged"] == 4)
    assert (first.ports, sorted(second.ports)) == ([1], [2, 3, 4])
    assert balanced(flows)
    assert flows.status()["Lost"] == 0


async def test_a_batch_whose_acknowledgement_was_lost_is_not_taken_twice() -> None:
    """The connection may break between the two, and flows counted twice are wrong, too."""
    port, sink = free_port(), Sink()
    flows = client(port)
    async with analyzer(port, sink) as server, flows.running():
        sink.open.clear()
        flows.send(flow_message(1, 2))
        await eventually(lambda: server.status()["Waiting"] == 2)
        for peer in list(server._agents.connections.values()):
            peer.drop("the line is cut")
        await eventually(lambda: server.status()["Repeated"] > 0)
        assert flows.status()["Acknowledged"] == 0
        sink.open.set()
        await eventually(lambda: flows.status()["Acknowledged"] == 2)
    assert sink.ports == [1, 2]


async def test_the_oldest_flows_are_dropped_and_counted_when_the_buffer_is_full() -> None:
    """Later updates of the same flows have the same totals; and memory has its limit."""
    port, sink = free_port(), Sink()
    flows = client(port, buffer_bytes=64 * 1024)
    async with flows.running():
        for number in range(40):
            flows.send(flow_message(*range(number * 50 + 1, number * 50 + 51)))
        status = flows.status()
        assert status["Taken"] == 2000
        assert 0 < status["Lost"] < 2000
        assert status["Lost"] + status["Waiting"] == 2000
        assert status["WaitingBytes"] < 96 * 1024
        async with analyzer(port, sink):
            await eventually(lambda: flows.status()["Waiting"] == 0)
    lost = flows.losses.counts()[PART, LossReason.QUEUE_FULL]
    assert lost == flows.status()["Lost"]
    assert sorted(sink.ports) == list(range(lost + 1, 2001))


async def test_what_is_left_of_a_large_update_arrives_whole() -> None:
    """It is copied, so that what was dropped of the update leaves memory, too."""
    port, sink = free_port(), Sink()
    flows = client(port, buffer_bytes=300 * 1024)
    async with flows.running():
        flows.send(flow_message(*MANY))
        assert flows.status()["Lost"] == 0
        flows.send(flow_message(1))
        lost = flows.status()["Lost"]
        assert 0 < lost < len(MANY)
        async with analyzer(port, sink):
            await eventually(lambda: flows.status()["Waiting"] == 0)
    assert len(sink.ports) == len(set(sink.ports)) == len(MANY) + 1 - lost
    assert set(sink.ports) < {1, *MANY}


async def test_another_analyzer_gets_what_one_that_stays_away_did_not_acknowledge() -> None:
    """Else an analyzer that was taken out of service would keep flows waiting for ever."""
    ports, first, second = (free_port(), free_port()), Sink(), Sink()
    flows = client(*ports, give_up_s=0.3)
    async with flows.running(), analyzer(ports[1], second):
        first.open.clear()
        await eventually(lambda: "acknowledged" in flows.status()["Analyzers"].values())
        second.open.clear()
        async with analyzer(ports[0], first):
            await eventually(
                lambda: list(flows.status()["Analyzers"].values()) == ["acknowledged"] * 2
            )
            for number in range(1, 21):
                flows.send(flow_message(number))
            await eventually(lambda: flows.status()["Waiting"] == 20)
            second.open.set()
            await eventually(lambda: flows.status()["Waiting"] + len(second.ports) == 20)
        await eventually(lambda: len(second.ports) == 20)
        await eventually(lambda: flows.status()["Waiting"] == 0)
    assert sorted(second.ports) == list(range(1, 21))


async def test_an_agent_without_analyzers_keeps_no_flows() -> None:
    """It is told to work alone, so nothing is lost."""
    flows = client()
    async with flows.running():
        flows.send(flow_message(1))
    assert flows.status()["Taken"] == 0


async def test_flows_left_at_the_end_are_counted() -> None:
    """The agent may end before its analyzer is back."""
    flows = client(free_port())
    async with flows.running():
        flows.send(flow_message(1, 2))
    assert flows.losses.counts() == {(PART, LossReason.WIRE): 2}


# Originals


async def test_an_original_gets_one_flow_in_a_datagram(serve: Serve) -> None:
    """That is what it listens for, unless told otherwise; its API has no such WebSocket then."""
    address = await serve(web.Application())
    port = int(address.rpartition(":")[2])
    flows = client(port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", port))
        datagrams.setblocking(False)
        async with flows.running():
            flows.send(flow_message(1, 2, 3))
            await eventually(lambda: flows.status()["Sent"] == 3)
            got = [datagrams.recv(65_536) for _ in range(3)]
    assert sorted(ports_of(data) for data in got) == [[1], [2], [3]]
    assert balanced(flows)


async def test_a_flow_too_large_for_a_datagram_is_counted(serve: Serve) -> None:
    """An original would cut it, and read nothing."""
    address = await serve(web.Application())
    flows = client(int(address.rpartition(":")[2]))
    async with flows.running():
        flows.send(flow_message(1, capture="x" * 50_000))
        await eventually(lambda: flows.status()["Lost"] == 1)
    assert flows.losses.counts() == {(PART, LossReason.OVERSIZE): 1}
    assert balanced(flows)


async def test_an_original_with_websocket_gets_ten_flows_in_a_message(serve: Serve) -> None:
    """It answers without our header, and acknowledges nothing."""
    got: list[list[int]] = []

    async def accept(request: web.Request) -> web.WebSocketResponse:
        web_socket = web.WebSocketResponse()
        await web_socket.prepare(request)
        async for message in web_socket:
            assert message.type is WSMsgType.BINARY
            got.append(ports_of(message.data))
        return web_socket

    app = web.Application()
    app.router.add_get("/ws/agent/flow", accept)
    address = await serve(app)
    flows = client(int(address.rpartition(":")[2]), protocol="websocket")
    async with flows.running():
        flows.send(flow_message(*range(1, 26)))
        await eventually(lambda: sum(map(len, got)) == 25)
        assert [len(ports) for ports in got] == [10, 10, 5]
        assert flows.status()["Sent"] == 25
    assert balanced(flows)
