"""The graph against the kernel's own tools, aspect by aspect.

An aspect is a function that takes a `Comparison` and yields one line for each thing that the
graph says otherwise than `ip` or `bridge` does. Another table of the kernel is another function
in `ASPECTS`. What only one of the two knows is not compared.
"""

from __future__ import annotations

import json
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from socket import AF_NETLINK, SOCK_RAW, socket
from typing import Any, TypeAlias

from tests.probes.conftest import Running

from skydiver.lab import Namespace
from skydiver.lab.sockets import open_socket
from skydiver.native import decode_netlink

HOST = ""
"""Stands for the namespace of the host, among names of others."""

Words: TypeAlias = Mapping[str, tuple[str, Callable[[Any], Any]]]
"""Member of what `ip` prints, to the metadata key, and what its value is in the graph."""


class Comparison:
    """One look at both sides. Of the host only interfaces with the prefix are looked at."""

    def __init__(self, running: Running, spaces: Sequence[str], prefix: str) -> None:
        self.running = running
        self.spaces = spaces
        self.prefix = prefix
        self._shown: dict[tuple[str, ...], Any] = {}
        self._numbers: dict[str, dict[int, str]] = {}

    def show(self, space: str, *command: str) -> Any:
        """What ``ip -json COMMAND`` (or ``bridge …``) prints in a namespace; asked once."""
        key = (space, *command)
        if key not in self._shown:
            tool, *words = command
            inside = ["-n", space] if space else []
            done = subprocess.run([tool, *inside, *words], capture_output=True, check=False)
            # The namespace may be gone, or the answer cut short by a change: not equal then.
            self._shown[key] = json.loads(done.stdout or "[]") if done.returncode == 0 else []
        return self._shown[key]

    def kernel_links(self, space: str) -> list[dict[str, Any]]:
        """Interfaces of a namespace with their addresses, as `ip` shows them."""
        shown = self.show(space, "ip", "-d", "-j", "addr")
        return [link for link in shown if link and self.is_ours(space, link["ifname"])]

    def numbers(self, space: str) -> dict[int, str]:
        """How a namespace numbers those that are looked at."""
        if space not in self._numbers:
            found = {}
            with suppress(OSError), open_socket(_place(space), AF_NETLINK, SOCK_RAW) as asker:
                for other in self.spaces:
                    nsid = _number_of(asker, _place(other).path)
                    if nsid is not None:
                        found[nsid] = other
            self._numbers[space] = found
        return self._numbers[space]

    def is_ours(self, space: str, name: str) -> bool:
        return bool(space) or name.startswith(self.prefix)

    @cached_property
    def graph_links(self) -> dict[str, dict[int, Mapping[str, Any]]]:
        """Metadata of interfaces by namespace and index."""
        found: dict[str, dict[int, Mapping[str, Any]]] = {space: {} for space in self.spaces}
        for edge in self.running.graph.edges():
            if edge.metadata["RelationType"] == "ownership":
                parent = self.running.graph.node(edge.parent)
                child = self.running.graph.node(edge.child)
                assert parent is not None
                assert child is not None
                space = self.space_of(parent.metadata)
                index = child.metadata.get("IfIndex")
                if space in found and index and self.is_ours(space, child.metadata["Name"]):
                    found[space][index] = child.metadata
        return found

    @staticmethod
    def space_of(owner: Mapping[str, Any]) -> str:
        return HOST if owner["Type"] == "host" else str(owner["Name"])


def _place(space: str) -> Namespace:
    return Namespace(space or "host", space)


def _number_of(asker: socket, path: Path) -> int | None:
    """What the namespace of `asker` calls another one (RTM_GETNSID)."""
    with path.open("rb") as other:
        request = struct.pack("=IHHII4xHHI", 28, 90, 1, 0, 0, 8, 3, other.fileno())
        asker.send(request)
        (answer,) = decode_netlink(asker.recv(4096))
    number: int | None = answer.get("nsid")
    return number


def same(value: Any) -> Any:
    return value


def on(value: Any) -> Any:
    """A switch: the graph has no key for one that is off."""
    return True if value in (True, 1, "on") else None


def nonzero(value: Any) -> Any:
    return value or None


def usually(usual: Any) -> Callable[[Any], Any]:
    """A value that the graph has no key for."""
    return lambda value: None if value == usual else value


def number(value: Any) -> Any:
    """Text in some base, or dotted as keys of tunnels are."""
    if isinstance(value, str) and value.count(".") == 3:
        return int.from_bytes(bytes(int(part) for part in value.split(".")), "big") or None
    return (int(value, 16) if isinstance(value, str) else value) or None


def any_address(value: Any) -> Any:
    return None if value == "any" else value


def plain_id(value: str) -> str:
    """``1000.8a:65:2b:67:bd:0``, which the graph writes without colons."""
    priority, _, address = value.partition(".")
    return f"{priority}.{''.join(part.zfill(2) for part in address.split(':'))}"


def state(value: str) -> str:
    return {"LOWERLAYERDOWN": "LOWER-LAYER-DOWN", "NOTPRESENT": "NOT-PRESENT"}.get(value, value)


LINK: Words = {
    "ifname": ("Name", same),
    "mtu": ("MTU", nonzero),
    "operstate": ("State", state),
    "link_type": ("EncapType", same),
    "txqlen": ("TxQueueLen", usually(1000)),
    "num_tx_queues": ("NumTxQueues", usually(1)),
    "num_rx_queues": ("NumRxQueues", usually(1)),
    "gso_max_size": ("GSOMaxSize", usually(65536)),
    "gso_max_segs": ("GSOMaxSegs", usually(65535)),
    "promiscuity": ("Promiscuity", nonzero),
    "ifalias": ("Alias", same),
    "altnames": ("AltNames", same),
    "phys_port_name": ("PhysPortName", same),
    "phys_switch_id": ("PhysSwitchID", same),
    "parentdev": ("ParentDev", same),
    "parentbus": ("ParentBus", same),
    "link_netnsid": ("LinkNetNsID", same),
}

_TUNNEL: Words = {
    "local": ("Tunnel.Local", any_address),
    "remote": ("Tunnel.Remote", any_address),
    "ttl": ("Tunnel.TTL", nonzero),
    "pmtudisc": ("Tunnel.PMTUDisc", on),
    "ikey": ("Tunnel.IKey", number),
    "okey": ("Tunnel.OKey", number),
    "encap_limit": ("Tunnel.EncapLimit", nonzero),
    "erspan_ver": ("Tunnel.ErspanVer", nonzero),
    "erspan_index": ("Tunnel.ErspanIndex", nonzero),
    "erspan_dir": ("Tunnel.ErspanDir", same),
    "erspan_hwid": ("Tunnel.ErspanHwid", number),
    "external": ("Tunnel.External", on),
}

KINDS: Mapping[str, Words] = {
    "vlan": {
        "id": ("Vlan", same),
        "protocol": ("VlanProtocol", same),
        "flags": ("VlanFlags", nonzero),
    },
    "vxlan": {
        "id": ("Vxlan.VNI", same),
        "group": ("Vxlan.Group", same),
        "group6": ("Vxlan.Group", same),
        "remote": ("Vxlan.Remote", same),
        "remote6": ("Vxlan.Remote", same),
        "local": ("Vxlan.Local", same),
        "local6": ("Vxlan.Local", same),
        "port": ("Vxlan.Port", same),
        "learning": ("Vxlan.Learning", on),
        "ttl": ("Vxlan.TTL", nonzero),
        "ageing": ("Vxlan.Ageing", nonzero),
        "df": ("Vxlan.DF", same),
        "udp_csum": ("Vxlan.UDPCsum", on),
        "udp_zero_csum6_tx": ("Vxlan.UDPZeroCsum6Tx", on),
        "udp_zero_csum6_rx": ("Vxlan.UDPZeroCsum6Rx", on),
        "external": ("Vxlan.External", on),
    },
    "geneve": {
        "id": ("Geneve.VNI", same),
        "remote": ("Geneve.Remote", same),
        "ttl": ("Geneve.TTL", nonzero),
        "port": ("Geneve.Port", same),
        "udp_csum": ("Geneve.UDPCsum", on),
    },
    **dict.fromkeys(("gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan"), _TUNNEL),
    **dict.fromkeys(("ipip", "sit", "ip6tnl", "vti", "vti6"), _TUNNEL),
    "xfrm": {"if_id": ("Xfrm.InterfaceID", number)},
    "macvlan": {"mode": ("Macvlan.Mode", same)},
    "macvtap": {"mode": ("Macvlan.Mode", same)},
    "ipvlan": {"mode": ("Ipvlan.Mode", same)},
    "ipvtap": {"mode": ("Ipvlan.Mode", same)},
    "vrf": {"table": ("Vrf.Table", same)},
    "bond": {
        "mode": ("BondMode", same),
        "miimon": ("Bond.MiiMon", nonzero),
        "updelay": ("Bond.UpDelay", nonzero),
        "downdelay": ("Bond.DownDelay", nonzero),
        "use_carrier": ("Bond.UseCarrier", on),
        "arp_missed_max": ("Bond.MissedMax", nonzero),
        "arp_all_targets": ("Bond.ArpAllTargets", same),
        "primary_reselect": ("Bond.PrimaryReselect", same),
        "fail_over_mac": ("Bond.FailOverMac", same),
        "xmit_hash_policy": ("Bond.XmitHashPolicy", same),
        "resend_igmp": ("Bond.ResendIgmp", nonzero),
        "num_peer_notif": ("Bond.NumPeerNotif", nonzero),
        "min_links": ("Bond.MinLinks", nonzero),
        "ad_lacp_active": ("Bond.LacpActive", on),
        "ad_lacp_rate": ("Bond.LacpRate", same),
        "ad_select": ("Bond.AdSelect", same),
        "tlb_dynamic_lb": ("Bond.TlbDynamicLb", on),
    },
    "bridge": {
        "forward_delay": ("Bridge.ForwardDelay", same),
        "hello_time": ("Bridge.HelloTime", same),
        "max_age": ("Bridge.MaxAge", same),
        "ageing_time": ("Bridge.AgeingTime", same),
        "stp_state": ("Bridge.StpState", ("disabled", "kernel", "user").__getitem__),
        "priority": ("Bridge.Priority", same),
        "vlan_filtering": ("Bridge.VlanFiltering", on),
        "vlan_protocol": ("Bridge.VlanProtocol", same),
        "vlan_default_pvid": ("Bridge.VlanDefaultPvid", nonzero),
        "bridge_id": ("Bridge.BridgeID", plain_id),
        "root_id": ("Bridge.RootID", plain_id),
        "root_port": ("Bridge.RootPort", nonzero),
        "root_path_cost": ("Bridge.RootPathCost", nonzero),
        "group_fwd_mask": ("Bridge.GroupFwdMask", number),
        "group_addr": ("Bridge.GroupAddress", same),
        "mcast_snooping": ("Bridge.McastSnooping", on),
        "mcast_router": ("Bridge.McastRouter", nonzero),
        "mcast_querier": ("Bridge.McastQuerier", on),
        "nf_call_iptables": ("Bridge.NfCallIptables", on),
    },
    "tun": {
        "type": ("Tun.Mode", same),
        "pi": ("Tun.PI", on),
        "vnet_hdr": ("Tun.VnetHdr", on),
        "multi_queue": ("Tun.MultiQueue", on),
        "persist": ("Tun.Persist", on),
    },
}

PORTS: Mapping[str, Words] = {
    "bridge": {
        "state": ("BridgePort.State", same),
        "priority": ("BridgePort.Priority", same),
        "cost": ("BridgePort.Cost", same),
        "hairpin": ("BridgePort.Hairpin", on),
        "guard": ("BridgePort.Guard", on),
        "root_block": ("BridgePort.RootBlock", on),
        "fastleave": ("BridgePort.FastLeave", on),
        "learning": ("BridgePort.Learning", on),
        "flood": ("BridgePort.Flood", on),
        "no": ("BridgePort.Number", number),
        "proxy_arp": ("BridgePort.ProxyArp", on),
        "multicast_router": ("BridgePort.McastRouter", usually(1)),
        "mcast_flood": ("BridgePort.McastFlood", on),
        "bcast_flood": ("BridgePort.BcastFlood", on),
        "mcast_to_unicast": ("BridgePort.McastToUcast", on),
        "neigh_suppress": ("BridgePort.NeighSuppress", on),
        "vlan_tunnel": ("BridgePort.VlanTunnel", on),
        "isolated": ("BridgePort.Isolated", on),
        "locked": ("BridgePort.Locked", on),
    },
    "bond": {
        "state": ("BondSlave.State", same),
        "mii_status": ("BondSlave.MiiStatus", same),
        "link_failure_count": ("BondSlave.LinkFailureCount", same),
        "perm_hwaddr": ("BondSlave.PermMAC", same),
        "queue_id": ("BondSlave.QueueId", same),
        "ad_aggregator_id": ("BondSlave.AggregatorId", same),
    },
    "vrf": {"table": ("VrfPort.Table", same)},
}

# Of every interface a key that `ip` does not print has no value; of kinds that is not known.
_ABSENT = ("ifalias", "altnames", "link_netnsid")

_FLAGS = {"POINTOPOINT": "POINTTOPOINT"}
_FLAG_ORDER = ("UP", "BROADCAST", "LOOPBACK", "POINTTOPOINT", "MULTICAST")


def links(comparison: Comparison) -> Iterator[str]:
    """Interfaces: which there are, and every attribute that both know."""
    for space in comparison.spaces:
        known = dict(comparison.graph_links[space])
        shown = comparison.kernel_links(space)
        indexes = {link["ifname"]: link["ifindex"] for link in shown}
        for link in shown:
            found = known.pop(link["ifindex"], None)
            where = f"{space or 'host'}/{link['ifname']}"
            if found is None:
                yield f"{where}: not in the graph"
                continue
            for key, wanted in _in_words(link, indexes):
                said = member(found, key)
                if said != wanted:
                    yield f"{where}: {key} is {said!r}, not {wanted!r}"
        for index, metadata in known.items():
            yield f"{space or 'host'}/{metadata['Name']}: {index} only in the graph"


def _in_words(link: Mapping[str, Any], indexes: Mapping[str, int]) -> Iterator[tuple[str, Any]]:
    """What the graph should say of an interface."""
    information = link.get("linkinfo", {})
    kind = information.get("info_kind", "")
    yield "Type", {"": "device", "tun": "tuntap"}.get(kind, kind)
    yield "MasterIndex", indexes.get(link.get("master", ""))
    flags = {_FLAGS.get(flag, flag) for flag in link["flags"]}
    yield "LinkFlags", [flag for flag in _FLAG_ORDER if flag in flags]
    if link["link_type"] in {"ether", "loopback"}:
        mac = link.get("address", "")
        yield "MAC", mac if mac.strip("0:") else None
    lower = link.get("link_index") or indexes.get(link.get("link") or "")
    if kind not in {"vxlan", "geneve", "wireguard", "gtp"}:  # these say their own index
        yield "ParentIndex", lower
    group = link.get("group", "default")
    if group == "default" or group.isdecimal():
        yield "Group", None if group == "default" else int(group)
    yield from _translated(dict.fromkeys(_ABSENT) | dict(link), LINK)
    yield from _translated(information.get("info_data", {}), KINDS.get(kind, {}))
    port = PORTS.get(information.get("info_slave_kind", ""), {})
    yield from _translated(information.get("info_slave_data", {}), port)


def _translated(shown: Mapping[str, Any], words: Words) -> Iterator[tuple[str, Any]]:
    for name, (key, translate) in words.items():
        if name in shown:
            value = shown[name]
            yield key, None if value is None else translate(value)


def member(metadata: Any, key: str) -> Any:
    """A key, or ``Section.Member``."""
    for part in key.split("."):
        metadata = metadata.get(part) if metadata is not None else None
    return metadata


def addresses(comparison: Comparison) -> Iterator[str]:
    """IPv4 and IPv6 addresses of interfaces."""
    for space in comparison.spaces:
        for link in comparison.kernel_links(space):
            metadata = comparison.graph_links[space].get(link["ifindex"], {})
            for family, key in (("inet", "IPV4"), ("inet6", "IPV6")):
                wanted = {
                    f"{one['local']}/{one['prefixlen']}"
                    for one in link["addr_info"]
                    if one.get("family") == family
                }
                said = set(metadata.get(key, ()))
                if said != wanted:
                    where = f"{space or 'host'}/{link['ifname']}"
                    yield f"{where}: {key} is {sorted(said)}, not {sorted(wanted)}"


End: TypeAlias = tuple[str, int]
"""Namespace and interface index."""

_TUNNELS = {"vxlan", "gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan", "xfrm"} | {
    *("ipip", "sit", "ip6tnl", "vti", "vti6")
}
_PAIRS = {"veth", "vxcan", "netkit"}


def edges(comparison: Comparison) -> Iterator[str]:
    """Members of masters, peers of pairs, and what sits on what, also between namespaces."""
    wanted: set[tuple[End, End, str, str]] = set()
    for space in comparison.spaces:
        shown = comparison.kernel_links(space)
        indexes = {link["ifname"]: link["ifindex"] for link in shown}
        for link in shown:
            here = (space, link["ifindex"])
            master = indexes.get(link.get("master", ""))
            if master is not None:
                wanted.add(((space, master), here, "layer2", ""))
            kind = link.get("linkinfo", {}).get("info_kind", "")
            other = _below(comparison, space, link, indexes)
            if other is None or not kind:
                continue
            if kind in _PAIRS:
                wanted.add((other, here, "pair", kind))
                wanted.add((here, other, "pair", kind))
            else:
                relation = "underlay" if kind in _TUNNELS else "layer2"
                wanted.add((other, here, relation, kind))
    said = set(_edges_of_graph(comparison))
    yield from (f"edge missing: {edge}" for edge in sorted(wanted - said))
    yield from (f"edge only in the graph: {edge}" for edge in sorted(said - wanted))


def _below(
    comparison: Comparison, space: str, link: Mapping[str, Any], indexes: Mapping[str, int]
) -> End | None:
    """The peer of an interface, or the one that it sits on."""
    information = link.get("linkinfo", {})
    where: str | None = space
    kind = information.get("info_kind")
    if "link_netnsid" in link:
        where = comparison.numbers(space).get(link["link_netnsid"])
    if kind == "vxlan":
        text = information.get("info_data", {}).get("link", "")
        # Elsewhere it has no name here: ``if5``.
        index = int(text[2:]) if "link_netnsid" in link and text else indexes.get(text)
    elif kind in {"geneve", "wireguard", "gtp"}:
        return None
    else:
        index = link.get("link_index") or indexes.get(link.get("link") or "")
    return (where, index) if index and where is not None else None


def _edges_of_graph(comparison: Comparison) -> Iterator[tuple[End, End, str, str]]:
    graph = comparison.running.graph
    ends: dict[str, End] = {}
    for edge in graph.edges():
        if edge.metadata["RelationType"] == "ownership":
            parent, child = graph.node(edge.parent), graph.node(edge.child)
            assert parent is not None
            assert child is not None
            space, index = comparison.space_of(parent.metadata), child.metadata.get("IfIndex")
            if index in comparison.graph_links.get(space, {}):
                ends[child.id] = (space, index)
    for edge in graph.edges():
        relation, kind = edge.metadata["RelationType"], edge.metadata.get("Type", "")
        one, other = ends.get(edge.parent), ends.get(edge.child)
        if relation == "ownership" or one is None or other is None:
            continue
        if kind in _PAIRS:
            yield one, other, "pair", kind
            yield other, one, "pair", kind
        else:
            yield one, other, relation, kind


Aspect: TypeAlias = Callable[[Comparison], Iterator[str]]

ASPECTS: dict[str, Aspect] = {"links": links, "addresses": addresses, "edges": edges}


def differences(
    running: Running,
    spaces: Sequence[str],
    prefix: str,
    aspects: Mapping[str, Aspect] = ASPECTS,
) -> list[str]:
    """Everything that the graph says otherwise than the kernel, at this moment."""
    comparison = Comparison(running, spaces, prefix)
    return [f"{name}: {line}" for name, aspect in aspects.items() for line in aspect(comparison)]


async def until_equal(
    running: Running,
    spaces: Sequence[str],
    prefix: str,
    *,
    aspects: Mapping[str, Aspect] = ASPECTS,
    within_s: float = 20,
) -> list[str]:
    """Wait until there are no differences; those that were left when the time was over."""
    found: list[str] = []
    next_s = 0.0

    def are_none() -> bool:
        nonlocal found, next_s
        # To ask is not free, and the agent under test runs in the same thread.
        began_s = time.monotonic()
        if began_s < next_s:
            return False
        found = differences(running, spaces, prefix, aspects)
        next_s = time.monotonic() + max(0.1, time.monotonic() - began_s)
        return not found

    try:
        await running.until(are_none, within_s=within_s)
    except TimeoutError:
        return found
    return []
