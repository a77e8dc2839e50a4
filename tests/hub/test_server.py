"""The analyzer's end for agents: their elements, their absence, requests to them."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, web
from tests.hub.conftest import Agent, Connect, Run, Server, Start, edge, eventually, node, same

from skydiver.base.errors import Unavailable
from skydiver.base.ids import NodeID
from skydiver.base.losses import LossReason
from skydiver.graph import NodeSpec
from skydiver.hub.messages import event

ENDPOINT = "/ws/agent/topology"
LEAVING = {"X-Persistence-Policy": "DeleteOnDisconnect"}


async def test_an_agent_is_trusted_with_what_it_writes(start: Start, connect: Connect) -> None:
    """No schema, and the origin as it is written (§2.11); an interface may lack its type."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT, "h1", "agent", "protobuf")
    await peer.send(event("Graph", "NodeAdded", {"ID": "x", "Metadata": {}, "Origin": "seed.s"}))
    await eventually(lambda: server.graph.node(NodeID("x")))
    found = server.graph.node(NodeID("x"))
    assert found is not None
    assert (found.origin, found.metadata) == ("seed.s", {})
    assert server.losses.counts() == {}
    status = server.hub.status()["Agents"]["h1"]
    assert (status["ServiceType"], status["ClientProtocol"]) == ("agent", "protobuf")


async def test_the_elements_of_an_agent_that_leaves_go_after_the_grace(
    start: Start, connect: Connect
) -> None:
    """Not before: it may be restarting."""
    server = await start(Server(agent_grace_s=0.2))
    peer = await connect(server.address, ENDPOINT, "h1", "agent", headers=LEAVING)
    await peer.send(event("Graph", "Sync", {"Nodes": [node("a", Origin="agent.h1")]}))
    await eventually(lambda: server.graph.node(NodeID("a")))
    await peer.socket.close()
    await eventually(lambda: not server.hub.status()["Agents"])
    assert server.graph.node(NodeID("a"))
    await eventually(lambda: not server.graph.node(NodeID("a")))


async def test_an_agent_that_comes_back_in_time_finds_its_elements(
    start: Start, connect: Connect
) -> None:
    """A lost connection is no event of the network that is observed."""
    server = await start(Server(agent_grace_s=0.3))
    nodes = [node("a", Origin="agent.h1", CreatedAt=1, UpdatedAt=1, Revision=1)]
    for _ in range(2):
        peer = await connect(server.address, ENDPOINT, "h1", "agent", headers=LEAVING)
        await peer.send(event("Graph", "Sync", {"Nodes": nodes}))
        await eventually(lambda: server.graph.node(NodeID("a")))
        last = peer
        if _ == 0:
            await peer.socket.close()
            await eventually(lambda: not server.hub.status()["Agents"])
    # The answers to pings keep it connected past the end of the first grace.
    reading = asyncio.get_running_loop().create_task(last.socket.receive(), name="pongs")
    await asyncio.sleep(0.5)
    assert [e.kind for e in server.events] == ["added"]
    reading.cancel()


async def test_an_agent_that_comes_back_without_a_sync_loses_its_elements(
    start: Start, connect: Connect
) -> None:
    """Another analyzer has become its master; nobody would keep them up to date here."""
    server = await start(Server(agent_grace_s=0.1))
    peer = await connect(server.address, ENDPOINT, "h1", "agent", headers=LEAVING)
    await peer.send(event("Graph", "Sync", {"Nodes": [node("a", Origin="agent.h1")]}))
    await eventually(lambda: server.graph.node(NodeID("a")))
    await peer.socket.close()
    await eventually(lambda: not server.hub.status()["Agents"])
    await connect(server.address, ENDPOINT, "h1", "agent", headers=LEAVING)
    await eventually(lambda: not server.graph.node(NodeID("a")))
    assert list(server.hub.status()["Agents"]) == ["h1"]


async def test_elements_of_origins_not_heard_of_for_long_expire(
    start: Start, connect: Connect
) -> None:
    """Read from a store after a restart, and their agent never came back (§2.14)."""
    server = Server(ping_delay_s=0.02, pong_timeout_s=0.02, origin_scan_s=0.05)
    before = Agent(host_id="dead")
    for name in ("d1", "d2"):
        server.graph.add_node(before.state(name))
    before = Agent(host_id="alive")
    server.graph.add_node(before.state("a1"))
    server.graph.owned_by("fabric").upsert(_spec("f1"))
    await start(server)
    peer = await connect(server.address, ENDPOINT, "alive", "agent")
    reading = asyncio.get_running_loop().create_task(peer.socket.receive(), name="pongs")
    await eventually(lambda: server.graph.node(NodeID("d1")) is None)
    await eventually(lambda: server.graph.node(NodeID("d2")) is None)
    await asyncio.sleep(0.3)
    assert sorted(n.id for n in server.graph.view().nodes()) == ["a1", "f1"]
    reading.cancel()


async def test_an_agent_does_not_expire_its_own_elements(start: Start) -> None:
    """It runs a hub too, for plugins and subscribers, and no connection speaks for itself."""
    server = Server(
        host_id="h1", service="agent", ping_delay_s=0.02, pong_timeout_s=0.02, origin_scan_s=0.05
    )
    server.graph.owned_by("netlink").upsert(_spec("lo"))
    server.graph.add_node(Agent(host_id="dead").state("d1"))
    await start(server)
    await eventually(lambda: server.graph.node(NodeID("d1")) is None)
    await asyncio.sleep(0.3)
    assert [node.id for node in server.graph.view().nodes()] == ["lo"]


async def test_an_agent_can_be_asked(start: Start, connect: Connect) -> None:
    """Addressed by its host id, which nodes carry as Host."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT, "h1", "agent", "protobuf")
    await connect(server.address, ENDPOINT, "h2", "plugin", "protobuf")
    await eventually(lambda: len(server.hub.status()["Agents"]) == 2)
    assert list(server.hub.agents()) == ["h1"]
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(
            server.hub.request("h1", "OnDemandCapture", "Start", {"NodeID": "a"}), name="asking"
        )
        question = await peer.receive()
        assert question.obj == {"NodeID": "a"}
        await peer.send(question.reply("StartReply", question.obj, status=404))
    assert asking.result().status == 404
    for unknown in ("h2", "h3"):
        with pytest.raises(Unavailable, match=f"no agent '{unknown}' is connected"):
            await server.hub.request(unknown, "OnDemandCapture", "Start", {})


async def test_an_agent_offers_only_what_agents_offer(start: Start, connect: Connect) -> None:
    """Publishers and subscribers over its own graph, and no agents."""
    server = Server("h1", "agent")
    server.app = web.Application()
    server.hub.add_routes(server.app, agents=False)
    await start(server)
    async with (
        ClientSession() as session,
        session.get(f"http://{server.address}{ENDPOINT}") as answer,
    ):
        assert answer.status == 404
    peer = await connect(server.address, "/ws/publisher", "p", "seed")
    await peer.send(event("Graph", "NodeAdded", node("a")))
    await eventually(lambda: server.graph.node(NodeID("a")))


async def test_what_is_published_to_an_agent_reaches_its_analyzer_and_goes_with_it(
    start: Start, connect: Connect, run: Run
) -> None:
    """Probes that run as processes of their own are publishers on the agent."""
    analyzer = await start(Server(agent_grace_s=0.05))
    agent = Agent(analyzer)
    local = Server("h1", "agent", graph=agent.graph)
    await start(local)
    peer = await connect(local.address, "/ws/publisher", "p", "seed", headers=LEAVING)
    await run(agent)
    await peer.send(event("Graph", "NodeAdded", node("a")))
    await peer.send(event("Graph", "NodeAdded", node("b")))
    await peer.send(event("Graph", "EdgeAdded", edge("a", "b")))
    await eventually(lambda: analyzer.graph.view().edge_count() == 1)
    assert {n.origin for n in analyzer.graph.view().nodes()} == {"seed.p"}
    assert list(analyzer.graph.view().nodes()) == list(agent.graph.view().nodes())
    await peer.socket.close()
    await eventually(lambda: analyzer.graph.view().node_count() == 0)


async def test_a_hundred_agents_at_once_all_arrive(start: Start, run: Run) -> None:
    """The analyzer was restarted, and everybody connects within the same second (W5)."""
    server = await start(Server())
    agents = [Agent(server, host_id=f"h{i}") for i in range(100)]
    for agent in agents:
        for i in range(20):
            agent.state(f"{agent.graph.host}-{i}")
        await run(agent)
    await eventually(lambda: all(same(agent, server) for agent in agents), timeout_s=30)
    assert server.losses.counts() == {}


async def test_hostile_peers_harm_nobody_else(start: Start, connect: Connect, run: Run) -> None:
    """Garbage, floods and half-open connections beside an agent that goes on."""
    server = await start(Server())
    agent = await run(Agent(server))
    for path in (ENDPOINT, "/ws/publisher", "/ws/subscriber"):
        peer = await connect(server.address, path, "evil" + path[4], "test")
        await peer.socket.send_bytes(b"\x00" * 100_000)
        await peer.socket.send_str('{"Namespace":"Graph","Type":"Sync","Obj":' + "[" * 100_000)
        wrong: list[Any] = [1, "x", [], {"Nodes": [None, 1, {"ID": {}}], "Edges": [[]]}]
        for obj in wrong:
            await peer.send(event("Graph", "Sync", obj))
            await peer.send(event("Graph", "SyncRequest", obj))
        big = {"Nodes": [{"ID": f"n{i}", "Metadata": {}} for i in range(5_000)]}
        await peer.send(event("Graph", "Sync", big))
    host, port = server.address.split(":")
    _, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /ws/subscriber HTTP/1.1\r\nUpgr")
    for i in range(100):
        agent.state(f"a{i}")
        await asyncio.sleep(0)
    await eventually(lambda: same(agent, server))
    counts = server.losses.counts()
    assert counts["hub.agent", LossReason.INVALID] > 0
    assert counts["hub.publisher", LossReason.INVALID] > 0
    writer.close()


def _spec(node_id: str) -> NodeSpec:
    return NodeSpec(NodeID(node_id), {"Type": "device", "Name": node_id})
