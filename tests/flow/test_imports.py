"""Imported capture files are flows for a while, bounded in number and memory."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import orjson
import pytest

from skydiver.base.errors import Unavailable
from skydiver.base.losses import Losses, LossReason
from skydiver.base.settings import load_settings
from skydiver.flow import FlowSearch
from skydiver.flow.imports import MOST_AT_ONCE, Imports
from skydiver.flow.wire import search_to_wire
from skydiver.native import flow_set_json


def frame(port: int) -> bytes:
    udp = struct.pack(">HHHH", port & 0xFFFF, 53, 8, 0)
    address = bytes([10, 0, 1 + (port >> 16), 1]) + bytes([10, 0, 0, 2])
    head = struct.pack(">BBHHHBBH", 0x45, 0, 28, 1, 0, 64, 17, 0)
    return bytes.fromhex("020000000002020000000001") + b"\x08\x00" + head + address + udp


def pcap(ports: Iterable[int], link_type: int = 1) -> bytes:
    """A file with a packet for each port, of the year 2001."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, link_type)]
    for number, port in enumerate(ports):
        data = frame(port)
        out.append(struct.pack("<IIII", 1_000_000_000 + number, 0, len(data), len(data) + 10))
        out.append(data)
    return b"".join(out)


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.fixture
def losses() -> Losses:
    return Losses()


@pytest.fixture
def make(losses: Losses) -> Callable[..., Imports]:
    def make(**overrides: Any) -> Imports:
        keys = {"host_id": "h", **{k.replace("__", "."): v for k, v in overrides.items()}}
        return Imports(load_settings([], keys, {}), losses)

    return make


async def flows(imports: Imports) -> list[dict[str, Any]]:
    answers = await imports.query(search_to_wire(FlowSearch()))
    return [flow for answer in answers for flow in orjson.loads(flow_set_json(answer))]


async def test_the_flows_of_a_file_carry_its_identifier(make: Callable[..., Imports]) -> None:
    """That is how people find them among all others."""
    imports = make()
    done = await imports.take(pieces(pcap(range(100))))
    assert (done.packets, done.bytes, done.flows, done.error) == (100, 5200, 100, "")
    found = await flows(imports)
    assert {(flow["NodeTID"], flow["CaptureID"]) for flow in found} == {(done.id, done.id)}
    assert min(flow["Start"] for flow in found) == 1_000_000_000_000
    imports.close()
    assert await flows(imports) == []


async def test_flows_can_be_asked_for_while_the_file_arrives(make: Callable[..., Imports]) -> None:
    """A large file takes its time."""
    imports = make()
    half, go_on = asyncio.Event(), asyncio.Event()
    whole = pcap(range(20))

    async def slow() -> AsyncIterator[bytes]:
        yield whole[:500]
        half.set()
        await go_on.wait()
        yield whole[500:]

    taking = asyncio.create_task(imports.take(slow()))
    await half.wait()
    assert 0 < len(await flows(imports)) < 20
    go_on.set()
    assert (await taking).flows == 20
    imports.close()


@pytest.mark.parametrize(
    ("data", "words", "packets"),
    [
        (b"", "not a pcap or pcapng file", 0),
        (b"MZ\x90", "not a pcap or pcapng file", 0),
        (pcap(range(3))[:-1], "the capture file ends in the middle, after 2 packets", 2),
        (pcap(range(3), link_type=77), "link type 77 of the capture file is not supported", 0),
        (pcap(range(2)) + b"\xff" * 40, "the capture file ends in the middle, after 2", 2),
    ],
)
async def test_a_broken_file_says_what_is_wrong_and_keeps_what_came_before(
    make: Callable[..., Imports], data: bytes, words: str, packets: int
) -> None:
    """Half a capture of an incident is better than none."""
    imports = make()
    done = await imports.take(pieces(data, 7))
    assert done.error.startswith(words)
    assert "\n" not in done.error
    assert (done.packets, len(await flows(imports))) == (packets, packets)
    imports.close()


async def test_a_sender_that_vanishes_leaves_what_arrived(make: Callable[..., Imports]) -> None:
    """And does not hold a place for ever."""
    imports = make()

    async def vanishing() -> AsyncIterator[bytes]:
        yield pcap(range(5))
        raise ConnectionResetError

    for _ in range(MOST_AT_ONCE + 1):
        with pytest.raises(ConnectionResetError):
            await imports.take(vanishing())
    assert len(await flows(imports)) == 5 * (MOST_AT_ONCE + 1)
    imports.close()


async def test_so_many_files_are_read_at_once_and_no_more(make: Callable[..., Imports]) -> None:
    """Each takes processor time and a buffer."""
    imports = make()
    hold = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        await hold.wait()
        yield pcap([1])

    async with asyncio.TaskGroup() as tasks:
        taking = [tasks.create_task(imports.take(waiting())) for _ in range(MOST_AT_ONCE)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match=f"{MOST_AT_ONCE} capture files are being imported"):
            await imports.take(pieces(pcap([1])))
        hold.set()
    assert [task.result().flows for task in taking] == [1] * MOST_AT_ONCE
    imports.close()


async def test_flows_end_a_while_after_the_import_whatever_their_time(
    make: Callable[..., Imports],
) -> None:
    """Packets of 2001 would otherwise be gone at the next tick."""
    imports = make(flow__expire=0.2)
    await imports.take(pieces(pcap(range(5))))
    assert len(await flows(imports)) == 5
    async with asyncio.timeout(10):
        while await flows(imports):
            await asyncio.sleep(0.02)


async def test_a_full_table_evicts_and_counts(make: Callable[..., Imports], losses: Losses) -> None:
    """A flood in a file must not take the analyzer's memory."""
    imports = make(analyzer__pcap__memory_mib=1)
    done = await imports.take(pieces(pcap(range(5000)), 65_536))
    assert done.flows + done.evicted == 5000
    assert done.flows <= 1024
    assert losses.counts()["import", LossReason.TABLE_FULL] == done.evicted
    imports.close()


async def test_the_oldest_file_makes_room_for_new_ones(
    make: Callable[..., Imports], losses: Losses
) -> None:
    """All tables together stay in the budget."""
    imports = make(analyzer__pcap__memory_mib=1)
    done = [await imports.take(pieces(pcap(range(1000)), 65_536)) for _ in range(8)]
    there = {flow["CaptureID"] for flow in await flows(imports)}
    ids = [each.id for each in done]
    assert there == set(ids[-len(there) :])
    assert 0 < len(there) < 8
    assert losses.counts()["import", LossReason.TABLE_FULL] == 1000 * (8 - len(there))
    imports.close()
