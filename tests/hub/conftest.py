"""Real servers on loopback for the tests of the hub."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, web

from skydiver.base.clock import ClockNs, wall_ns
from skydiver.base.errors import ProtocolError, QueryError, SkydiverError, Unavailable
from skydiver.base.ids import NodeID, Origin
from skydiver.base.losses import Losses
from skydiver.graph import (
    Edge,
    EdgeSpec,
    Graph,
    GraphEvent,
    Node,
    NodeSpec,
    Op,
    OpKind,
    Writer,
)
from skydiver.hub.clocks import HostClock
from skydiver.hub.messages import Message, Protocol, decode, encode
from skydiver.hub.pod import Pod
from skydiver.hub.server import Hub
from skydiver.hub.settings import HubSettings
from skydiver.native import FlowTable, flow_message_json
from skydiver.objects.capture import Capture

Serve: TypeAlias = Callable[[web.Application], Awaitable[str]]
Connect: TypeAlias = Callable[..., Awaitable["Peer"]]
Run: TypeAlias = Callable[["Agent"], Awaitable["Agent"]]
Start: TypeAlias = Callable[["Server"], Awaitable["Server"]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start applications on ephemeral loopback ports; each gives its `host:port`."""
    runners: list[web.AppRunner] = []

    async def start(app: web.Application) -> str:
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"{host}:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()


class Peer:
    """A client that speaks the protocol by hand, as foreign programs do."""

    def __init__(self, socket: ClientWebSocketResponse, protocol: Protocol) -> None:
        self.socket = socket
        self.protocol = protocol

    async def send(self, message: Message) -> None:
        data = encode(message, self.protocol)
        if self.protocol is Protocol.PROTOBUF:
            await self.socket.send_bytes(data)
        else:
            await self.socket.send_str(data.decode())

    async def receive(self, timeout_s: float = 5.0) -> Message:
        """The next message."""
        received = await self.socket.receive(timeout=timeout_s)
        data = received.data
        assert isinstance(data, str | bytes), f"no message but {received}"
        return decode(data.encode() if isinstance(data, str) else data, self.protocol)

    async def silent(self, timeout_s: float = 0.15) -> bool:
        """True when nothing comes for a moment."""
        try:
            await self.receive(timeout_s)
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connect to an endpoint with headers of the handshake."""
    peers: list[Peer] = []
    async with ClientSession() as session:

        async def open_(
            address: str,
            path: str,
            host_id: str = "peer",
            client_type: str = "test",
            protocol: str = "json",
            headers: Mapping[str, str] | None = None,
            **options: Any,
        ) -> Peer:
            socket = await session.ws_connect(
                f"ws://{address}{path}",
                headers={
                    "X-Host-ID": host_id,
                    "X-Client-Type": client_type,
                    "X-Client-Protocol": protocol,
                    **(headers or {}),
                },
                max_msg_size=0,
                **options,
            )
            peers.append(Peer(socket, Protocol(protocol or "json")))
            return peers[-1]

        yield open_
        for peer in peers:
            await peer.socket.close()


async def eventually(
    condition: Callable[[], object], what: str = "", timeout_s: float = 10.0
) -> None:
    """Wait until `condition` holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        assert loop.time() < deadline, f"did not happen: {what or condition}"
        await asyncio.sleep(0.005)


class Server:
    """A hub over a graph of its own, as an analyzer or an agent runs one."""

    def __init__(
        self,
        host_id: str = "a1",
        service: str = "analyzer",
        graph: Graph | None = None,
        **settings: Any,
    ) -> None:
        self.graph = graph or Graph(host=host_id, origin=Origin(f"{service}.{host_id}"))
        self.losses = Losses()
        self.hub = Hub(
            graph=self.graph,
            host_id=host_id,
            losses=self.losses,
            gremlin=self.evaluate,
            settings=HubSettings(**settings),
        )
        self.app = web.Application()
        self.hub.add_routes(self.app)
        self.address = ""
        self.events: list[GraphEvent] = []
        self.graph.subscribe(self.events.append)
        self.past: dict[int, tuple[list[Node], list[Edge]]] = {}
        """What the graph was at a time, for `evaluate`."""

    async def evaluate(self, text: str, at_ms: int | None) -> tuple[Sequence[Node], Sequence[Edge]]:
        """Stands in for Gremlin: `G` is everything, `Type=x` the nodes of a type and the edges
        between them."""
        if at_ms is not None and at_ms not in self.past:
            raise QueryError("Backend does not support history")
        view = self.graph.view()
        nodes, edges = (
            (list(view.nodes()), list(view.edges())) if at_ms is None else self.past[at_ms]
        )
        if text == "G":
            return nodes, edges
        key, equals, value = text.partition("=")
        if not equals:
            raise QueryError("expected G or Type=x", column=1)
        nodes = [node for node in nodes if node.metadata.get(key) == value]
        ids = {node.id for node in nodes}
        return nodes, [edge for edge in edges if edge.parent in ids and edge.child in ids]


@pytest.fixture
async def start(serve: Serve) -> AsyncIterator[Start]:
    """Start servers; each has its address then."""
    tasks: list[asyncio.Task[None]] = []

    async def run(server: Server) -> Server:
        server.address = await serve(server.app)
        tasks.append(asyncio.get_running_loop().create_task(server.hub.run(), name="hub"))
        return server

    yield run
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def node(node_id: str, type_: str = "device", **members: Any) -> dict[str, Any]:
    """A node as a publisher sends it."""
    metadata = {"Type": type_, "Name": node_id, **members.pop("metadata", {})}
    return {"ID": node_id, "Host": "h1", "Metadata": metadata, **members}


def edge(parent: str, child: str, **members: Any) -> dict[str, Any]:
    """An edge as a publisher sends it."""
    metadata = {"RelationType": "layer2", **members.pop("metadata", {})}
    return {
        "ID": f"{parent}-{child}",
        "Host": "h1",
        "Parent": parent,
        "Child": child,
        "Metadata": metadata,
        **members,
    }


def flow_message(*ports: int, capture: str = "c1") -> bytes:
    """A `flow.Message` with one flow of UDP from each of the ports."""
    table = FlowTable(node_tid="tid", capture_id=capture)
    for port in ports:
        frame = bytes.fromhex(
            "020000000002020000000001080045000020000000004011000a0a0000010a000002"
        ) + struct.pack("!HHHH", port, 9, 12, 0)
        table.feed(frame + bytes(18), at_ns=1_000_000_000)
    return table.flush(2_000)


def ports_of(message: bytes) -> list[int]:
    """What `flow_message` was made of, in any order."""
    return sorted(flow["Transport"]["A"] for flow in json.loads(flow_message_json(message)))


class Agent:
    """A pod over a graph of its own, with captures and flow tables that only remember."""

    def __init__(
        self,
        *analyzers: Server | str,
        host_id: str = "h1",
        ready: Callable[[], Awaitable[object]] | None = None,
        clock_ns: ClockNs = wall_ns,
        clock_of: NodeID | None = None,
        **settings: Any,
    ) -> None:
        self.graph = Graph(host=host_id, origin=Origin(f"agent.{host_id}"))
        self.losses = Losses()
        self.ordered: list[tuple[str, str, str]] = []
        """Verb, node and capture of each order."""
        self.answer: int | SkydiverError = 200
        """To orders of captures."""
        self.searches: list[bytes] = []
        self.flow_sets: list[bytes] = []
        self.hold: asyncio.Event | None = None
        """Orders wait for it."""
        self.pod = Pod(
            graph=self.graph,
            host_id=host_id,
            analyzers=[getattr(analyzer, "address", analyzer) for analyzer in analyzers],
            captures=self,
            flows=self.search,
            losses=self.losses,
            settings=HubSettings(**settings),
            ready=ready,
            clock_ns=clock_ns,
            clock_told=(
                HostClock(self.graph.owned_by("clock"), clock_of).tell if clock_of else None
            ),
            questions={("Weather", "Today"): self.weather},
        )

    @staticmethod
    def weather(question: Any) -> Any:
        """Answers a question of a kind that the hub knows nothing of."""
        if question == "nonsense":
            raise ProtocolError("not a question")
        if question == "hidden":
            raise Unavailable("nobody knows")
        return {"Asked": question}

    @property
    def writer(self) -> Writer:
        return self.graph.owned_by("test")

    def state(self, node_id: str, type_: str = "device", **metadata: Any) -> Node:
        """State a node."""
        content = {"Type": type_, "Name": node_id, **metadata}
        return self.writer.upsert(NodeSpec(NodeID(node_id), content))

    def link(self, parent: str, child: str) -> None:
        self.writer.link(EdgeSpec(NodeID(parent), NodeID(child), {"RelationType": "layer2"}))

    async def start(self, node_id: NodeID, request: Capture) -> int:
        """Do what a capture set does to the graph: add to `Captures` of the node."""
        return await self._order("start", node_id, request.uuid, add=request)

    async def stop(self, node_id: NodeID, capture_id: str) -> int:
        return await self._order("stop", node_id, capture_id)

    async def _order(
        self, verb: str, node_id: NodeID, capture_id: str, add: Capture | None = None
    ) -> int:
        self.ordered.append((verb, node_id, capture_id))
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(self.answer, SkydiverError):
            raise self.answer
        found = self.graph.node(node_id)
        if self.answer == 200 and found is not None:
            entries = [e for e in found.metadata.get("Captures", []) if e["ID"] != capture_id]
            if add is not None:
                entries.append({"ID": capture_id, "State": "active", "Type": add.type})
            op = Op(OpKind.SET, "Captures", entries) if entries else Op(OpKind.DELETE, "Captures")
            self.writer.patch(node_id, [op])
        return self.answer

    def search(self, search: bytes) -> list[bytes]:
        self.searches.append(search)
        return self.flow_sets


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Run agents; gives each once it runs."""
    tasks: list[asyncio.Task[None]] = []

    async def begin(agent: Agent) -> Agent:
        tasks.append(asyncio.get_running_loop().create_task(agent.pod.run(), name="pod"))
        return agent

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def same(agent: Agent, server: Server) -> bool:
    """True when the analyzer has exactly what the agent has, to the last member."""
    here, there = agent.graph.view(), server.graph.view()
    origin = agent.graph.origin
    return (
        {n.id: n for n in here.nodes()} == {n.id: n for n in there.nodes() if n.origin == origin}
    ) and (
        {e.id: e for e in here.edges()} == {e.id: e for e in there.edges() if e.origin == origin}
    )
