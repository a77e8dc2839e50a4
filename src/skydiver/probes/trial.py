"""One probe at work on a graph of its own: for the tests of a probe, and ``skydive probe run``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from skydiver.base.ids import Origin
from skydiver.base.losses import Losses
from skydiver.base.settings import AgentSettings
from skydiver.broker import fork_broker
from skydiver.broker.client import Broker
from skydiver.broker.namespaces import Namespaces
from skydiver.graph import Graph, Listener, Node
from skydiver.probes.probe import Probe
from skydiver.probes.supervisor import ProbeSet, load


class Trial:
    """What a probe has stated so far, beside the node of the host."""

    def __init__(self, probe: Probe[Any], broker: Broker, *, host_id: str) -> None:
        host = load("host").from_settings(AgentSettings())
        self.graph = Graph(host=host_id, origin=Origin(f"agent.{host_id}"))
        self.losses = Losses()
        self.namespaces = Namespaces(broker, run_paths=("/var/run/netns",))
        self.probes = ProbeSet(
            [probe] if probe.name == "host" else [host, probe],
            graph=self.graph,
            broker=broker,
            namespaces=self.namespaces,
            losses=self.losses,
        )

    def named(self, name: str) -> Node | None:
        """The node of this ``Name``; None when there is none."""
        return next((n for n in self.graph.nodes() if n.metadata.get("Name") == name), None)

    async def until(self, true: Callable[[], bool], *, within_s: float = 10) -> None:
        """Wait for something to become true; `TimeoutError` when it does not."""
        async with asyncio.timeout(within_s):
            while not true():  # noqa: ASYNC110 (a condition of any kind has no event)
                await asyncio.sleep(0.005)


@asynccontextmanager
async def at_work(
    probe: Probe[Any],
    *,
    broker: Broker | None = None,
    host_id: str = "host",
    listener: Listener | None = None,
) -> AsyncIterator[Trial]:
    """Run `probe` for the length of the block, as an agent does; a bug in it ends the block.

    Without a broker one is forked, with whatever this process may do. `listener` hears everything
    from the first node on.
    """
    own = fork_broker() if broker is None else None
    try:
        trial = Trial(probe, broker or own, host_id=host_id)  # type: ignore[arg-type]  # one is
        if listener is not None:
            trial.graph.subscribe(listener)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(trial.namespaces.run(), name="namespaces"),
                tasks.create_task(trial.probes.run(), name="probes"),
            ]
            try:
                await trial.namespaces.listed()
                yield trial
            finally:
                for task in running:
                    task.cancel()
    finally:
        if own is not None:
            own.close()
