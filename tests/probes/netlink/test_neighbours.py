from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
from tests.probes.conftest import Running, ip
from tests.probes.netlink.differential import until_equal
from tests.probes.netlink.differential_tables import TABLES
from tests.probes.netlink.test_follower import probes
from tests.probes.netlink.test_link_metadata import MESSAGE

from skydiver.base.ids import NodeID, Origin
from skydiver.broker.client import Broker
from skydiver.graph import Graph
from skydiver.lab.vm import inside
from skydiver.probes.netlink.attributes import attribute, message
from skydiver.probes.netlink.links import LinkTable
from skydiver.probes.netlink.neighbours import MOST_STATED, Neighbours

NEW, DELETE = 28, 29
INCOMPLETE, REACHABLE, STALE, NOARP, PERMANENT = 1, 2, 4, 0x40, 0x80
BRIDGE, DST, LLADDR, VLAN, VNI, MASTER = 7, 1, 2, 5, 7, 9
MAC = bytes.fromhex("a60000000049")


class Table:
    """The part under test, with a clock of its own, and what it states about namespace 1."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.dumps: list[int] = []
        writer = Graph(host="h1", origin=Origin("agent.h1")).owned_by("netlink.h1")
        self.links = LinkTable(writer, host_id="h1", own_nsid=None)
        self.space = self.links.add_space(1, inode=7, root=NodeID("n"), name="n")
        self.part = Neighbours(self.links, self.dumps.append, mono_s=lambda: self.now_s)

    def take(self, *told: bytes) -> None:
        self.part.take(1, b"".join(told))

    def facts(self, index: int = 5) -> dict[str, Any]:
        assert self.part.state(lambda: False)
        return self.space.facts.get(index, {})


def told(
    kind: int,
    *,
    family: int = socket.AF_INET,
    index: int = 5,
    state: int = REACHABLE,
    flags: int = 0,
    **attributes: bytes,
) -> bytes:
    numbers = {"dst": DST, "mac": LLADDR, "vlan": VLAN, "vni": VNI, "master": MASTER}
    head = struct.pack("=B3xiHBB", family, index, state, flags, 0)
    content = b"".join(attribute(numbers[name], value) for name, value in attributes.items())
    return message(kind, head + content)


def address(number: int) -> bytes:
    return socket.inet_aton(f"10.0.{number >> 8}.{number & 255}")


def test_an_entry_has_the_words_of_the_original() -> None:
    """Clients look for these; the router flag was on the wrong bit there."""
    table = Table()
    table.take(told(NEW, dst=address(9), mac=MAC, state=PERMANENT, flags=0x80))
    table.take(told(NEW, family=10, dst=socket.inet_pton(10, "fe80::9"), state=0x20, flags=0x10))
    table.take(told(NEW, dst=address(8), state=0, flags=8))
    assert table.facts() == {
        "Neighbors": [
            {
                **{"IfIndex": 5, "Flags": ["NTF_ROUTER"], "State": ["NUD_PERMANENT"]},
                **{"MAC": "a6:00:00:00:00:49", "IP": "10.0.0.9"},
            },
            {
                **{"IfIndex": 5, "Flags": ["NTF_EXT_LEARNED"], "State": ["NUD_FAILED"]},
                "IP": "fe80::9",
            },
            {"IfIndex": 5, "Flags": ["NTF_PROXY"], "IP": "10.0.0.8"},
        ]
    }


def test_forwarding_entries_tell_vlan_vni_and_the_host_behind_a_tunnel() -> None:
    """A VXLAN sends what it has no better place for to several hosts."""
    table = Table()
    nobody, number = bytes(6), (77).to_bytes(4, "little")
    for host in (2, 3):
        table.take(told(NEW, family=BRIDGE, mac=nobody, flags=2, dst=address(host), vni=number))
    vlan, master = (7).to_bytes(2, "little"), (4).to_bytes(4, "little")
    table.take(told(NEW, family=BRIDGE, mac=MAC, flags=0x40, state=NOARP, vlan=vlan, master=master))
    common = {"IfIndex": 5, "Flags": ["NTF_SELF"], "State": ["NUD_REACHABLE"], "VNI": 77}
    assert table.facts()["FDB"] == [
        {**common, "MAC": "00:00:00:00:00:00", "IP": "10.0.0.2"},
        {**common, "MAC": "00:00:00:00:00:00", "IP": "10.0.0.3"},
        {
            **{"IfIndex": 5, "Flags": ["NTF_STICKY"], "State": ["NUD_NOARP"]},
            **{"MAC": "a6:00:00:00:00:49", "Vlan": 7},
        },
    ]


def test_what_is_found_elsewhere_is_no_longer_where_it_was() -> None:
    """The kernel announces the new port, or the new host, and not the end of the old."""
    table = Table()
    master = (4).to_bytes(4, "little")
    for port in (5, 6):
        table.take(told(NEW, family=BRIDGE, index=port, mac=MAC, master=master))
    assert table.facts(5) == {}
    assert len(table.facts(6)["FDB"]) == 1
    for host in (2, 3):
        table.take(told(NEW, family=BRIDGE, index=8, mac=MAC, flags=2, dst=address(host)))
    assert [entry["IP"] for entry in table.facts(8)["FDB"]] == ["10.0.0.3"]


def test_states_that_change_all_the_time_are_stated_once_a_second() -> None:
    """Each statement is a revision in the history; the last state is the right one."""
    table = Table()
    table.take(told(NEW, dst=address(1), mac=MAC))
    first = table.facts()["Neighbors"]
    for state in (STALE, REACHABLE, STALE):
        table.now_s += 0.1
        table.take(told(NEW, dst=address(1), mac=MAC, state=state))
        assert table.facts()["Neighbors"] is first
        due_s = table.part.due_s()
        assert due_s is not None
        assert due_s <= 1
    table.now_s += 0.8
    assert table.facts()["Neighbors"][0]["State"] == ["NUD_STALE"]
    assert table.part.due_s() is None


def test_a_long_list_is_cut_and_counted() -> None:
    """A bridge may know tens of thousands; a node is not the place for all of them."""
    table = Table()
    for number in range(10_000):
        mac = b"\2" + number.to_bytes(5, "big")
        table.take(told(NEW, family=BRIDGE, mac=mac))
    facts = table.facts()
    assert (len(facts["FDB"]), facts["FDBCount"]) == (MOST_STATED, 10_000)
    for number in range(9_999):
        mac = b"\2" + number.to_bytes(5, "big")
        table.take(told(DELETE, family=BRIDGE, mac=mac))
    table.now_s += 60
    facts = table.facts()
    assert [entry["MAC"] for entry in facts["FDB"]] == ["02:00:00:00:27:0f"]
    assert "FDBCount" not in facts


def test_a_dump_replaces_what_was_known_unless_it_was_interrupted() -> None:
    """Half a list is no evidence that the other half is gone."""
    table = Table()
    table.take(*(told(NEW, dst=address(number), mac=MAC) for number in (1, 2)))
    for whole, expected in ((False, 3), (True, 1)):
        table.part.begin_dump(1)
        table.take(told(NEW, dst=address(3), mac=MAC))
        table.part.end_dump(1, whole=whole)
        table.now_s += 2
        assert len(table.facts()["Neighbors"]) == expected
    table.part.begin_dump(1)
    table.part.end_dump(1, whole=True)
    table.now_s += 2
    assert table.facts() == {}


def test_nothing_is_left_of_an_interface_or_a_namespace_that_went() -> None:
    """The kernel need not announce each entry; the number of an interface may be used again."""
    table = Table()
    table.take(told(NEW, dst=address(1), mac=MAC), told(NEW, family=BRIDGE, mac=MAC))
    table.part.begin_dump(1)
    table.take(told(NEW, dst=address(1), mac=MAC))
    table.part.link_changed(1, {"kind": "dellink", "family": 0, "index": 5})
    table.part.end_dump(1, whole=True)
    assert table.facts() == {}
    table.take(told(NEW, dst=address(1), mac=MAC))
    table.part.forget(1)
    assert table.facts() == {}
    assert table.part.kept == 0


def test_neighbours_without_resolution_are_left_out() -> None:
    """Multicast and the like: they come without an event, so their list would be a guess."""
    table = Table()
    table.take(told(NEW, dst=address(1), mac=MAC, state=REACHABLE))
    table.take(told(NEW, dst=address(1), mac=MAC, state=NOARP), told(NEW, dst=address(2), state=0))
    assert table.facts() == {}


def test_a_namespace_is_dumped_again_for_what_is_not_announced() -> None:
    """An interface that goes up listens to multicast addresses; many changes are one dump."""
    table = Table()
    link = {"kind": "newlink", "family": 0, "index": 5, "mac": "", "master": 0, "link_flags": 0}
    for flags in (0, 1, 1, 0, 1):
        table.part.link_changed(1, {**link, "link_flags": flags})
    assert table.facts() == {}
    assert table.dumps == []
    table.now_s += 1
    table.facts()
    assert table.dumps == [1]
    table.part.link_changed(1, {**link, "link_flags": 1, "mtu": 1400})
    table.now_s += 9
    table.facts()
    assert table.dumps == [1]
    for other in ({**link, "family": BRIDGE}, {"kind": "newaddr"}):
        table.part.link_changed(1, other)
        table.now_s += 9
        table.facts()
    assert table.dumps == [1, 1, 1]


def test_an_announcement_of_a_vxlan_without_the_host_is_not_believed() -> None:
    """Older kernels send it after the right one."""
    table = Table()
    table.links.set_link(table.space, {**MESSAGE, "index": 5, "kind_name": "vxlan"}, at_ms=1)
    table.take(told(NEW, family=BRIDGE, mac=MAC, flags=2, dst=address(2)))
    table.take(told(NEW, family=BRIDGE, mac=MAC, flags=2))
    assert [entry["IP"] for entry in table.facts()["FDB"]] == ["10.0.0.2"]
    table.now_s += 1
    table.facts()
    assert table.dumps == [1]


@pytest.mark.parametrize("length", [0, 12, 28])
def test_what_cannot_be_decoded_is_an_error(length: int) -> None:
    """The follower counts it."""
    whole = told(NEW, dst=address(1), mac=MAC)
    cut = struct.pack("=I", 16 + length) + whole[4 : 16 + length]
    if length == 12:
        Table().take(cut)  # a head without attributes tells nothing
        return
    with pytest.raises(ValueError, match=r"head|attribute"):
        Table().take(cut)


@pytest.mark.root
@pytest.mark.vm
async def test_neighbours_are_those_that_ip_shows(broker: Broker, prefix: str) -> None:
    """Scenario 21, with proxies, IPv6, a VXLAN, an interface that goes, and a namespace."""
    space, later = f"{prefix}n", f"{prefix}o"
    va, vb, vx = (f"{prefix}{letter}" for letter in "abx")
    ip(f"netns add {space}", f"-n {space} link add {va} type veth peer name {vb}")
    ip(f"-n {space} neigh add 10.0.0.9 lladdr a6:00:00:00:00:49 dev {va} nud permanent")
    running = Running(broker, probes())
    async with running.at_work():
        assert await until_equal(running, [space], prefix, aspects=TABLES) == []
        (entry,) = running.named(va)["Neighbors"]
        assert (entry["MAC"], entry["State"]) == ("a6:00:00:00:00:49", ["NUD_PERMANENT"])
        ip(
            f"netns add {later}",
            f"-n {later} link add {vx} type vxlan id 5 dstport 4789",
            f"-n {later} link set {vx} up",
            f"-n {space} link set {va} up",
            f"-n {space} link set {vb} up",
            f"-n {space} addr add fd00::1/64 dev {va} nodad",
            f"-n {space} neigh add fd00::9 lladdr a6:00:00:00:00:50 dev {vb} router nud permanent",
            f"-n {space} neigh add proxy 10.9.9.9 dev {vb}",
            f"-n {space} neigh del 10.0.0.9 dev {va}",
        )
        await bridge(later, f"fdb append 00:00:00:00:00:00 dev {vx} dst 10.0.0.2 vni 77")
        await bridge(later, f"fdb append 00:00:00:00:00:00 dev {vx} dst 10.0.0.3")
        await bridge(later, f"fdb add 02:00:00:00:00:01 dev {vx} dst 10.0.0.4")
        assert await until_equal(running, [space, later], prefix, aspects=TABLES) == []
        assert len(running.named(vx)["FDB"]) == 3
        await bridge(later, f"fdb replace 02:00:00:00:00:01 dev {vx} dst 10.0.0.5")
        await bridge(later, f"fdb del 00:00:00:00:00:00 dev {vx} dst 10.0.0.3")
        ip(f"-n {space} link del {va}")
        assert await until_equal(running, [space, later], prefix, aspects=TABLES) == []
        assert {entry.get("IP") for entry in running.named(vx)["FDB"]} == {"10.0.0.2", "10.0.0.5"}
        ip(f"netns del {later}")
        await running.until(lambda: not running.nodes(vx))
    assert running.losses.as_json() == {}


@pytest.mark.root
@pytest.mark.vm
@pytest.mark.skipif(not inside(), reason="bridges need a full kernel")
async def test_what_a_bridge_knows_is_what_bridge_shows(broker: Broker, prefix: str) -> None:
    """Its ports come and go, what is behind them moves, and all of it is announced or found."""
    space = f"{prefix}n"
    ip(f"netns add {space}", f"-n {space} link add br0 type bridge vlan_filtering 1")
    running = Running(broker, probes())
    async with running.at_work():
        for port in ("pa", "pb"):
            ip(f"-n {space} link add {port} type veth peer name {port}x")
            ip(f"-n {space} link set {port} master br0", f"-n {space} link set {port} up")
            ip(f"-n {space} link set {port}x up")
        ip(f"-n {space} link set br0 up")
        await bridge(space, "fdb add 02:00:00:00:00:01 dev pa master static vlan 1")
        await bridge(space, "fdb add 02:00:00:00:00:02 dev pb self")
        assert await until_equal(running, [space], prefix, aspects=TABLES) == []
        moved = "02:00:00:00:00:01"
        await bridge(space, f"fdb replace {moved} dev pb master static vlan 1")
        assert await until_equal(running, [space], prefix, aspects=TABLES) == []
        assert moved in {entry["MAC"] for entry in running.named("pb")["FDB"]}
        ip(f"-n {space} link set pb nomaster", f"-n {space} link set br0 down")
        assert await until_equal(running, [space], prefix, aspects=TABLES) == []
        ip(f"-n {space} link del br0")
        assert await until_equal(running, [space], prefix, aspects=TABLES) == []
    assert running.losses.as_json() == {}


async def bridge(space: str, command: str) -> None:
    """Run a command of `bridge`."""
    done = await asyncio.create_subprocess_exec("bridge", "-n", space, *command.split())
    assert await done.wait() == 0, command
