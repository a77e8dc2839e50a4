"""A small server with the documented endpoints, and the command line run as a process."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import WSMsgType, web

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass
class Analyzer:
    """What api.md §3.1, §3.5, §3.6, §3.11, §3.12 and §2.8 say, over data that a test sets."""

    answers: dict[str, Any] = field(default_factory=dict)
    """Gremlin text to result; another text is refused as the real parser does."""
    captures: dict[str, dict[str, Any]] = field(default_factory=dict)
    routes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By the identifier of the node."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """Parameters of each request for routes."""
    status: dict[str, Any] = field(default_factory=dict)
    password: str = ""
    missing: str = ""
    """Hosts whose flows are not in the answers."""
    left_out: str = ""
    """Number of packets that have no place in a pcap file."""
    seen: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    """Method, path, headers and body of each request."""
    published: list[dict[str, Any]] = field(default_factory=list)
    publisher_headers: dict[str, str] = field(default_factory=dict)
    address: str = ""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.guard])
        app.add_routes([
            web.get("/api", self.info),
            web.get("/api/status", self.get_status),
            web.post("/api/topology", self.topology),
            web.get("/api/capture", self.list_captures),
            web.post("/api/capture", self.create_capture),
            web.get("/api/capture/{id:.*}", self.get_capture),
            web.delete("/api/capture/{id:.*}", self.delete_capture),
            web.get("/api/routes/{id:.*}", self.get_routes),
            web.get("/ws/publisher", self.publisher),
        ])  # fmt: skip
        return app

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        text = await request.text() if request.can_read_body else ""
        body = json.loads(text) if text else None
        self.seen.append((request.method, request.path, dict(request.headers), body))
        if self.password and request.headers.get("Authorization") != f"Basic {self.password}":
            return web.Response(status=401, text="Wrong credentials\n")
        response: web.StreamResponse = await handler(request)
        if isinstance(response, web.Response) and response.body:
            response.enable_compression()
        return response

    async def info(self, request: web.Request) -> web.Response:
        return web.json_response({"Host": "h", "Version": "1", "Service": "analyzer"})

    async def get_status(self, request: web.Request) -> web.Response:
        return web.json_response(self.status)

    async def topology(self, request: web.Request) -> web.Response:
        gremlin = (await request.json())["GremlinQuery"]
        if gremlin not in self.answers:
            return web.Response(status=400, text="unexpected 'X' (column 7)\n")
        answer = self.answers[gremlin]
        if isinstance(answer, bytes):
            told = {"X-Skydive-Left-Out": self.left_out} if self.left_out else {}
            accept = request.headers["Accept"]
            return web.Response(body=answer, content_type=accept, headers=told)
        headers = {"X-Skydive-Missing": self.missing} if self.missing else {}
        return web.json_response(answer, headers=headers)

    async def list_captures(self, request: web.Request) -> web.Response:
        return web.json_response(self.captures)

    async def create_capture(self, request: web.Request) -> web.Response:
        body = await request.json()
        if any(one["GremlinQuery"] == body["GremlinQuery"] for one in self.captures.values()):
            return web.Response(status=409, text="duplicated resource\n")
        made = {"UUID": f"u{len(self.captures)}", **body, "Count": 0}
        self.captures[made["UUID"]] = made
        return web.json_response(made, status=201)

    async def get_capture(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        if id_ not in self.captures:
            return web.Response(status=404, text=f"Capture '{id_}' not found\n")
        return web.json_response(self.captures[id_])

    async def delete_capture(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        if self.captures.pop(id_, None) is None:
            return web.Response(status=404, text=f"Capture '{id_}' not found\n")
        return web.Response()

    async def get_routes(self, request: web.Request) -> web.Response:
        routes = self.routes[request.match_info["id"]]
        self.asked.append(dict(request.query))
        first = int(request.query["offset"])
        page = routes[first : first + int(request.query["limit"])]
        return web.json_response({"Total": len(routes), "Routes": page})

    async def publisher(self, request: web.Request) -> web.StreamResponse:
        self.publisher_headers = dict(request.headers)
        socket = web.WebSocketResponse()
        socket.headers.update({"X-Host-ID": "h", "X-Service-Type": "analyzer"})
        await socket.prepare(request)
        await socket.ping()
        async for message in socket:
            assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY)
            self.published.append(json.loads(message.data))
        return socket


@pytest.fixture
def analyzer() -> Iterator[Analyzer]:
    """The server, in a thread of its own."""
    served = Analyzer()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def serve() -> web.AppRunner:
        runner = web.AppRunner(served.app())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        served.address = f"{host}:{port}"
        return runner

    def run() -> None:
        runner = loop.run_until_complete(serve())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    yield served
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture
def skydive() -> Run:
    """Run ``skydive`` with these words, without the variables of the tests' own environment."""

    def run(*words: str, binary: bool = False, **environment: str) -> Any:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SKYDIVE_")}
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "skydiver.cli", *words],
            env={**clean, **environment},
            capture_output=True,
            text=not binary,
            timeout=60,
            check=False,
        )

    return run
