"""Flows of several agents as one answer, with real tables at the other end."""

import asyncio
import logging

import pytest
from tests.hub.conftest import Agent, Connect, Run, Server, Start, eventually

from skydiver import native
from skydiver.base.losses import Losses, LossReason
from skydiver.filters import Eq
from skydiver.flow.search import FlowSearch, RawPacket, SortOrder
from skydiver.flow.wire import search_to_wire
from skydiver.hub.flows import AgentFlows


def frame(source_port: int, packet: int = 0) -> bytes:
    """A UDP packet from 10.0.0.1:`source_port` to 10.0.0.2:53."""
    payload = b"x" * 20
    udp = source_port.to_bytes(2, "big") + (53).to_bytes(2, "big")
    udp += (8 + len(payload)).to_bytes(2, "big") + bytes(2) + payload
    ip = b"\x45\x00" + (20 + len(udp)).to_bytes(2, "big") + packet.to_bytes(2, "big")
    ip += b"\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02"
    return bytes.fromhex("020000000002020000000001") + b"\x08\x00" + ip + udp


class Tables(Agent):
    """An agent with a flow table for each of two nodes, one flow for each port."""

    def __init__(self, server: Server, host_id: str, ports: tuple[int, ...], at_s: int) -> None:
        super().__init__(server, host_id=host_id)
        self.tables = [native.FlowTable(node_tid=f"{host_id}-{i}") for i in range(2)]
        for i, port in enumerate(ports):
            self.tables[i % 2].feed(frame(port), at_ns=(at_s + i) * 10**9)

    def search(self, search: bytes) -> list[bytes]:
        self.searches.append(search)
        return [table.query(search) for table in self.tables]


@pytest.fixture
async def network(start: Start, run: Run) -> tuple[Server, Tables, Tables]:
    """An analyzer with two agents, whose flows have the times 1, 2, 3 and 11, 12, 13 s."""
    server = await start(Server(request_timeout_s=5.0))
    one = Tables(server, "h1", (1001, 1002, 1003), at_s=1)
    two = Tables(server, "h2", (2001, 2002, 2003), at_s=11)
    await run(one)
    await run(two)
    await eventually(lambda: len(server.hub.agents()) == 2)
    return server, one, two


Network = tuple[Server, Tables, Tables]


async def ports(server: Server, search: FlowSearch, **options: object) -> list[int]:
    answer = await server.hub.flows.search(search, **options)  # type: ignore[arg-type]
    assert answer.missing == ()
    return [int(flow["Transport"]["A"]) for flow in answer.flows]


async def test_all_tables_of_all_agents_are_asked(network: Network) -> None:
    """And their flows are one list."""
    server, _, _ = network
    found = await ports(server, FlowSearch())
    assert sorted(found) == [1001, 1002, 1003, 2001, 2002, 2003]


async def test_the_order_is_that_of_all_flows(network: Network) -> None:
    """Each table sorts its own; the sorted answers are merged."""
    server, _, _ = network
    newest = FlowSearch(sort=True, order=SortOrder.DESCENDING)
    assert await ports(server, newest) == [2003, 2002, 2001, 1003, 1002, 1001]


async def test_a_range_is_cut_from_the_merged_flows(network: Network) -> None:
    """Each table must send its flows from the first on, or the lower bound would count twice."""
    server, one, _ = network
    middle = FlowSearch(sort=True, order=SortOrder.DESCENDING, first=2, last=5)
    assert await ports(server, middle) == [2001, 1003, 1002]
    sent = FlowSearch(sort=True, order=SortOrder.DESCENDING, last=5)
    assert one.searches == [search_to_wire(sent)]


async def test_a_filter_is_evaluated_by_the_tables(network: Network) -> None:
    """Only what matches travels."""
    server, _, two = network
    search = FlowSearch(where=Eq("Transport.A", 2002))
    assert await ports(server, search) == [2002]
    assert two.searches == [search_to_wire(search)]


async def test_flows_of_certain_nodes_are_asked_of_their_hosts(network: Network) -> None:
    """Grouped by host; the others are not bothered."""
    server, one, two = network
    found = await ports(server, FlowSearch(), tids_by_host={"h1": ["h1-1", "other"], "": ["x"]})
    assert found == [1002]
    assert (len(one.searches), len(two.searches)) == (1, 0)
    where = Eq("Transport.A", 1001)
    assert await ports(server, FlowSearch(where=where), tids_by_host={"h1": ["h1-1"]}) == []
    assert await ports(server, FlowSearch(), tids_by_host={}) == []
    assert await ports(server, FlowSearch(), tids_by_host={"h1": []}) == []
    assert len(one.searches) == 2


async def test_the_same_flow_on_several_hosts_is_one_with_dedup(start: Start, run: Run) -> None:
    """By TrackingID, wherever it was captured."""
    server = await start(Server())
    for host in ("h1", "h2"):
        await run(Tables(server, host, (1001, 1002), at_s=1))
    await eventually(lambda: len(server.hub.agents()) == 2)
    assert sorted(await ports(server, FlowSearch())) == [1001, 1001, 1002, 1002]
    assert sorted(await ports(server, FlowSearch(dedup=True))) == [1001, 1002]


class NoAnswer(Tables):
    """Its tables are stuck."""

    async def search(self, search: bytes) -> list[bytes]:  # type: ignore[override]
        await asyncio.Event().wait()
        return []


class Garbage(Tables):
    """Its tables answer with anything."""

    def search(self, search: bytes) -> list[bytes]:
        return [b"\xff\xff\xff\xff"]


class Broken(Tables):
    """Its tables fail."""

    def search(self, search: bytes) -> list[bytes]:
        raise RuntimeError("broken table")


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (NoAnswer, LossReason.TIMEOUT),
        (Garbage, LossReason.DECODE),
        (Broken, LossReason.INVALID),
    ],
)
async def test_an_agent_in_trouble_costs_its_own_part_only(
    start: Start,
    run: Run,
    trouble: type[Tables],
    reason: LossReason,
) -> None:
    """The answer says whose flows are missing, and the loss is counted."""
    server = await start(Server(request_timeout_s=0.3))
    await run(Tables(server, "good", (1001, 1002), at_s=1))
    await run(trouble(server, "bad", (2001,), at_s=1))
    await eventually(lambda: len(server.hub.agents()) == 2)
    answer = await server.hub.flows.search(FlowSearch())
    assert sorted(int(flow["Transport"]["A"]) for flow in answer.flows) == [1001, 1002]
    assert answer.missing == ("bad",)
    assert server.losses.counts() == {("hub.flows", reason): 1}


async def test_a_host_that_should_be_there_is_missing(
    start: Start, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Its agent is restarting; a host that never had an agent has no flows to miss."""
    server = await start(Server())
    peer = await connect(server.address, "/ws/agent/topology", "h1", "agent", "protobuf")
    await eventually(server.hub.agents)
    await peer.socket.close()
    await eventually(lambda: not server.hub.agents())
    tids = {"h1": ["t"], "never": ["t"]}
    answer = await server.hub.flows.search(FlowSearch(), tids_by_host=tids)
    assert (answer.flows, answer.missing) == ([], ("h1",))
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def test_an_agent_that_speaks_json_cannot_be_asked(start: Start, connect: Connect) -> None:
    """There is no protobuf inside JSON; no agent does that, but anybody may try."""
    server = await start(Server())
    await connect(server.address, "/ws/agent/topology", "h1", "agent", "json")
    await eventually(server.hub.agents)
    answer = await server.hub.flows.search(FlowSearch())
    assert (answer.flows, answer.missing) == ([], ("h1",))


async def test_without_agents_there_are_no_flows(start: Start) -> None:
    """And nothing is missing."""
    server = await start(Server())
    answer = await server.hub.flows.search(FlowSearch(sort=True, last=10))
    assert (answer.flows, answer.missing) == ([], ())


async def test_packets_that_captures_kept_come_with_their_flows(start: Start, run: Run) -> None:
    """They are read when a query asks for them, and are in no flow that is shown."""
    server = await start(Server())
    agent = Tables(server, "h1", (), at_s=1)
    agent.tables = [native.FlowTable(node_tid="t", raw_packet_limit=2), native.FlowTable()]
    for second in range(3):
        agent.tables[0].feed(frame(1001), at_ns=(1 + second) * 10**9)
    agent.tables[1].feed(frame(1002), at_ns=10**9)
    await run(agent)
    await eventually(lambda: len(server.hub.agents()) == 1)
    answer = await server.hub.flows.search(FlowSearch(where=Eq("Transport.A", 1001)))
    [flow] = answer.flows
    assert flow["RawPacketsCaptured"] == 2
    assert "LastRawPackets" not in flow
    kept = [RawPacket(1000 * number, number, frame(1001), 1) for number in (1, 2)]
    assert answer.packets() == {flow["UUID"]: kept}
    assert (
        await server.hub.flows.search(FlowSearch(where=Eq("Transport.A", 1002)))
    ).packets() == {}


async def test_flows_of_the_process_itself_are_among_all_and_of_no_node() -> None:
    """Such are those of imported files."""
    own = native.FlowTable(node_tid="import")
    for port in (1, 2):
        own.feed(frame(port), at_ns=port * 10**9)

    async def ask(search: bytes) -> list[bytes]:
        return [own.query(search)]

    flows = AgentFlows(dict, expected=lambda _: False, losses=Losses(), timeout_s=1.0, own=ask)
    newest = FlowSearch(sort=True, order=SortOrder.DESCENDING, first=1)
    found = (await flows.search(newest)).flows
    assert [flow["Transport"]["A"] for flow in found] == [1]
    assert (await flows.search(newest, tids_by_host={"h1": ["import"]})).flows == []
