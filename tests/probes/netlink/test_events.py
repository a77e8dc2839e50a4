from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from skydiver.base.losses import LossReason
from skydiver.probes.netlink.events import EventReader
from skydiver.probes.netlink.links import HOST


@pytest.fixture
def opened() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0) as opened:
        opened.bind((0, 0))
        yield opened


def reader(
    opened: socket.socket, told: list[tuple[int, bytes]], lost: list[tuple[LossReason, int]]
) -> EventReader:
    def take(nsid: int, datagram: bytes) -> None:
        told.append((nsid, datagram))

    def lose(reason: LossReason, count: int) -> None:
        lost.append((reason, count))

    return EventReader(opened, own_nsid=None, take=take, lost=lose)


def ask_for_links(opened: socket.socket) -> None:
    opened.send(struct.pack("=IHHII16x", 32, 18, 0x301, 1, 0))


async def test_everything_there_is_read_and_then_no_more(opened: socket.socket) -> None:
    """Whoever goes on before all is read would act on an old state."""
    told: list[tuple[int, bytes]] = []
    events = reader(opened, told, [])
    assert events.read(time.monotonic() + 10) == (0, True)
    ask_for_links(opened)
    count, drained = events.read(time.monotonic() + 10)
    assert (count, drained) == (len(told), True)
    assert {nsid for nsid, _ in told} == {HOST}


async def test_what_another_process_sends_is_not_read(opened: socket.socket) -> None:
    """Any process may write to a netlink socket that it knows the number of."""
    told: list[tuple[int, bytes]] = []
    events = reader(opened, told, [])
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as other:
        other.bind((0, 0))
        try:
            other.sendto(b"x" * 16, (opened.getsockname()[0], 0))
        except PermissionError:
            pytest.skip("this kernel keeps processes from writing to each other")
    events.read(time.monotonic() + 10)
    assert not told


async def test_a_socket_that_fails_says_so(opened: socket.socket) -> None:
    """Then a new one is needed."""
    events = reader(opened, [], [])
    reading, writing = os.pipe()
    os.dup2(reading, opened.fileno())
    os.close(reading)
    os.close(writing)
    events.read(time.monotonic() + 10)
    assert events.failed.is_set()
    assert events.failure


async def test_a_lack_of_room_is_told_with_its_number() -> None:
    """The kernel says only that something was lost; how much is a counter beside it."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        opened.bind((0, 0))
        lost: list[tuple[LossReason, int]] = []
        events = reader(opened, [], lost)
        for _ in range(50):
            # Each is answered by an error message, for which there is no room soon.
            opened.send(struct.pack("=IHHII16x", 32, 9999, 0x5, 1, 0))
        events.read(time.monotonic() + 10)
        assert lost
        assert all(reason is LossReason.OVERRUN and count > 0 for reason, count in lost)
