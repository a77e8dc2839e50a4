"""N3: from a change of an interface to its event at a subscriber, 500 namespaces present."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator

import aiohttp
import orjson
from pyroute2 import IPRoute

from benches.figure import Figure
from skydiver.lab.lab import Lab
from skydiver.lab.running import Running

NAMESPACES = 500
CHANGES = 100
RUNS = 5


def figures() -> Iterator[Figure]:
    with Lab("lat") as lab:
        with lab.batch():
            for number in range(NAMESPACES):
                lab.netns(f"n{number}")
            name, _ = lab.veth((lab.host, "a"), (lab.host, "b"))
        with Running() as running:
            count = f"G.V().Has('Type', 'netns', 'Name', Regex('{lab.prefix}-.*')).Count()"
            running.seconds_until(lambda r: bool(r.query(count) == NAMESPACES))
            time.sleep(2)
            p50, p99 = [], []
            for _ in range(RUNS):
                times = measure(running.port, name)
                p50.append(statistics.median(times))
                p99.append(statistics.quantiles(times, n=100)[98])
    load = (
        f"{NAMESPACES} namespaces, MTU of a veth changed {CHANGES} times a run, agent and analyzer"
    )
    yield Figure("N3", "link change to event at a subscriber, p50", "ms", p50, 4, load=load)
    yield Figure("N3", "the same, p99", "ms", p99, 15, load=load)


def measure(port: int, name: str) -> list[float]:
    """Milliseconds of each change, until the subscriber has it."""
    with IPRoute() as routes:  # it has a loop of its own
        index = routes.link_lookup(ifname=name)[0]
        return asyncio.run(latencies(port, routes, index))


async def latencies(port: int, routes: IPRoute, index: int) -> list[float]:
    headers = {"X-Host-ID": "bench", "X-Client-Type": "bench", "X-Update-Policy": "partial"}
    times: list[float] = []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"http://127.0.0.1:{port}/ws/subscriber", headers=headers, max_msg_size=0
        ) as socket,
    ):
        for number in range(CHANGES):
            mtu = 1_400 + number
            before = time.perf_counter()
            await asyncio.to_thread(routes.link, "set", index=index, mtu=mtu)
            await wait_for(socket, mtu)
            times.append((time.perf_counter() - before) * 1e3)
            await asyncio.sleep(0.01)
    return times


async def wait_for(socket: aiohttp.ClientWebSocketResponse, mtu: int) -> None:
    while True:
        message = orjson.loads(await socket.receive_str(timeout=10))
        if message["Type"] == "NodePartiallyUpdated" and any(
            op["Key"] == "MTU" and op["Value"] == mtu for op in message["Obj"]["Ops"] or ()
        ):
            return
