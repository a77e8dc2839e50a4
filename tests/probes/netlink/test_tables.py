from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from tests.probes.conftest import Running, ip

from skydiver.base.settings import AgentSettings, NetlinkSettings
from skydiver.broker.client import Broker
from skydiver.probes.netlink import NetlinkProbe
from skydiver.probes.netlink.links import LinkTable
from skydiver.probes.netlink.part import Part
from skydiver.probes.probe import Probe
from skydiver.probes.supervisor import configured

NEW_RULE, DELETE_RULE, GET_RULE = 32, 33, 34


class RuleCount(Part):
    """How many rules a namespace has, by the messages alone; as a fact on its node."""

    name = "rule count"
    groups = (8, 19)
    kinds = (NEW_RULE, DELETE_RULE)
    requests = ((GET_RULE, struct.pack("=BBBBBBBBI", *[0] * 9)),)
    began: ClassVar[list[int]] = []

    def __init__(self, links: LinkTable, want_dump: Callable[[int], None]) -> None:
        super().__init__(links, want_dump)
        self.count: dict[int, int] = {}
        self.in_dump: dict[int, int] = {}

    def take(self, nsid: int, datagram: bytes) -> None:
        offset = 0
        while offset + 16 <= len(datagram):
            length, kind = struct.unpack_from("=IH", datagram, offset)
            step = {NEW_RULE: 1, DELETE_RULE: -1}.get(kind, 0)
            if datagram[offset + 16] not in (2, 10):
                step = 0  # multicast routing has rules too
            counts = self.in_dump if nsid in self.in_dump else self.count
            counts[nsid] = counts.get(nsid, 0) + step
            offset += (length + 3) & ~3

    def begin_dump(self, nsid: int) -> None:
        self.began.append(nsid)
        self.in_dump[nsid] = 0

    def end_dump(self, nsid: int, *, whole: bool) -> None:
        if whole:
            self.count[nsid] = self.in_dump[nsid]
        del self.in_dump[nsid]

    def forget(self, nsid: int) -> None:
        self.count.pop(nsid, None)

    def link_changed(self, nsid: int, message: Any) -> None:
        if message["kind"] == "deladdr":
            self.want_dump(nsid)

    def state(self, enough: Callable[[], bool]) -> bool:
        for nsid, count in self.count.items():
            self.links.set_root_fact(nsid, "RuleCount", count)
        return True


class Counting(NetlinkProbe):
    parts = (RuleCount,)


class SmallBuffer(Counting):
    receive_buffer = 4096


def probes(kind: type[NetlinkProbe] = Counting) -> Sequence[Probe[Any]]:
    others = [probe for probe in configured(AgentSettings()) if probe.name in ("host", "netns")]
    return [*others, kind(NetlinkSettings())]


def rules(netns: str, first: int, last: int, *, action: str = "add") -> None:
    ip(*(f"-n {netns} rule {action} pref {n} lookup 7" for n in range(first, last)))


@pytest.mark.root
async def test_tables_of_all_namespaces_are_dumped_and_followed(
    broker: Broker, prefix: str
) -> None:
    """Those that were there before, those that come, and the changes since."""
    old, new = f"{prefix}o", f"{prefix}n"
    ip(f"netns add {old}")
    rules(old, 100, 103)
    running = Running(broker, probes())
    async with running.at_work():
        # IPv4 has three rules from the beginning, IPv6 two.
        await running.until(lambda: running.named(old).get("RuleCount") == 8)
        ip(f"netns add {new}")
        rules(new, 100, 104)
        await running.until(lambda: running.named(new).get("RuleCount") == 9)
        rules(new, 100, 102, action="del")
        await running.until(lambda: running.named(new).get("RuleCount") == 7)
        rules(old, 103, 104)
        await running.until(lambda: running.named(old).get("RuleCount") == 9)
        ip(f"netns del {new}")
        await running.until(lambda: not running.nodes(new))


@pytest.mark.root
async def test_a_part_may_ask_for_a_dump(broker: Broker, prefix: str) -> None:
    """Some changes come without an event of their own; here an address is the sign of one."""
    netns = f"{prefix}n"
    ip(f"netns add {netns}", f"-n {netns} addr add 10.0.0.1/8 dev lo")
    running = Running(broker, probes())
    async with running.at_work():
        await running.until(lambda: running.named(netns).get("RuleCount") == 5)
        RuleCount.began.clear()
        ip(f"-n {netns} addr del 10.0.0.1/8 dev lo")
        (nsid,) = [known.nsid for known in running.namespaces if known.name == netns]
        await running.until(lambda: nsid in RuleCount.began)


@pytest.mark.root
async def test_lost_events_of_tables_are_counted_and_repaired(broker: Broker, prefix: str) -> None:
    """With room for two events nearly all are lost."""
    netns = f"{prefix}n"
    ip(f"netns add {netns}")
    running = Running(broker, probes(SmallBuffer))
    async with running.at_work():
        await running.until(lambda: running.named(netns).get("RuleCount") == 5)
        rules(netns, 100, 160)
        await running.until(lambda: running.named(netns).get("RuleCount") == 65)
        assert running.losses.as_json()["probe.netlink"]["overrun"] > 0


@pytest.mark.root
async def test_a_dump_does_not_keep_a_namespace_alive(broker: Broker, prefix: str) -> None:
    """Its socket is inside; many namespaces come and go while they are looked at."""
    names = [f"{prefix}n{n}" for n in range(40)]
    running = Running(broker, probes())
    async with running.at_work():
        ip(*(f"netns add {name}" for name in names), *(f"netns del {name}" for name in names))
        await running.until(lambda: not running.nodes(prefix))
        ip(f"netns add {names[0]}")
        await running.until(lambda: running.named(names[0]).get("RuleCount") == 5)


@pytest.mark.root
async def test_a_namespace_that_ends_before_its_dump_began_blocks_no_later_one(
    broker: Broker, prefix: str
) -> None:
    """The kernel gives its number to a later namespace, which is dumped like any other."""
    netns = f"{prefix}n"
    ip(f"netns add {netns}")
    probe = Counting(NetlinkSettings())
    running = Running(broker, [*probes()[:-1], probe])
    async with running.at_work():
        await running.until(lambda: running.named(netns).get("RuleCount") == 5)
        (namespace,) = [known for known in running.namespaces if known.name == netns]
        assert namespace.nsid is not None
        tables = probe._tables
        assert tables is not None
        tables._on_removed(namespace)  # ends the rest after the first dump
        tables.part(RuleCount).want_dump(namespace.nsid)
        await asyncio.sleep(0)  # the task of the dump is there now, and has not begun
        tables._on_removed(namespace)
        RuleCount.began.clear()
        tables._on_added(namespace)
        await running.until(lambda: namespace.nsid in RuleCount.began)
