from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from skydiver.base.errors import ProtocolError, Unavailable
from skydiver.broker.client import Broker, NetnsRef
from skydiver.native import decode_netlink

NETLINK_GENERIC = 16


async def test_many_requests_at_once_get_their_own_answers(broker: Broker) -> None:
    """They share one channel."""
    sockets = await asyncio.gather(
        *(broker.netlink_socket(None, groups=1 << bit) for bit in range(20)),
    )
    groups = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    assert groups == [1 << bit for bit in range(20)]


async def test_a_refused_request_raises_and_the_next_one_works(broker: Broker) -> None:
    """One wrong question must not end the conversation."""
    reference = NetnsRef(path="/etc/passwd", pid=None, inode=1, device=1)
    with pytest.raises(ProtocolError, match="not a namespace"):
        await broker.netlink_socket(reference, groups=0)
    assert isinstance(await broker.holders(), list)


async def test_a_cancelled_caller_leaks_no_descriptor(broker: Broker) -> None:
    """The descriptor arrives after the caller has gone; it must be closed."""
    (await broker.netlink_socket(None, groups=0)).close()
    before = len(os.listdir("/proc/self/fd"))
    for wait in range(20):
        task = asyncio.create_task(broker.netlink_socket(None, groups=0))
        for _ in range(wait % 5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result().close()
    await broker.holders()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_end_of_the_broker_ends_all_that_wait_for_it(broker: Broker) -> None:
    """Nothing may hang; the agent has to tell that it is blind."""
    await broker.holders()
    os.kill(broker.pid, signal.SIGSTOP)
    waiting = asyncio.create_task(broker.holders())
    await asyncio.sleep(0)
    os.kill(broker.pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="the broker is gone"):
        await waiting
    await broker.gone()
    with pytest.raises(Unavailable, match="the broker is gone"):
        await broker.holders()


async def test_the_host_is_dumped(broker: Broker) -> None:
    """The loopback interface is everywhere."""
    with await broker.dump([None]) as dump:
        (part,) = dump.parts
        links = [m for datagram in part.links() for m in decode_netlink(datagram)]
        addresses = [m for datagram in part.addresses() for m in decode_netlink(datagram)]
    assert part.error == ""
    assert "lo" in [link.get("name") for link in links]
    assert {message["kind"] for message in links} == {"newlink", "done"}
    assert {message["kind"] for message in addresses} <= {"newaddr", "done"}


@pytest.mark.root
async def test_an_ended_namespace_spoils_only_its_own_part(broker: Broker, netns: NetnsRef) -> None:
    """A dump asks for many; one of them may have ended a moment ago."""
    (number,) = await broker.identify([netns])
    assert isinstance(number, int)
    with await broker.dump([2**31 - 1, number]) as dump:
        assert [bool(part.error) for part in dump.parts] == [True, False]


@pytest.mark.root
async def test_numbers_are_given_to_the_good_and_words_to_the_bad(
    broker: Broker, netns: NetnsRef
) -> None:
    """One of several namespaces may be gone."""
    gone = NetnsRef(path="/run/netns/skt-none", pid=None, inode=1, device=netns.device)
    number, words = await broker.identify([netns, gone])
    assert isinstance(number, int)
    assert words == "/run/netns/skt-none: No such file or directory"
    assert await broker.own_nsid() != number


@pytest.mark.root
async def test_sockets_are_opened_inside_the_namespace(broker: Broker, netns: NetnsRef) -> None:
    """A packet socket there captures what the host does not see."""
    with await broker.packet_socket(netns) as opened:
        assert opened.family == socket.AF_PACKET
        with pytest.raises(OSError, match="No such device"):
            opened.bind(("eth0", 0))
    with await broker.netlink_socket(netns, groups=1, receive_buffer=64 << 20) as listening:
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 64 << 20


@pytest.mark.root
def test_an_agent_without_capabilities_works_through_its_broker() -> None:
    """The point of it all: the parsing half has no privilege, and still everything works."""
    script = """
import asyncio
from skydiver.broker import drop_capabilities, fork_broker
broker = fork_broker()
drop_capabilities()
async def main():
    import socket
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        print("refused")
    opened = await broker.packet_socket(None)
    opened.bind(("lo", 3))
    print("captures")
    events = await broker.netlink_socket(None, groups=1, all_nsid=True, receive_buffer=1 << 20)
    print("listens", broker.missing)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("refused\ncaptures\nlistens ()\n", "")


async def test_a_socket_can_be_of_generic_netlink(broker: Broker) -> None:
    """ethtool answers there; nobody needs privilege to read."""
    with await broker.netlink_socket(None, groups=0, generic=True) as opened:
        assert opened.proto == NETLINK_GENERIC
