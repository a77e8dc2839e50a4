"""W1: nodes, edges and updates accepted from one publisher, JSON, one a message."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benches.figure import Figure
from benches.peers import publish, ring, updates
from skydiver.lab.running import Running

COUNT = 20_000
RUNS = 5


def figures() -> Iterator[Figure]:
    rates: dict[str, list[float]] = {"nodes": [], "edges": [], "updates": []}
    for _ in range(RUNS):
        with Running() as running:
            running.seconds_until(lambda r: bool(r.query("G.V().Has('Type', 'host')")))
            elements = list(ring(COUNT))
            for what, messages in (
                ("nodes", elements[:COUNT]),
                ("edges", elements[COUNT:]),
                ("updates", list(updates(COUNT, COUNT))),
            ):
                before = time.monotonic()
                publish(running.port, messages)
                rates[what].append(COUNT / (time.monotonic() - before))
            found = running.query("G.V().Has('MTU', 1501).Count()")
            if found != COUNT:
                raise ValueError(f"{found} of {COUNT} nodes updated")
    for what, target in (("nodes", 40_000), ("edges", 60_000), ("updates", 80_000)):
        yield Figure(
            "W1",
            f"{what} accepted from one publisher",
            "/s",
            rates[what],
            target,
            more_is_better=True,
            load=f"{COUNT} messages, sender and analyzer on the same two cores, "
            "until the analyzer has answered behind them",
        )
