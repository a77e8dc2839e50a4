"""The probes of an agent: which ones run, and how each of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from enum import StrEnum
from importlib import import_module
from typing import Any

from skydiver.base.clock import ClockMs, wall_ms
from skydiver.base.errors import ConfigError, Unavailable
from skydiver.base.losses import Losses
from skydiver.base.settings import AgentSettings
from skydiver.base.settings_plugins import installed
from skydiver.base.tasks import supervise
from skydiver.broker.client import Broker
from skydiver.broker.namespaces import Namespaces
from skydiver.graph import Graph
from skydiver.probes import ALWAYS, BUILTIN
from skydiver.probes.plugins import Plugin, configured_plugin, load_installed, probe_of
from skydiver.probes.probe import Context, Probe


class Status(StrEnum):
    """As the status of the API shows it."""

    STARTING = "starting"
    """Not yet, or again after an outage."""
    RUNNING = "running"
    STOPPED = "stopped"


def configured(settings: AgentSettings) -> list[Probe[Any]]:
    """The probes that always run and those of ``agent.topology.probes``, with their settings.

    A name that nobody knows is an error; an installed probe that is broken is not, and says so in
    log and status.
    """
    names = dict.fromkeys((*ALWAYS, *settings.topology.probes))
    _refuse_unknown(names)
    return [
        load(name).from_settings(settings) if name in BUILTIN else configured_plugin(name, settings)
        for name in names
    ]


class ProbeSet:
    """Runs probes, each again after an outage of what it reads."""

    def __init__(
        self,
        probes: Sequence[Probe[Any]],
        *,
        graph: Graph,
        broker: Broker,
        namespaces: Namespaces,
        losses: Losses,
        clock_ms: ClockMs = wall_ms,
    ) -> None:
        self._graph = graph
        self._broker = broker
        self._namespaces = namespaces
        self._losses = losses
        self._clock_ms = clock_ms
        self._probes = probes
        self._status = {probe.name: Status.STOPPED for probe in probes}
        for probe in probes:
            graph.add_joins(probe.joins)

    async def run(self) -> None:
        """Run them all until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for probe in self._probes:
                tasks.create_task(self._run(probe), name=f"probe {probe.name}")

    async def _run(self, probe: Probe[Any]) -> None:
        ctx = Context(
            graph=self._graph.owned_by(f"{probe.name}.{self._graph.host}"),
            broker=self._broker,
            namespaces=self._namespaces,
            host_id=self._graph.host,
            clock_ms=self._clock_ms,
            losses=self._losses,
        )

        async def attempt() -> None:
            self._status[probe.name] = Status.RUNNING
            try:
                await probe.run(ctx)
            except Unavailable:
                self._status[probe.name] = Status.STARTING
                raise
            except BaseExceptionGroup as group:
                # What the tasks of a probe raise comes in a group.
                outage, others = group.split(Unavailable)
                if outage is None or others is not None:
                    raise
                self._status[probe.name] = Status.STARTING
                raise _first(outage) from group

        try:
            await supervise(f"probe {probe.name}", attempt)
            await asyncio.Event().wait()  # what it stated stays true
        finally:
            self._status[probe.name] = Status.STOPPED

    def status(self) -> dict[str, dict[str, str]]:
        """``{name: {"Status": …}}`` as ``TopologyProbes`` of the agent's status; ``Error`` besides
        for an installed probe that does not run."""
        status = {name: {"Status": value.value} for name, value in self._status.items()}
        for probe in self._probes:
            if isinstance(probe, Plugin) and probe.error:
                status[probe.name] = {"Status": Status.STOPPED.value, "Error": probe.error}
        return status


def _first(group: BaseExceptionGroup[Unavailable]) -> Unavailable:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return Unavailable(str(error))


def load(name: str) -> type[Probe[Any]]:
    """The class of a probe, one of ours or an installed one; imported only if it is used."""
    if name not in BUILTIN:
        _refuse_unknown((name,))
        return load_installed(name)
    found = probe_of(import_module(f"skydiver.probes.{name}").__dict__.values(), name)
    if found is None:
        raise LookupError(f"module skydiver.probes.{name} defines no probe of that name")
    return found


def _refuse_unknown(names: Iterable[str]) -> None:
    others = [name for name in names if name not in BUILTIN]
    known = (*BUILTIN, *sorted(installed())) if others else BUILTIN
    for name in others:
        if name not in known:
            expected = ", ".join(known)
            raise ConfigError(
                f"agent.topology.probes: unknown probe {name!r}, expected of {expected}"
            )
