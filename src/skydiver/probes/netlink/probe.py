"""The probe itself: opens the event sockets, and runs what follows them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

from skydiver.base.settings import NetlinkSettings
from skydiver.probes.netlink.bridge_vlans import BridgeVlans
from skydiver.probes.netlink.events import RECEIVE_BUFFER
from skydiver.probes.netlink.follower import GROUPS, Follower
from skydiver.probes.netlink.neighbours import Neighbours
from skydiver.probes.netlink.part import Part
from skydiver.probes.netlink.tables import TableFollower, groups_of
from skydiver.probes.probe import Context, Probe

PARTS: Sequence[type[Part]] = (Neighbours, BridgeVlans)


class NetlinkProbe(Probe[NetlinkSettings]):
    name = "netlink"
    receive_buffer = RECEIVE_BUFFER
    parts = PARTS

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
            await follower.begin()
            tables.begin()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(follower.fail(), name="netlink events")
                tasks.create_task(follower.dump_on_demand(), name="netlink dumps")
                tasks.create_task(
                    follower.sample(self.config.metrics_update_s), name="netlink counters"
                )
                tasks.create_task(tables.fail(), name="netlink events of tables")
                tasks.create_task(tables.dump_on_demand(), name="netlink dumps of tables")
