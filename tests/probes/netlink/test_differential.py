"""Random labs: whatever happened to interfaces, the graph is what the kernel's own tools show."""

from __future__ import annotations

import asyncio
import os
import random
import string
import time
from collections import defaultdict
from pathlib import Path

import pytest
from tests.probes.conftest import Running
from tests.probes.netlink.differential import HOST, differences, until_equal
from tests.probes.netlink.test_follower import probes

from skydiver.broker.client import Broker
from skydiver.graph.metadata import normalised, same
from skydiver.lab.vm import inside

LABS = 50 if inside() else 200
MOST_S = 240
"""No more labs after this; the rest is named as left out."""
COMMANDS = 20 if inside() else 30

# Letters: `n`, `m` names; `o` a namespace; `k` small numbers. What does not apply is refused by
# the kernel, which decides what is right.
MAKE = (
    "link add {n} type veth peer name {m} netns {o}",
    "link add {n} type veth peer name {m}",
    "link add {n} type bridge",
    "link add {n} type bridge stp_state 1 priority {k}000 ageing_time {k}00",
    "link add {n} type vxlan id {k} dstport 1{k}00 local 10.0.0.{k} remote 10.0.1.{k}",
    "link add {n} type vxlan id {k} dstport 2{k}00 group 239.0.0.{k} dev {m}",
    "link add link {m} name {n} type macvlan mode bridge",
    "link add link {m} name {n} netns {o} type macvlan mode vepa",
    "link add link {m} name {n} type macvtap mode private",
    "link add {n} type ifb",
)
MAKE_IN_FULL_KERNEL = (
    "link add {n} type dummy",
    "link add link {m} name {n} type vlan id {k}",
    "link add link {m} name {n} netns {o} type vlan id {k}",
    "link add link {m} name {n} type vlan proto 802.1ad id {k}",
    "link add link {m} name {n} type ipvlan mode l2",
    "link add link {m} name {n} netns {o} type ipvlan mode l2",
    "link add {n} type bond mode active-backup",
    "link add {n} type bond mode 802.3ad miimon 100",
    "link add {n} type vrf table {k}",
    "link add {n} type gre local 10.0.0.{k} remote 10.0.1.{k} key {k} dev {m}",
    "link add {n} type gretap local 10.0.0.{k} remote 10.0.2.{k} ttl {k}",
    "link add {n} type sit local 10.0.0.{k} remote 10.0.3.{k}",
    "link add {n} type ipip local 10.0.0.{k} remote 10.0.4.{k}",
    "link add {n} type ip6tnl local fd00::{k} remote fd01::{k}",
    "link add {n} type geneve id {k} remote 10.0.5.{k}",
    "link add {n} type wireguard",
    "link add {n} type xfrm dev {m} if_id {k}",
)
CHANGE = (
    *("link set {n} up",) * 3,
    "link set {n} down",
    "link set {n} mtu 1{k}00",
    "link set {n} address 02:00:00:00:00:0{k}",
    "link set {n} alias word{k}",
    "link set {n} txqueuelen {k}0",
    "link set {n} group {k}",
    "link property add dev {n} altname {n}-also-{k}",
    "link set {n} name {m}",
    *("link set {n} netns {o}",) * 2,
    *("link set {n} master {m}",) * 4,
    "link set {n} nomaster",
    "link set {n} type bridge_slave isolated on cost {k}",
    "link set {n} type bridge_slave hairpin on learning off",
    "link set {n} type bridge mcast_snooping 0 forward_delay {k}00",
    *("addr add 10.7.{k}.1/24 dev {n}",) * 2,
    "addr add fd07::{k}/64 dev {n} nodad",
    "addr del 10.7.{k}.1/24 dev {n}",
    "addr flush dev {n}",
    *("link del {n}",) * 2,
)


class RandomLab:
    """Commands by chance, for some namespaces and the host, on a few names that collide."""

    def __init__(self, prefix: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.prefix = prefix
        self.spaces = [HOST, *(f"{prefix}n{seed}{letter}" for letter in "abc")]
        self.names = [prefix + letter for letter in string.ascii_lowercase[:6]]
        self.done: list[str] = []
        """What was asked for, to be shown when it goes wrong."""

    def commands(self) -> list[tuple[str, str]]:
        """Namespace and command; as many make something as change something."""
        make = MAKE + MAKE_IN_FULL_KERNEL if inside() else MAKE
        found = []
        for _ in range(COMMANDS):
            one, other = self.chance.sample(self.names, 2)
            line = self.chance.choice(self.chance.choice((make, CHANGE, CHANGE))).format(
                n=one,
                m=other,
                o=self.chance.choice(self.spaces) or os.getpid(),
                k=self.chance.randrange(1, 9),
            )
            found.append((self.chance.choice(self.spaces), line))
        # A process for each command would take most of the time, above all when emulated.
        half = COMMANDS // 2
        first, rest = sorted(found[:half], key=_space), found[half:]
        return first + (sorted(rest, key=_space) if inside() else rest)

    async def build(self) -> None:
        await run(HOST, [f"netns add {space}" for space in self.spaces if space])
        batches: list[tuple[str, list[str]]] = []
        for space, line in self.commands():
            if not batches or batches[-1][0] != space:
                batches.append((space, []))
            batches[-1][1].append(line)
        for space, lines in batches:
            self.done += [f"{space or 'host'}: {line}" for line in lines]
            await run(space, lines)

    async def end(self) -> None:
        await run(HOST, [f"netns del {space}" for space in self.spaces if space])
        await run(HOST, [f"link del {name}" for name in self.names])


def _space(command: tuple[str, str]) -> str:
    return command[0]


async def run(space: str, lines: list[str]) -> None:
    """Run commands of `ip`; what the kernel refuses is passed over."""
    started = await asyncio.create_subprocess_exec(
        *("ip", *(["-n", space] if space else []), "-force", "-batch", "-"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await started.communicate("".join(f"{line}\n" for line in lines).encode())


@pytest.mark.root
@pytest.mark.vm
@pytest.mark.timeout(400)
async def test_the_graph_of_random_labs_is_what_ip_shows(broker: Broker, prefix: str) -> None:
    """One agent watches them come and go; whatever changed without an event is found when it
    samples the counters, and after each lab nothing of it is left."""
    if inside():
        # Else each namespace has ten tunnels of its own, which are slow to make and to delete.
        Path("/proc/sys/net/core/fb_tunnels_only_for_init_net").write_text("1", encoding="ascii")
    running = Running(broker, probes(metrics_update_s=0.5))
    kinds: defaultdict[str, int] = defaultdict(int)
    looked_at = 0
    until_s = time.monotonic() + MOST_S
    async with running.at_work():
        for seed in range(LABS):
            if time.monotonic() > until_s:
                break
            lab = RandomLab(prefix, seed)
            await lab.build()
            left = await until_equal(running, lab.spaces, prefix)
            assert left == [], f"seed {seed}: {lab.done}"
            for node in running.nodes(prefix):
                kinds[str(node.metadata["Type"])] += 1
                assert same(node.metadata, normalised(node.metadata)), "the graph takes it as it is"
            await lab.end()
            await running.until(lambda: not running.nodes(prefix))
            looked_at += 1
            print(f"lab {seed}: {time.monotonic() - until_s + MOST_S:.0f} s")
    if looked_at < LABS:
        pytest.skip(f"equal, but only {looked_at} of {LABS} labs in {MOST_S} s: a slow machine")
    assert set(kinds) > {"veth", "bridge", "vxlan", "ifb", "netns"}


@pytest.mark.root
async def test_a_difference_is_found(broker: Broker, prefix: str) -> None:
    """A comparison that never finds anything would let everything pass."""
    running = Running(broker, probes())
    lab = RandomLab(prefix, 0)
    space, name = lab.spaces[1], lab.names[0]
    async with running.at_work():
        await run(HOST, [f"netns add {space}"])
        await run(space, [f"link add {name} type bridge", f"link set {name} up"])
        assert await until_equal(running, [HOST, space], prefix) == []
    # Nobody watches any more.
    await run(space, [f"link set {name} mtu 1300", "addr add 10.0.0.1/24 dev lo"])
    await run(space, [f"link add {prefix}x type veth peer name {prefix}y"])
    found = differences(running, [HOST, space], prefix)
    assert f"links: {space}/{name}: MTU is 1500, not 1300" in found
    assert f"links: {space}/{prefix}x: not in the graph" in found
    assert any(line.startswith(f"addresses: {space}/lo: IPV4 is []") for line in found)
    assert any(line.startswith("edges: edge missing") for line in found)
