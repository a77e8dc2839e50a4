"""What an rtnetlink link message means in the words of the graph (metadata keys of interfaces)."""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from types import MappingProxyType
from typing import Any

# linux/if_arp.h, in the words of iproute2 (lib/ll_types.c), which `EncapType` always used.
ENCAP_TYPES = MappingProxyType(
    {
        0: "generic",
        1: "ether",
        2: "eether",
        3: "ax25",
        4: "pronet",
        5: "chaos",
        6: "ieee802",
        7: "arcnet",
        8: "atalk",
        15: "dlci",
        19: "atm",
        23: "metricom",
        24: "ieee1394",
        27: "eui64",
        32: "infiniband",
        256: "slip",
        257: "cslip",
        258: "slip6",
        259: "cslip6",
        260: "rsrvd",
        264: "adapt",
        270: "rose",
        271: "x25",
        272: "hwx25",
        280: "can",
        512: "ppp",
        513: "hdlc",
        516: "lapb",
        517: "ddcmp",
        518: "rawhdlc",
        768: "ipip",
        769: "tunnel6",
        770: "frad",
        771: "skip",
        772: "loopback",
        773: "ltalk",
        774: "fddi",
        775: "bif",
        776: "sit",
        777: "ip/ddp",
        778: "gre",
        779: "pimreg",
        780: "hippi",
        781: "ash",
        782: "econet",
        783: "irda",
        784: "fcpp",
        785: "fcal",
        786: "fcpl",
        800: "tr",
        801: "ieee802.11",
        802: "ieee802.11/prism",
        803: "ieee802.11/radiotap",
        804: "ieee802.15.4",
        805: "ieee802.15.4/monitor",
        820: "phonet",
        821: "phonet_pipe",
        822: "caif",
        823: "gre6",
        824: "netlink",
        825: "6lowpan",
        65534: "none",
        65535: "void",
    }
)

# Bits of linux/if.h. The original shifted the names against the bits; here they are right.
_FLAGS = (
    (0x1, "UP"),
    (0x2, "BROADCAST"),
    (0x8, "LOOPBACK"),
    (0x10, "POINTTOPOINT"),
    (0x1000, "MULTICAST"),
)

# RFC 2863, in the order of linux/if.h.
_STATES = ("UNKNOWN", "NOT-PRESENT", "DOWN", "LOWER-LAYER-DOWN", "TESTING", "DORMANT", "UP")

# What ethtool calls the driver of a virtual interface, where that is not the kind itself.
_DRIVERS = MappingProxyType(
    {
        "bond": "bonding",
        "batadv": "B.A.T.M.A.N. advanced",
        "vlan": "802.1Q VLAN Support",
        "macvtap": "macvlan",
        "ipvtap": "ipvlan",
    }
)

# Where the attributes of a kind go; those of kinds without an entry are not decoded.
_SECTIONS = MappingProxyType(
    {
        "bareudp": "Tunnel",
        "bond": "Bond",
        "bridge": "Bridge",
        "can": "Can",
        "erspan": "Tunnel",
        "geneve": "Geneve",
        "gre": "Tunnel",
        "gretap": "Tunnel",
        "gtp": "Tunnel",
        "hsr": "Hsr",
        "ip6erspan": "Tunnel",
        "ip6gre": "Tunnel",
        "ip6gretap": "Tunnel",
        "ip6tnl": "Tunnel",
        "ipip": "Tunnel",
        "ipoib": "Ipoib",
        "ipvlan": "Ipvlan",
        "ipvtap": "Ipvlan",
        "macsec": "Macsec",
        "macvlan": "Macvlan",
        "macvtap": "Macvlan",
        "netkit": "Netkit",
        "rmnet": "Rmnet",
        "sit": "Tunnel",
        "tun": "Tun",
        "vrf": "Vrf",
        "vti": "Tunnel",
        "vti6": "Tunnel",
        "vxlan": "Vxlan",
        "xfrm": "Xfrm",
    }
)
_PORT_SECTIONS = MappingProxyType({"bridge": "BridgePort", "vrf": "VrfPort"})

PAIRS = frozenset({"veth", "vxcan", "netkit"})
"""Kinds of which two are made at once, each the other's peer: what enters one leaves the other."""

TUNNELS = frozenset(
    {
        *("vxlan", "geneve", "bareudp", "gtp", "xfrm", "vti", "vti6", "ipip", "sit", "ip6tnl"),
        *("gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan"),
    }
)
"""Kinds that put what they send into packets, which leave by the interface below."""

LOOPBACK = 772
"""ARPHRD_LOOPBACK"""


def link_metadata(link: Mapping[str, Any], *, driver: str) -> dict[str, Any]:
    """Metadata of one decoded link message, without what other messages tell (addresses, peers).

    `driver` is what ethtool says of an interface without a kind (a real device); the others are
    named by their kind.
    """
    kind = intern(link["kind_name"])
    metadata: dict[str, Any] = {
        "Name": link["name"],
        "Type": link_type(kind),
        "EncapType": encap_type(link["arphrd"]),
        "IfIndex": link["index"],
        "Driver": _DRIVERS.get(kind, kind) if kind else driver,
        "State": _named(_STATES, link["operstate"]),
        "LinkFlags": [name for bit, name in _FLAGS if link["link_flags"] & bit],
    }
    for key, name in (("MTU", "mtu"), ("MAC", "mac"), ("MasterIndex", "master")):
        if link[name]:
            metadata[key] = link[name]
    if link["link"]:
        metadata["ParentIndex"] = link["link"]
        if kind in PAIRS:
            metadata["PeerIfIndex"] = link["link"]
    for key, name in (("AltNames", "altnames"), ("XDP", "xdp")):
        if name in link:
            metadata[key] = link[name]
    metadata.update(link.get("details", ()))
    if metadata.get("PermMAC") == link["mac"]:
        del metadata["PermMAC"]
    metadata.update(_of_kind(kind, link.get("info")))
    metadata.update(_of_port(link["slave_kind"], link.get("slave_info")))
    return metadata


def link_type(kind: str) -> str:
    """`Type` of an interface of an rtnetlink kind; the empty one is a device of its own right."""
    if kind == "tun":
        return "tuntap"
    return kind or "device"


def encap_type(arphrd: int) -> str:
    """`EncapType` of an ARPHRD number."""
    return ENCAP_TYPES.get(arphrd, f"unknown{arphrd}")


def address_text(address: Mapping[str, Any]) -> str:
    """An address message in CIDR form: the address of this end, with the prefix."""
    return f"{address['local'] or address['address']}/{address['prefix_len']}"


def _of_kind(kind: str, info: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The attributes that only interfaces of this kind have."""
    if not info:
        return {}
    if kind == "vlan":
        return info  # clients know these as keys of the interface
    if kind == "bond" and "Mode" in info:
        section = dict(info)
        return {"BondMode": section.pop("Mode"), "Bond": section}
    return {_SECTIONS[kind]: info}


def _of_port(master_kind: str, info: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The attributes that an interface has because of its master."""
    if master_kind == "bond":
        return {"BondSlave": {"Type": "bond", **(info or {})}}
    return {_PORT_SECTIONS[master_kind]: info} if info else {}


def _named(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else f"UNKNOWN{number}"
