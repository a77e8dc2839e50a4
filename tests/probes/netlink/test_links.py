from __future__ import annotations

from typing import Any

import pytest
from tests.probes.netlink.test_link_metadata import MESSAGE

from skydiver.base.ids import NodeID, Origin
from skydiver.graph import Graph, NodeSpec
from skydiver.probes.netlink.links import HOST, LinkTable, Space
from skydiver.topology import host_node_id, link_node_id, netns_node_id

OWN = 50
"""The host's number for itself in these tests."""
INODES = {HOST: 1, 3: 33, 4: 44}


def link(index: int, name: str, **changes: Any) -> dict[str, Any]:
    return {**MESSAGE, "index": index, "name": name, **changes}


def veth(index: int, name: str, peer: int, nsid: int | None = None, **changes: Any) -> Any:
    return link(index, name, kind_name="veth", link=peer, link_netnsid=nsid, **changes)


def gone(index: int) -> dict[str, Any]:
    return {**link(index, "?"), "kind": "dellink", "bridge_port_del": False}


def address(index: int, text: str, *, kind: str = "newaddr") -> dict[str, Any]:
    family = 10 if ":" in text else 2
    return {
        "kind": kind,
        "family": family,
        "index": index,
        "local": "",
        "address": text,
        "prefix_len": 24,
    }


class Watched:
    """A table with the graph that it writes to, two namespaces beside the host's, and no kernel."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.graph = Graph(host="h1", origin=Origin("agent.h1"), clock_ms=lambda: self.now_ms)
        roots = self.graph.owned_by("roots")
        self.table = LinkTable(self.graph.owned_by("netlink"), host_id="h1", own_nsid=OWN)
        self.spaces: dict[int, Space] = {}
        for nsid, inode in INODES.items():
            root = host_node_id("h1") if nsid == HOST else netns_node_id("h1", 4, inode)
            name = "" if nsid == HOST else f"ns{nsid}"
            type_ = "host" if nsid == HOST else "netns"
            roots.upsert(NodeSpec(id=root, metadata={"Name": name or "h1", "Type": type_}))
            self.spaces[nsid] = self.table.add_space(nsid, inode=inode, root=root, name=name)

    def tell(self, nsid: int, *messages: dict[str, Any]) -> None:
        """Events of a namespace."""
        for message in messages:
            self.table.event(self.spaces[nsid], message, at_ms=self.now_ms)

    def dump(
        self, nsid: int, *links: dict[str, Any], numbering: dict[int, int] | None = None
    ) -> None:
        """A dump without addresses."""
        space = self.spaces[nsid]
        space.numbering = numbering or {}
        for message in links:
            self.table.set_link(space, message, at_ms=self.now_ms, dumped=True)
        self.table.end_dump(space, {message["index"] for message in links}, [])

    def metadata(self, nsid: int, index: int) -> dict[str, Any]:
        self.table.state()
        node = self.graph.node(link_node_id("h1", INODES[nsid], index))
        return {} if node is None else dict(node.metadata)

    def edges(self, relation: str = "layer2") -> set[tuple[str, str, str]]:
        """Edges of a relation, by names."""
        self.table.state()
        return {
            (self.name(edge.parent), self.name(edge.child), edge.metadata.get("Type", ""))
            for edge in self.graph.edges()
            if edge.metadata["RelationType"] == relation
        }

    def owner(self, nsid: int, index: int) -> str:
        self.table.state()
        child = link_node_id("h1", INODES[nsid], index)
        (edge,) = (
            edge
            for edge in self.graph.edges()
            if edge.child == child and edge.metadata["RelationType"] == "ownership"
        )
        return self.name(edge.parent)

    def name(self, node_id: NodeID) -> str:
        node = self.graph.node(node_id)
        assert node is not None
        return str(node.metadata["Name"])


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_an_interface_is_owned_by_its_namespace(watched: Watched) -> None:
    """Equal indexes in different namespaces are different interfaces."""
    watched.tell(HOST, link(2, "eth0"))
    watched.tell(3, link(2, "eth0"))
    assert watched.owner(HOST, 2) == "h1"
    assert watched.owner(3, 2) == "ns3"


def test_many_events_become_one_revision(watched: Watched) -> None:
    """A storm costs the graph no more than its outcome, and the last state counts."""
    for mtu in range(1000, 1400):
        watched.tell(HOST, link(2, "eth0", mtu=mtu))
    assert watched.metadata(HOST, 2)["MTU"] == 1399
    node = watched.graph.node(link_node_id("h1", 1, 2))
    assert node is not None
    assert node.revision == 1


def test_an_interface_that_came_and_went_meanwhile_is_never_stated(watched: Watched) -> None:
    """Short-lived ones in a storm are not worth two events to everybody."""
    heard: list[object] = []
    watched.graph.subscribe(heard.append)
    watched.tell(HOST, link(2, "eth0"), gone(2))
    watched.table.state()
    assert heard == []


def test_a_rename_keeps_the_node(watched: Watched) -> None:
    """It is the same interface."""
    watched.tell(HOST, link(2, "eth0"))
    before = watched.metadata(HOST, 2)
    watched.tell(HOST, link(2, "lan"))
    assert (before["Name"], watched.metadata(HOST, 2)["Name"]) == ("eth0", "lan")


def test_keys_that_no_longer_hold_are_removed(watched: Watched) -> None:
    """In the original, leaving a bridge left `MasterIndex` behind."""
    watched.tell(HOST, link(1, "br0", kind_name="bridge"), link(2, "eth0", master=1))
    assert watched.metadata(HOST, 2)["MasterIndex"] == 1
    assert watched.edges() == {("br0", "eth0", "")}
    watched.tell(HOST, link(2, "eth0"))
    assert "MasterIndex" not in watched.metadata(HOST, 2)
    assert watched.edges() == set()


def test_a_member_may_be_told_before_its_master(watched: Watched) -> None:
    """Dumps are ordered by index, not by dependency."""
    watched.tell(HOST, link(2, "eth0", master=9))
    assert watched.edges() == set()
    watched.tell(HOST, link(9, "br0", kind_name="bridge"))
    assert watched.edges() == {("br0", "eth0", "")}


def test_ports_of_open_vswitch_are_left_to_its_own_probe(watched: Watched) -> None:
    """The kernel's datapath is not the bridge that users know."""
    watched.tell(HOST, link(1, "ovs-system", kind_name="openvswitch"))
    watched.tell(HOST, link(2, "tap0", master=1, slave_kind="openvswitch"))
    assert watched.metadata(HOST, 2)["MasterIndex"] == 1
    assert watched.edges() == set()


def test_bridge_messages_about_ports_are_not_about_interfaces(watched: Watched) -> None:
    """They come in the same form, without most of the attributes."""
    watched.tell(HOST, link(1, "br0", kind_name="bridge"), veth(2, "tap0", 5, master=1))
    port = link(2, "tap0", family=7, mtu=0, master=1)
    watched.tell(HOST, port, {**gone(2), "family": 7, "bridge_port_del": True})
    assert watched.metadata(HOST, 2)["Type"] == "veth"


def test_a_partial_message_is_not_taken_for_the_state(watched: Watched) -> None:
    """Wireless drivers announce scans with a link message that has a name and little else."""
    watched.tell(HOST, link(2, "wlan0"))
    watched.tell(HOST, link(2, "wlan0", mtu=0, mac="", link_flags=0))
    assert watched.metadata(HOST, 2)["MTU"] == 1500
    assert watched.table.wanted() == {HOST}


def test_addresses_are_added_to_the_list(watched: Watched) -> None:
    """The original replaced the list by the last one."""
    watched.tell(HOST, link(2, "eth0"), address(2, "10.0.0.1"), address(2, "10.0.0.2"))
    watched.tell(HOST, address(2, "fd00::1"), address(2, "10.0.0.2"))
    found = watched.metadata(HOST, 2)
    assert found["IPV4"] == ["10.0.0.1/24", "10.0.0.2/24"]
    assert found["IPV6"] == ["fd00::1/24"]
    watched.tell(HOST, address(2, "10.0.0.1", kind="deladdr"))
    watched.tell(HOST, address(2, "fd00::1", kind="deladdr"))
    found = watched.metadata(HOST, 2)
    assert found["IPV4"] == ["10.0.0.2/24"]
    assert "IPV6" not in found


def test_an_address_of_an_unknown_interface_is_ignored(watched: Watched) -> None:
    """It is gone, or a dump is about to tell of both."""
    watched.tell(HOST, address(77, "10.0.0.1"))
    watched.table.state()


def test_a_veth_in_one_namespace(watched: Watched) -> None:
    """One edge, from the larger index to the smaller, as clients know it."""
    watched.tell(HOST, veth(2, "a", 3), veth(3, "b", 2))
    assert watched.edges() == {("b", "a", "veth")}


@pytest.mark.parametrize(
    ("kind", "relation"),
    [
        *(("vlan", "layer2"), ("macvlan", "layer2"), ("ipvlan", "layer2"), ("macsec", "layer2")),
        *(("vxlan", "underlay"), ("gre", "underlay"), ("erspan", "underlay")),
    ],
)
def test_what_sits_on_another_interface_is_linked_with_it(
    watched: Watched, kind: str, relation: str
) -> None:
    """Also between namespaces, whichever comes first. A tunnel is no part of the network that its
    packets cross: searches of layer-2 paths must not take it for one."""
    watched.tell(HOST, link(5, "above", kind_name=kind, link=2))
    watched.tell(HOST, link(2, "below"))
    assert watched.edges(relation) == {("below", "above", kind)}
    watched.dump(3, link(5, "moved", kind_name=kind, link=2, link_netnsid=OWN), numbering={0: OWN})
    watched.tell(HOST, gone(5))
    assert watched.edges(relation) == {("below", "moved", kind)}
    assert watched.metadata(3, 5)["LinkNetNsID"] == 0
    watched.tell(HOST, gone(2))
    assert watched.edges(relation) == set()


def test_a_tunnel_that_moved_tells_the_namespace_of_its_packets_and_no_interface(
    watched: Watched,
) -> None:
    """There is no interface of index 0."""
    watched.dump(3, link(5, "vx", kind_name="vxlan", link_netnsid=OWN), numbering={0: OWN})
    assert watched.edges("underlay") == set()
    assert watched.metadata(3, 5)["LinkNetNsID"] == 0


@pytest.mark.parametrize("kind", ["veth", "vxcan", "netkit"])
def test_all_kinds_of_pairs_are_pairs(watched: Watched, kind: str) -> None:
    """What enters one end leaves the other."""
    one, other = link(2, "a", kind_name=kind, link=3), link(3, "b", kind_name=kind, link=2)
    watched.tell(HOST, one, other)
    assert watched.edges() == {("b", "a", kind)}
    assert watched.metadata(HOST, 2)["PeerIfIndex"] == 3


def test_the_ports_of_an_hsr_ring_do_not_tell_that_they_are(watched: Watched) -> None:
    """They have no master; the ring names them."""
    watched.tell(HOST, link(1, "a"), link(2, "b"))
    ring = link(3, "hsr0", kind_name="hsr", info={"Slave1Index": 1, "Slave2Index": 2})
    watched.tell(HOST, ring)
    assert watched.edges() == {("hsr0", "a", "hsr"), ("hsr0", "b", "hsr")}
    watched.tell(HOST, link(3, "hsr0", kind_name="hsr", info={"Slave1Index": 1}))
    assert watched.edges() == {("hsr0", "a", "hsr")}


def test_how_a_bridge_treats_a_port_follows_its_own_messages(watched: Watched) -> None:
    """Such changes are announced in no other way; those of another bridge are too late."""
    port = {"master": 1, "slave_kind": "bridge"}
    watched.tell(HOST, link(1, "br0", kind_name="bridge"), link(4, "br1", kind_name="bridge"))
    watched.tell(HOST, link(2, "eth0", **port, slave_info={"State": "disabled"}))
    assert watched.metadata(HOST, 2)["BridgePort"] == {"State": "disabled"}
    late = link(2, "eth0", family=7, mtu=0, master=4, slave_info={"State": "blocking"})
    watched.tell(HOST, late)
    assert watched.metadata(HOST, 2)["BridgePort"] == {"State": "disabled"}
    watched.tell(HOST, {**late, "master": 1, "slave_info": {"State": "forwarding"}})
    assert watched.metadata(HOST, 2)["BridgePort"] == {"State": "forwarding"}
    assert watched.metadata(HOST, 2)["MTU"] == 1500


def test_what_changed_without_an_event_is_seen_when_counters_are_read(watched: Watched) -> None:
    """The root of a spanning tree, for one. The dump that follows keeps the order with events."""
    watched.tell(HOST, link(2, "br0", kind_name="bridge", info={"RootID": "8000.1"}))
    same = link(2, "br0", kind_name="bridge", info={"RootID": "8000.1"})
    watched.table.sample(watched.spaces[HOST], same, now_ms=2_000, before_ms=1_000)
    assert watched.table.wanted() == set()
    other = {**same, "info": {"RootID": "1000.1"}}
    watched.table.sample(watched.spaces[HOST], other, now_ms=3_000, before_ms=2_000)
    assert watched.table.wanted() == {HOST}


def test_a_veth_across_namespaces_is_found_by_namespace_and_index(watched: Watched) -> None:
    """Another interface has the same index in another namespace: it is not the peer."""
    watched.dump(3, veth(2, "inner", 7, OWN), numbering={0: OWN})
    watched.dump(4, veth(2, "wrong", 9, OWN), numbering={0: OWN})
    watched.dump(HOST, veth(7, "outer", 2, 3))
    assert watched.edges() == {("outer", "inner", "veth")}
    assert watched.metadata(HOST, 7)["LinkNetNsName"] == "ns3"
    assert watched.metadata(HOST, 7)["LinkNetNsID"] == 3
    inner = watched.metadata(3, 2)
    assert (inner["LinkNetNsID"], inner["LinkNetNsName"]) == (0, "")


def test_veth_ends_of_equal_index_are_linked_too(watched: Watched) -> None:
    """The original made no edge then."""
    watched.dump(HOST, veth(2, "outer", 2, 3))
    watched.dump(3, veth(2, "inner", 2, OWN), numbering={0: OWN})
    assert len(watched.edges()) == 1


def test_one_end_is_enough_to_know_the_pair(watched: Watched) -> None:
    """The other end's namespace may number nobody yet."""
    watched.dump(3, link(2, "not yet"))
    watched.dump(HOST, veth(7, "outer", 2, 3))
    watched.tell(3, veth(2, "inner", 7, 99))
    assert watched.edges() == {("outer", "inner", "veth")}
    assert watched.table.wanted() == {3}


def test_events_number_namespaces_as_their_own_does(watched: Watched) -> None:
    """What the host calls 4 may be 0 inside of 3."""
    watched.dump(3, numbering={0: 4})
    watched.dump(4, veth(5, "b", 2, 3), numbering={8: 3})
    watched.tell(3, veth(2, "a", 5, 0))
    assert watched.edges() == {("b", "a", "veth")}
    assert watched.metadata(3, 2)["LinkNetNsID"] == 0
    assert watched.metadata(4, 5)["LinkNetNsID"] == 8


def test_a_number_given_before_it_was_needed_is_asked_for_when_it_is(watched: Watched) -> None:
    """The event says that there is a number, not whose it is."""
    watched.dump(3)
    watched.tell(3, {"kind": "newnsid", "nsid": 0})
    assert watched.table.wanted() == set()
    watched.dump(4, veth(5, "b", 2, 3), numbering={8: 3})
    watched.tell(3, veth(2, "a", 0))
    assert "LinkNetNsID" not in watched.metadata(3, 2)
    assert watched.table.wanted() == {3}
    watched.dump(3, veth(2, "a", 5, 4), numbering={0: 4})
    assert watched.metadata(3, 2)["LinkNetNsID"] == 0
    assert watched.table.wanted() == set()


def test_a_number_that_ended_is_not_used_for_its_successor(watched: Watched) -> None:
    """Numbers are reused at once."""
    watched.dump(3, numbering={0: 4})
    watched.tell(3, {"kind": "delnsid", "nsid": 0})
    watched.tell(3, veth(2, "a", 5, 0))
    assert watched.table.wanted() == {3}
    assert watched.edges() == set()


def test_when_one_end_moves_the_other_one_follows(watched: Watched) -> None:
    """The kernel tells only of the end that moved; the message of the other is wrong from then."""
    watched.dump(3, numbering={0: OWN})
    watched.dump(4, numbering={0: OWN})
    watched.dump(HOST, veth(7, "outer", 2, 3))
    watched.tell(3, veth(2, "inner", 7, 0))
    assert watched.edges() == {("outer", "inner", "veth")}
    watched.tell(3, gone(2))
    watched.tell(4, veth(5, "inner", 7, 0))
    assert watched.edges() == {("outer", "inner", "veth")}
    outer = watched.metadata(HOST, 7)
    assert (outer["PeerIfIndex"], outer["LinkNetNsName"]) == (5, "ns4")
    assert watched.table.doubtful() == set()


def test_the_last_words_of_an_end_do_not_steal_the_peer_of_another(watched: Watched) -> None:
    """When the namespace of its peer is ending, an event names the index but no namespace. The
    index means something else here."""
    watched.tell(HOST, link(2, "eth0"), veth(3, "a", 4), veth(4, "b", 3))
    watched.dump(3, veth(3, "inner", 7, OWN), veth(2, "other", 8, OWN), numbering={0: OWN})
    watched.tell(HOST, veth(7, "outer", 3, 3), veth(8, "second", 2, 3))
    expected = {("b", "a", "veth"), ("outer", "inner", "veth"), ("second", "other", "veth")}
    assert watched.edges() == expected
    watched.tell(HOST, veth(7, "outer", 3), veth(8, "second", 2))
    assert watched.edges() == expected
    assert "PeerIfIndex" not in watched.metadata(HOST, 2)
    assert watched.table.doubtful() == set()


def test_a_new_pair_is_linked_although_its_first_end_has_no_peer_yet(watched: Watched) -> None:
    """The kernel registers one end, tells of it, and then the other."""
    watched.tell(HOST, veth(4, "first", 0), veth(5, "second", 4))
    assert watched.edges() == {("second", "first", "veth")}


def test_an_end_that_comes_home_under_another_index_is_asked_about(watched: Watched) -> None:
    """The end that stayed still names the old index, so neither can be taken by its word."""
    watched.dump(3, numbering={0: OWN})
    watched.dump(HOST, veth(7, "stays", 2, 3))
    watched.tell(3, veth(2, "moves", 7, 0))
    watched.tell(3, gone(2))
    watched.tell(HOST, veth(9, "moves", 7))
    assert watched.table.doubtful() == {HOST}
    watched.dump(HOST, veth(7, "stays", 9), veth(9, "moves", 7))
    assert watched.edges() == {("moves", "stays", "veth")}


def test_an_end_whose_partner_vanished_is_asked_again(watched: Watched) -> None:
    """Its partner may be in a namespace that was not heard of yet."""
    watched.dump(3, veth(2, "inner", 7, OWN), numbering={0: OWN})
    watched.dump(HOST, veth(7, "outer", 2, 3))
    watched.tell(3, gone(2))
    assert watched.edges() == set()
    assert watched.table.has_doubts()
    assert watched.table.doubtful() == {HOST}
    assert not watched.table.has_doubts()


def test_a_pair_that_is_deleted_leaves_no_doubt(watched: Watched) -> None:
    """Both ends go together; nobody is to be asked."""
    watched.tell(HOST, veth(2, "a", 3), veth(3, "b", 2))
    watched.table.state()
    watched.tell(HOST, gone(2), gone(3))
    assert watched.table.doubtful() == set()
    assert watched.graph.edge_count() == 0


def test_a_vlan_hangs_below_its_interface_also_from_elsewhere(watched: Watched) -> None:
    """A VLAN may be moved into a namespace while what it sits on stays."""
    vlan = link(3, "eth0.7", kind_name="vlan", link=2, info={"vlan_id": 7})
    watched.tell(HOST, link(2, "eth0"), vlan)
    assert watched.edges() == {("eth0", "eth0.7", "vlan")}
    watched.tell(HOST, gone(3))
    watched.dump(3, {**vlan, "link_netnsid": OWN}, numbering={0: OWN})
    assert watched.edges() == {("eth0", "eth0.7", "vlan")}
    watched.tell(HOST, gone(2))
    assert watched.edges() == set()
    assert watched.table.doubtful() == {3}


def test_a_dump_removes_what_it_does_not_tell(watched: Watched) -> None:
    """Its deletion was among the lost events."""
    watched.tell(HOST, link(2, "eth0"), link(3, "eth1"), address(2, "10.0.0.1"))
    watched.dump(HOST, link(2, "eth0"))
    assert "IPV4" not in watched.metadata(HOST, 2)
    assert watched.metadata(HOST, 3) == {}


def test_a_namespace_that_ends_takes_its_interfaces_along(watched: Watched) -> None:
    """And the edges to them; the other namespaces stay."""
    watched.dump(3, veth(2, "inner", 7, OWN), link(1, "lo"), numbering={0: OWN})
    watched.dump(HOST, veth(7, "outer", 2, 3))
    watched.table.state()
    watched.table.remove_space(3)
    assert watched.metadata(3, 1) == {}
    assert watched.edges() == set()
    assert watched.metadata(HOST, 7)["LinkNetNsName"] == ""


def test_a_new_name_of_a_namespace_reaches_the_peers_in_others(watched: Watched) -> None:
    """`LinkNetNsName` is that of the node."""
    watched.dump(3, veth(2, "inner", 7, OWN), numbering={0: OWN})
    watched.dump(HOST, veth(7, "outer", 2, 3))
    watched.table.state()
    watched.table.rename_space(3, "blue")
    assert watched.metadata(HOST, 7)["LinkNetNsName"] == "blue"


def test_counters_are_absolute_and_as_an_increase(watched: Watched) -> None:
    """The first are those of the creation; a sample that shows nothing new changes nothing."""
    watched.tell(HOST, link(2, "eth0", stats={"RxPackets": 10}))
    assert watched.metadata(HOST, 2)["Metric"] == {"RxPackets": 10}
    space = watched.spaces[HOST]
    sample = link(2, "eth0", stats={"RxPackets": 15, "TxPackets": 1})
    watched.table.sample(space, sample, now_ms=31_000, before_ms=500)
    found = watched.metadata(HOST, 2)
    assert found["Metric"] == {"RxPackets": 15, "TxPackets": 1, "Last": 31_000}
    assert found["LastUpdateMetric"] == {
        "RxPackets": 5,
        "TxPackets": 1,
        "Start": 1_000,
        "Last": 31_000,
    }
    watched.table.sample(space, sample, now_ms=61_000, before_ms=31_000)
    assert watched.metadata(HOST, 2) == found


def test_counters_that_were_reset_count_from_zero(watched: Watched) -> None:
    """A driver reload must not show as a negative increase."""
    watched.tell(HOST, link(2, "eth0", stats={"RxPackets": 100}))
    sample = link(2, "eth0", stats={"RxPackets": 7})
    watched.table.sample(watched.spaces[HOST], sample, now_ms=2_000, before_ms=1_000)
    assert watched.metadata(HOST, 2)["LastUpdateMetric"]["RxPackets"] == 7


def test_events_do_not_disturb_the_counters(watched: Watched) -> None:
    """Each event carries counters too; taking them would hide that part from the next increase."""
    watched.tell(HOST, link(2, "eth0", stats={"RxPackets": 10}))
    watched.tell(HOST, link(2, "eth0", stats={"RxPackets": 12}, mtu=1400))
    sample = link(2, "eth0", stats={"RxPackets": 15})
    watched.table.sample(watched.spaces[HOST], sample, now_ms=2_000, before_ms=1_000)
    assert watched.metadata(HOST, 2)["LastUpdateMetric"]["RxPackets"] == 5


def test_only_real_devices_are_asked_for_their_driver(watched: Watched) -> None:
    """The others are named by their kind, and each question costs a call."""
    watched.tell(HOST, link(1, "lo", arphrd=772), link(2, "eth0"), veth(3, "v", 4))
    ((space, links),) = watched.table.undriven()
    assert (space.nsid, [link.message["name"] for link in links]) == (HOST, ["eth0"])
    assert not watched.table.has_undriven()
    watched.table.set_driver(links[0], "e1000", "0000:00:03.0")
    found = watched.metadata(HOST, 2)
    assert (found["Driver"], found["BusInfo"]) == ("e1000", "0000:00:03.0")


def test_statements_can_be_spread_over_time(watched: Watched) -> None:
    """Ten thousand changes must not stop everything else for a second."""
    watched.tell(HOST, *(link(index, f"l{index}") for index in range(1, 101)))
    assert not watched.table.state(enough=lambda: True)
    said = len(list(watched.graph.nodes())) - len(INODES)
    assert 0 < said < 100
    assert watched.table.state()
    assert len(list(watched.graph.nodes())) - len(INODES) == 100


def test_a_fact_of_another_part_waits_for_the_interface_and_goes_with_it() -> None:
    """Routes are told on another socket, which may be ahead or behind."""
    watched = Watched()
    watched.table.set_fact(3, 7, "RoutingTables", [{"ID": 254}])
    assert watched.metadata(3, 7) == {}
    watched.tell(3, link(7, "eth0"))
    assert watched.metadata(3, 7)["RoutingTables"] == [{"ID": 254}]
    watched.table.set_fact(3, 7, "Speed", 1000)
    watched.table.set_fact(3, 7, "RoutingTables", None)
    assert "RoutingTables" not in watched.metadata(3, 7)
    assert watched.metadata(3, 7)["Speed"] == 1000
    watched.tell(3, gone(7), link(7, "eth0"))
    assert "Speed" not in watched.metadata(3, 7)


def test_a_fact_changes_nothing_else_and_is_one_revision() -> None:
    """Neighbours change often; the rest of an interface is not stated again for them."""
    watched = Watched()
    watched.tell(3, link(7, "eth0"))
    before = watched.metadata(3, 7)
    events: list[Any] = []
    watched.graph.subscribe(events.append)
    watched.table.set_fact(3, 7, "Speed", 1000)
    watched.table.set_fact(3, 7, "Duplex", "full")
    watched.table.set_fact(3, 7, "Duplex", "full")
    assert watched.metadata(3, 7) == {**before, "Speed": 1000, "Duplex": "full"}
    assert len(events) == 1
    watched.tell(3, link(7, "eth1"))
    assert watched.metadata(3, 7) == {**before, "Name": "eth1", "Speed": 1000, "Duplex": "full"}


def test_a_fact_can_be_withdrawn_while_the_interface_changes() -> None:
    """What is stated anew as a whole must not keep what was added to it since the last time."""
    watched = Watched()
    watched.tell(3, link(7, "eth0"))
    for last in (None, 100):
        watched.table.set_fact(3, 7, "Speed", 1000)
        assert watched.metadata(3, 7)["Speed"] == 1000
        watched.tell(3, link(7, "eth1"))
        watched.table.set_fact(3, 7, "Speed", None)
        watched.table.set_fact(3, 7, "Speed", last)
        assert watched.metadata(3, 7).get("Speed") == last


def test_facts_of_a_namespace_are_on_its_node_and_end_with_it() -> None:
    """Rules have no interface."""
    watched = Watched()
    watched.table.set_root_fact(3, "RoutingRules", [1])
    watched.table.state()
    root = netns_node_id("h1", 4, INODES[3])
    node = watched.graph.node(root)
    assert node is not None
    assert node.metadata == {"Name": "ns3", "Type": "netns", "RoutingRules": [1]}
    watched.table.set_root_fact(3, "Other", 1)
    watched.table.remove_space(3)
    watched.table.state()
    node = watched.graph.node(root)
    assert node is not None
    assert node.metadata == {"Name": "ns3", "Type": "netns"}


def test_a_master_is_asked_again_when_its_members_come_and_go() -> None:
    """The speed of a bridge is that of its fastest member, and no event tells that it changed."""
    watched = Watched()
    watched.tell(3, link(4, "br0", kind_name="bridge"))
    watched.table.unasked()
    watched.tell(3, link(7, "eth0", master=4))
    assert set(watched.table.unasked()) == {(3, 7), (3, 4)}
    watched.tell(3, gone(7))
    assert (3, 4) in watched.table.unasked()


def test_what_rests_on_an_interface_is_known() -> None:
    """A tunnel has the speed of the bridge that it leaves by, and that has it from its ports."""
    watched = Watched()
    watched.tell(3, link(4, "br0", kind_name="bridge"), link(7, "eth0", master=4))
    watched.tell(3, link(9, "vx0", kind_name="vxlan", link=4))
    assert watched.table.resting_on((3, 7)) == [(3, 4)]
    assert watched.table.resting_on((3, 4)) == [(3, 9)]
    assert watched.table.resting_on((3, 9)) == []
    assert watched.table.resting_on((3, 77)) == []
