"""N1: dump of links, addresses, routes and neighbours of one namespace, beside two peers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from benches.figure import Figure
from skydiver.base.ids import Origin
from skydiver.broker import fork_broker
from skydiver.broker.client import Broker, NetnsRef
from skydiver.graph import Graph
from skydiver.lab.lab import Lab, Namespace
from skydiver.native import decode_netlink
from skydiver.probes.netlink.links import LinkTable
from skydiver.probes.netlink.neighbours import Neighbours
from skydiver.probes.netlink.routes import RoutePart
from skydiver.probes.netlink.tables import dump_table
from skydiver.topology import netns_node_id

INTERFACES = 1_000
RUNS = 7
_PYROUTE2 = """
import time
from pyroute2 import IPRoute
with IPRoute() as opened:
    began_s = time.perf_counter()
    for table in (opened.get_links, opened.get_addr, opened.get_routes, opened.get_neighbours):
        list(table())
    print(time.perf_counter() - began_s)
"""
_NEIGHBOURS = Neighbours.requests[:1]


def figures() -> Iterator[Figure]:
    broker = fork_broker()
    try:
        with Lab("dump") as lab:
            space = build(lab)
            ours = asyncio.run(several(broker, space))
        with Lab("dump") as lab:
            space = build(lab)
            pyroute2 = [with_pyroute2(lab, space) for _ in range(3)]
            ip = [seconds(lambda: with_ip(space)) for _ in range(RUNS)]
    finally:
        broker.close()
    load = (
        f"{INTERFACES} interfaces with an address each, one namespace: asked, decoded and taken "
        "into our tables; pyroute2: into its messages; ip -j: four commands, to text"
    )
    middle = sorted(ours)[len(ours) // 2]
    yield Figure(
        "N1",
        "times faster than pyroute2",
        "×",
        [peer / middle for peer in pyroute2],
        20,
        more_is_better=True,
        load=load,
    )
    yield Figure("N1", "time against ip -j", "×", [middle / peer for peer in ip], 1.2, load=load)


def build(lab: Lab) -> Namespace:
    space = lab.netns("n")
    with lab.batch():
        for number in range(INTERFACES // 2):
            lab.veth((space, f"va{number}"), (space, f"vb{number}"))
            for side, name in enumerate(("va", "vb")):
                address = f"10.{number >> 8}.{number & 255}.{1 + side}/30"
                lab.address(space, f"{name}{number}", address)
    return space


async def several(broker: Broker, space: Namespace) -> list[float]:
    return [await dumped(broker, space) for _ in range(RUNS)]


async def dumped(broker: Broker, space: Namespace) -> float:
    """Seconds for all four, as the probe does it."""
    graph = Graph(host="bench", origin=Origin("agent.bench"))
    found = space.path.stat()
    ref = NetnsRef(path=str(space.path), pid=None, inode=found.st_ino, device=found.st_dev)
    (nsid,) = await broker.identify([ref])
    assert isinstance(nsid, int)
    table = LinkTable(graph.owned_by("netlink"), host_id="bench", own_nsid=None)
    root = netns_node_id("bench", found.st_dev, found.st_ino)
    place = table.add_space(nsid, inode=found.st_ino, root=root, name=space.name)
    began_s = time.perf_counter()
    with await broker.dump([nsid]) as dump:
        (part,) = dump.parts
        addresses = [m for datagram in part.addresses() for m in decode_netlink(datagram)]
        indexes = set()
        for datagram in part.links():
            for message in decode_netlink(datagram):
                if message["kind"] == "newlink":
                    indexes.add(message["index"])
                    table.set_link(place, message, at_ms=0, dumped=True)
        table.end_dump(place, indexes, [m for m in addresses if m["kind"] == "newaddr"])
    with await broker.netlink_socket(ref, groups=0) as opened:
        # Of neighbours without the forwarding databases, which the peers do not ask for either.
        for kind, requests in ((RoutePart, RoutePart.requests), (Neighbours, _NEIGHBOURS)):
            asked = kind(table, lambda nsid: None)
            asked.begin_dump(nsid)
            for request, body in requests:
                assert await dump_table(opened, request, body, partial(asked.take, nsid))
            asked.end_dump(nsid, whole=True)
    took_s = time.perf_counter() - began_s
    assert len(indexes) == INTERFACES + 1
    return took_s


def with_pyroute2(lab: Lab, space: Namespace) -> float:
    """Seconds, as a program inside the namespace takes the time itself."""
    return float(lab.run(space, [sys.executable, "-c", _PYROUTE2], timeout_s=120).stdout)


def with_ip(space: Namespace) -> None:
    for words in (("link",), ("addr",), ("route", "show", "table", "all"), ("neigh",)):
        subprocess.run(
            ["ip", "-n", space.full, "-j", *words], stdout=subprocess.DEVNULL, check=True
        )


def seconds(call: Callable[[], None]) -> float:
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s
