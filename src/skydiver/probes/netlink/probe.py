"""The probe itself: opens the event socket, and runs what follows it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from skydiver.base.settings import NetlinkSettings
from skydiver.probes.netlink.follower import GROUPS, RECEIVE_BUFFER, Follower
from skydiver.probes.probe import Context, Probe


class NetlinkProbe(Probe[NetlinkSettings]):
    name = "netlink"
    receive_buffer = RECEIVE_BUFFER

    async def run(self, ctx: Context) -> None:
        own_nsid = await ctx.broker.own_nsid()
        with ExitStack() as stack:
            events = stack.enter_context(
                await ctx.broker.netlink_socket(
                    None, groups=GROUPS, all_nsid=True, receive_buffer=self.receive_buffer
                )
            )
            follower = Follower(ctx, events, own_nsid=None if own_nsid < 0 else own_nsid)
            stack.callback(follower.close)
            await follower.begin()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(follower.fail(), name="netlink events")
                tasks.create_task(follower.dump_on_demand(), name="netlink dumps")
                tasks.create_task(
                    follower.sample(self.config.metrics_update_s), name="netlink counters"
                )
