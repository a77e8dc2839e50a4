"""How far clocks are off, with clocks that are."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, web
from hypothesis import given
from hypothesis import strategies as st
from tests.hub.conftest import Agent, Run, Serve, Server, Start, eventually, same

from skydiver.base.ids import NodeID, Origin
from skydiver.graph import Graph, NodeSpec
from skydiver.hub.clocks import HEADER, SPOKEN, HostClock, Offset, PeerClock, read_ping
from skydiver.topology.health import hosts_status

MS = 1_000_000
HOST = NodeID("host")


class Line:
    """An analyzer and an agent with clocks of their own, and a line between them that takes time.

    The true time is the analyzer's.
    """

    def __init__(self, off_ms: float = 0) -> None:
        self.now_ns = 10**18
        self.off_ns = int(off_ms * MS)
        self.clock = PeerClock(
            "agent h1", clock_ns=lambda: self.now_ns, mono_ns=lambda: self.now_ns - 10**17
        )

    def exchange(self, out_ms: float = 0.1, back_ms: float = 0.1) -> Offset | None:
        """A ping and its pong; gives what the ping told the agent."""
        ping = self.clock.ping()
        self.now_ns += int(out_ms * MS)
        pong, told = read_ping(ping, lambda: self.now_ns + self.off_ns)
        self.now_ns += int(back_ms * MS)
        self.clock.pong(pong)
        return told

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def known(self) -> Offset:
        offset = self.clock.offset()
        assert offset is not None
        return offset


def test_the_offset_is_in_the_middle_and_the_error_half_of_the_way() -> None:
    """With nothing to tell the way there from the way back."""
    line = Line(off_ms=250)
    assert line.clock.offset() is None
    line.exchange(2, 2)
    assert line.known() == Offset(250.0, 2.0, False)


@given(st.floats(-1e7, 1e7), st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), min_size=1))
def test_the_truth_is_never_further_away_than_the_error(
    off_ms: float, ways: list[tuple[float, float]]
) -> None:
    """However unequal the ways are: that is the promise that delays are judged by."""
    line = Line(off_ms)
    for out_ms, back_ms in ways:
        line.exchange(out_ms, back_ms)
        line.wait(2)
        known = line.known()
        # A thousandth for the figures of floating point.
        assert abs(known.offset_ms - off_ms) <= known.error_ms + 0.001


def test_the_best_of_the_last_exchanges_counts_and_ages() -> None:
    """A busy moment must not hide what is known from a quiet one, but not for ever."""
    line = Line(off_ms=5)
    line.exchange(0.2, 0.2)
    line.wait(2)
    line.exchange(0, 300)
    assert line.known().offset_ms == 5
    assert line.known().error_ms == pytest.approx(0.2 + 2300 * 100e-6, rel=0.01)
    for _ in range(8):
        line.exchange(0, 300)
    assert line.known().error_ms >= 150


def test_a_clock_that_was_set_is_noticed_at_once() -> None:
    """What was known before is no longer true, however small its error was."""
    line = Line()
    line.exchange()
    line.off_ns = 500 * MS
    line.exchange(10, 10)
    assert line.known() == Offset(500.0, 10.0, False)


def test_a_clock_that_drifts_is_followed() -> None:
    """Up to the promised rate without ever being wrong."""
    line = Line()
    for _ in range(100):
        line.exchange()
        line.wait(2)
        line.off_ns += int(2e9 * 99e-6)
        known = line.known()
        assert abs(known.offset_ms - line.off_ns / MS) <= known.error_ms


def test_a_clock_over_a_second_off_is_flagged_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Surely so in both directions: a slow line is no evidence."""
    line = Line(off_ms=-1500)
    with caplog.at_level(logging.INFO):
        line.exchange(1200, 0)
        assert not line.known().flagged
        for _ in range(3):
            line.exchange()
        assert line.known().flagged
        line.off_ns = -999 * MS
        line.exchange(5, 5)
        assert line.known().flagged
        line.exchange(0.1, 0.1)
        assert not line.known().flagged
    assert [record.message for record in caplog.records] == [
        "agent h1: its clock is 1.500 s behind this one's, with an error of 0.000 s",
        "agent h1: its clock is right again",
    ]


def test_each_ping_tells_what_came_of_those_before() -> None:
    """So that the agent knows without a message more."""
    line = Line(off_ms=1500)
    assert line.exchange() is None
    told = line.exchange()
    assert told == Offset(1500.0, 0.1, True)


@pytest.mark.parametrize("payload", [b"", b"x" * 8, b"x" * 25, b"x" * 125])
def test_other_pings_come_back_as_they_are(payload: bytes) -> None:
    """As the protocol demands; the payload of a proof of life is empty."""
    if len(payload) != struct.calcsize("!QBdd"):
        assert read_ping(payload, time.time_ns) == (payload, None)
    else:
        assert read_ping(payload, lambda: 7) == (b"x" * 8 + struct.pack("!q", 7), None)


def test_nonsense_in_a_ping_tells_nothing() -> None:
    """What is shown to people and compared in queries is a number."""
    for offset in (float("nan"), float("inf")):
        payload = struct.pack("!QBdd", 1, 1, offset, 0)
        assert read_ping(payload, lambda: 7)[1] is None


def test_pongs_that_answer_nothing_say_nothing() -> None:
    """They may be late, repeated, or made up."""
    line = Line()
    ping = line.clock.ping()
    pong, _ = read_ping(ping, lambda: line.now_ns)
    for payload in (b"", b"x", ping, struct.pack("!Qq", 99, 0)):
        line.clock.pong(payload)
    assert line.clock.offset() is None
    line.clock.pong(pong)
    assert line.known().offset_ms == 0
    line.clock.pong(struct.pack("!Qq", 1, 0))
    assert line.known().offset_ms == 0
    for _ in range(100):
        line.clock.ping()
    line.clock.pong(struct.pack("!Qq", 2, 0))
    assert line.known().offset_ms == 0


# On the node of the host


class Told:
    """What the node of a host says of its clock, and how often it changed."""

    def __init__(self) -> None:
        self.graph = Graph(host="h1", origin=Origin("agent.h1"))
        self.graph.owned_by("host").upsert(NodeSpec(HOST, {"Type": "host", "Name": "h1"}))
        self.changes = 0
        self.graph.subscribe(self._count)
        self.now_ns = 0
        self.clock = HostClock(self.graph.owned_by("clock"), HOST, mono_ns=lambda: self.now_ns)

    def _count(self, _event: object) -> None:
        self.changes += 1

    def tell(self, offset_ms: float, error_ms: float = 1, *, flagged: bool = False) -> None:
        self.clock.tell("a1", Offset(offset_ms, error_ms, flagged))

    def shown(self) -> Any:
        node = self.graph.node(HOST)
        return node.metadata.get("Clock") if node else None


def test_the_offset_is_shown_on_the_host() -> None:
    """Queries find it: ``Has('Clock.Flagged', true)``."""
    told = Told()
    told.clock.tell("a1", Offset(1234.56789, 0.12345, True))
    assert told.shown() == {
        "OffsetMs": 1234.568,
        "ErrorMs": 0.124,
        "Flagged": True,
        "Analyzer": "a1",
    }


def test_exchanges_that_say_the_same_make_no_revision() -> None:
    """There is one every two seconds from each of a thousand agents, for ever."""
    told = Told()
    for number in range(10_000):
        told.now_ns += 2 * 10**9
        told.tell(10 + (number % 7) / 5)
    assert told.changes == 1


def test_a_clock_that_moves_is_followed_once_a_minute() -> None:
    """One that drifts leaves its error behind with each exchange."""
    told = Told()
    for number in range(300):
        told.tell(number * 5)
        told.now_ns += 2 * 10**9
    assert told.changes == 10


def test_what_matters_is_told_at_once() -> None:
    """The flag, another analyzer, and knowing better."""
    told = Told()
    told.tell(100, 50)
    told.tell(80, 3)
    assert told.shown()["OffsetMs"] == 80
    told.tell(1500, 3, flagged=True)
    assert told.shown()["Flagged"] is True
    told.clock.tell("a2", Offset(1500, 3, True))
    assert told.shown()["Analyzer"] == "a2"
    told.clock.tell("a3", None)
    assert told.shown() is None
    told.clock.tell("a3", None)
    assert told.changes == 5


# Between a real hub and a real agent


async def test_a_host_whose_clock_is_off_is_known_everywhere(start: Start, run: Run) -> None:
    """On its node at both ends, in the status, and nothing is sent over and over."""
    server = await start(Server(ping_delay_s=0.02))
    agent = Agent(server, clock_ns=lambda: time.time_ns() + 3_000 * MS, clock_of=HOST)
    agent.state(HOST, "host", Agent={"Missing": []})
    await run(agent)
    await eventually(lambda: "Clock" in dict(_metadata(server.graph)))
    shown = _metadata(server.graph)["Clock"]
    assert abs(shown["OffsetMs"] - 3_000) <= shown["ErrorMs"] + 0.001
    assert (shown["Flagged"], shown["Analyzer"]) == (True, "a1")
    status = hosts_status(server.graph.view())["h1"]
    assert (status["ClockOffsetMs"], status["ClockFlagged"]) == (shown["OffsetMs"], True)
    await eventually(lambda: same(agent, server))
    connection = server.hub.agents()["h1"]
    assert connection.clock is not None
    assert connection.clock.offset() is not None
    before = len(server.events)
    await asyncio.sleep(0.3)
    assert len(server.events) <= before + 3  # what is known twice as well


async def test_an_original_agent_is_pinged_as_before(start: Start) -> None:
    """Its pings have no payload and its answers no time; it gets no header that it did not ask
    for."""
    server = await start(Server(ping_delay_s=0.02))
    headers = {"X-Host-ID": "old", "X-Client-Type": "agent", "X-Client-Protocol": "json"}
    async with (
        ClientSession() as session,
        session.ws_connect(
            f"ws://{server.address}/ws/agent/topology", headers=headers, autoping=False
        ) as socket,
    ):
        assert HEADER not in socket._response.headers
        for _ in range(3):
            received = await socket.receive(timeout=5)
            assert (received.type, received.data) == (WSMsgType.PING, b"")
            await socket.pong(received.data)
        assert server.hub.agents()["old"].clock is None


@pytest.mark.parametrize("answers", [{}, {HEADER: "2"}, {HEADER: SPOKEN}])
async def test_pings_of_an_original_analyzer_come_back_as_they_are(
    serve: Serve, run: Run, answers: dict[str, str]
) -> None:
    """It may compare them. Only who announced it gets our time."""
    pongs: list[bytes] = []
    payloads = [b"", b"ping", PeerClock("x").ping()]

    async def accept(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        socket.headers.update({"X-Host-ID": "a", "X-Service-Type": "analyzer", **answers})
        await socket.prepare(request)
        for payload in payloads:
            await socket.ping(payload)
        while True:
            received = await socket.receive()
            if received.type is WSMsgType.PONG:
                pongs.append(bytes(received.data))
            elif received.type is not WSMsgType.BINARY:
                return socket

    app = web.Application()
    app.router.add_get("/ws/agent/topology", accept)
    agent = Agent(await serve(app), clock_ns=lambda: 7, clock_of=HOST)
    agent.state(HOST, "host")
    await run(agent)
    await eventually(lambda: len(pongs) == 3)
    speaks = answers == {HEADER: SPOKEN}
    assert pongs == [*payloads[:2], struct.pack("!Qq", 1, 7) if speaks else payloads[2]]
    assert "Clock" not in _metadata(agent.graph)


async def test_the_offset_to_an_analyzer_that_went_is_not_kept(
    start: Start, serve: Serve, run: Run
) -> None:
    """The next one may have another clock, and if it is an original it never says."""
    ready = asyncio.Event()

    async def accept(request: web.Request) -> web.StreamResponse:
        await ready.wait()
        socket = web.WebSocketResponse()
        socket.headers.update({"X-Host-ID": "old", "X-Service-Type": "analyzer"})
        await socket.prepare(request)
        while (await socket.receive()).type is WSMsgType.BINARY:
            pass
        return socket

    app = web.Application()
    app.router.add_get("/ws/agent/topology", accept)
    server = await start(Server(ping_delay_s=0.02))
    agent = Agent(server, await serve(app), clock_of=HOST)
    agent.state(HOST, "host")
    await run(agent)
    await eventually(lambda: "Clock" in _metadata(agent.graph))
    ready.set()
    await eventually(lambda: "old" in agent.pod.status()["Analyzers"])
    await server.hub.agents()["h1"].close()
    await eventually(lambda: "Clock" not in _metadata(agent.graph))
    assert agent.pod.status()["Analyzers"]["old"]["IsMaster"]


def _metadata(graph: Graph) -> Any:
    node = graph.node(HOST)
    return node.metadata if node else {}
