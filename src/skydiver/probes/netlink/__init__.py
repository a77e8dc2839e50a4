"""Netlink probe: one node per network interface of every namespace.

Reads:  rtnetlink: events of all namespaces over one socket of the host, and dumps of a namespace
        when it is new or when events were lost. Counters from time to time. ethtool, for drivers.
Writes: nodes of the type of the interface; the keys of docs/probes/netlink.md.
Joins:  none; edges go to nodes whose identifiers follow from the namespace and the index.
Needs:  the broker; without its capabilities only the host's own interfaces are seen.
"""

from skydiver.probes.netlink.probe import NetlinkProbe

__all__ = ["NetlinkProbe"]
