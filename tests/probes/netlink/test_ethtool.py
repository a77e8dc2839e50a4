from __future__ import annotations

import array
import socket
import subprocess
from fcntl import ioctl
from pathlib import Path

import pytest
from tests.probes.conftest import Running, ip
from tests.probes.netlink.test_follower import probes

from skydiver.broker.client import Broker
from skydiver.lab import Namespace
from skydiver.lab.sockets import open_socket
from skydiver.lab.vm import inside
from skydiver.probes.netlink.drivers import driver_of
from skydiver.probes.netlink.ethtool import Questions, monitor, words_as_bytes
from skydiver.topology import link_node_id

SET_TSO = 0x1F
KINDS = {
    "veth": "link add @veth type veth peer name @peer",
    "vxlan": "link add @vxlan type vxlan id 5 dstport 4789",
    "macvlan": "link add link @veth name @macvlan type macvlan",
    "macvtap": "link add link @veth name @macvtap type macvtap",
    "ifb": "link add @ifb type ifb",
    "tun": "tuntap add @tun mode tun",
    "tap": "tuntap add @tap mode tap",
}
KINDS_OF_A_FULL_KERNEL = {
    "bridge": "link add @bridge type bridge",
    "bond": "link add @bond type bond",
    "vlan": "link add link @veth name @vlan type vlan id 4",
    "ipvlan": "link add link @peer name @ipvlan type ipvlan",
    "dummy": "link add @dummy type dummy",
    "vrf": "link add @vrf type vrf table 7",
    "gre": "link add @gre type gre remote 10.0.0.1 local 10.0.0.2",
    "gretap": "link add @gretap type gretap remote 10.0.0.1 local 10.0.0.2",
    "sit": "link add @sit type sit remote 10.0.0.1 local 10.0.0.2",
    "ipip": "link add @ipip type ipip remote 10.0.0.1 local 10.0.0.2",
    "ip6tnl": "link add @ip6tnl type ip6tnl remote fd00::1 local fd00::2",
    "geneve": "link add @geneve type geneve id 4 remote 10.0.0.1",
    "wireguard": "link add @wireguard type wireguard",
    "xfrm": "link add @xfrm type xfrm dev @veth if_id 4",
    "team": "link add @team type team",
    "nlmon": "link add @nlmon type nlmon",
    "vcan": "link add @vcan type vcan",
    "vxcan": "link add @vxcan type vxcan",
}


def test_the_features_of_the_loopback() -> None:
    """Any kernel has one, and anybody may ask."""
    questions = Questions()
    with socket.socket() as opened:
        questions.learn(opened)
        answer = questions.ask(opened, socket.if_nametoindex("lo"))
    assert answer is not None
    assert answer.driver == ""
    assert (answer.speed, answer.duplex) == (None, None)
    features = questions.features(answer.active)
    assert features["loopback"] is True
    assert features["highdma"] is True
    assert {"rx-gro", "tx-scatter-gather", "tx-checksum-ip-generic"} < features.keys()


def test_equal_features_are_kept_once() -> None:
    """Sixty names for each of ten thousand interfaces would be most of what an agent needs."""
    questions = Questions()
    questions.names = ["a", "b", "", "c"]
    assert questions.features(b"\x09") == {"a": True, "b": False, "c": True}
    assert questions.features(b"\x09") is questions.features(bytes([9]))
    # A kernel may know more bits than it tells names.
    assert questions.features(b"\xff\xff") == {"a": True, "b": True, "c": True}
    assert words_as_bytes(array.array("I", [1, 0x80000000])) == b"\1\0\0\0\0\0\0\x80"


def test_an_interface_that_went_has_no_answer() -> None:
    """It may go between its event and the question."""
    questions = Questions()
    with socket.socket() as opened:
        questions.learn(opened)
        assert questions.ask(opened, 0x7FFFFFFF) is None


def test_the_kernel_tells_where_it_announces_changes() -> None:
    """By name, as its numbers differ from start to start."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as opened:
        opened.bind((0, 0))
        family = monitor(opened)
        assert family is None or family > 16


@pytest.mark.root
@pytest.mark.vm
async def test_features_speed_and_duplex(broker: Broker, prefix: str) -> None:
    """Scenario 4; a change is announced by the kernel, a new interface asked soon."""
    space = f"{prefix}n"
    one, other, tunnel = (f"{prefix}{letter}" for letter in "abv")
    ip(f"netns add {space}", f"-n {space} link add {one} type veth peer name {other}")
    running = Running(broker, probes())
    async with running.at_work():
        await running.until(lambda: "Features" in running.named(one))
        features = running.named(one)["Features"]
        assert features["highdma"] is True
        assert features["tx-tcp-segmentation"] is True
        assert (running.named(one)["Speed"], running.named(one)["Duplex"]) == (10_000, "full")
        ip(f"-n {space} link add {tunnel} type vxlan id 5 dstport 4789")
        await running.until(lambda: "Features" in running.named(tunnel))
        assert "Speed" not in running.named(tunnel)
        switch(space, one, on=False)
        await running.until(lambda: running.named(one)["Features"]["tx-tcp-segmentation"] is False)
        assert running.named(other)["Features"]["tx-tcp-segmentation"] is True
        node = running.graph.node(link_node_id("h1", inode(space), 1))
        assert node is not None
        assert node.metadata["Name"] == "lo"
        assert "Features" not in node.metadata
        if inside():
            ip(f"-n {space} link add br0 type bridge")
            await running.until(
                lambda: running.named("br0").get("Features", {}).get("highdma") is True
            )
            ip(
                f"-n {space} link set {one} master br0",
                *(f"-n {space} link set {name} up" for name in ("br0", one, other)),
            )
            await running.until(lambda: running.named("br0").get("Speed") == 10_000)
    assert running.losses.as_json() == {}


@pytest.mark.root
async def test_asking_does_not_keep_a_namespace_alive(broker: Broker, prefix: str) -> None:
    """Its socket is inside; namespaces come and go while they are asked."""
    running = Running(broker, probes())
    async with running.at_work():
        for _ in range(5):
            names = [f"{prefix}n{n}" for n in range(8)]
            ip(*(f"netns add {n}" for n in names))
            ip(*(f"-n {n} link add {n}v type veth peer name {n}w" for n in names))
            await running.until(lambda: len(running.nodes(prefix)) == 8 * 3)
            ip(*(f"netns del {n}" for n in names))
            await running.until(lambda: not running.nodes(prefix))


@pytest.mark.root
@pytest.mark.vm
async def test_drivers_are_what_ethtool_calls_them(broker: Broker, prefix: str) -> None:
    """Virtual interfaces are named by their kind without a question; that has to be right."""
    space = f"{prefix}n"
    ip(f"netns add {space}")
    kinds = KINDS | (KINDS_OF_A_FULL_KERNEL if inside() else {})
    made = []
    for name, command in kinds.items():
        command = f"ip -n {space} {command.replace('@', prefix[1:])}"
        done = subprocess.run(command.split(), capture_output=True, check=False)
        if done.returncode == 0:
            made.append(f"{prefix[1:]}{name}")
    assert len(made) >= len(KINDS) - 1
    running = Running(broker, probes())
    async with running.at_work():
        await running.until(lambda: all(running.named(name) for name in made))
        with open_socket(Namespace(space, space), socket.AF_INET, socket.SOCK_DGRAM) as opened:
            wanted = {name: driver_of(opened, name)[0] for name in made}
        assert {name: running.named(name)["Driver"] for name in made} == wanted


def switch(space: str, name: str, *, on: bool) -> None:
    """Switch TCP segmentation offload."""
    value = array.array("B", SET_TSO.to_bytes(4, "little") + on.to_bytes(4, "little"))
    with open_socket(Namespace(space, space), socket.AF_INET, socket.SOCK_DGRAM) as opened:
        address = value.buffer_info()[0]
        ioctl(opened, 0x8946, name.encode().ljust(16, b"\0") + address.to_bytes(24, "little"))


def inode(space: str) -> int:
    return Path("/run/netns", space).stat().st_ino
