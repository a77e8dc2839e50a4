"""Words of the topology: types of nodes, relations of edges, metadata that several parts know."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class NodeType(StrEnum):
    """Well-known values of ``Type``; interfaces carry the kernel's kind, any text is allowed."""

    HOST = "host"
    NETNS = "netns"
    CONTAINER = "container"
    # Interfaces, by the kind that the kernel tells; `device` is a plain one.
    DEVICE = "device"
    BOND = "bond"
    BRIDGE = "bridge"
    CAN = "can"
    DUMMY = "dummy"
    GENEVE = "geneve"
    GRE = "gre"
    GRETAP = "gretap"
    HSR = "hsr"
    IFB = "ifb"
    INTERNAL = "internal"
    IP6GRE = "ip6gre"
    IP6GRETAP = "ip6gretap"
    IP6TNL = "ip6tnl"
    IPIP = "ipip"
    IPOIB = "ipoib"
    IPVLAN = "ipvlan"
    LOWPAN = "lowpan"
    MACVLAN = "macvlan"
    MACVTAP = "macvtap"
    PATCH = "patch"
    SIT = "sit"
    TUN = "tun"
    TUNTAP = "tuntap"
    VCAN = "vcan"
    VETH = "veth"
    VLAN = "vlan"
    VXLAN = "vxlan"
    # Open vSwitch and user-space data planes.
    OVSBRIDGE = "ovsbridge"
    OVSPORT = "ovsport"
    DPDKPORT = "dpdkport"
    # Equipment that no agent sees.
    FABRIC = "fabric"
    SWITCH = "switch"
    SWITCHPORT = "switchport"


class Relation(StrEnum):
    """Well-known values of ``RelationType``; any text is allowed."""

    OWNERSHIP = "ownership"
    """The parent contains the child; a child has one such parent."""
    LAYER2 = "layer2"
    """Frames pass between the two."""
    VLAYER2 = "vlayer2"
    VF = "vf"
    """Physical to virtual function."""
    UNDERLAY = "underlay"
    """Packets of the child, a tunnel, leave by the parent. Not ``layer2``: the two carry
    different frames, and a search of paths must not take them for one network."""
    MIRRORING = "mirroring"
    CONNECTED = "connected"
    MULTIPATH = "multipath"
    MAPPING = "mapping"


AFPACKET_TYPES: Final = frozenset(
    {
        *(NodeType.DEVICE, NodeType.BOND, NodeType.BRIDGE, NodeType.CAN, NodeType.DUMMY),
        *(NodeType.GENEVE, NodeType.GRE, NodeType.GRETAP, NodeType.HSR, NodeType.IFB),
        *(NodeType.INTERNAL, NodeType.IP6GRE, NodeType.IP6GRETAP, NodeType.IP6TNL),
        *(NodeType.IPIP, NodeType.IPOIB, NodeType.IPVLAN, NodeType.LOWPAN, NodeType.MACVLAN),
        *(NodeType.MACVTAP, NodeType.SIT, NodeType.TUN, NodeType.TUNTAP, NodeType.VCAN),
        *(NodeType.VETH, NodeType.VLAN, NodeType.VXLAN),
    }
)
"""Types whose packets a packet socket sees (api.md §7.5)."""

CAPTURABLE_TYPES: Final = AFPACKET_TYPES | {
    NodeType.OVSBRIDGE,
    NodeType.OVSPORT,
    NodeType.DPDKPORT,
}
"""Types that can be captured on in any way; members are texts and compare with any text."""


class Key(StrEnum):
    """Metadata keys at the top level that more than one part reads or writes."""

    NAME = "Name"
    TYPE = "Type"
    TID = "TID"
    MAC = "MAC"
    PEER_INTF_MAC = "PeerIntfMAC"
    IPV4 = "IPV4"
    """List of addresses as ``10.0.0.1/24``."""
    IPV6 = "IPV6"
    STATE = "State"
    DRIVER = "Driver"
    IFINDEX = "IfIndex"
    MTU = "MTU"
    ENCAP_TYPE = "EncapType"
    PATH = "Path"
    """Of a network namespace: where it is mounted."""
    INODE = "Inode"
    DEVICE = "Device"
    UUID = "UUID"
    """Of Open vSwitch rows."""
    PROBE = "Probe"
    RELATION_TYPE = "RelationType"
    CAPTURES = "Captures"
    PACKET_INJECTIONS = "PacketInjections"
    METRIC = "Metric"
    LAST_UPDATE_METRIC = "LastUpdateMetric"
    OVS = "Ovs"
    SFLOW = "SFlow"
    SOCKETS = "Sockets"
    ROUTING_TABLES = "RoutingTables"
    NEIGHBORS = "Neighbors"
    FDB = "FDB"
    FEATURES = "Features"
    EXT_ID = "ExtID"
    NEUTRON = "Neutron"
    CONTAINER = "Container"
    CONFIG = "Config"
