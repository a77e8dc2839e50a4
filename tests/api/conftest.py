"""A real server on loopback over a real graph, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from multidict import CIMultiDictProxy

from skydiver.api import authenticator, build_app, serve
from skydiver.base.ids import NodeID, Origin
from skydiver.base.losses import Losses
from skydiver.base.settings import Address, Settings, load_settings
from skydiver.flow import FlowSource
from skydiver.graph import EdgeSpec, Graph, NodeSpec
from skydiver.objects import ObjectStore
from skydiver.storage.sqlite import SqliteObjectStore


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


@dataclass(frozen=True, slots=True)
class Api:
    """A running API and what is behind it."""

    port: int
    session: aiohttp.ClientSession
    graph: Graph
    store: ObjectStore
    losses: Losses
    settings: Settings

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        """One request; nothing is followed and nothing is decompressed."""
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, allow_redirects=False, **options) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def query(self, gremlin: str, **headers: str) -> Answer:
        return await self.ask(
            "POST", "/api/topology", json={"GremlinQuery": gremlin}, headers=headers
        )

    async def capture(self, **members: Any) -> Answer:
        return await self.ask("POST", "/api/capture", json={"GremlinQuery": "G.V()", **members})


Start = Callable[..., AbstractAsyncContextManager[Api]]


def fill(graph: Graph) -> None:
    """A host with a namespace; an interface in each, linked by a veth pair."""
    source = graph.owned_by("test")

    def node(id_: str, type_: str, **metadata: Any) -> None:
        source.upsert(NodeSpec(NodeID(id_), {"Name": id_, "Type": type_, **metadata}))

    node("host", "host")
    node("vm1", "netns")
    node("eth0", "veth", IfIndex=2, MTU=1500, Metric={"RxBytes": 10, "TxPackets": 3, "Last": 9})
    node("eth1", "veth", IfIndex=3, MTU=9000, Metric={"RxBytes": 20})
    for parent, child, relation in (
        ("host", "vm1", "ownership"),
        ("host", "eth0", "ownership"),
        ("vm1", "eth1", "ownership"),
        ("eth0", "eth1", "layer2"),
    ):
        source.link(EdgeSpec(NodeID(parent), NodeID(child), {"RelationType": relation}))


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts an API with settings by dotted key, and more arguments for `build_app`."""

    @asynccontextmanager
    async def start(
        overrides: dict[str, Any] | None = None,
        *,
        flows: FlowSource | None = None,
        **more: Any,
    ) -> AsyncIterator[Api]:
        service = more.pop("service", "analyzer")
        settings = load_settings([], {"host_id": "h1", **(overrides or {})}, {})
        graph = Graph(host="h1", origin=Origin("agent.h1"), clock_ms=lambda: 1_700_000_000_000)
        fill(graph)
        losses = Losses()
        store = await SqliteObjectStore.open(tmp_path / "objects.db", losses=losses)
        backend = settings.analyzer.auth.api.backend
        app = build_app(
            service=service,
            settings=settings,
            view=graph.view,
            authenticator=authenticator(settings, backend, "analyzer.auth.api.backend"),
            losses=losses,
            store=store if service == "analyzer" else None,
            flows=flows,
            **{"status": lambda: {"Agents": {}}, **more},
        )
        try:
            async with (
                serve(app, Address("127.0.0.1", 0), key="analyzer.listen") as address,
                aiohttp.ClientSession(
                    auto_decompress=False,
                    skip_auto_headers={"Accept-Encoding"},
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as session,
            ):
                yield Api(address.port, session, graph, store, losses, settings)
        finally:
            await store.close()

    return start


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    async with start() as running:
        yield running
