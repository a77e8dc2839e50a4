from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.probes.conftest import Running

from skydiver.base.errors import ConfigError, Unavailable
from skydiver.base.ids import NodeID
from skydiver.base.settings import AgentSettings, TopologySettings
from skydiver.broker.client import Broker
from skydiver.graph import NodeSpec
from skydiver.probes import ALWAYS, BUILTIN
from skydiver.probes.probe import Context, Probe
from skydiver.probes.supervisor import configured, load


class Flaky(Probe[int]):
    """Fails as often as its configuration says, then states a node."""

    name = "flaky"
    attempts = 0

    async def run(self, ctx: Context) -> None:
        self.attempts += 1
        if self.attempts <= self.config:
            raise Unavailable("the daemon is not there")
        with ctx.graph.resync() as snapshot:
            snapshot.upsert(NodeSpec(id=NodeID("f"), metadata={"Name": "flaky", "Type": "test"}))
        await asyncio.Event().wait()


def settings(*names: str) -> AgentSettings:
    return replace(AgentSettings(), topology=replace(TopologySettings(), probes=names))


def test_the_basic_probes_always_run() -> None:
    """In this order: what is built upon comes first."""
    assert [probe.name for probe in configured(settings())] == list(ALWAYS)


def test_a_probe_named_twice_runs_once() -> None:
    """The original skipped a second mention silently; so do we."""
    assert [probe.name for probe in configured(settings("netlink", "host"))] == list(ALWAYS)


def test_an_unknown_probe_is_an_error_that_names_the_known_ones() -> None:
    """A slip in the settings must not look like a probe that sees nothing."""
    with pytest.raises(ConfigError, match=r"unknown probe 'netlnk', expected .*netlink"):
        configured(settings("netlnk"))


@pytest.mark.parametrize("name", BUILTIN)
def test_every_builtin_name_leads_to_a_probe_of_that_name(name: str) -> None:
    """The names are the modules."""
    assert load(name).name == name


async def test_a_probe_runs_again_after_an_outage(broker: Broker) -> None:
    """Daemons restart; nobody restarts the agent for that."""
    probe = Flaky(2)
    running = Running(broker, [probe])
    async with running.at_work():
        await running.until(lambda: probe.attempts == 1)
        assert running.probes.status() == {"flaky": {"Status": "starting"}}
        await running.until(lambda: bool(running.named("flaky")))
        assert running.probes.status() == {"flaky": {"Status": "running"}}
    assert probe.attempts == 3


async def test_an_outage_in_a_task_of_a_probe_is_one_of_the_probe(broker: Broker) -> None:
    """Task groups wrap what their tasks raise."""

    class Grouped(Flaky):
        async def run(self, ctx: Context) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(super().run(ctx), name="inner")

    probe = Grouped(1)
    running = Running(broker, [probe])
    async with running.at_work():
        await running.until(lambda: bool(running.named("flaky")))
    assert probe.attempts == 2


async def test_a_bug_in_a_probe_is_not_hidden(broker: Broker) -> None:
    """Only outages are survived; anything else has to be seen and repaired."""

    class Broken(Flaky):
        async def run(self, ctx: Context) -> None:
            raise ZeroDivisionError

    with pytest.RaisesGroup(pytest.RaisesGroup(ZeroDivisionError)):
        async with Running(broker, [Broken(0)]).at_work() as running:
            await running.until(lambda: False)
