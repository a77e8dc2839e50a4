from __future__ import annotations

import asyncio
import random
import struct
from typing import Any

import pytest
from tests.probes.conftest import Running, ip
from tests.probes.netlink.differential import differences, until_equal
from tests.probes.netlink.route_aspects import ASPECTS
from tests.probes.netlink.test_differential import run
from tests.probes.netlink.test_follower import probes

from skydiver.base.ids import NodeID, Origin
from skydiver.base.settings import NetlinkSettings
from skydiver.broker.client import Broker
from skydiver.graph import Graph, NodeSpec
from skydiver.probes.netlink import NetlinkProbe
from skydiver.probes.netlink.links import LinkTable
from skydiver.probes.netlink.routes import RoutePart


def lab(netns: str) -> None:
    """A namespace with two pairs of interfaces that are up and have addresses."""
    ip(f"netns add {netns}")
    for n in (0, 1):
        ip(f"-n {netns} link add d{n} type veth peer name e{n}")
        for name in ("d", "e"):
            ip(f"-n {netns} link set {name}{n} addrgenmode none up")
        ip(
            f"-n {netns} addr add 10.{n}.0.1/24 dev d{n}",
            f"-n {netns} addr add 2001:db8:{n}::1/64 dev d{n} nodad",
        )
    ip(f"-n {netns} link set lo up")


def message(kind: int, flags: int, net: int, index: int) -> bytes:
    """10.`net`.0.0/16 dev `index`, as the kernel tells it."""
    attributes = struct.pack("=HHBBxx", 8, 1, 10, net) + struct.pack("=HHI", 8, 4, index)
    header = struct.pack("=BBBBBBBBI", 2, 16, 0, 0, 254, 3, 253, 1, 0)
    length = 16 + len(header + attributes)
    return struct.pack("=IHHII", length, kind, flags, 0, 0) + header + attributes


async def test_a_storm_of_one_interface_is_stated_once_a_second() -> None:
    """Each statement is a revision that goes to all analyzers, with hundreds of routes in it."""
    clock_s = 100.0
    graph = Graph(host="h1", origin=Origin("agent.h1"))
    writer = graph.owned_by("netlink")
    writer.upsert(NodeSpec(id=NodeID("root"), metadata={"Type": "netns", "Name": "n"}))
    links = LinkTable(writer, host_id="h1", own_nsid=None)
    space = links.add_space(5, inode=9, root=NodeID("root"), name="n")
    part = RoutePart(links, lambda _: None, mono_s=lambda: clock_s)

    def state() -> Any:
        assert part.state(lambda: False)
        return space.root_facts.get("Routes")

    for net in range(10):
        part.take(5, message(24, 0x400, net, 3))
    assert state() == {"254": 10}
    assert part.due_s() is None
    part.take(5, message(24, 0x400, 10, 3))
    assert state() == {"254": 10}
    assert part.due_s() == pytest.approx(1.0)
    clock_s += 1
    assert part.due_s() == 0
    assert state() == {"254": 11}
    assert space.facts[3]["RoutingTables"][0]["Count"] == 11


@pytest.mark.root
async def test_routes_are_on_their_interfaces(broker: Broker, prefix: str) -> None:
    """Scenario checks 18 to 20: a table more, a table less; and what the original got wrong."""
    netns = f"{prefix}n"
    lab(netns)
    running = Running(broker, probes())

    def tables(name: str) -> dict[int, dict[str, Any]]:
        found = [
            node.metadata
            for node in running.graph.nodes()
            if node.metadata.get("Name") == name and name in running.children(netns)
        ]
        return {one["ID"]: one for one in (found[0].get("RoutingTables", ()) if found else ())}

    def prefixes(name: str, table: int) -> dict[str, Any]:
        routes = tables(name).get(table, {}).get("Routes", ())
        return {route["Prefix"]: route["NextHops"] for route in routes}

    async with running.at_work():
        await running.until(lambda: set(tables("d0")) == {254, 255})
        assert tables("d0")[254]["Src"] == "10.0.0.1"
        ip(f"-n {netns} route add 10.5.0.0/16 via 10.0.0.9 table 2")
        await running.until(lambda: set(tables("d0")) == {2, 254, 255})
        index = prefixes("d0", 2)["10.5.0.0/16"][0]["IfIndex"]
        hops = [{"Priority": 0, "IP": "10.0.0.9", "IfIndex": index}]
        assert prefixes("d0", 2) == {"10.5.0.0/16": hops}
        ip(f"-n {netns} route del 10.5.0.0/16 table 2")
        await running.until(lambda: set(tables("d0")) == {254, 255})

        ip(
            f"-n {netns} route add default dev d1 metric 5",
            f"-n {netns} route add 10.6.0.0/16 nexthop via 10.0.0.9 weight 3 nexthop via 10.1.0.9",
            f"-n {netns} route add blackhole 10.7.0.0/16",
        )
        await running.until(lambda: "0.0.0.0/0" in prefixes("d1", 254))
        await running.until(lambda: "10.6.0.0/16" in prefixes("d1", 254))
        await running.until(lambda: "10.6.0.0/16" in prefixes("d0", 254))
        assert prefixes("d0", 254)["10.6.0.0/16"] == [
            {"Priority": 0, "IP": "10.0.0.9", "IfIndex": index, "Weight": 3}
        ]
        await running.until(lambda: "RoutingTables" in running.named(netns))
        nowhere = running.named(netns)["RoutingTables"]
        assert nowhere[0]["Routes"] == [
            {"Protocol": 3, "Prefix": "10.7.0.0/16", "Type": "blackhole", "NextHops": []}
        ]


@pytest.mark.root
async def test_what_the_kernel_deletes_in_silence_is_deleted(broker: Broker, prefix: str) -> None:
    """Routes of an interface that goes down, or an address that goes, end without an event."""
    netns = f"{prefix}n"
    lab(netns)
    running = Running(broker, probes())
    steps = (
        f"-n {netns} nexthop add id 1 via 10.0.0.7 dev d0",
        f"-n {netns} nexthop add id 2 via 10.1.0.7 dev d1",
        f"-n {netns} nexthop add id 3 group 1,2/2,5",
        f"-n {netns} route add 10.8.0.0/16 nhid 3",
        f"-n {netns} route add 10.9.0.0/16 nhid 2",
        f"-n {netns} route add 10.10.0.0/16 via 10.0.0.9 src 10.1.0.1",
        f"-n {netns} -6 route add 2001:db8:9::/48 nexthop via 2001:db8::2 nexthop via"
        " 2001:db8:1::2",
        f"-n {netns} nexthop replace id 2 via 10.1.0.8 dev d1",
        f"-n {netns} link set d0 down",
        f"-n {netns} link set d0 up",
        f"-n {netns} addr del 10.1.0.1/24 dev d1",
        f"-n {netns} nexthop add id 4 via 2001:db8:1::5 dev d1",
        f"-n {netns} -6 route add 2001:db8:8::/48 nhid 4",
        f"-n {netns} nexthop del id 4",
        f"-n {netns} link del d1",
    )
    async with running.at_work():
        for step in steps:
            ip(step)
            assert await until_equal(running, [netns], prefix, aspects=ASPECTS) == [], step
        ip(f"netns del {netns}")
        await running.until(lambda: not running.nodes(netns))


@pytest.mark.root
async def test_an_interface_that_moves_and_returns_has_its_routes(
    broker: Broker, prefix: str
) -> None:
    """With the same index; what was said of the first stay is forgotten with it."""
    netns, other = f"{prefix}n", f"{prefix}o"
    lab(netns)
    ip(f"netns add {other}")
    running = Running(broker, probes())
    async with running.at_work():
        for _ in range(3):
            ip(f"-n {netns} link set d0 netns {other}", f"-n {other} link set d0 netns {netns}")
            ip(f"-n {netns} addr add 10.0.0.1/24 dev d0", f"-n {netns} link set d0 up")
            assert await until_equal(running, [netns, other], prefix, aspects=ASPECTS) == []


@pytest.mark.root
@pytest.mark.parametrize("seed", range(8))
async def test_routes_changed_at_random_are_what_ip_shows(
    broker: Broker, prefix: str, seed: int
) -> None:
    """Adding, appending, replacing and deleting, of all kinds and in any order."""
    chance = random.Random(seed)
    netns = f"{prefix}n"
    lab(netns)
    await run(netns, random_routes(chance, 60))
    running = Running(broker, probes())
    done: list[str] = []
    async with running.at_work():
        for _ in range(4):
            lines = random_routes(chance, 60)
            done += lines
            await run(netns, lines)
            assert await until_equal(running, [netns], prefix, aspects=ASPECTS) == [], done


def random_routes(chance: random.Random, count: int) -> list[str]:
    """Commands on few prefixes, so that they meet; the kernel refuses what makes no sense."""

    def k() -> int:
        return chance.randrange(1, 5)

    def n() -> int:
        return chance.randrange(2)

    def table() -> str:
        return chance.choice(("", "", f" table {k()}"))

    def metric() -> str:
        return chance.choice(("", "", f" metric {k()}", " tos 8"))

    def verb() -> str:
        words = ("add", "add", "append", "prepend", "replace", "change", "del", "del")
        return chance.choice(words)

    made = (
        lambda: f"route {verb()} 10.20.{k()}.0/24 via 10.{n()}.0.{k()}{metric()}{table()}",
        lambda: f"route {verb()} 10.20.{k()}.0/24 dev d{n()}{metric()}{table()}",
        lambda: (
            f"route {verb()} 10.20.{k()}.0/24 nexthop via 10.0.0.{k()} weight {k()}"
            f" nexthop via 10.1.0.{k()}{table()}"
        ),
        lambda: f"route {verb()} {chance.choice(('blackhole', 'throw'))} 10.20.{k()}.0/24",
        lambda: f"route {verb()} 10.20.{k()}.0/24 nhid {k()}{metric()}",
        lambda: f"route {verb()} default via 10.0.0.{k()} metric {k()} mtu 1{k()}00",
        lambda: f"route flush 10.20.{k()}.0/24",
        lambda: f"-6 route {verb()} fd20:{k()}::/32 via 2001:db8:{n()}::{k()}{table()}",
        lambda: f"-6 route {verb()} fd20:{k()}::/32 dev d{n()}{table()}",
        lambda: (
            f"-6 route {verb()} fd20:{k()}::/32 nexthop via 2001:db8::{k()}"
            f" nexthop via 2001:db8:1::{k()}"
        ),
        lambda: f"-6 route {verb()} unreachable fd20:{k()}::/32 metric {k()}",
        lambda: f"-6 route {verb()} fd20:{k()}::/32 nhid {k() + 4}",
        lambda: (
            f"nexthop {chance.choice(('add', 'replace', 'del'))} id {k()} via"
            f" 10.{n()}.0.{k()} dev d{n()}"
        ),
        lambda: f"nexthop add id {k() + 4} via 2001:db8:{n()}::{k()} dev d{n()}",
        lambda: f"nexthop replace id {k()} group {k()}/{k()},{k()}",
        lambda: f"nexthop del id {k() + chance.choice((0, 4))}",
        lambda: f"rule add pref {k()} from 10.{k()}.0.0/16 fwmark {k()}/0xf lookup {k()}",
        lambda: f"-6 rule add pref {k()} iif d{n()} ipproto tcp dport {k()}-9 prohibit",
        lambda: f"rule add pref {k()} not to 10.{k()}.0.0/16 suppress_prefixlength 0 lookup main",
        lambda: f"rule del pref {k()}",
        lambda: f"link set d{n()} {chance.choice(('down', 'up', 'up'))}",
        lambda: f"addr {chance.choice(('add', 'del'))} 10.{n()}.0.1/24 dev d{n()}",
    )
    return [chance.choice(made)() for _ in range(count)]


@pytest.mark.root
async def test_a_storm_of_routes_ends_exact(broker: Broker, prefix: str) -> None:
    """A hundred thousand come in one batch, and go in one; interfaces are followed meanwhile."""
    netns = f"{prefix}n"
    lab(netns)
    running = Running(broker, probes())

    def count() -> int:
        return sum(running.named(netns).get("Routes", {}).values())

    def batched(verb: str) -> asyncio.Task[None]:
        lines = [
            f"route {verb} 20.{n >> 16}.{n >> 8 & 255}.{n & 255} via 10.0.0.9 table 99"
            for n in range(100_000)
        ]
        return asyncio.create_task(run(netns, lines), name=f"routes {verb}")

    async with running.at_work():
        await running.until(lambda: count() > 0)
        before = count()
        for verb, more in (("add", 100_000), ("del", 0)):
            storm = batched(verb)
            ip(f"link add {prefix}{verb} type bridge")
            await running.until(lambda: bool(running.named(f"{prefix}{verb}")))  # noqa: B023
            await storm
            await running.until(lambda: count() == before + more, within_s=30)  # noqa: B023
        assert differences(running, [netns], prefix, ASPECTS) == []


@pytest.mark.root
async def test_a_table_is_cut_and_says_how_long_it_is(broker: Broker, prefix: str) -> None:
    """No interface carries a thousand routes in its metadata, but none is lost from the number."""
    netns = f"{prefix}n"
    lab(netns)
    await run(netns, [f"route add 20.0.{n >> 8}.{n & 255} via 10.0.0.9" for n in range(400)])
    ip(f"-n {netns} route add default via 10.0.0.9")
    host, netns_probe, _ = probes()
    running = Running(
        broker, [host, netns_probe, NetlinkProbe(NetlinkSettings(routes_per_table=200))]
    )

    def main() -> dict[str, Any]:
        for node in running.graph.nodes():
            if node.metadata.get("Name") == "d0" and "d0" in running.children(netns):
                for table in node.metadata.get("RoutingTables", ()):
                    if table["ID"] == 254:
                        return dict(table)
        return {"Count": 0}

    async with running.at_work():
        await running.until(lambda: main()["Count"] == 403)
        prefixes = [route["Prefix"] for route in main()["Routes"]]
        assert len(prefixes) == 200
        assert {"0.0.0.0/0", "10.0.0.0/24", "2001:db8::/64"} <= set(prefixes)
