"""Who may come in: the checks of the handshake, in their order and with their answers."""

import asyncio

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, web
from tests.hub.conftest import Connect, Serve, eventually

from skydiver.base.losses import Losses, LossReason
from skydiver.hub.connection import Connection
from skydiver.hub.messages import Message, Protocol
from skydiver.hub.pool import Authenticate, Pool
from skydiver.hub.settings import HubSettings


class Endpoint:
    """One endpoint whose peers are echoed."""

    def __init__(
        self, settings: HubSettings | None = None, authenticate: Authenticate | None = None
    ) -> None:
        self.losses = Losses()
        self.pool = Pool(
            "hub.test",
            service="analyzer",
            host_id="a1",
            settings=settings or HubSettings(),
            losses=self.losses,
            authenticate=authenticate,
            largest_message=1024 * 1024,
            turn=asyncio.Lock(),
        )
        self.app = web.Application()
        self.app.router.add_get("/ws", self._accept)

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        return await self.pool.accept(request, self._serve)

    async def _serve(self, connection: Connection) -> None:
        await connection.serve(lambda message: connection.send(message))


async def test_the_answer_names_the_server_and_pings_at_once(serve: Serve) -> None:
    """Go clients hang up without the two headers; some browsers wait for the ping."""
    address = await serve(Endpoint().app)
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(
        b"GET /ws?x-client-type=webui HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 101 ")
    assert "X-Host-ID: a1\r\n" in head
    assert "X-Service-Type: analyzer\r\n" in head
    assert "deflate" not in head
    assert await reader.readexactly(2) == b"\x89\x00"
    writer.close()


async def test_json_may_come_in_binary_frames_and_is_answered_in_text(
    serve: Serve, connect: Connect
) -> None:
    """Go clients that choose no protocol do that; the handshake decides, not the opcode."""
    address = await serve(Endpoint().app)
    peer = await connect(address, "/ws", protocol="")
    await peer.socket.send_bytes(b'{"Namespace":"N","Type":"T","Obj":[1]}')
    received = await peer.socket.receive(timeout=5)
    assert received.type is WSMsgType.TEXT
    assert received.json()["Obj"] == [1]


async def test_protobuf_is_answered_in_binary_frames(serve: Serve, connect: Connect) -> None:
    """Agents speak it."""
    address = await serve(Endpoint().app)
    peer = await connect(address, "/ws", protocol="protobuf")
    await peer.send(Message("N", "T", {"a": 1}, "u"))
    assert peer.protocol is Protocol.PROTOBUF
    assert await peer.receive() == Message("N", "T", {"a": 1}, "u")


async def test_a_second_peer_with_the_same_host_id_gets_409(serve: Serve, connect: Connect) -> None:
    """Two agents under one name would delete each other's elements (contract test WS4)."""
    endpoint = Endpoint()
    address = await serve(endpoint.app)
    first = await connect(address, "/ws", "h1")
    answering = asyncio.get_running_loop().create_task(first.receive(), name="answers pings")
    with pytest.raises(WSServerHandshakeError) as raised:
        await connect(address, "/ws", "h1")
    assert raised.value.status == 409
    await connect(address, "/ws", "h2")
    await eventually(lambda: sorted(endpoint.pool.connections) == ["h1", "h2"])
    answering.cancel()


async def test_a_host_that_vanished_gets_its_place_back(serve: Serve, connect: Connect) -> None:
    """After a power cut the old connection says nothing more; the new one need not wait for it."""
    endpoint = Endpoint()
    address = await serve(endpoint.app)
    await connect(address, "/ws", "h1", autoping=False)
    again = await connect(address, "/ws", "h1")
    await again.send(Message("N", "T"))
    assert (await again.receive()).type == "T"
    assert list(endpoint.pool.connections) == ["h1"]


async def test_a_request_that_is_no_websocket_gets_426(serve: Serve) -> None:
    """Somebody opened the address in a browser."""
    address = await serve(Endpoint().app)
    async with (
        ClientSession() as session,
        session.get(f"http://{address}/ws", headers={"X-Host-ID": "h1"}) as answer,
    ):
        assert answer.status == 426
        assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("refusal", [web.HTTPUnauthorized, web.HTTPForbidden])
async def test_a_refused_peer_gets_the_answer_before_the_upgrade(
    serve: Serve, connect: Connect, refusal: type[web.HTTPException]
) -> None:
    """401 for who it is, 403 for what it may do; both before the host id is looked at."""

    async def refuse(_request: web.Request) -> None:
        raise refusal(text="")

    endpoint = Endpoint(authenticate=refuse)
    address = await serve(endpoint.app)
    with pytest.raises(WSServerHandshakeError) as raised:
        await connect(address, "/ws")
    assert raised.value.status == refusal().status
    assert not endpoint.pool.connections


@pytest.mark.parametrize(
    "handshake",
    [
        {"client_type": ""},
        {"headers": {"X-Client-Protocol": "xml"}},
        {"headers": {"X-Update-Policy": "some"}},
    ],
)
async def test_a_bad_handshake_is_closed_after_the_upgrade(
    serve: Serve, connect: Connect, handshake: dict[str, object]
) -> None:
    """The original upgrades first and closes with 1000; clients rely on nothing else."""
    endpoint = Endpoint()
    address = await serve(endpoint.app)
    peer = await connect(address, "/ws", **handshake)
    received = await peer.socket.receive(timeout=5)
    assert received.type is WSMsgType.CLOSE
    assert received.data == 1000
    assert endpoint.losses.counts() == {("hub.test", LossReason.INVALID): 1}


async def test_query_parameters_stand_in_for_headers(serve: Serve) -> None:
    """Browsers cannot set headers."""
    endpoint = Endpoint()
    address = await serve(endpoint.app)
    query = (
        "x-client-type=webui&x-host-id=ui&x-update-policy=partial&x-gremlin-filter=G"
        "&x-websocket-namespace=Graph&x-websocket-namespace=Alert"
    )
    async with (
        ClientSession() as session,
        session.ws_connect(f"ws://{address}/ws?{query}"),
    ):
        await eventually(lambda: "ui" in endpoint.pool.connections)
        handshake = endpoint.pool.connections["ui"].handshake
        assert handshake.origin == "webui.ui"
        assert handshake.partial_updates
        assert handshake.gremlin_filter == "G"
        assert handshake.wants("Alert")
        assert not handshake.wants("Flow")


async def test_a_peer_without_host_id_is_known_by_its_address(
    serve: Serve, connect: Connect
) -> None:
    """Several anonymous clients of one machine must not collide."""
    endpoint = Endpoint()
    address = await serve(endpoint.app)
    await connect(address, "/ws", host_id="")
    await connect(address, "/ws", host_id="")
    await eventually(lambda: len(endpoint.pool.connections) == 2)


async def test_the_status_names_what_is_known_of_a_peer(serve: Serve, connect: Connect) -> None:
    """The shape is the original's (api.md §3.12)."""
    endpoint = Endpoint()
    address = await serve(endpoint.app)
    await connect(address, "/ws", "h1", client_type="agent", protocol="protobuf")
    await eventually(endpoint.pool.status)
    status = endpoint.pool.status()["h1"]
    assert status.pop("Port") > 0
    assert status.pop("ConnectTime").endswith("Z")
    assert status == {
        "ServiceType": "agent",
        "ClientProtocol": "protobuf",
        "Addr": "127.0.0.1",
        "IsConnected": True,
        "RemoteHost": "h1",
    }
