"""Captures from a socket: files that are sent become flows of a node, in time."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson
import pytest
from tests.captures.test_tables import target

from skydiver.base.errors import ConfigError, QueryError, Unavailable
from skydiver.base.settings import load_settings
from skydiver.captures.capture import Counters
from skydiver.captures.pcapsocket import MOST_SENDERS, PcapSocket
from skydiver.flow import FlowSearch
from skydiver.flow.wire import search_to_wire
from skydiver.native import flow_message_json, flow_set_json
from skydiver.objects.capture import Capture

HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
NOW_NS = 1_700_000_000_000_000_000


def packets(ports: Sequence[int], gap_s: int = 0, first_s: int = 1000) -> bytes:
    out = []
    for number, port in enumerate(ports):
        udp = struct.pack(">HHHH", port, 53, 8, 0)
        ip = bytes.fromhex("4500001c0001000040110000") + bytes([10, 0, 0, 1, 10, 0, 0, 2])
        data = bytes.fromhex("020000000002020000000001") + b"\x08\x00" + ip + udp
        out.append(struct.pack("<IIII", first_s + number * gap_s, 0, len(data), len(data)) + data)
    return b"".join(out)


class Clock:
    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def source(clock: Clock) -> AsyncIterator[PcapSocket]:
    source = make(clock)
    yield source
    await source.close()


def make(clock: Clock, **ports: int) -> PcapSocket:
    keys = {f"agent.flow.pcapsocket.{name}": port for name, port in ports.items()}
    ranges = {"agent.flow.pcapsocket.min_port": 18_100, "agent.flow.pcapsocket.max_port": 18_400}
    return PcapSocket(
        None, load_settings([], {"host_id": "h", **ranges, **keys}, {}), clock_ns=clock
    )


def request(**members: Any) -> Capture:
    return Capture(gremlin_query="G.V()", uuid="c", type="pcapsocket", **members)


async def counters(source: PcapSocket, number: int) -> Counters:
    return (await source.counters())[number]


async def send(source: PcapSocket, number: int, data: bytes, *, end: bool = True) -> Any:
    host, port = (await counters(source, number)).socket.rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    if end:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return writer


async def eventually(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)


async def flows(source: PcapSocket) -> list[dict[str, Any]]:
    answers = await source.query(search_to_wire(FlowSearch()))
    return [flow for answer in answers for flow in orjson.loads(flow_set_json(answer))]


async def test_a_file_that_is_sent_becomes_flows_of_the_node(source: PcapSocket) -> None:
    """With the time of its delivery, whatever the sender's clock says."""
    number = await source.start(target(), request())
    await send(source, number, HEAD + packets([1, 2, 2]))

    async def received() -> bool:
        return (await counters(source, number)).received == 3

    await eventually(received)
    found = await flows(source)
    assert sorted(flow["Transport"]["A"] for flow in found) == [1, 2]
    assert {(flow["NodeTID"], flow["CaptureID"]) for flow in found} == {("tid", "c")}
    assert {flow["Start"] for flow in found} == {NOW_NS // 1_000_000}
    assert await source.update(NOW_NS // 1_000_000 + 5)
    stopped = await source.stop(number, now_ms=0)
    assert stopped.counters.received == 3
    assert len(orjson.loads(flow_message_json(stopped.flows))) == 2
    assert await flows(source) == []


async def test_gaps_between_packets_are_kept(source: PcapSocket, clock: Clock) -> None:
    """A replay of an hour lasts an hour; the capture can be stopped in the middle of it."""
    number = await source.start(target(), request())
    writer = await send(source, number, HEAD + packets(range(5), gap_s=3600), end=False)

    async def one() -> bool:
        return (await counters(source, number)).received == 1

    await eventually(one)
    await asyncio.sleep(0.05)
    assert await one()
    stopped = await source.stop(number, now_ms=0)
    assert stopped.counters.received == 1
    assert source.status() == {"Sockets": 0, "Senders": 0}
    writer.close()


async def test_the_filter_is_for_every_link_type(source: PcapSocket) -> None:
    """Files tell theirs only when they come."""
    number = await source.start(target(), request(bpf_filter="udp src port 2"))
    await send(source, number, HEAD + packets([1, 2, 3]))
    raw = HEAD[:20] + struct.pack("<I", 101)
    record = packets([2])
    await send(source, number, raw + struct.pack("<IIII", 1, 0, 28, 28) + record[16 + 14 :])

    async def received() -> bool:
        return (await counters(source, number)).received == 2

    await eventually(received)
    paths = sorted(flow["LayersPath"] for flow in await flows(source))
    assert [path.split("/")[0] for path in paths] == ["Ethernet", "IPv4"]
    with pytest.raises(QueryError, match="packet filter"):
        await source.start(target(), request(bpf_filter="nonsense"))


async def test_several_captures_listen_each_on_a_port_of_its_own(clock: Clock) -> None:
    """The original always took the first port; and a range has an end."""
    source = make(clock, min_port=18_450, max_port=18_451)
    one = await source.start(target(), request())
    two = await source.start(target(), request())
    assert (await counters(source, one)).socket != (await counters(source, two)).socket
    with pytest.raises(Unavailable, match=r"no port from 18450 to 18451 on 127\.0\.0\.1 is free"):
        await source.start(target(), request())
    await source.stop(one, now_ms=0)
    three = await source.start(target(), request())
    assert (await counters(source, three)).socket == "127.0.0.1:18450"
    await source.close()


async def test_garbage_is_counted_and_ends_only_its_own_connection(
    source: PcapSocket, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody on the host can connect."""
    number = await source.start(target(), request())
    await send(source, number, b"GET / HTTP/1.1\r\n\r\n")
    await send(source, number, HEAD + packets([1])[:-1])
    await send(source, number, HEAD + packets([7]))

    async def seen() -> bool:
        now = await counters(source, number)
        return (now.undecoded, now.received) == (2, 1)

    await eventually(seen)
    assert "not a pcap or pcapng file" in caplog.text
    assert "the capture file ends in the middle, after 0 packets" in caplog.text


async def test_so_many_senders_have_room_and_no_more(source: PcapSocket) -> None:
    """Each holds a buffer."""
    number = await source.start(target(), request())
    writers = [await send(source, number, HEAD, end=False) for _ in range(MOST_SENDERS)]

    async def full() -> bool:
        return source.status()["Senders"] == MOST_SENDERS

    await eventually(full)
    host, port = (await counters(source, number)).socket.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    with suppress(ConnectionError):
        assert await reader.read() == b""
    for each in (writer, *writers):
        each.close()


async def test_options_that_mean_nothing_here_are_refused(source: PcapSocket) -> None:
    """None is ignored in silence."""
    with pytest.raises(ConfigError, match="HeaderSize does not apply to pcapsocket"):
        await source.start(target(), request(header_size=100))


async def test_an_address_that_is_not_ours_is_one_line(clock: Clock) -> None:
    """It is a setting, so the reader can act on it."""
    keys = {"host_id": "h", "agent.flow.pcapsocket.bind_address": "192.0.2.1"}
    source = PcapSocket(None, load_settings([], keys, {}), clock_ns=clock)
    with pytest.raises(Unavailable, match=r"cannot listen on 192\.0\.2\.1:8100: "):
        await source.start(target(), request())
