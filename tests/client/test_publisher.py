"""The publisher states elements over a real WebSocket, and notices when nobody listens."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from skydiver.base.errors import ConfigError, ProtocolError, Unavailable
from skydiver.client.publisher import Publisher
from skydiver.client.rest import Access


@dataclass
class Hub:
    """A server's half of the publisher endpoint."""

    refuse: int = 0
    """Status to refuse the upgrade with; 0 = accept."""
    close_after: int = 0
    """Close after so many messages; 0 = never."""
    port: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.refuse:
            return web.Response(status=self.refuse)
        self.headers = dict(request.headers)
        connection = web.WebSocketResponse()
        connection.headers.update({"X-Host-ID": "h", "X-Service-Type": "analyzer"})
        await connection.prepare(request)
        await connection.ping()
        async for message in connection:
            # Slower than the sender: what counts is that all of it is read before the end.
            await asyncio.sleep(0)
            self.messages.append(json.loads(message.data))
            if len(self.messages) == self.close_after:
                await connection.close()
        return connection


@pytest.fixture
def hub() -> Iterator[Hub]:
    served = Hub()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/ws/publisher", served.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        served.port = runner.addresses[0][1]
        return runner

    def run() -> None:
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    yield served
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def nodes(count: int) -> list[dict[str, Any]]:
    return [{"ID": f"n{number}", "Metadata": {"Name": "x" * 100}} for number in range(count)]


def test_everything_sent_has_been_read_when_the_publisher_is_closed(hub: Hub) -> None:
    """A program that publishes and ends must not lose its last words."""
    with Publisher(Access(port=hub.port), host_id="me") as publisher:
        publisher.add(nodes(2000), [{"ID": "e", "Parent": "n0", "Child": "n1"}])
        publisher.publish([("NodeDeleted", {"ID": "n0"})])
    assert [one["Obj"]["ID"] for one in hub.messages] == [f"n{n}" for n in range(2000)] + [
        "e",
        "n0",
    ]
    first, last = hub.messages[0], hub.messages[-1]
    assert (first["Namespace"], first["Type"], first["Status"]) == ("Graph", "NodeAdded", 200)
    assert (hub.messages[-2]["Type"], last["Type"]) == ("EdgeAdded", "NodeDeleted")
    assert len({one["UUID"] for one in hub.messages}) == 2002


def test_the_handshake_says_who_publishes(hub: Hub) -> None:
    """Origin and life of the elements follow from these headers."""
    access = Access(port=hub.port, username="u", password="p")
    with Publisher(access, host_id="me", client_type="seed", delete_on_disconnect=True):
        pass
    wanted = (
        "X-Host-ID",
        "X-Client-Type",
        "X-Client-Protocol",
        "X-Persistence-Policy",
        "Authorization",
    )
    assert [hub.headers[name] for name in wanted] == [
        "me", "seed", "json", "DeleteOnDisconnect", "Basic dTpw",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, ConfigError, "refuses the credentials"),
        (409, Unavailable, "has a publisher named 'me' already"),
        (404, ProtocolError, "refused with status 404"),
    ],
)
def test_a_refused_upgrade_is_one_line(
    hub: Hub, status: int, kind: type[Exception], said: str
) -> None:
    """Each of these has another remedy."""
    hub.refuse = status
    with pytest.raises(kind, match=said), Publisher(Access(port=hub.port), host_id="me"):
        pass


def test_a_server_that_goes_away_is_noticed(hub: Hub) -> None:
    """An import that was cut in the middle must not look complete."""
    hub.close_after = 10

    def publish() -> None:
        with Publisher(Access(port=hub.port)) as publisher:
            publisher.add(nodes(5000), [])

    with pytest.raises(Unavailable, match="the server closed the connection"):
        publish()


@pytest.mark.parametrize("count", [1, 10])
def test_a_close_right_after_the_last_message_is_noticed(hub: Hub, count: int) -> None:
    """A server that refuses this client closes without a word, whatever was sent."""
    hub.close_after = 1

    def publish() -> None:
        with Publisher(Access(port=hub.port)) as publisher:
            publisher.add(nodes(count), [])

    with pytest.raises(Unavailable, match="the server closed the connection"):
        publish()


def test_nobody_at_the_address_says_what_to_start() -> None:
    """The same line as for any other command."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        pytest.raises(Unavailable, match="start one with 'skydive allinone'"),
        Publisher(Access(port=port)),
    ):
        pass
