"""Churn: five minutes of random changes at 200 a second, and what the agent takes for them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benches.figure import Figure
from benches.startup import cpu_seconds, rss_bytes
from skydiver.lab.churn import Churn
from skydiver.lab.lab import Lab
from skydiver.lab.running import Running

MINUTES = 5
RATE = 200


def figures() -> Iterator[Figure]:
    with Lab("churnb") as lab, Running() as running:
        churn = Churn(lab, seed=1)
        running.seconds_until(lambda r: len(r.query("G.V().Has('Type', 'netns')")) > 0)
        agent = running.pids_of("agent")
        before_mb = memory_mb(agent)
        used = []
        for minute in range(1, MINUTES + 1):
            before = cpu_seconds(agent)
            began_s = time.monotonic()
            churn.run(seconds=60, rate=RATE)
            used.append((cpu_seconds(agent) - before) / (time.monotonic() - began_s) * 100)
            assert churn.done >= 60 * RATE * minute * 0.95, "this machine is too slow for the load"
        grown = memory_mb(agent) - before_mb
    load = f"{RATE} changes a second for {MINUTES} minutes: links, moves, names, masters, addresses"
    yield Figure("churn", "agent CPU of one core", "%", used, 30, load=load)
    yield Figure("churn", "agent memory more than before", "MB", [grown], 40, load=load)


def memory_mb(pids: list[int]) -> float:
    return sum(rss_bytes(pid) for pid in pids) / 1e6
