"""Keeping Python's garbage collector away from the graph.

Elements hold no cycles: they go when nobody refers to them any more, without the collector. But it
would visit all their metadata over and over, and a full collection over 100 k nodes stops the
program for a second. So objects that have outlived a number of changes are frozen: the collector
does not visit them again, and they still go when they are no longer referred to. Each freezing
first collects what came since the last one, which is bounded, and so is the pause.

What it costs: whatever else is alive at a freezing and becomes a cycle of garbage later stays.
Agents do without: over the 5,000 nodes of a large host, 50,000 updates cost the collector 2 ms in
all and 0.3 ms at worst as it is, 13 and 5 ms with this.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from skydiver.graph.events import GraphEvent
from skydiver.graph.graph import Graph

CHANGES = 10_000
"""Changes of the graph between two freezings."""
THRESHOLDS = (20_000, 20, 1_000)
"""Of the generations: the last is collected by freezing."""


class Collector:
    """Freezes as the graph grows, until `close`. One per process."""

    def __init__(self, graph: Graph, *, changes: int = CHANGES) -> None:
        self._changes = changes
        self._left = changes
        self._thresholds = gc.get_threshold()
        gc.set_threshold(*THRESHOLDS)
        self._unsubscribe: Callable[[], None] = graph.subscribe(self._count)

    def close(self) -> None:
        """Leave the collector as it was found."""
        self._unsubscribe()
        gc.unfreeze()
        gc.set_threshold(*self._thresholds)

    def _count(self, event: GraphEvent) -> None:
        self._left -= 1
        if self._left <= 0:
            self._left = self._changes
            gc.collect()
            gc.freeze()
