"""The agent's end: who gets the topology, what happens when they go, and orders."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from tests.hub.conftest import Agent, Run, Serve, Server, Start, eventually, same

from skydiver.base.errors import Unavailable
from skydiver.base.ids import EdgeID, NodeID
from skydiver.base.losses import LossReason
from skydiver.filters import Eq
from skydiver.flow import tables_pb2
from skydiver.flow.search import FlowSearch
from skydiver.flow.wire import search_to_wire
from skydiver.graph import Op, OpKind
from skydiver.hub.messages import Format, Message, Protocol, decode, encode, event
from skydiver.hub.table_query import query_message, read_result


class Bare:
    """An analyzer that only notes what it gets, so that every message can be looked at."""

    def __init__(self, **headers: str) -> None:
        self.app = web.Application()
        self.app.router.add_get("/ws/agent/topology", self._accept)
        self.received: list[Message] = []
        self.handshake: dict[str, str] = {}
        self.sockets: list[web.WebSocketResponse] = []
        self.read = asyncio.Event()
        self.read.set()
        self._headers = headers or {"X-Host-ID": "bare", "X-Service-Type": "analyzer"}

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        self.handshake = dict(request.headers)
        socket = web.WebSocketResponse(max_msg_size=0)
        socket.headers.update(self._headers)
        await socket.prepare(request)
        self.sockets.append(socket)
        while True:
            await self.read.wait()
            received = await socket.receive()
            if received.type is not WSMsgType.BINARY:
                return socket
            self.received.append(decode(received.data, Protocol.PROTOBUF))

    async def send(self, message: Message) -> None:
        await self.sockets[-1].send_bytes(encode(message, Protocol.PROTOBUF))

    async def ask(self, message: Message) -> Message:
        """Send an order and give its answer."""
        await self.send(message)
        await eventually(lambda: any(m.uuid == message.uuid for m in self.received))
        return next(m for m in self.received if m.uuid == message.uuid)

    def types(self) -> list[str]:
        return [message.type for message in self.received]


@asynccontextmanager
async def bare(serve: Serve, run: Run, **settings: Any) -> AsyncIterator[tuple[Bare, Agent]]:
    """An agent connected to a bare analyzer."""
    analyzer = Bare()
    agent = Agent(await serve(analyzer.app), **settings)
    agent.state("a")
    await run(agent)
    await eventually(lambda: "Sync" in analyzer.types())
    yield analyzer, agent


async def test_an_analyzer_gets_everything_and_then_each_change(serve: Serve, run: Run) -> None:
    """As original analyzers expect it: protobuf, one Sync, updates always partial (§2.11)."""
    async with bare(serve, run) as (analyzer, agent):
        assert {k: analyzer.handshake[k] for k in analyzer.handshake if k.startswith("X-")} == {
            "X-Host-ID": "h1",
            "X-Client-Type": "agent",
            "X-Client-Protocol": "protobuf",
            "X-Websocket-Namespace": "*",
            "X-Persistence-Policy": "DeleteOnDisconnect",
            "X-Skydiver-Clock": "1",
        }
        assert [n["ID"] for n in analyzer.received[0].obj["Nodes"]] == ["a"]
        agent.state("b")
        agent.link("a", "b")
        agent.state("b", MTU=1)
        agent.writer.delete(NodeID("b"))
        expected = [
            "Sync",
            "NodeAdded",
            "EdgeAdded",
            "NodePartiallyUpdated",
            "EdgeDeleted",
            "NodeDeleted",
        ]
        await eventually(lambda: len(analyzer.received) == len(expected))
        assert analyzer.types() == expected
        assert {m.namespace for m in analyzer.received} == {"Graph"}
        assert analyzer.received[3].obj["Ops"] == [{"Type": 1, "Key": "MTU", "Value": 1}]


async def test_an_answer_without_the_two_headers_is_no_analyzer(serve: Serve, run: Run) -> None:
    """Somebody else's server listens there."""
    analyzer = Bare(Server="other")
    agent = await run(Agent(await serve(analyzer.app)))
    agent.state("a")
    await eventually(lambda: len(analyzer.sockets) > 1)
    assert analyzer.received == []


async def test_an_analyzer_that_accepts_and_never_answers_is_tried_again(run: Run) -> None:
    """The kernel goes on accepting for a process that is stopped."""
    seen: list[bytes] = []

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        await run(Agent(f"{host}:{port}", request_timeout_s=0.1))
        await eventually(lambda: len(seen) >= 2)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "refuses this agent's credentials (status 401)"),
        (409, "has an agent with this host id already (status 409)"),
        (404, "refuses the connection (status 404)"),
    ],
)
async def test_a_refusal_is_said_once_in_words(
    serve: Serve, run: Run, caplog: pytest.LogCaptureFixture, status: int, says: str
) -> None:
    """It is repeated for as long as nobody changes anything, but not in the log."""
    asked = 0

    async def refuse(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/ws/agent/topology", refuse)
    address = await serve(app)
    await run(Agent(address))
    await eventually(lambda: asked >= 3)
    assert [r.message for r in caplog.records if r.name == "skydiver.hub.pod"] == [
        f"analyzer {address}: {says}; trying again"
    ]


async def test_another_reason_is_said_too(
    serve: Serve, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """An analyzer that is still starting must not hide that it refuses this agent."""
    asked = 0

    async def refuse(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=503 if asked == 1 else 401)

    app = web.Application()
    app.router.add_get("/ws/agent/topology", refuse)
    await run(Agent(await serve(app)))
    await eventually(lambda: asked >= 4)
    said = [r.message for r in caplog.records if r.name == "skydiver.hub.pod"]
    assert [line.partition("(")[2] for line in said] == [
        "status 503); trying again",
        "status 401); trying again",
    ]


async def test_the_status_shows_each_analyzer_and_the_master(start: Start, run: Run) -> None:
    """The shape is the original's (§3.12); one that is not reached has only its address."""
    server = await start(Server())
    agent = await run(Agent(server, "127.0.0.1:1"))
    await eventually(lambda: "a1" in agent.pod.status()["Analyzers"])
    status = agent.pod.status()["Analyzers"]
    assert status["a1"].pop("Port") == int(server.address.split(":")[1])
    assert status["a1"].pop("ConnectTime").endswith("Z")
    assert status["a1"] == {
        "ServiceType": "agent",
        "ClientProtocol": "protobuf",
        "Addr": "127.0.0.1",
        "IsConnected": True,
        "IsMaster": True,
        "RemoteHost": "a1",
        "RemoteServiceType": "analyzer",
    }
    assert status["127.0.0.1:1"]["IsConnected"] is False
    assert status["127.0.0.1:1"]["IsMaster"] is False


async def test_one_analyzer_gets_the_topology_and_another_takes_over(
    start: Start, serve: Serve, run: Run
) -> None:
    """The new one gets everything, whatever happened while there was none."""
    bares = [Bare(), Bare()]
    agent = Agent(*[await serve(b.app) for b in bares])
    agent.state("a")
    await run(agent)
    await eventually(lambda: sum(len(b.sockets) for b in bares) == 2)
    await eventually(lambda: any(b.received for b in bares))
    master, other = sorted(bares, key=lambda b: not b.received)
    assert other.received == []
    agent.state("b")
    await eventually(lambda: master.types() == ["Sync", "NodeAdded"])
    await master.sockets[-1].close()
    await eventually(lambda: other.types() == ["Sync"])
    assert [n["ID"] for n in other.received[0].obj["Nodes"]] == ["a", "b"]
    agent.state("c")
    await eventually(lambda: other.types() == ["Sync", "NodeAdded"])
    await eventually(lambda: len(master.sockets) == 2)
    assert master.types() == ["Sync", "NodeAdded"]


async def test_a_queue_that_overflows_is_replaced_by_everything(serve: Serve, run: Run) -> None:
    """Counted as lost, and repaired at once."""
    async with bare(serve, run, queue_size=50) as (analyzer, agent):
        analyzer.read.clear()
        agent.state("a", Wake=1)
        await eventually(lambda: len(analyzer.received) == 2)
        rounds = 0
        while not agent.losses.counts():
            agent.state("a", Text=f"{rounds:20000}")
            rounds += 1
            await asyncio.sleep(0)
        assert agent.losses.counts() == {("hub.pod", LossReason.QUEUE_FULL): 51}
        analyzer.read.set()
        await eventually(lambda: analyzer.types().count("Sync") >= 2)
        last = max(i for i, m in enumerate(analyzer.received) if m.type == "Sync")
        await eventually(
            lambda: (
                agent.graph.node(NodeID("a")).revision  # type: ignore[union-attr]
                == analyzer.received[-1].obj.get(
                    "Revision", analyzer.received[last].obj.get("Nodes", [{}])[0].get("Revision")
                )
            )
        )


async def test_an_analyzer_that_reads_nothing_is_left(serve: Serve, run: Run) -> None:
    """A stopped process keeps the connection open for ever."""
    async with bare(serve, run, write_timeout_s=0.2) as (analyzer, agent):
        analyzer.read.clear()
        for i in range(2_000):
            agent.state("a", Text=f"{i:20000}")
            await asyncio.sleep(0)
        await eventually(lambda: len(analyzer.sockets) == 2)
        assert ("hub.pod", LossReason.WIRE) in agent.losses.counts()


async def test_a_silent_analyzer_is_left(serve: Serve, run: Run) -> None:
    """It pings every two seconds as long as it lives."""
    async with bare(serve, run, ping_delay_s=0.05, pong_timeout_s=0.05) as (analyzer, _):
        await eventually(lambda: len(analyzer.sockets) > 1)


async def test_nothing_is_connected_before_the_probes_are_ready(start: Start, run: Run) -> None:
    """A graph that is not filled yet would make the analyzer delete what it has."""
    server = await start(Server())
    ready = asyncio.Event()
    agent = await run(Agent(server, ready=ready.wait))
    await asyncio.sleep(0.1)
    assert server.hub.status()["Agents"] == {}
    agent.state("a")
    ready.set()
    await eventually(lambda: same(agent, server))
    assert [e.kind for e in server.events] == ["added"]


async def test_an_agent_without_analyzers_works_alone() -> None:
    """It only serves its own API (§2.11)."""
    agent = Agent()
    await agent.pod.run()
    assert agent.pod.status() == {"Analyzers": {}}


# With a real analyzer


async def test_both_graphs_stay_equal(start: Start, run: Run) -> None:
    """To the last member of each element, through all kinds of changes."""
    server = await start(Server())
    agent = Agent(server)
    for name in "abc":
        agent.state(name)
    agent.link("a", "b")
    await run(agent)
    await eventually(lambda: same(agent, server))
    agent.state("b", Ovs={"Name": "x"}, IPV4=["10.0.0.1/24"])
    agent.writer.patch(NodeID("b"), [Op(OpKind.SET, "Ovs.Other.Key", 1.5)])
    agent.writer.patch(NodeID("b"), [Op(OpKind.DELETE, "Ovs.Other.Key")])
    agent.link("b", "c")
    agent.writer.delete(NodeID("a"))
    for value in (1, 2):
        agent.state("d", "device", **{"with.dot": value})
    await eventually(lambda: same(agent, server))
    assert server.graph.edge(EdgeID("nothing")) is None
    assert server.losses.counts() == {}


# Orders


def order(type_: str, node_id: str = "a", **resource: Any) -> Message:
    resource = {"UUID": "c1", "GremlinQuery": "G.V()", "Unknown": 1, **resource}
    return event("OnDemandCapture", type_, {"NodeID": node_id, "Resource": resource})


async def test_captures_are_started_and_stopped_on_order(serve: Serve, run: Run) -> None:
    """The answer has the shape of the order (§2.18)."""
    async with bare(serve, run) as (analyzer, agent):
        for type_ in ("Start", "Stop"):
            request = order(type_)
            reply = await analyzer.ask(request)
            assert (reply.namespace, reply.type) == ("OnDemandCapture", f"{type_}Reply")
            assert (reply.status, reply.obj) == (200, request.obj)
        assert agent.ordered == [("start", "a", "c1"), ("stop", "a", "c1")]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (order("Start", "nobody"), 404),
        (order("Stop", "nobody"), 404),
        (order("Start", HeaderSize=-1), 400),
        (order("Restart"), 400),
        (event("OnDemandCapture", "Start", None), 400),
        (event("OnDemandCapture", "Start", {"NodeID": 1, "Resource": {}}), 400),
        (event("OnDemandCapture", "Start", {"NodeID": "a", "Resource": []}), 400),
        (event("OnDemandPacketInjection", "Start", {}), 400),
        (event("Flow", "TableDrop", {}), 400),
        (event("Flow", "TableQuery", {"Type": "Other"}), 400),
        (event("Flow", "TableQuery", [1]), 400),
        (Message("Flow", "TableQuery", b"\xff\xff", "u", format=Format.PROTOBUF), 400),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(
    serve: Serve, run: Run, message: Message, status: int
) -> None:
    """With an answer, so that the analyzer need not wait for its time-out."""
    async with bare(serve, run) as (analyzer, agent):
        reply = await analyzer.ask(message)
        assert reply.status == status
        assert agent.ordered == []


async def test_an_order_that_fails_says_so(serve: Serve, run: Run) -> None:
    """A defect in a source must not cost the connection either."""
    async with bare(serve, run) as (analyzer, agent):
        for answer, status in (
            (Unavailable("no such interface"), 500),
            (404, 404),
            (None, 500),
        ):
            agent.answer = answer  # type: ignore[assignment]
            if answer is None:
                agent.flow_sets = [1]  # type: ignore[list-item]
                reply = await analyzer.ask(query_message(b""))
            else:
                reply = await analyzer.ask(order("Start"))
            assert reply.status == status
        assert len(analyzer.sockets) == 1


async def test_orders_of_captures_keep_their_order(serve: Serve, run: Run) -> None:
    """A stop that overtook its start would leave the capture running; questions do overtake."""
    async with bare(serve, run) as (analyzer, agent):
        agent.hold = asyncio.Event()
        start, stop = order("Start"), order("Stop")
        await analyzer.send(start)
        await analyzer.send(stop)
        assert (await analyzer.ask(query_message(b""))).status == 200
        assert agent.ordered == [("start", "a", "c1")]
        agent.hold.set()
        await eventually(lambda: "StopReply" in analyzer.types())
        assert agent.ordered == [("start", "a", "c1"), ("stop", "a", "c1")]


async def test_questions_to_flow_tables_are_answered(serve: Serve, run: Run) -> None:
    """Both forms of the question are understood, the answer is protobuf (§2.15)."""
    search = search_to_wire(FlowSearch(where=Eq("Application", "TCP"), last=5))
    as_json = {
        "Type": "SearchQuery",
        "query": {
            "Filter": {"TermStringFilter": {"Key": "Application", "Value": "TCP"}},
            "PaginationRange": {"To": 5},
        },
    }
    async with bare(serve, run) as (analyzer, agent):
        agent.flow_sets = [b"one", b"two"]
        for message in (query_message(search), event("Flow", "TableQuery", as_json)):
            reply = await analyzer.ask(message)
            assert (reply.namespace, reply.type, reply.status) == ("Flow", "TableResult", 200)
            assert reply.format is Format.PROTOBUF
            assert read_result(reply) == [b"one", b"two"]
            assert tables_pb2.TableReply.FromString(reply.obj).Status == 200
        assert agent.searches == [search, search]


async def test_garbage_of_an_analyzer_is_counted_and_ignored(serve: Serve, run: Run) -> None:
    """The agent is the one that must survive."""
    async with bare(serve, run) as (analyzer, agent):
        await analyzer.sockets[-1].send_bytes(b"\xff\xff")
        await analyzer.sockets[-1].send_str("hello")
        await analyzer.send(event("Graph", "NodeDeleted", {"ID": "a"}))
        await analyzer.send(event("Flow", "TableResult", {}))
        assert (await analyzer.ask(order("Start"))).status == 200
        assert agent.losses.counts() == {("hub.pod", LossReason.DECODE): 2}
        assert agent.graph.node(NodeID("a"))
        assert len(analyzer.sockets) == 1


async def test_further_questions_are_answered_or_refused_in_words(serve: Serve, run: Run) -> None:
    """What an agent can be asked is not the hub's business; that it answers always is."""
    async with bare(serve, run) as (analyzer, _):
        for question, status, answer in (
            ("sun?", 200, {"Asked": "sun?"}),
            ("nonsense", 400, {"Error": "not a question"}),
            ("hidden", 404, {"Error": "nobody knows"}),
        ):
            reply = await analyzer.ask(event("Weather", "Today", question))
            assert (reply.type, reply.status, reply.obj) == ("TodayReply", status, answer)
        assert (await analyzer.ask(event("Weather", "Tomorrow", "sun?"))).status == 400
