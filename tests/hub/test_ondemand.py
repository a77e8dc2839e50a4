"""Captures are started and stopped as the store and the graph change, whoever restarts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.hub.conftest import Agent, Connect, Run, Server, Start, eventually

from skydiver.base.errors import QueryError
from skydiver.base.ids import NodeID, Origin
from skydiver.base.losses import Losses
from skydiver.graph import Node, Op, OpKind
from skydiver.hub import ondemand
from skydiver.hub.ondemand import CaptureController
from skydiver.objects.capture import Capture
from skydiver.storage.sqlite import SqliteObjectStore


class Control:
    """An analyzer whose captures are controlled."""

    def __init__(self, server: Server, store: SqliteObjectStore) -> None:
        self.server = server
        self.store = store
        self.asked = 0
        self.controller = CaptureController(
            store=store, hub=server.hub, graph=server.graph, evaluate=self.evaluate
        )

    async def evaluate(self, text: str) -> list[Node]:
        self.asked += 1
        if text == "wrong":
            raise QueryError("wrong query", column=1)
        nodes, _ = await self.server.evaluate(text, None)
        # A shortest path may give the same node twice.
        return [*nodes, *nodes]

    async def capture(self, uuid: str, query: str = "Type=veth", **members: Any) -> Capture:
        capture = Capture(uuid=uuid, gremlin_query=query, **members)
        await self.store.create(capture)
        return capture

    def carried(self, node_id: str) -> list[str]:
        """Captures that the analyzer sees on a node."""
        node = self.server.graph.node(NodeID(node_id))
        return [] if node is None else [e["ID"] for e in node.metadata.get("Captures", [])]


Begin: TypeAlias = Callable[..., Awaitable[Control]]


@pytest.fixture
async def begin(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Begin]:
    """Run analyzers with a controller each, over one store."""
    monkeypatch.setattr(ondemand, "_BETWEEN_S", 0.02)
    tasks: list[asyncio.Task[None]] = []
    store = await SqliteObjectStore.open(tmp_path / "objects.db", losses=Losses())

    async def control(**settings: Any) -> Control:
        made = Control(await start(Server(agent_grace_s=0.05, **settings)), store)
        tasks.append(
            asyncio.get_running_loop().create_task(made.controller.run(), name="controller")
        )
        return made

    yield control
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()


async def test_matching_nodes_are_captured_now_and_later(begin: Begin, run: Run) -> None:
    """Those of a capture's query that can be captured, each once."""
    control = await begin()
    agent = await run(Agent(control.server))
    agent.state("v1", "veth")
    agent.state("d1", "dummy")
    await control.capture("c1")
    await eventually(lambda: control.carried("v1") == ["c1"])
    agent.state("v2", "veth")
    await eventually(lambda: control.carried("v2") == ["c1"])
    agent.state("d1", "veth")
    await eventually(lambda: control.carried("d1") == ["c1"])
    assert sorted(agent.ordered) == [("start", n, "c1") for n in ("d1", "v1", "v2")]
    assert control.controller.status() == {"IsMaster": True}


async def test_deleting_a_capture_stops_it_everywhere(begin: Begin, run: Run) -> None:
    """And only it."""
    control = await begin()
    agent = await run(Agent(control.server))
    for name in ("v1", "v2"):
        agent.state(name, "veth")
    await control.capture("c1")
    await control.capture("c2", bpf_filter="tcp")
    await eventually(lambda: all(len(control.carried(n)) == 2 for n in ("v1", "v2")))
    await control.store.delete(Capture, "c1")
    await eventually(lambda: all(control.carried(n) == ["c2"] for n in ("v1", "v2")))
    assert sorted(o for o in agent.ordered if o[0] == "stop") == [
        ("stop", "v1", "c1"),
        ("stop", "v2", "c1"),
    ]


async def test_an_expired_capture_is_stopped(begin: Begin, run: Run) -> None:
    """`X-Resource-TTL`."""
    control = await begin()
    agent = await run(Agent(control.server))
    agent.state("v1", "veth")
    expiring = asyncio.get_running_loop().create_task(control.store.run(), name="expiry")
    await control.store.create(Capture(uuid="c1", gremlin_query="Type=veth"), ttl_s=0.5)
    await eventually(lambda: control.carried("v1") == ["c1"])
    await eventually(lambda: control.carried("v1") == [])
    expiring.cancel()


async def test_a_capture_that_nobody_knows_is_stopped(begin: Begin, run: Run) -> None:
    """It was deleted while this analyzer was away (§2.18, 6)."""
    control = await begin()
    agent = Agent(control.server)
    agent.state("v1", "veth", Captures=[{"ID": "old", "State": "active"}])
    await run(agent)
    await eventually(lambda: agent.ordered == [("stop", "v1", "old")])


async def test_a_restarted_analyzer_leaves_running_captures_alone(begin: Begin, run: Run) -> None:
    """What the nodes carry is what runs."""
    control = await begin()
    await control.capture("c1")
    agent = Agent(control.server)
    agent.state("v1", "veth", Captures=[{"ID": "c1", "State": "active"}])
    await run(agent)
    await eventually(lambda: control.carried("v1") == ["c1"])
    agent.state("v2", "veth")
    await eventually(lambda: control.carried("v2") == ["c1"])
    assert agent.ordered == [("start", "v2", "c1")]


async def test_a_restarted_agent_is_asked_again(begin: Begin, run: Run) -> None:
    """Its captures died with it, whether its elements were kept for it or not."""
    control = await begin()
    await control.capture("c1")
    first = Agent(control.server)
    first.state("v1", "veth")
    task = asyncio.get_running_loop().create_task(first.pod.run(), name="first life")
    await eventually(lambda: control.carried("v1") == ["c1"])
    task.cancel()
    second = Agent(control.server)
    second.state("v1", "veth")
    await run(second)
    await eventually(lambda: second.ordered == [("start", "v1", "c1")])
    await eventually(lambda: control.carried("v1") == ["c1"])


async def test_a_node_that_cannot_be_captured_is_left_alone(begin: Begin, run: Run) -> None:
    """Hosts, namespaces, and what no agent owns."""
    control = await begin()
    agent = await run(Agent(control.server))
    agent.state("h1", "host")
    agent.state("v1", "veth")
    control.server.graph.add_node(
        Node(NodeID("f1"), {"Type": "device", "Name": "f"}, "", control.server.graph.origin, 1, 1)
    )
    await control.capture("c1", "G")
    await eventually(lambda: control.carried("v1") == ["c1"])
    assert agent.ordered == [("start", "v1", "c1")]


async def test_types_that_exclude_each_other_are_not_started_twice(begin: Begin, run: Run) -> None:
    """One eBPF program an interface, any number of packet sockets (flows.md §11.2)."""
    control = await begin()
    agent = await run(Agent(control.server))
    agent.state("v1", "veth")
    await control.capture("e1", type="ebpf")
    await eventually(lambda: control.carried("v1") == ["e1"])
    await control.capture("e2", "G", type="ebpf")
    await control.capture("a1", type="afpacket")
    await eventually(lambda: control.carried("v1") == ["e1", "a1"])
    await control.store.delete(Capture, "e1")
    await eventually(lambda: control.carried("v1") == ["a1", "e2"])


async def test_a_refused_start_is_tried_again_but_not_at_once(
    begin: Begin, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The interface was not ready yet; an agent in trouble must not be flooded."""
    monkeypatch.setattr(ondemand, "_FIRST_PAUSE_S", 0.1)
    control = await begin()
    agent = await run(Agent(control.server))
    agent.answer = 500
    agent.state("v1", "veth")
    await control.capture("c1")
    await eventually(lambda: len(agent.ordered) == 1)
    for mtu in range(10):
        agent.state("v1", "veth", MTU=mtu)
        await asyncio.sleep(0.005)
    assert len(agent.ordered) <= 2
    agent.answer = 200
    await eventually(lambda: control.carried("v1") == ["c1"])
    lines = [r.message for r in caplog.records if "answers Start" in r.message]
    assert lines == ["capture c1: agent h1 answers Start with 500, on v1 first"]


async def test_what_an_agent_shows_as_refused_is_tried_again_and_stopped_with_its_capture(
    begin: Begin, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry is there for people to see; it is no reason to leave it at that."""
    monkeypatch.setattr(ondemand, "_FIRST_PAUSE_S", 0.05)
    refused = [{"ID": "c1", "State": "error", "Error": "the agent lacks CAP_NET_RAW"}]
    control = await begin()
    agent = Agent(control.server)
    agent.answer = 500
    agent.state("v1", "veth", Captures=refused)
    await run(agent)
    await control.capture("c1")
    await eventually(lambda: agent.ordered.count(("start", "v1", "c1")) == 3)
    agent.answer = 200
    await eventually(lambda: states(control, "v1") == ["active"])
    agent.state("v2", "veth", Captures=refused)
    agent.answer = 500
    await control.store.delete(Capture, "c1")
    await eventually(lambda: ("stop", "v2", "c1") in agent.ordered)


async def test_a_running_capture_in_error_is_left_alone(begin: Begin, run: Run) -> None:
    """Its interface is down; it goes on by itself."""
    control = await begin()
    await control.capture("c1")
    agent = Agent(control.server)
    down = {"ID": "c1", "State": "error", "Error": "interface is down", "PacketsReceived": 0}
    agent.state("v1", "veth", Captures=[down])
    agent.state("v2", "veth")
    await run(agent)
    await eventually(lambda: control.carried("v2") == ["c1"])
    assert agent.ordered == [("start", "v2", "c1")]


async def test_nobody_is_ordered_about_captures_of_an_imported_graph(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    """An export of another site shows captures of agents that are not here."""
    control = await begin()
    captures = [{"ID": "there", "State": "active"}]
    await control.capture("c1")
    for origin in ("cli.h9", "agent.h9"):
        node = Node(
            NodeID(origin), {"Type": "veth", "Captures": captures}, "h1", Origin(origin), 1, 1
        )
        control.server.graph.add_node(node)
    asked = control.asked
    await eventually(lambda: control.asked > asked)
    await asyncio.sleep(0.1)
    assert [r.message for r in caplog.records if "no agent" in r.message] == []


async def test_a_wrong_query_is_reported_once_and_harms_no_other(
    begin: Begin, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """It was accepted by an older version, say."""
    control = await begin()
    agent = await run(Agent(control.server))
    await control.capture("bad", "wrong")
    await control.capture("c1")
    for i in range(3):
        agent.state(f"v{i}", "veth")
        await eventually(lambda i=i: control.carried(f"v{i}") == ["c1"])  # type: ignore[misc]
    assert len([r for r in caplog.records if "wrong query" in r.message]) == 1


async def test_counters_do_not_make_everything_be_evaluated_again(begin: Begin, run: Run) -> None:
    """They change every few seconds on every interface, and no query depends on them."""
    control = await begin()
    agent = await run(Agent(control.server))
    agent.state("v1", "veth")
    await control.capture("c1")
    await eventually(lambda: control.carried("v1") == ["c1"])
    await asyncio.sleep(0.2)
    asked = control.asked
    for i in range(5):
        agent.writer.patch(NodeID("v1"), [_set("LastUpdateMetric", {"RxBytes": i})])
        await asyncio.sleep(0.03)
    await eventually(
        lambda: control.server.graph.node(NodeID("v1")).metadata["LastUpdateMetric"]["RxBytes"] == 4  # type: ignore[union-attr]
    )
    assert control.asked == asked
    agent.writer.patch(NodeID("v1"), [_set("State", "UP")])
    await eventually(lambda: control.asked > asked)


async def test_subscribers_are_told(begin: Begin, run: Run, connect: Connect) -> None:
    """The UI shows captures come and go (§2.18)."""
    control = await begin()
    headers = {"X-Websocket-Namespace": "OnDemandCaptureNotification"}
    peer = await connect(control.server.address, "/ws/subscriber", "ui", headers=headers)
    await eventually(lambda: control.server.hub.status()["Subscribers"])
    agent = await run(Agent(control.server))
    agent.state("v1", "veth")
    capture = await control.capture("c1")
    messages = [await peer.receive() for _ in range(3)]
    assert [m.type for m in messages] == ["Added", "NodeUpdated", "NodeUpdated"]
    assert [m.obj for m in messages] == [capture.to_json()] * 3
    agent.writer.delete(NodeID("v1"))
    assert (await peer.receive()).type == "NodeUpdated"
    await control.store.delete(Capture, "c1")
    assert (await peer.receive()).type == "Deleted"


def states(control: Control, node_id: str) -> list[str]:
    node = control.server.graph.node(NodeID(node_id))
    return [] if node is None else [e["State"] for e in node.metadata.get("Captures", [])]


def _set(key: str, value: Any) -> Op:
    return Op(OpKind.SET, key, value)
