from __future__ import annotations

from typing import Any

import pytest

from skydiver.probes.netlink.link_metadata import address_text, encap_type, link_metadata, link_type

MESSAGE: dict[str, Any] = {
    "kind": "newlink",
    "family": 0,
    "index": 5,
    "name": "eth0",
    "arphrd": 1,
    "link_flags": 0x11043,
    "mtu": 1500,
    "mac": "02:00:00:00:00:01",
    "kind_name": "",
    "slave_kind": "",
    "master": 0,
    "link": 0,
    "link_netnsid": None,
    "operstate": 6,
    "stats": {},
}


def metadata(**changes: Any) -> dict[str, Any]:
    return link_metadata({**MESSAGE, **changes}, driver="virtio_net")


def test_a_real_device() -> None:
    """All keys of the plainest interface, and none that it has no value for."""
    assert metadata() == {
        "Name": "eth0",
        "Type": "device",
        "EncapType": "ether",
        "IfIndex": 5,
        "Driver": "virtio_net",
        "MTU": 1500,
        "MAC": "02:00:00:00:00:01",
        "State": "UP",
        "LinkFlags": ["UP", "BROADCAST", "MULTICAST"],
    }


def test_loopback_flags_are_the_real_ones() -> None:
    """The original called a running loopback POINTTOPOINT, its names being one bit off."""
    assert metadata(link_flags=0x10049)["LinkFlags"] == ["UP", "LOOPBACK"]
    assert metadata(link_flags=0x90)["LinkFlags"] == ["POINTTOPOINT"]
    assert metadata(link_flags=0)["LinkFlags"] == []


@pytest.mark.parametrize(
    ("kind", "type_", "driver"),
    [
        ("veth", "veth", "veth"),
        ("bridge", "bridge", "bridge"),
        ("tun", "tuntap", "tun"),
        ("bond", "bond", "bonding"),
        ("vlan", "vlan", "802.1Q VLAN Support"),
        ("macvtap", "macvtap", "macvlan"),
        ("openvswitch", "openvswitch", "openvswitch"),
        ("wireguard", "wireguard", "wireguard"),
    ],
)
def test_type_and_driver_follow_from_the_kind(kind: str, type_: str, driver: str) -> None:
    """Clients filter on both."""
    found = metadata(kind_name=kind)
    assert (found["Type"], found["Driver"]) == (type_, driver)
    assert link_type(kind) == type_


def test_a_veth_tells_its_peer() -> None:
    """IFLA_LINK of a veth is the other end."""
    found = metadata(kind_name="veth", link=9)
    assert (found["ParentIndex"], found["PeerIfIndex"]) == (9, 9)


def test_a_vlan_tells_its_number_and_what_it_sits_on() -> None:
    """The edge needs the one, users the other."""
    found = metadata(kind_name="vlan", link=4, info={"Vlan": 7, "VlanProtocol": "802.1Q"})
    assert (found["Vlan"], found["VlanProtocol"], found["ParentIndex"]) == (7, "802.1Q", 4)
    assert "PeerIfIndex" not in found


def test_a_bond_and_its_member() -> None:
    """The mode and the member are where clients know them, the rest is with the bond."""
    bond = metadata(kind_name="bond", info={"Mode": "802.3ad", "LacpRate": "fast"})
    assert (bond["BondMode"], bond["Bond"]) == ("802.3ad", {"LacpRate": "fast"})
    state = {"State": "BACKUP", "MiiStatus": "UP", "LinkFailureCount": 2}
    member = metadata(slave_kind="bond", master=3, slave_info=state)
    assert member["BondSlave"] == {"Type": "bond", **state}


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        *(("vxlan", "Vxlan"), ("geneve", "Geneve"), ("gretap", "Tunnel"), ("sit", "Tunnel")),
        *(("bridge", "Bridge"), ("macvtap", "Macvlan"), ("tun", "Tun"), ("vrf", "Vrf")),
    ],
)
def test_attributes_of_a_kind_have_a_place_of_their_own(kind: str, section: str) -> None:
    """`Local` of a tunnel is not to be taken for an address of the interface."""
    assert metadata(kind_name=kind, info={"Some": 1})[section] == {"Some": 1}
    assert section not in metadata(kind_name=kind)


def test_attributes_of_a_port_are_told_apart_from_its_own() -> None:
    """A VXLAN in a bridge has both."""
    found = metadata(
        kind_name="vxlan", info={"VNI": 5}, slave_kind="bridge", slave_info={"Cost": 100}
    )
    assert (found["Vxlan"], found["BridgePort"]) == ({"VNI": 5}, {"Cost": 100})
    assert metadata(slave_kind="vrf", slave_info={"Table": 9})["VrfPort"] == {"Table": 9}


def test_attributes_of_any_interface() -> None:
    """They need no place of their own; the burnt-in address is told if it is not in use."""
    own = "02:00:00:00:00:01"
    found = metadata(
        details={"Alias": "uplink", "PermMAC": own},
        altnames=["enp1s0"],
        xdp={"Attached": "driver", "ProgID": 7},
    )
    assert (found["Alias"], found["AltNames"]) == ("uplink", ["enp1s0"])
    assert found["XDP"] == {"Attached": "driver", "ProgID": 7}
    assert "PermMAC" not in found
    assert metadata(details={"PermMAC": own[:-1] + "2"})["PermMAC"] == own[:-1] + "2"


@pytest.mark.parametrize(
    ("arphrd", "encap"),
    [(0, "generic"), (1, "ether"), (772, "loopback"), (65534, "none"), (4711, "unknown4711")],
)
def test_encapsulation_types(arphrd: int, encap: str) -> None:
    """They decide how captured packets are decoded."""
    assert encap_type(arphrd) == encap


@pytest.mark.parametrize(
    ("number", "state"),
    [(0, "UNKNOWN"), (1, "NOT-PRESENT"), (3, "LOWER-LAYER-DOWN"), (6, "UP"), (99, "UNKNOWN99")],
)
def test_operational_states(number: int, state: str) -> None:
    """A number of a later kernel is not an error."""
    assert metadata(operstate=number)["State"] == state


def test_the_address_is_that_of_this_end() -> None:
    """On a point-to-point link the other attribute is the peer's."""
    here = {"local": "10.0.0.1", "address": "10.0.0.2", "prefix_len": 32}
    assert address_text(here) == "10.0.0.1/32"
    assert address_text({"local": "", "address": "fd00::1", "prefix_len": 64}) == "fd00::1/64"
