"""Identifiers of nodes and edges that follow from what they are (api.md §1.7).

Several probes state facts about the same host, namespaces and interfaces; since the identifiers
are derived, none has to look up what another made. They change with whatever makes the thing a new
one: a namespace has its inode, an interface its namespace and index.
"""

from __future__ import annotations

from skydiver.base.ids import EdgeID, NodeID, derived_id, id_from_parts


def host_node_id(host: str) -> NodeID:
    """The node of the host itself; `host` is its host id."""
    return NodeID(id_from_parts("host", host))


def netns_node_id(host: str, device: int, inode: int) -> NodeID:
    """The node of a network namespace, by device and inode of its file."""
    return NodeID(id_from_parts("netns", host, str(device), str(inode)))


def link_node_id(host: str, netns: int, ifindex: int) -> NodeID:
    """The node of the interface `ifindex`; `netns` is the inode of its namespace."""
    return NodeID(id_from_parts("link", host, str(netns), str(ifindex)))


def relation_edge_id(parent: NodeID, child: NodeID, relation: str) -> EdgeID:
    """The edge that a probe states between two nodes."""
    return EdgeID(derived_id(f"{parent}{child}{relation}"))


def published_edge_id(parent: NodeID, child: NodeID) -> EdgeID:
    """An edge that came without an identifier from a user of the API."""
    return EdgeID(derived_id(f"{parent}{child}"))


def node_rule_id(type_: str, name: str) -> NodeID:
    """The node that a node rule creates."""
    return NodeID(id_from_parts(type_, name))


def fabric_node_id(name: str) -> NodeID:
    """A node of the fabric that the configuration names."""
    return NodeID(derived_id(f"fabric{name}"))
