"""What every request meets: routes, errors, limits, other origins, hostile bytes."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from tests.api.conftest import Api, Start

from skydiver.api import authenticator, refuse_exposure, serve
from skydiver.base.errors import ConfigError, StoreError
from skydiver.base.settings import Address, load_settings


async def raw(port: int, data: bytes) -> bytes:
    """What the server answers to these bytes before it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    writer.write_eof()
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@asynccontextmanager
async def connection(port: int, data: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """What the server answers while the sender of these bytes stays and says no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            yield reader
    finally:
        writer.close()


async def test_the_address_that_is_printed_at_the_start_says_where_to_go_on(api: Api) -> None:
    """It is what a person opens first; "not found" looks like a broken installation."""
    answer = await api.ask("GET", "/")
    assert (answer.status, "/api/openapi.json" in answer.text) == (200, True)


@pytest.mark.parametrize("path", ["/nope", "/api/nope", "/swagger", "/api/usermetadata", "//"])
async def test_an_unknown_path_is_not_found(api: Api, path: str) -> None:
    """The original's words, which scripts look for."""
    answer = await api.ask("GET", path)
    assert (answer.status, answer.text) == (404, "404 page not found\n")
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/topology", "GET, POST"),
        ("PUT", "/api/capture", "GET, POST"),
        ("HEAD", "/api", "GET"),
        ("POST", "/api/status", "GET"),
        ("OPTIONS", "/api", "GET"),
        ("PUT", "/api/capture/x", "DELETE, GET, PATCH"),
    ],
)
async def test_another_method_is_not_allowed(api: Api, method: str, path: str, allow: str) -> None:
    """There is neither PUT nor HEAD."""
    answer = await api.ask(method, path)
    assert answer.status == 405
    assert answer.header("Allow") == allow


@pytest.mark.parametrize("path", ["/api/", "/api/capture/", "/api/topology//", "/metrics/"])
async def test_a_trailing_slash_is_redirected(api: Api, path: str) -> None:
    """People write it, the original redirects it."""
    answer = await api.ask("GET", f"{path}?a=b")
    assert answer.status == 301
    assert answer.header("Location") == f"{path.rstrip('/')}?a=b"


async def test_nobody_is_redirected_elsewhere(api: Api) -> None:
    """Only to paths that exist here."""
    for path in ("//evil.example/", "/api/nope/", "/\\evil.example/"):
        assert (await api.ask("GET", path)).status == 404


async def test_a_body_that_is_too_large_is_refused_with_one_line(start: Start) -> None:
    """A hundred megabytes must cost neither memory nor the other clients."""
    async with start({"http.rest.max_body_bytes": 10_000}) as api:
        for path in ("/api/topology", "/api/capture"):
            answer = await api.ask("POST", path, data=b"x" * 20_000)
            assert answer.status == 413
            assert answer.text == "body too large, expected at most 10000 bytes\n"

        async def endless() -> object:
            for _ in range(100):
                yield b"x" * 1_000

        assert (await api.ask("POST", "/api/topology", data=endless())).status == 413
        assert (await api.query("G.V().Count()")).json == 4


@pytest.mark.parametrize("more", [b"", b"Expect: 100-continue\r\n"])
async def test_a_declared_length_above_the_limit_is_refused_before_the_body(
    api: Api, more: bytes
) -> None:
    """Nobody waits for what is refused anyway, least of all the client."""
    length = api.settings.http.rest.max_body_bytes + 1
    request = b"POST /api/topology HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n"
    async with connection(api.port, request % (more, length)) as reader:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert (await reader.readline()).startswith(b"body too large, expected at most ")


@pytest.mark.parametrize(
    "body", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"]
)
async def test_a_body_that_does_not_arrive_ends_its_connection(
    start: Start, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a request costs its sender nothing, and us a connection."""
    monkeypatch.setattr("skydiver.api.bodies.BODY_S", 0.05)
    monkeypatch.setattr("skydiver.api.server.LINGER_S", 0.05)
    async with start() as api:
        for path in (b"/api/topology", b"/api/capture"):
            request = b"POST %s HTTP/1.1\r\nHost: localhost\r\n%s" % (path, body)
            async with connection(api.port, request) as reader:
                answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"\r\nConnection: close\r\n" in answer
            assert answer.endswith(b"\r\n\r\nthe body did not arrive within 0.05 s\n")


@pytest.mark.parametrize("sent", [b"", b"GET /api HTTP/1.1\r\nHost: local"])
async def test_headers_that_do_not_arrive_end_their_connection(
    start: Start, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same before there is a request at all."""
    monkeypatch.setattr("skydiver.api.server.KEEP_ALIVE_S", 0.05)
    async with start() as api, connection(api.port, sent) as reader:
        assert await reader.read() == b""


async def test_a_compressed_body_is_refused(api: Api) -> None:
    """A few bytes can stand for any amount of memory."""
    answer = await api.ask(
        "POST", "/api/topology", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}
    )
    assert (answer.status, answer.text) == (415, "compressed request bodies are not accepted\n")


async def test_an_outage_is_one_line_and_503(start: Start) -> None:
    """The disk is full: said so, and everything else goes on."""
    async with start() as api:
        await api.store.close()
        answer = await api.ask("GET", "/api/capture")
        assert answer.status == 503
        assert answer.text.endswith("objects.db: closed\n")
        assert (await api.query("G.V().Count()")).status == 200
        api.store.close = _nothing  # type: ignore[method-assign]


async def _nothing() -> None:
    pass


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"garbage\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1_000 + b"\r\n",
        b"POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/topology HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /api HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: x\r\nExpect: \xd8\r\n\r\n",
        b"GET /nope HTTP/1.1\r\nHost: x\r\nExpect: \xd8\r\n\r\n",
        b"GET /api/?\xff HTTP/1.1\r\nHost: \xd8\r\nOrigin: \xd8\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nOrigin: \xd8\r\nCookie: \xd8=\xd8\r\n"
        b"Content-Length: 0\r\n\r\n",
        b"\x00" * 1_000,
    ],
)
async def test_a_peer_that_speaks_no_http_harms_nobody(
    api: Api, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered or cut off, at most one line is logged, and the next request is served."""
    answer = await raw(api.port, data)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4") or b"200 OK" in answer
    assert (await api.query("G.V().Count()")).json == 4
    stacks = [record for record in caplog.records if record.exc_info]
    assert stacks == []
    assert all(record.levelno <= logging.WARNING for record in caplog.records)


async def test_a_client_that_hangs_up_early_harms_nobody(api: Api) -> None:
    """Before the answer, and in the middle of the request."""
    for data in (
        b"POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: 25\r\n\r\n"
        b'{"GremlinQuery": "G.V()"}',
        b"POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n{",
    ):
        with socket.create_connection(("127.0.0.1", api.port)) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            peer.sendall(data)
    assert (await api.query("G.V().Count()")).json == 4


async def test_further_routes_share_errors_and_guards(start: Start) -> None:
    """The hub's endpoints are added to the same application."""

    async def refused(request: web.Request) -> web.Response:
        raise StoreError("no room")

    def add(app: web.Application) -> None:
        app.router.add_get("/ws/other", refused)

    async with start(add_routes=add) as api:
        answer = await api.ask("GET", "/ws/other")
        assert (answer.status, answer.text) == (503, "no room\n")
        assert (await api.ask("GET", "/ws/other/")).status == 301


async def test_websockets_pass_through_untouched(start: Start) -> None:
    """What has been answered already must not be answered again."""

    async def echo(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async with start(add_routes=lambda app: app.router.add_get("/ws/echo", echo)) as api:
        url = f"http://127.0.0.1:{api.port}/ws/echo"
        async with api.session.ws_connect(url, headers={"Origin": "http://x.example"}) as peer:
            await peer.send_str("hello")
            assert await peer.receive_str() == "hello"


async def test_a_port_in_use_is_one_clear_line(api: Api) -> None:
    """The commonest reason why a program does not start."""
    with pytest.raises(
        ConfigError,
        match=rf"^analyzer\.listen: cannot listen on .*:{api.port}: address already in use$",
    ):
        async with serve(web.Application(), Address("127.0.0.1", api.port), key="analyzer.listen"):
            pass


@pytest.mark.parametrize(("host", "words"), [("203.0.113.1", "assign"), ("no.invalid", "")])
async def test_an_address_that_is_not_ours_is_one_clear_line(host: str, words: str) -> None:
    """A typing error in the settings."""
    with pytest.raises(ConfigError, match=rf"^agent\.listen: cannot listen on {host}:0: .*{words}"):
        async with serve(web.Application(), Address(host, 0), key="agent.listen"):
            pass


async def test_ipv6_is_listened_on(start: Start) -> None:
    """With brackets, as it is written in the settings."""
    app = web.Application()
    async with (
        serve(app, Address("::1", 0), key="x") as address,
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/") as answer,
    ):
        assert answer.status == 404


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        ({}, False),
        ({"analyzer.listen": "localhost:8082"}, False),
        ({"analyzer.listen": "0.0.0.0:8082"}, True),
        ({"analyzer.listen": "[::]:8082"}, True),
        (
            {"analyzer.listen": "0.0.0.0:8082", "analyzer.auth.allow_unauthenticated": True},
            False,
        ),
        (
            {
                "analyzer.listen": "0.0.0.0:8082",
                "analyzer.auth.api.backend": "basic",
                "auth.basic.users": {"a": "b"},
            },
            False,
        ),
    ],
)
def test_listening_beyond_this_machine_needs_authentication_or_a_word(
    overrides: dict[str, object], refused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole network's topology, and captures at will, for everybody who finds the port."""
    settings = load_settings([], overrides, {})
    key = "analyzer.auth.api.backend"
    ways = {key: authenticator(settings, settings.analyzer.auth.api.backend, key)}
    if refused:
        with pytest.raises(ConfigError) as raised:
            refuse_exposure("analyzer", settings, ways)
        assert "without authentication; set analyzer.auth.api.backend to basic" in str(raised.value)
        assert "--allow-unauthenticated" in str(raised.value)
    else:
        refuse_exposure("analyzer", settings, ways)
    warned = "analyzer.auth.allow_unauthenticated" in overrides
    assert len(caplog.records) == warned
