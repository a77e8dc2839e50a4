"""A graph of an agent whose clock the test turns, and what it told."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from skydiver.base.ids import Origin
from skydiver.base.losses import Losses
from skydiver.graph import Graph, GraphEvent


@dataclass
class Clock:
    now_ms: int = 1_000

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class Told:
    """Events in the order they were told."""

    events: list[GraphEvent] = field(default_factory=list)

    def __call__(self, event: GraphEvent) -> None:
        self.events.append(event)

    def take(self) -> list[str]:
        """``added x``, ``updated x``, … since the last call."""
        taken = [f"{event.kind} {event.after.id}" for event in self.events]
        self.events.clear()
        return taken


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def losses() -> Losses:
    return Losses()


@pytest.fixture
def graph(clock: Clock, losses: Losses) -> Graph:
    return Graph(host="h1", origin=Origin("agent.h1"), clock_ms=clock, losses=losses)


@pytest.fixture
def told(graph: Graph) -> Told:
    told = Told()
    graph.subscribe(told)
    return told
