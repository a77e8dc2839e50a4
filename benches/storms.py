"""N2, N4, P3: storms of namespaces, links, flaps and routes, and what an idle agent costs after."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping

from benches.figure import Figure
from benches.startup import cpu_seconds, rss_bytes
from skydiver.lab.lab import Lab
from skydiver.lab.running import Running

RUNS = 3
NAMESPACES = 1_000
IDLE_NAMESPACES = 500
IDLE_S = 20
LINKS = 10_000
ROUTES = 100_000
FLAPS_S = 5
LIMIT_S = 60.0


def figures() -> Iterator[Figure]:
    yield from many_namespaces()
    yield from idle()
    yield from many_links()
    yield from many_routes()
    yield from flaps()


def count(running: Running, text: str) -> int:
    return int(running.query(f"{text}.Count()"))


def seconds_until(running: Running, expected: Mapping[str, int]) -> float:
    """Until each query counts as many as expected."""
    began_s = time.monotonic()
    while any(count(running, text) != number for text, number in expected.items()):
        if time.monotonic() - began_s > LIMIT_S:
            raise TimeoutError(f"not exact within {LIMIT_S:g} s")
        time.sleep(0.02)
    return time.monotonic() - began_s


def many_namespaces() -> Iterator[Figure]:
    exact, gone, used = [], [], []
    with Running() as running:
        running.seconds_until(lambda r: count(r, "G.V().Has('Type', 'host')") == 1)
        for _ in range(RUNS):
            agent = running.pids_of("agent")
            before = cpu_seconds(agent)
            with Lab("storm") as lab:
                mine = f"Regex('{lab.prefix}-.*')"
                with lab.batch():
                    hub = lab.netns("hub")
                    spaces = [lab.netns(f"n{number}") for number in range(NAMESPACES)]
                    for number, space in enumerate(spaces):
                        lab.veth((space, "eth0"), (hub, f"p{number}"))
                    lab.bridge(hub, "br0", *(f"p{number}" for number in range(NAMESPACES)))
                inside = f"G.V().Has('Type', 'netns', 'Name', {mine}).Out('Name', 'eth0')"
                ports = f"G.V().Has('Name', '{hub.full}').Out('Name', 'br0').Out('Type', 'veth')"
                exact.append(seconds_until(running, {inside: NAMESPACES, ports: NAMESPACES}))
                used.append(cpu_seconds(agent) - before)
            gone.append(seconds_until(running, {f"G.V().Has('Name', {mine})": 0}))
    load = f"{NAMESPACES} namespaces with a veth into one bridge by `ip -batch`, {RUNS} times"
    yield Figure("N2", "exact after the last command", "s", exact, 2, load=load)
    yield Figure("N2", "agent CPU", "s", used, 5, load=load)
    yield Figure("N2", "nothing stale after the last deletion", "s", gone, 5, load=load)


def idle() -> Iterator[Figure]:
    with Lab("idle") as lab:
        with lab.batch():
            for number in range(IDLE_NAMESPACES):
                space = lab.netns(f"n{number}")
                lab.veth((space, "eth0"), (lab.host, f"i{number}"))
        with Running() as running:
            mine = f"G.V().Has('Type', 'netns', 'Name', Regex('{lab.prefix}-.*'))"
            running.seconds_until(lambda r: count(r, mine) == IDLE_NAMESPACES)
            time.sleep(10)
            agent = running.pids_of("agent")
            cpu = []
            for _ in range(5):
                before = cpu_seconds(agent)
                time.sleep(IDLE_S)
                cpu.append((cpu_seconds(agent) - before) / IDLE_S * 100)
    load = f"{IDLE_NAMESPACES} namespaces with a veth each, agent and broker, {IDLE_S} s five times"
    yield Figure("N4", "idle cost of the agent with 500 namespaces", "%", cpu, 2, load=load)


def many_links() -> Iterator[Figure]:
    exact, more = [], []
    for _ in range(RUNS):
        with Lab("links") as lab, Running() as running:
            space = lab.netns("n")
            running.seconds_until(lambda r: count(r, "G.V().Has('Type', 'host')") == 1)
            before = memory_of(running)
            with lab.batch():
                for number in range(LINKS // 2):
                    lab.ip(space, f"link add va{number} type veth peer name vb{number}")
            text = f"G.V().Has('Name', '{space.full}').Out('Type', 'veth')"
            exact.append(seconds_until(running, {text: LINKS}))
            more.append((memory_of(running) - before) / LINKS)
    load = f"{LINKS} links in one namespace by `ip -batch`, {RUNS} times"
    yield Figure("P3", "10 k links: exact after the last command", "s", exact, 5, load=load)
    yield Figure("P3", "agent memory a link", "KB", [kb * 1e3 for kb in more], 8, load=load)


def many_routes() -> Iterator[Figure]:
    exact, more = [], []
    for _ in range(RUNS):
        with Lab("routes") as lab, Running() as running:
            space = lab.netns("n")
            lab.veth((space, "eth0"), (space, "eth1"))
            lab.address(space, "eth0", "10.0.0.1/24")
            running.seconds_until(lambda r: count(r, "G.V().Has('Type', 'host')") == 1)
            time.sleep(1)
            before = memory_of(running)
            root = f"G.V().Has('Name', '{space.full}', 'Type', 'netns')"
            lines = [
                f"route add 20.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}/32 via 10.0.0.2"
                for n in range(ROUTES)
            ]
            subprocess.run(
                ["ip", "-n", space.full, "-batch", "-"],
                input="\n".join(lines),
                text=True,
                check=True,
            )
            exact.append(seconds_until(running, {f"{root}.Has('Routes.254', Gte({ROUTES}))": 1}))
            more.append(memory_of(running) - before)
    load = f"{ROUTES} routes in one namespace by `ip -batch`, {RUNS} times"
    yield Figure("P3", "100 k routes: exact after the last command", "s", exact, 5, load=load)
    yield Figure("P3", "agent memory above idle", "MB", more, 40, load=load)


def flaps() -> Iterator[Figure]:
    exact, used = [], []
    with Lab("flaps") as lab, Running() as running:
        space = lab.netns("n")
        lab.veth((space, "eth0"), (space, "eth1"))
        running.seconds_until(lambda r: count(r, f"G.V().Has('Name', '{space.full}')") == 1)
        agent = running.pids_of("agent")
        for turn in range(RUNS):
            mtu = 1_400 + turn
            lines = ["link set dev eth0 down", "link set dev eth0 up"] * (500 * FLAPS_S)
            before = cpu_seconds(agent)
            began_s = time.monotonic()
            subprocess.run(
                ["ip", "-n", space.full, "-batch", "-"],
                input="\n".join([*lines, f"link set dev eth0 mtu {mtu}"]),
                text=True,
                check=True,
            )
            text = f"G.V().Has('Name', '{space.full}').Out('Name', 'eth0', 'MTU', {mtu})"
            exact.append(seconds_until(running, {text: 1}) * 1e3)
            passed_s = time.monotonic() - began_s
            used.append((cpu_seconds(agent) - before) / passed_s * 100)
    load = f"one interface down and up {500 * FLAPS_S} times as fast as `ip` can, {RUNS} times"
    yield Figure("P3", "flapping: the last state after it", "ms", exact, 50, load=load)
    yield Figure("P3", "flapping: agent CPU meanwhile", "%", used, 50, load=load)


def memory_of(running: Running) -> float:
    """Of the agent and its broker, in MB."""
    return sum(rss_bytes(pid) for pid in running.pids_of("agent")) / 1e6
