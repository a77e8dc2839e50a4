from __future__ import annotations

import asyncio

import pytest

from skydiver.base.ids import NodeID
from skydiver.broker.client import Broker
from skydiver.graph import EdgeSpec, GraphEvent, NodeSpec
from skydiver.probes.probe import Context, Probe
from skydiver.probes.trial import at_work
from skydiver.topology import host_node_id


class Lamp(Probe[str]):
    """States one node below the host."""

    name = "lamp"

    async def run(self, ctx: Context) -> None:
        with ctx.graph.resync() as snapshot:
            id_ = NodeID("lamp")
            snapshot.upsert(NodeSpec(id_, {"Type": "lamp", "Name": self.config}))
            snapshot.link(EdgeSpec(host_node_id(ctx.host_id), id_, {"RelationType": "ownership"}))
        if self.config == "broken":
            raise ZeroDivisionError
        await asyncio.Event().wait()


@pytest.mark.parametrize("forked", [True, False])
async def test_a_probe_on_trial_states_its_nodes_below_the_host(
    broker: Broker, forked: bool
) -> None:
    """As in an agent, so that edges to the host show; with a broker of its own if need be."""
    events: list[GraphEvent] = []
    async with at_work(
        Lamp("desk"), broker=broker if forked else None, listener=events.append
    ) as trial:
        await trial.until(lambda: trial.graph.edge_count() == 1)
        assert trial.named("desk") is not None
        assert trial.named("floor") is None
        await trial.until(lambda: len(events) == 3)


async def test_a_bug_is_shown_to_the_author(broker: Broker) -> None:
    """Unlike in an agent, where it must not cost the others."""
    with pytest.RaisesGroup(pytest.RaisesGroup(ZeroDivisionError)):
        async with at_work(Lamp("broken"), broker=broker) as trial:
            await trial.until(lambda: False)


async def test_waiting_for_what_does_not_come_ends(broker: Broker) -> None:
    """A test that hangs says less than one that fails."""
    with pytest.RaisesGroup(TimeoutError):
        async with at_work(Lamp("desk"), broker=broker) as trial:
            await trial.until(lambda: False, within_s=0.05)
