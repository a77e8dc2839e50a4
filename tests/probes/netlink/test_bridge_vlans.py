from __future__ import annotations

import struct
from typing import Any

import pytest
from tests.probes.conftest import Running, ip
from tests.probes.netlink.differential import until_equal
from tests.probes.netlink.differential_tables import TABLES
from tests.probes.netlink.test_follower import probes
from tests.probes.netlink.test_neighbours import bridge

from skydiver.base.ids import NodeID, Origin
from skydiver.broker.client import Broker
from skydiver.graph import Graph
from skydiver.lab.vm import inside
from skydiver.probes.netlink.attributes import attribute, message
from skydiver.probes.netlink.bridge_vlans import BridgeVlans
from skydiver.probes.netlink.links import LinkTable

NEW, DELETE = 16, 17
MASTER, AF_SPEC = 10, 26
PVID, UNTAGGED, BEGIN, END = 2, 4, 8, 16


class Table:
    """The part under test, and what it states about namespace 1."""

    def __init__(self) -> None:
        self.dumps: list[int] = []
        writer = Graph(host="h1", origin=Origin("agent.h1")).owned_by("netlink.h1")
        links = LinkTable(writer, host_id="h1", own_nsid=None)
        self.space = links.add_space(1, inode=7, root=NodeID("n"), name="n")
        self.part = BridgeVlans(links, self.dumps.append)

    def vlans(self, index: int = 5) -> Any:
        assert self.part.state(lambda: False)
        return self.space.facts.get(index, {}).get("BridgeVlans")


def port(kind: int, *vlans: tuple[int, int], family: int = 7, index: int = 5) -> bytes:
    """A message about a port; flags and number of VLANs."""
    content = struct.pack("=BxHiII", family, 1, index, 0, 0) + attribute(MASTER, b"\4\0\0\0")
    if vlans:
        spec = b"".join(attribute(2, struct.pack("=HH", *vlan)) for vlan in vlans)
        content += attribute(0x8000 | AF_SPEC, spec)
    return message(kind, content)


def test_ranges_and_single_vlans() -> None:
    """The kernel puts neighbouring ones together if they are treated alike."""
    table = Table()
    told = ((PVID | UNTAGGED, 1), (BEGIN, 10), (END, 20), (UNTAGGED | BEGIN, 30), (END, 31))
    table.part.take(1, port(NEW, *told))
    assert table.vlans() == [
        {"ID": 1, "PVID": True, "Untagged": True},
        {"ID": 10, "End": 20},
        {"ID": 30, "End": 31},
    ]
    table.part.take(1, port(NEW, (0, 10)))
    assert table.vlans() == [{"ID": 10}]


@pytest.mark.parametrize(
    "last",
    [port(NEW), port(DELETE), port(DELETE, family=0)],
    ids=["no VLAN", "no port", "no interface"],
)
def test_a_port_without_vlans(last: bytes) -> None:
    """It lost the last one, left its bridge, or is gone."""
    table = Table()
    table.part.take(1, port(NEW, (0, 7)))
    assert table.vlans() is not None
    table.part.take(1, last)
    assert table.vlans() is None


def test_other_messages_change_nothing() -> None:
    """Those of the interface itself, and of cards that switch between their functions."""
    table = Table()
    table.part.take(1, port(NEW, (0, 7)))
    before = table.vlans()
    head = struct.pack("=BxHiII", 7, 1, 5, 0, 0)
    mode = attribute(AF_SPEC, attribute(1, b"\1\0"))
    table.part.take(1, port(NEW, family=0) + message(NEW, head + mode))
    assert table.vlans() is before


def test_a_dump_replaces_what_was_known_unless_it_was_interrupted() -> None:
    """Half a list is no evidence that the other half is gone."""
    table = Table()
    table.part.take(1, port(NEW, (0, 7)))
    for whole in (False, True):
        table.part.begin_dump(1)
        table.part.take(1, port(NEW, (0, 8), index=6))
        table.part.end_dump(1, whole=whole)
        assert (table.vlans(5) is None) is whole
        assert table.vlans(6) == [{"ID": 8}]
    table.part.forget(1)
    table.part.begin_dump(1)
    table.part.end_dump(1, whole=True)
    assert table.vlans(6) == [{"ID": 8}]  # as the table of interfaces is asked to forget them


def test_settings_of_the_bridge_change_its_ports_without_a_word() -> None:
    """The default VLAN, for instance: then all is asked for again."""
    table = Table()
    told = {"kind": "newlink", "family": 0, "index": 4, "kind_name": "bridge"}
    for pvid, expected in ((1, []), (1, []), (2, [1])):
        table.part.link_changed(1, {**told, "info": {"VlanDefaultPvid": pvid}})
        assert table.dumps == expected


@pytest.mark.parametrize("cut", [20, 30, 50])
def test_what_cannot_be_decoded_is_an_error(cut: int) -> None:
    """The follower counts it."""
    whole = port(NEW, (0, 7))
    with pytest.raises(ValueError, match=r"head|attribute"):
        Table().part.take(1, struct.pack("=I", cut) + whole[4:cut])


@pytest.mark.root
@pytest.mark.vm
@pytest.mark.skipif(not inside(), reason="bridges need a full kernel")
@pytest.mark.xfail(
    inside(), reason="VLAN 1 of a bridge itself is seen wrong at times on Linux 6.1", strict=False
)
async def test_vlans_of_bridges_are_those_that_bridge_shows(broker: Broker, prefix: str) -> None:
    """Before and after the start, of the bridge itself, by its settings, and of ports that go."""
    space = f"{prefix}n"
    ip(
        f"netns add {space}",
        f"-n {space} link add br0 type bridge vlan_filtering 1",
        *(f"-n {space} link add p{n} type veth peer name p{n}x" for n in range(3)),
        f"-n {space} link set p0 master br0",
    )
    await bridge(space, "vlan add vid 10-20 dev p0")
    running = Running(broker, probes())
    async with running.at_work():
        assert await until_equal(running, [space], prefix, aspects=TABLES) == []
        expected = [{"ID": 1, "PVID": True, "Untagged": True}, {"ID": 10, "End": 20}]
        assert running.named("p0")["BridgeVlans"] == expected
        ip(f"-n {space} link set p1 master br0", f"-n {space} link set p2 master br0")
        for command in (
            "vlan add vid 30 dev p1 pvid untagged",
            "vlan add vid 7 dev br0 self",
            "vlan del vid 12 dev p0",
            "vlan del vid 1 dev p2",
        ):
            await bridge(space, command)
        assert await until_equal(running, [space], prefix, aspects=TABLES) == []
        assert {"ID": 7} in running.named("br0")["BridgeVlans"]
        assert "BridgeVlans" not in running.named("p2")
        ip(f"-n {space} link set br0 type bridge vlan_default_pvid 99")
        ip(f"-n {space} link set p0 nomaster", f"-n {space} link del p1")
        assert await until_equal(running, [space], prefix, aspects=TABLES) == []
        ip(f"-n {space} link set br0 type bridge vlan_filtering 0")
        assert await until_equal(running, [space], prefix, aspects=TABLES) == []
        ip(f"-n {space} link del br0")
        assert await until_equal(running, [space], prefix, aspects=TABLES) == []
    assert running.losses.as_json() == {}
