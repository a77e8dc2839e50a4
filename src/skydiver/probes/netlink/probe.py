"""The probe itself: opens the event sockets, and runs what follows them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from skydiver.base.errors import Unavailable
from skydiver.base.settings import NetlinkSettings
from skydiver.graph import Link
from skydiver.probes.netlink.bridge_vlans import BridgeVlans
from skydiver.probes.netlink.ethtool import EthtoolFollower
from skydiver.probes.netlink.events import RECEIVE_BUFFER
from skydiver.probes.netlink.follower import GROUPS, Follower
from skydiver.probes.netlink.neighbours import Neighbours
from skydiver.probes.netlink.part import Part
from skydiver.probes.netlink.questions import answer
from skydiver.probes.netlink.routes import RoutePart
from skydiver.probes.netlink.rules import RulePart
from skydiver.probes.netlink.sriov import SriovFollower
from skydiver.probes.netlink.tables import TableFollower, groups_of
from skydiver.probes.probe import Context, Probe
from skydiver.topology import Relation

PARTS: Sequence[type[Part]] = (Neighbours, BridgeVlans, RoutePart, RulePart)


class NetlinkProbe(Probe[NetlinkSettings]):
    name = "netlink"
    joins = (Link("device", "Vfs.BusInfo", "device", "BusInfo", relation=Relation.VF.value),)
    receive_buffer = RECEIVE_BUFFER
    parts = PARTS

    def __init__(self, config: NetlinkSettings) -> None:
        super().__init__(config)
        self._tables: TableFollower | None = None

    def routes(self, question: Any) -> dict[str, Any]:
        """Answer a question of an analyzer, see `questions`."""
        if self._tables is None:
            raise Unavailable("the netlink probe does not run")
        return answer(self._tables.links, self._tables.part(RoutePart), question)

    async def run(self, ctx: Context) -> None:
        number = await ctx.broker.own_nsid()
        own_nsid = None if number < 0 else number
        with ExitStack() as stack:
            events, others = [
                stack.enter_context(
                    await ctx.broker.netlink_socket(
                        None, groups=groups, all_nsid=True, receive_buffer=self.receive_buffer
                    )
                )
                for groups in (GROUPS, groups_of(self.parts))
            ]
            follower = Follower(ctx, events, own_nsid=own_nsid)
            stack.callback(follower.close)
            tables = TableFollower(ctx, follower, self.parts, others, own_nsid=own_nsid)
            stack.callback(tables.close)
            for part in tables.parts:
                if isinstance(part, RoutePart):
                    part.most_routes = self.config.routes_per_table
            self._tables = tables
            stack.callback(setattr, self, "_tables", None)
            changes = stack.enter_context(
                await ctx.broker.netlink_socket(
                    None,
                    groups=0,
                    generic=True,
                    all_nsid=True,
                    receive_buffer=self.receive_buffer,
                )
            )
            ethtool = EthtoolFollower(ctx, follower, changes, own_nsid=own_nsid)
            stack.callback(ethtool.close)
            await follower.begin()
            ethtool.begin()
            tables.begin()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(follower.fail(), name="netlink events")
                tasks.create_task(follower.dump_on_demand(), name="netlink dumps")
                tasks.create_task(
                    follower.sample(self.config.metrics_update_s), name="netlink counters"
                )
                tasks.create_task(ethtool.fail(), name="netlink events of ethtool")
                tasks.create_task(ethtool.ask_on_demand(), name="netlink ethtool")
                tasks.create_task(
                    SriovFollower(ctx, follower).follow(), name="netlink virtual functions"
                )
                tasks.create_task(tables.fail(), name="netlink events of tables")
                tasks.create_task(tables.dump_on_demand(), name="netlink dumps of tables")
