"""S1: start-up to the host visible over REST; M1: memory and CPU of the idle processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from benches.figure import Figure
from skydiver.lab.running import Running

RUNS = 5
IDLE_S = 20
TICKS = os.sysconf("SC_CLK_TCK")


def figures() -> Iterator[Figure]:
    starts: list[float] = []
    for _ in range(RUNS):
        with Running() as running:
            starts.append(running.seconds_until(host_visible))
    yield Figure(
        "S1",
        "start-up to the host visible over REST",
        "s",
        starts,
        1.0,
        load=f"`skydive allinone` started {RUNS} times; the host's node is asked for every 5 ms",
    )
    with Running() as running:
        running.seconds_until(host_visible)
        time.sleep(3)
        for part, rss_mb, cpu_percent in (("agent", 70, 0.3), ("analyzer", 150, 1.0)):
            pids = running.pids_of(part)
            memory, cpu = [], []
            for _ in range(5):
                before = cpu_seconds(pids)
                time.sleep(IDLE_S / 5)
                cpu.append((cpu_seconds(pids) - before) / (IDLE_S / 5) * 100)
                memory.append(sum(rss_bytes(pid) for pid in pids) / 1e6)
            load = f"idle for {IDLE_S} s after start, all its processes together"
            yield Figure("M1", f"{part}: resident memory", "MB", memory, rss_mb, load=load)
            yield Figure("M1", f"{part}: CPU of one core", "%", cpu, cpu_percent, load=load)


def host_visible(running: Running) -> bool:
    return len(running.query("G.V().Has('Type', 'host')")) > 0


def rss_bytes(pid: int) -> int:
    """Resident pages of this process that no parent shares: proportional share."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    line = next(line for line in text.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024


def cpu_seconds(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS
