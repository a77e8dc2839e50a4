from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.probes.conftest import Running, ip

from skydiver.base.settings import AgentSettings, NetlinkSettings
from skydiver.broker.client import Broker
from skydiver.probes.netlink import NetlinkProbe
from skydiver.probes.probe import Probe
from skydiver.probes.supervisor import configured
from skydiver.topology import host_node_id, link_node_id


class SmallBuffer(NetlinkProbe):
    """With room for very few events."""

    receive_buffer = 4096


def probes(
    *, metrics_update_s: float = 30.0, kind: type[NetlinkProbe] = NetlinkProbe
) -> Sequence[Probe[Any]]:
    others = [probe for probe in configured(AgentSettings()) if probe.name in {"host", "netns"}]
    return [*others, kind(NetlinkSettings(metrics_update_s=metrics_update_s))]


async def test_the_loopback_of_the_host_is_seen_by_anybody(broker: Broker) -> None:
    """Without root an agent still shows its own host."""
    running = Running(broker, probes())
    async with running.at_work():
        await running.until(lambda: "lo" in running.children("h1"))
        node_id = link_node_id("h1", running.namespaces.host.inode, 1)
        node = running.graph.node(node_id)
        assert node is not None
        assert node.metadata["Type"] == "device"
        assert node.metadata["EncapType"] == "loopback"
        assert "127.0.0.1/8" in node.metadata["IPV4"]
        assert "POINTTOPOINT" not in node.metadata["LinkFlags"]


async def test_an_event_socket_that_fails_is_replaced(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deaf probe would show an old picture for ever."""
    # Each sample is followed by a look at the events.
    running = Running(broker, probes(metrics_update_s=0.05))
    opened: list[socket.socket] = []
    give = broker.netlink_socket

    async def remember(*arguments: Any, **options: Any) -> socket.socket:
        opened.append(await give(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(broker, "netlink_socket", remember)
    async with running.at_work():
        await running.until(lambda: "lo" in running.children("h1"))
        events = next(one for one in opened if one.fileno() >= 0)
        # In place of the kernel's socket a pipe: reading from it fails.
        reader, writer = os.pipe()
        os.dup2(reader, events.fileno())
        os.write(writer, b"x")
        await running.until(lambda: events.fileno() < 0)
        await running.until(lambda: running.probes.status()["netlink"]["Status"] == "running")
        os.close(reader)
        os.close(writer)
        await running.until(lambda: any(one.fileno() >= 0 for one in opened))


@pytest.mark.root
async def test_what_was_there_before_the_start_is_seen(broker: Broker, prefix: str) -> None:
    """Namespaces, interfaces, addresses, masters and peers, from one dump."""
    ip(
        f"netns add {prefix}n",
        f"link add {prefix}b type bridge",
        f"link add {prefix}o type veth peer name {prefix}i netns {prefix}n",
        f"link set {prefix}o master {prefix}b up",
    )
    ip(f"-n {prefix}n addr add 10.1.2.3/24 dev {prefix}i")
    running = Running(broker, probes())
    async with running.at_work():
        await running.until(lambda: bool(running.named(f"{prefix}i")))
        await running.until(lambda: running.linked(f"{prefix}i", f"{prefix}o"))
        assert running.named(f"{prefix}i")["IPV4"] == ["10.1.2.3/24"]
        await running.until(lambda: running.children(f"{prefix}n") == {"lo", f"{prefix}i"})
        assert (f"{prefix}b", f"{prefix}o", "layer2") in running.edges()
        assert running.named(f"{prefix}o")["LinkNetNsName"] == f"{prefix}n"


@pytest.mark.root
async def test_every_change_arrives(broker: Broker, prefix: str) -> None:
    """The life of an interface, step by step, by events alone."""
    a, b, c, bridge, netns = (f"{prefix}{letter}" for letter in "abcrn")
    running = Running(broker, probes())
    async with running.at_work():
        ip(f"netns add {netns}", f"link add {a} type veth peer name {b}")
        await running.until(lambda: running.linked(a, b))
        assert running.named(a)["Type"] == running.named(a)["Driver"] == "veth"

        ip(f"link set {b} name {c}", f"link set {c} address 00:00:00:00:00:aa")
        await running.until(lambda: running.named(c).get("MAC") == "00:00:00:00:00:aa")
        assert not running.nodes(b)

        ip(f"addr add 10.7.0.1/24 dev {a}", f"addr add 10.7.0.2/24 dev {a}")
        both = ["10.7.0.1/24", "10.7.0.2/24"]
        await running.until(lambda: running.named(a).get("IPV4") == both)
        ip(f"addr flush dev {a}")
        await running.until(lambda: "IPV4" not in running.named(a))

        ip(f"link add {bridge} type bridge", f"link set {a} master {bridge} up mtu 1400")
        await running.until(lambda: (bridge, a, "layer2") in running.edges())
        await running.until(lambda: "UP" in running.named(a)["LinkFlags"])
        assert running.named(a)["MTU"] == 1400
        ip(f"link set {a} nomaster")
        await running.until(lambda: (bridge, a, "layer2") not in running.edges())
        await running.until(lambda: "MasterIndex" not in running.named(a))

        before = running.nodes(c)[0].id
        ip(f"link set {c} netns {netns}")
        await running.until(lambda: c in running.children(netns))
        await running.until(lambda: running.linked(a, c))
        assert c not in running.children("h1")
        assert running.nodes(c)[0].id != before
        await running.until(lambda: running.named(a).get("LinkNetNsName") == netns)

        ip(f"-n {netns} link set {c} netns 1")
        await running.until(lambda: c in running.children("h1"))
        await running.until(lambda: running.linked(a, c))
        await running.until(lambda: "LinkNetNsName" not in running.named(a))

        ip(f"link del {a}", f"link del {bridge}", f"netns del {netns}")
        await running.until(lambda: not running.nodes(prefix))


@pytest.mark.root
async def test_a_veth_between_two_namespaces_is_linked(broker: Broker, prefix: str) -> None:
    """Neither end is on the host, and both have the index 2, as has every first interface."""
    one, two, a, b = (f"{prefix}{letter}" for letter in "12ab")
    running = Running(broker, probes())
    async with running.at_work():
        ip(f"netns add {one}", f"netns add {two}")
        ip(f"link add {a} netns {one} type veth peer name {b} netns {two}")
        await running.until(lambda: running.linked(a, b))
        await running.until(lambda: running.named(a).get("LinkNetNsName") == two)
        await running.until(lambda: running.named(b).get("LinkNetNsName") == one)
        assert running.named(a)["IfIndex"] == running.named(b)["IfIndex"]


@pytest.mark.root
async def test_a_namespace_that_ends_by_its_process_is_not_kept(
    broker: Broker, prefix: str
) -> None:
    """An observer must not change what it observes: the kernel removes the host's end of the veth
    as if nobody watched."""
    outer, inner = f"{prefix}o", f"{prefix}i"
    running = Running(broker, probes())
    async with running.at_work():
        with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
            try:
                own = os.readlink("/proc/self/ns/net")
                link = f"/proc/{holder.pid}/ns/net"
                await running.until(lambda: os.readlink(link) != own)
                ip(f"link add {outer} type veth peer name {inner} netns {holder.pid}")
                await running.until(lambda: running.linked(outer, inner))
                assert running.children(f"sleep-{holder.pid}") >= {inner}
            finally:
                holder.kill()
        await running.until(lambda: not Path(f"/sys/class/net/{outer}").exists())
        await running.until(lambda: not running.nodes(prefix))


@pytest.mark.root
async def test_a_storm_ends_exact(broker: Broker, prefix: str) -> None:
    """Two hundred namespaces with a veth into a bridge by one command, then deleted by one."""
    numbers = range(200)
    bridge = f"{prefix}br"

    def is_exact() -> bool:
        edges = running.edges()
        wanted = {("h1", bridge, "own")}
        for n in numbers:
            netns, outer, inner = f"{prefix}n{n}", f"{prefix}v{n}", f"{prefix}e{n}"
            wanted |= {
                *(("h1", netns, "own"), ("h1", outer, "own"), (bridge, outer, "layer2")),
                *((netns, "lo", "own"), (netns, inner, "own"), (outer, inner, "veth")),
            }
        ours = {edge for edge in edges if any(prefix in end for end in edge)}
        return ours == wanted and not running.homeless()

    running = Running(broker, probes())
    async with running.at_work():
        await batch(
            f"link add {bridge} type bridge",
            *(
                line
                for n in numbers
                for line in (
                    f"netns add {prefix}n{n}",
                    f"link add {prefix}v{n} index {100_000 + n} type veth"
                    f" peer name {prefix}e{n} netns {prefix}n{n}",
                    f"link set {prefix}v{n} master {bridge} up",
                )
            ),
        )
        await running.until(is_exact)
        await batch(*(f"netns del {prefix}n{n}" for n in numbers), f"link del {bridge}")
        await running.until(lambda: not running.nodes(prefix) and not running.homeless())


@pytest.mark.root
async def test_lost_events_are_counted_and_repaired(broker: Broker, prefix: str) -> None:
    """With room for two events, nearly all of a storm is lost, deletions among it."""
    running = Running(broker, probes(kind=SmallBuffer))
    async with running.at_work():
        await batch(
            f"netns add {prefix}n",
            *(f"link add {prefix}v{n} type veth peer name i{n} netns {prefix}n" for n in range(60)),
            *(f"link set {prefix}v{n} mtu 1300 up" for n in range(60)),
            *(f"link del {prefix}v{n}" for n in range(30)),
        )
        left = {f"{prefix}v{n}" for n in range(30, 60)}
        await running.until(
            lambda: {n.metadata["Name"] for n in running.nodes(f"{prefix}v")} == left
        )
        await running.until(
            lambda: all(n.metadata["MTU"] == 1300 for n in running.nodes(f"{prefix}v"))
        )
        inner = {"lo"} | {f"i{n}" for n in range(30, 60)}
        await running.until(lambda: running.children(f"{prefix}n") == inner)
        assert running.losses.as_json()["probe.netlink"]["overrun"] > 0


@pytest.mark.root
async def test_a_flapping_interface_does_not_hold_up_the_others(
    broker: Broker, prefix: str
) -> None:
    """Its events are many, its last state is one."""
    running = Running(broker, probes())
    async with running.at_work():
        ip(f"link add {prefix}f type bridge", f"link add {prefix}o type bridge")
        await running.until(lambda: len(running.nodes(prefix)) == 2)
        revision = running.nodes(f"{prefix}f")[0].revision
        flapping = asyncio.create_task(
            batch(*(f"link set {prefix}f mtu {1000 + n % 400}" for n in range(4001))),
            name="flapping",
        )
        ip(f"link set {prefix}o mtu 1234")
        await running.until(lambda: running.named(f"{prefix}o")["MTU"] == 1234)
        await flapping
        await running.until(lambda: running.named(f"{prefix}f")["MTU"] == 1000)
        assert running.nodes(f"{prefix}f")[0].revision - revision < 4001


@pytest.mark.root
async def test_counters_are_sampled_inside_namespaces(broker: Broker, prefix: str) -> None:
    """The increase since the last sample, and the total."""
    running = Running(broker, probes(metrics_update_s=0.1))
    netns = f"{prefix}n"
    async with running.at_work():
        ip(f"netns add {netns}", f"-n {netns} link set lo up")
        await running.until(lambda: running.children(netns) == {"lo"})
        send = "for n in 1 2 3 4 5; do echo x > /dev/udp/127.0.0.1/9; done"
        subprocess.run(["ip", "netns", "exec", netns, "bash", "-c", send], check=True)
        await running.until(lambda: "LastUpdateMetric" in loopback_of(running, netns))
        found = loopback_of(running, netns)
        assert found["Metric"]["TxPackets"] >= 5
        recent = found["LastUpdateMetric"]
        assert 0 < recent["TxPackets"] <= found["Metric"]["TxPackets"]
        assert recent["Start"] < recent["Last"]


def loopback_of(running: Running, netns: str) -> dict[str, Any]:
    inode = running.named(netns)["Inode"]
    for edge in running.graph.edges():
        parent, child = running.graph.node(edge.parent), running.graph.node(edge.child)
        if parent is not None and parent.metadata.get("Inode") == inode and child is not None:
            return dict(child.metadata)
    return {}


@pytest.mark.root
async def test_real_devices_have_the_driver_of_ethtool(broker: Broker) -> None:
    """Compared with what sysfs says, for whatever this machine has."""
    devices = {
        path.parent.parent.name: path.resolve().name
        for path in Path("/sys/class/net").glob("*/device/driver")
    }
    running = Running(broker, probes())

    def seen() -> dict[str, str]:
        """Drivers of the host's own devices; other namespaces may use the same names."""
        return {
            str(child.metadata["Name"]): child.metadata["Driver"]
            for edge in running.graph.edges()
            if edge.parent == host_node_id("h1")
            and (child := running.graph.node(edge.child)) is not None
            and child.metadata.get("BusInfo")
        }

    async with running.at_work():
        await running.until(lambda: seen() == devices)


@pytest.mark.root
@pytest.mark.parametrize("seed", range(4))
async def test_the_graph_is_what_ip_shows(broker: Broker, prefix: str, seed: int) -> None:
    """A random laboratory, changed at random; an independent program says what is true."""
    chance = random.Random(seed)
    lab = RandomLab(prefix, chance)
    running = Running(broker, probes())
    await each(*lab.build())
    async with running.at_work():
        for _ in range(6):
            await each(*lab.change(40))
        expected = lab.seen_by_ip()
        try:
            await running.until(lambda: seen_in_graph(running, lab) == expected, within_s=10)
        except TimeoutError:
            assert seen_in_graph(running, lab) == expected
        await running.until(lambda: lab.pairs_in(running) == lab.pairs())
        await running.until(lambda: lab.places_in(running) == lab.places())


class RandomLab:
    """Namespaces with bridges and veth pairs, and random commands that change them."""

    def __init__(self, prefix: str, chance: random.Random) -> None:
        self.prefix = prefix
        self.chance = chance
        self.spaces = ["", *(f"{prefix}n{n}" for n in range(4))]
        self.bridges: dict[str, str] = {}
        self.where: dict[str, str] = {}
        """Namespace of each end of a pair, by name."""
        self.peer: dict[str, str] = {}
        self.made = 0

    def build(self) -> list[str]:
        lines = [f"netns add {space}" for space in self.spaces if space]
        for number, space in enumerate(self.spaces):
            bridge = f"{self.prefix}b{number}"
            self.bridges[space] = bridge
            lines.append(f"link add {bridge} {at(space)} type bridge")
        for _ in range(10):
            lines += self.new_pair()
        return lines

    def new_pair(self) -> list[str]:
        self.made += 1
        ends = [f"{self.prefix}v{self.made}{letter}" for letter in "xy"]
        spaces = [self.chance.choice(self.spaces) for _ in ends]
        self.where.update(zip(ends, spaces, strict=True))
        self.peer.update({ends[0]: ends[1], ends[1]: ends[0]})
        return [f"link add {ends[0]} {at(spaces[0])} type veth peer name {ends[1]} {at(spaces[1])}"]

    def change(self, count: int) -> list[str]:
        return [line for _ in range(count) for line in self.one_change()]

    def one_change(self) -> list[str]:
        end = self.chance.choice(sorted(self.where))
        space = self.where[end]
        inside = f"-n {space} " if space else ""
        match self.chance.randrange(9):
            case 0:
                return self.new_pair()
            case 1 if len(self.where) > 8:
                for name in (end, self.peer[end]):
                    del self.where[name]
                del self.peer[self.peer.pop(end)]
                return [f"{inside}link del {end}"]
            case 2:
                target = self.chance.choice(self.spaces)
                self.where[end] = target
                return [f"{inside}link set {end} netns {target or os.getpid()}"]
            case 3:
                return [f"{inside}link set {end} master {self.bridges[space]}"]
            case 4:
                return [f"{inside}link set {end} nomaster"]
            case 5:
                return [f"{inside}link set {end} {self.chance.choice(('up', 'down'))}"]
            case 6:
                return [f"{inside}link set {end} mtu {self.chance.randrange(1280, 1500)}"]
            case 7:
                number = self.chance.randrange(1, 250)
                return [f"{inside}addr replace 10.77.{number}.1/24 dev {end}"]
            case _:
                return [f"{inside}addr flush dev {end}"]

    def seen_by_ip(self) -> dict[str, dict[str, Any]]:
        seen = {}
        for space in self.spaces:
            inside = ["-n", space] if space else []
            command = ["ip", *inside, "-d", "-j", "addr", "show"]
            done = subprocess.run(command, check=True, capture_output=True)
            for link in json.loads(done.stdout):
                if link.get("ifname", "").startswith(self.prefix):
                    seen[link["ifname"]] = in_words(link, space or "h1")
        return seen

    def pairs(self) -> set[frozenset[str]]:
        return {frozenset(pair) for pair in self.peer.items()}

    def places(self) -> dict[str, tuple[int, str | None]]:
        """Of each end: index of the peer, and the name of its namespace if that is another."""
        index = {name: found["IfIndex"] for name, found in self.seen_by_ip().items()}
        return {
            end: (index[peer], None if self.where[peer] == self.where[end] else self.where[peer])
            for end, peer in self.peer.items()
        }

    def places_in(self, running: Running) -> dict[str, tuple[int, str | None]]:
        return {
            name: (found["PeerIfIndex"], found.get("LinkNetNsName"))
            for name, found in ((end, running.named(end)) for end in self.peer)
        }

    def pairs_in(self, running: Running) -> set[frozenset[str]]:
        return {
            frozenset((parent, child))
            for parent, child, kind in running.edges()
            if kind == "veth" and child.startswith(self.prefix)
        }


def at(space: str) -> str:
    return f"netns {space}" if space else ""


def in_words(link: dict[str, Any], owner: str) -> dict[str, Any]:
    """What `ip` says of an interface."""
    addresses: dict[str, set[str]] = {"inet": set(), "inet6": set()}
    for found in link["addr_info"]:
        addresses[found["family"]].add(f"{found['local']}/{found['prefixlen']}")
    return {
        "owner": owner,
        "IfIndex": link["ifindex"],
        "Type": link["linkinfo"]["info_kind"],
        "MTU": link["mtu"],
        "MAC": link["address"],
        "State": link["operstate"].replace("LOWERLAYERDOWN", "LOWER-LAYER-DOWN"),
        "up": "UP" in link["flags"],
        "master": link.get("master", ""),
        "IPV4": addresses["inet"],
        "IPV6": addresses["inet6"],
    }


def seen_in_graph(running: Running, lab: RandomLab) -> dict[str, dict[str, Any]]:
    edges = running.edges()
    owners = {child: parent for parent, child, kind in edges if kind == "own"}
    masters = {child: parent for parent, child, kind in edges if kind == "layer2"}
    seen = {}
    for node in running.nodes(lab.prefix):
        found = node.metadata
        if found["Type"] == "netns":
            continue
        seen[found["Name"]] = {
            "owner": owners.get(found["Name"]),
            **{key: found[key] for key in ("IfIndex", "Type", "MTU", "State")},
            "MAC": found.get("MAC", "00:00:00:00:00:00"),
            "up": "UP" in found["LinkFlags"],
            "master": masters.get(found["Name"], ""),
            "IPV4": set(found.get("IPV4", ())),
            "IPV6": set(found.get("IPV6", ())),
        }
    return seen


async def each(*commands: str) -> None:
    """Run ip commands; those that do not apply (an address that is not there) are skipped."""
    for command in commands:
        done = await asyncio.create_subprocess_exec(
            "ip", *command.split(), stderr=asyncio.subprocess.DEVNULL
        )
        await done.wait()


async def batch(*lines: str) -> None:
    """Run ip commands as fast as they go."""
    done = await asyncio.create_subprocess_exec("ip", "-batch", "-", stdin=asyncio.subprocess.PIPE)
    await done.communicate("\n".join(lines).encode())
    assert done.returncode == 0


@pytest.mark.root
def test_an_agent_without_capabilities_sees_into_namespaces(prefix: str) -> None:
    """The way it runs in earnest: the broker alone is privileged."""
    ip(f"netns add {prefix}n", f"link add {prefix}i netns {prefix}n type bridge")
    script = f"""
from skydiver.broker import drop_capabilities, fork_broker
broker = fork_broker()
drop_capabilities()
import asyncio
from skydiver.base.settings import AgentSettings
from skydiver.probes.supervisor import configured
from skydiver.topology import host_node_id, link_node_id
from tests.probes.conftest import Running
async def main():
    running = Running(broker, configured(AgentSettings()))
    async with running.at_work():
        await running.until(lambda: "{prefix}i" in running.children("{prefix}n"))
        print(running.named("{prefix}i")["Type"])
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("bridge\n", "")
