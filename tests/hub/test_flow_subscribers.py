"""Followers of flows: who gets what, and what becomes of slow ones."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from aiohttp import web
from tests.hub.conftest import Connect, Serve, eventually, flow_message

from skydiver.base.losses import Losses, LossReason
from skydiver.flow.batch import FlowBatch
from skydiver.hub.flow_subscribers import PATH, FlowSubscribers
from skydiver.hub.messages import Format, Message
from skydiver.hub.settings import HubSettings
from skydiver.native import flow_stats_json, flow_stats_message, join_flow_messages

STATS = join_flow_messages([flow_stats_message("c1", (1, 2, 3, 4, 5))])[2][0]


class Followed:
    """Subscribers of an analyzer of which nothing else is there."""

    def __init__(self) -> None:
        self.losses = Losses()
        settings = HubSettings(queue_size=20, write_timeout_s=60.0)
        self.subscribers = FlowSubscribers(host_id="a1", losses=self.losses, settings=settings)
        self.address = ""

    async def send(self, message: bytes, flows: int = 1) -> None:
        await self.subscribers.append(FlowBatch(message, flows, 0))


@pytest.fixture
async def followed(serve: Serve) -> AsyncIterator[Followed]:
    made = Followed()
    app = web.Application()
    made.subscribers.add_routes(app)
    made.address = await serve(app)
    running = asyncio.get_running_loop().create_task(made.subscribers.run(), name="followed")
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def ports(message: Message) -> list[int]:
    return sorted(flow["Transport"]["A"] for flow in message.obj)


def count(followed: Followed) -> Callable[[], int]:
    return lambda: len(followed.subscribers.status())


async def test_without_a_namespace_flows_and_statistics_come(
    followed: Followed, connect: Connect
) -> None:
    """As of the original, so that its programs work."""
    peer = await connect(followed.address, PATH)
    await eventually(count(followed))
    await followed.send(flow_message(1, 2))
    message = await peer.receive()
    assert (message.namespace, message.type, ports(message)) == ("flow", "store", [1, 2])
    assert "LastRawPackets" not in message.obj[0]
    followed.subscribers.stats(STATS)
    message = await peer.receive()
    assert (message.namespace, message.type) == ("stats", "stats")
    assert message.obj == {
        "CaptureID": "c1",
        "FlowCount": 1,
        "FlowDropped": 2,
        "KernelFlowDropped": 3,
        "PacketsDropped": 4,
        "PacketsReceived": 5,
    }


async def test_a_namespace_of_a_capture_has_its_flows_alone(
    followed: Followed, connect: Connect
) -> None:
    """A program that made a capture wants to see what it brings."""
    peer = await connect(followed.address, PATH, headers={"X-Websocket-Namespace": "flow/c2"})
    await eventually(count(followed))
    await followed.send(flow_message(1, 2))
    await followed.send(flow_message(1) + flow_message(3, capture="c2"))
    followed.subscribers.stats(STATS)
    message = await peer.receive()
    assert (message.namespace, ports(message)) == ("flow/c2", [3])
    assert await peer.silent()


async def test_namespaces_may_be_query_parameters(followed: Followed, connect: Connect) -> None:
    """Browsers cannot set headers; the original ignores them here."""
    peer = await connect(followed.address, f"{PATH}?x-websocket-namespace=stats")
    await eventually(count(followed))
    await followed.send(flow_message(1))
    followed.subscribers.stats(STATS)
    assert (await peer.receive()).namespace == "stats"


async def test_one_that_leaves_takes_nothing_from_the_others(
    followed: Followed, connect: Connect
) -> None:
    """In the original the first that leaves ends the namespace for all."""
    leaving = await connect(followed.address, PATH, "h1")
    staying = await connect(followed.address, PATH, "h2")
    await eventually(lambda: count(followed)() == 2)
    await leaving.socket.close()
    await eventually(lambda: count(followed)() == 1)
    await followed.send(flow_message(1))
    assert ports(await staying.receive()) == [1]


async def test_a_protobuf_peer_gets_flows_as_json_and_statistics_as_protobuf(
    followed: Followed, connect: Connect
) -> None:
    """Odd, and how 0.28.0 does it."""
    peer = await connect(followed.address, PATH, protocol="protobuf")
    await eventually(count(followed))
    await followed.send(flow_message(1))
    followed.subscribers.stats(STATS)
    flows, stats = await peer.receive(), await peer.receive()
    assert (flows.format, ports(flows)) == (Format.JSON, [1])
    assert stats.format is Format.PROTOBUF
    assert orjson.loads(flow_stats_json(stats.obj))["PacketsReceived"] == 5


async def test_large_batches_come_in_messages_of_a_hundred(
    followed: Followed, connect: Connect
) -> None:
    """Programs for the original are made for its bulks."""
    peer = await connect(followed.address, PATH)
    await eventually(count(followed))
    await followed.send(flow_message(*range(1, 1251)), 1250)
    got = [ports(await peer.receive()) for _ in range(13)]
    assert [len(part) for part in got] == [*[100] * 12, 50]
    assert sorted(itertools.chain(*got)) == list(range(1, 1251))


async def test_a_subscriber_that_does_not_read_is_dropped_and_counted(
    followed: Followed, connect: Connect
) -> None:
    """It must not hold up the flows, nor take memory for ever."""
    await connect(followed.address, PATH)
    await eventually(count(followed))
    message = flow_message(*range(1, 1001))
    # Nobody receives, and what arrives on its own is soon too much for the client.
    for _ in range(400):
        await followed.send(message, 1000)
        if not count(followed)():
            break
    await eventually(lambda: count(followed)() == 0)
    assert followed.losses.counts()["hub.flow_subscriber", LossReason.QUEUE_FULL] > 0
