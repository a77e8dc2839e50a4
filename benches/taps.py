"""T11, idle part: 500 taps captured by one regular expression, nothing arriving."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benches.figure import Figure
from benches.startup import cpu_seconds, rss_bytes
from skydiver.lab.lab import Lab
from skydiver.lab.running import Running

TAPS = 500
IDLE_S = 10
RUNS = 5


def figures() -> Iterator[Figure]:
    with Lab("taps") as lab:
        space = lab.netns("n")
        with lab.batch():
            for number in range(TAPS // 2):
                lab.veth((space, f"tapa{number}"), (space, f"tapb{number}"))
        with Running() as running:
            taps = f"G.V().Has('Name', '{space.full}').Out('Name', Regex('^tap.*'))"
            running.seconds_until(lambda r: r.query(f"{taps}.Count()") == TAPS)
            began_s = time.monotonic()
            running.client("capture", "create", "--gremlin", taps)
            active = f"{taps}.Has('Captures.State', 'active').Count()"
            running.seconds_until(lambda r: r.query(active) == TAPS, limit_s=120)
            started_s = time.monotonic() - began_s
            time.sleep(5)
            agent = running.pids_of("agent")
            cpu = []
            for _ in range(RUNS):
                before = cpu_seconds(agent)
                time.sleep(IDLE_S)
                cpu.append((cpu_seconds(agent) - before) / IDLE_S * 100)
            threads = len(list(Path(f"/proc/{agent[0]}/task").iterdir()))
            memory = sum(rss_bytes(pid) for pid in agent) / 1e6 + rings_mb(agent[0])
    load = f"{TAPS} ends of veth pairs captured by one Regex, idle for {IDLE_S} s, {RUNS} times"
    yield Figure("T11", "500 taps: agent and its rings", "MB", [memory], 200, load=load)
    yield Figure("T11", "500 taps: threads of the agent", "", [threads], 8, load=load)
    yield Figure("T11", "500 taps: idle CPU", "%", cpu, 2, load=load)
    yield Figure("T11", "500 taps: all active after the command", "s", [started_s], 5, load=load)


def rings_mb(pid: int) -> float:
    """Mapped packet sockets: memory of the kernel, in no count of the process."""
    total = 0
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        if "socket:[" in line:
            low, _, high = line.split()[0].partition("-")
            total += int(high, 16) - int(low, 16)
    return total / 1e6
