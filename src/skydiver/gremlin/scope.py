"""Where a query runs: what it may read, and what the steps so far have set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from skydiver.base.clock import ClockMs, wall_ms
from skydiver.flow import FlowSource, Packets
from skydiver.graph import GraphView, Node


@dataclass(frozen=True, slots=True)
class Period:
    """A time context (gremlin.md §9.2), in milliseconds since the Unix epoch."""

    start_ms: int
    last_ms: int
    is_point: bool
    """No length was given: the state at `last_ms`, not every revision of a period."""


History = Callable[[Period], Awaitable[GraphView]]
"""Answers with the graph as it was in a period."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a query may read."""

    view: GraphView
    flows: FlowSource | None = None
    """None where no flows can be asked for."""
    history: History | None = None
    """None where the past is not kept."""
    clock_ms: ClockMs = wall_ms


@dataclass(frozen=True, slots=True)
class Scope:
    """The graph that the next step reads, and what comes with it. Never changed in place."""

    environment: Environment
    view: GraphView
    period: Period | None = None
    """None = now."""
    marks: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    """What `As` marked; a new graph starts without marks."""
    missing: tuple[str, ...] = ()
    """Host ids whose flows are missing from the answer, because they did not answer in time."""
    packets: Packets = dict
    """Of the flows that were asked for last."""

    def marked(self, name: str, nodes: tuple[Node, ...]) -> Scope:
        """This scope with `nodes` marked as `name`."""
        return replace(self, marks={**self.marks, name: nodes})

    def on(self, view: GraphView, period: Period | None = None) -> Scope:
        """The scope of a new graph."""
        return replace(self, view=view, period=period, marks={})

    def lacking(self, hosts: tuple[str, ...]) -> Scope:
        """This scope with the flows of `hosts` known to be missing."""
        added = tuple(host for host in hosts if host not in self.missing)
        return replace(self, missing=self.missing + added) if added else self
