"""Every kind of interface, made by `ip`, seen in the graph.

What this kernel lacks is left out here, and seen in the virtual machine, where nothing may be
missing. Not seen anywhere for want of hardware: IPoIB, HSR, bareudp, rmnet, netkit; their bytes
are decoded in the tests of the compiled module.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.probes.conftest import Running
from tests.probes.netlink.test_follower import probes

from skydiver.broker.client import Broker
from skydiver.lab import Namespace
from skydiver.lab.sockets import open_socket
from skydiver.lab.vm import inside
from skydiver.native import decode_netlink

Edge = tuple[str, str, str, str]
"""Parent, child, RelationType, Type."""


@dataclass(frozen=True, slots=True)
class Case:
    """Commands of `ip`, and what must follow; ``@`` stands for a prefix of names, `~` for that of
    the other namespace."""

    lines: Sequence[str]
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Some keys of interfaces by name; None = absent. A member stands for ``Section.Member``."""
    edges: Sequence[Edge] = ()


# Below others: @a to @d are ends of veth pairs, @d0 to @d5 dummies or, lacking these, veth ends.
GROUND = (
    "link add @a type veth peer name @b",
    "link add @c type veth peer name @d",
    "link set @a up",
    "link set @b up",
    "addr add 10.1.0.1/24 dev @a",
)

TUNNEL = "local 10.1.0.1 remote 10.1.0.2"
TUNNEL6 = "local fd00::1 remote fd00::2"

CASES = {
    "dummy": Case(
        ["link add @dm type dummy"],
        {"@dm": {"Type": "dummy", "Driver": "dummy", "EncapType": "ether"}},
    ),
    "ifb": Case(["link add @ifb type ifb"], {"@ifb": {"Type": "ifb", "TxQueueLen": 32}}),
    "nlmon": Case(["link add @nl type nlmon"], {"@nl": {"Type": "nlmon", "EncapType": "netlink"}}),
    "wireguard": Case(
        ["link add @wg type wireguard"], {"@wg": {"Type": "wireguard", "EncapType": "none"}}
    ),
    "vcan": Case(["link add @vc type vcan"], {"@vc": {"Type": "vcan", "EncapType": "can"}}),
    "vxcan": Case(
        ["link add @vx1 type vxcan peer name @vx2 netns ~"],
        {"@vx1": {"Type": "vxcan", "LinkNetNsName": "~"}},
        [("@vx1", "@vx2", "layer2", "vxcan")],
    ),
    "vlan": Case(
        [
            "link add link @a name @v5 type vlan id 5",
            "link add link @v5 name @v5q type vlan proto 802.1ad id 100 gvrp on",
            "link add link @a name @v6 netns ~ type vlan id 6",
        ],
        {
            "@v5": {"Vlan": 5, "VlanProtocol": "802.1Q", "VlanFlags": ["REORDER_HDR"]},
            "@v5q": {"Vlan": 100, "VlanProtocol": "802.1ad", "VlanFlags": ["REORDER_HDR", "GVRP"]},
            "@v6": {"Type": "vlan", "Vlan": 6},
        },
        [
            ("@a", "@v5", "layer2", "vlan"),
            ("@v5", "@v5q", "layer2", "vlan"),
            ("@a", "@v6", "layer2", "vlan"),
        ],
    ),
    "vxlan": Case(
        [
            f"link add @vxa type vxlan id 77 {TUNNEL} dstport 4790 ttl 9 nolearning",
            "link add @vxb type vxlan id 78 group 239.1.1.1 dev @a dstport 4789",
            "link add @vxc type vxlan external dstport 4791",
            "link set @vxb netns ~",
        ],
        {
            "@vxa": {
                "Vxlan.VNI": 77,
                "Vxlan.Local": "10.1.0.1",
                "Vxlan.Remote": "10.1.0.2",
                "Vxlan.Group": None,
                "Vxlan.Port": 4790,
                "Vxlan.TTL": 9,
                "Vxlan.Learning": None,
                "Vxlan.Ageing": 300,
                "ParentIndex": None,
            },
            "@vxb": {"Vxlan.Group": "239.1.1.1", "Vxlan.Remote": None, "Vxlan.Learning": True},
            "@vxc": {"Vxlan.External": True, "Vxlan.VNI": 0},
        },
        [("@a", "@vxb", "underlay", "vxlan")],
    ),
    "geneve": Case(
        ["link add @gn type geneve id 8 remote 10.1.0.2 ttl 5"],
        {
            "@gn": {
                "Geneve.VNI": 8,
                "Geneve.Remote": "10.1.0.2",
                "Geneve.Port": 6081,
                "Geneve.TTL": 5,
            }
        },
    ),
    "gre": Case(
        [f"link add @gr type gre {TUNNEL} ikey 1 okey 2 ttl 64 dev @a"],
        {
            "@gr": {
                "Type": "gre",
                "EncapType": "gre",
                "Tunnel.Local": "10.1.0.1",
                "Tunnel.Remote": "10.1.0.2",
                "Tunnel.IKey": 1,
                "Tunnel.OKey": 2,
                "Tunnel.IFlags": ["KEY"],
                "Tunnel.TTL": 64,
                "Tunnel.PMTUDisc": True,
            }
        },
        [("@a", "@gr", "underlay", "gre")],
    ),
    "gretap": Case(
        [f"link add @gt type gretap {TUNNEL} key 5 csum"],
        {"@gt": {"Type": "gretap", "EncapType": "ether", "Tunnel.IFlags": ["CSUM", "KEY"]}},
    ),
    "erspan": Case(
        [f"link add @er type erspan seq key 9 {TUNNEL} erspan_ver 1 erspan 123"],
        {"@er": {"Tunnel.ErspanVer": 1, "Tunnel.ErspanIndex": 123, "Tunnel.IKey": 9}},
    ),
    "ip6gre": Case(
        [f"link add @g6 type ip6gre {TUNNEL6}"],
        {"@g6": {"EncapType": "gre6", "Tunnel.Local": "fd00::1", "Tunnel.EncapLimit": 4}},
    ),
    "ip6gretap": Case(
        [f"link add @gt6 type ip6gretap {TUNNEL6} key 3"],
        {"@gt6": {"Type": "ip6gretap", "Tunnel.Remote": "fd00::2", "Tunnel.OKey": 3}},
    ),
    "ip6erspan": Case(
        [
            f"link add @er6 type ip6erspan seq key 9 {TUNNEL6} "
            "erspan_ver 2 erspan_dir ingress erspan_hwid 7"
        ],
        {"@er6": {"Tunnel.ErspanDir": "ingress", "Tunnel.ErspanHwid": 7}},
    ),
    "ipip": Case(
        [f"link add @ii type ipip {TUNNEL} ttl 7"],
        {"@ii": {"Type": "ipip", "EncapType": "ipip", "Tunnel.TTL": 7, "Tunnel.Protocol": None}},
    ),
    "sit": Case(
        [f"link add @si type sit {TUNNEL} mode ip6ip"],
        {"@si": {"Type": "sit", "EncapType": "sit", "Tunnel.Protocol": 41}},
    ),
    "ip6tnl": Case(
        [f"link add @i6 type ip6tnl mode ipip6 {TUNNEL6}"],
        {"@i6": {"Type": "ip6tnl", "EncapType": "tunnel6", "Tunnel.Protocol": 4}},
    ),
    "vti": Case(
        [f"link add @vt type vti {TUNNEL} key 3"],
        {"@vt": {"Type": "vti", "Tunnel.IKey": 3, "Tunnel.Remote": "10.1.0.2"}},
    ),
    "vti6": Case(
        [f"link add @vt6 type vti6 {TUNNEL6} key 4"],
        {"@vt6": {"Type": "vti6", "Tunnel.OKey": 4, "Tunnel.Local": "fd00::1"}},
    ),
    "xfrm": Case(
        ["link add @xf type xfrm dev @a if_id 42"],
        {"@xf": {"Xfrm.InterfaceID": 42}},
        [("@a", "@xf", "underlay", "xfrm")],
    ),
    "gtp": Case(
        ["link add @gp type gtp role sgsn"], {"@gp": {"Type": "gtp", "Tunnel.Role": "sgsn"}}
    ),
    "macvlan": Case(
        [
            "link add link @a name @mv type macvlan mode vepa",
            "link add link @a name @mw netns ~ type macvlan mode private",
        ],
        {
            "@mv": {"Type": "macvlan", "Macvlan.Mode": "vepa", "LinkNetNsName": None},
            "@mw": {"Macvlan.Mode": "private", "LinkNetNsName": "@"},
        },
        [("@a", "@mv", "layer2", "macvlan"), ("@a", "@mw", "layer2", "macvlan")],
    ),
    "macvtap": Case(
        ["link add link @a name @mt type macvtap mode bridge"],
        {"@mt": {"Type": "macvtap", "Driver": "macvlan", "Macvlan.Mode": "bridge"}},
        [("@a", "@mt", "layer2", "macvtap")],
    ),
    "ipvlan": Case(
        [
            "link add link @c name @iv type ipvlan mode l3 private",
            "link add link @c name @iw netns ~ type ipvlan mode l3 private",
        ],
        {"@iv": {"Ipvlan.Mode": "l3", "Ipvlan.Flags": ["PRIVATE"]}, "@iw": {"LinkNetNsName": "@"}},
        [("@c", "@iv", "layer2", "ipvlan"), ("@c", "@iw", "layer2", "ipvlan")],
    ),
    "ipvtap": Case(
        ["link add link @d name @it type ipvtap mode l2"],
        {"@it": {"Type": "ipvtap", "Driver": "ipvlan", "Ipvlan.Mode": "l2"}},
        [("@d", "@it", "layer2", "ipvtap")],
    ),
    "macsec": Case(
        ["link add link @b name @ms type macsec port 11 encrypt on"],
        {
            "@ms": {
                "Macsec.CipherSuite": "GCM-AES-128",
                "Macsec.Encrypt": True,
                "Macsec.Validation": "strict",
            }
        },
        [("@b", "@ms", "layer2", "macsec")],
    ),
    "vrf": Case(
        [
            "link add @vr type vrf table 10",
            "link add @vm type veth peer name @vn",
            "link set @vm master @vr",
        ],
        {"@vr": {"Type": "vrf", "Vrf.Table": 10}, "@vm": {"VrfPort.Table": 10}},
        [("@vr", "@vm", "layer2", "")],
    ),
    "bond": Case(
        [
            "link add @bo type bond mode active-backup miimon 100 primary_reselect better",
            "link add @m1 type veth peer name @n1",
            "link add @m2 type veth peer name @n2",
            "link set @n1 up",
            "link set @n2 up",
            "link set @m1 master @bo",
            "link set @m2 master @bo",
            "link set @bo up",
        ],
        {
            "@bo": {
                "BondMode": "active-backup",
                "Bond.Mode": None,
                "Bond.MiiMon": 100,
                "Bond.PrimaryReselect": "better",
            },
            "@m1": {"BondSlave.State": "ACTIVE", "BondSlave.MiiStatus": "UP"},
            "@m2": {"BondSlave.State": "BACKUP", "BondSlave.Type": "bond"},
        },
        [("@bo", "@m1", "layer2", ""), ("@bo", "@m2", "layer2", "")],
    ),
    "LACP": Case(
        [
            "link add @lo type bond mode 802.3ad lacp_rate fast xmit_hash_policy layer3+4",
            "link add @l1 type veth peer name @l2",
            "link set @l1 master @lo",
            "link set @lo up",
        ],
        {
            "@lo": {
                "BondMode": "802.3ad",
                "Bond.LacpRate": "fast",
                "Bond.XmitHashPolicy": "layer3+4",
            },
            "@l1": {"BondSlave.AggregatorId": 1},
        },
        [("@lo", "@l1", "layer2", "")],
    ),
    "team": Case(
        [
            "link add @te type team",
            "link add @tm type veth peer name @tn",
            "link set @tm master @te",
        ],
        {"@te": {"Type": "team"}},
        [("@te", "@tm", "layer2", "")],
    ),
    "batadv": Case(
        [
            "link add @ba type batadv",
            "link add @bm type veth peer name @bn",
            "link set @bm master @ba",
        ],
        {"@ba": {"Type": "batadv"}},
        [("@ba", "@bm", "layer2", "")],
    ),
    "bridge": Case(
        [
            "link add @br type bridge stp_state 1 ageing_time 12300 priority 4096",
            "link add @bp type veth peer name @bq",
            "link set @bp master @br",
            "link set @bp type bridge_slave isolated on hairpin on learning off cost 7",
        ],
        {
            "@br": {
                "Driver": "bridge",
                "Bridge.StpState": "kernel",
                "Bridge.AgeingTime": 12300,
                "Bridge.Priority": 4096,
                "Bridge.ForwardDelay": 1500,
                "Bridge.McastSnooping": True,
                "Bridge.McastQuerier": None,
            },
            "@bp": {
                "BridgePort.State": "disabled",
                "BridgePort.Isolated": True,
                "BridgePort.Hairpin": True,
                "BridgePort.Learning": None,
                "BridgePort.Flood": True,
                "BridgePort.Cost": 7,
            },
        },
        [("@br", "@bp", "layer2", "")],
    ),
    "VLAN filtering": Case(
        ["link add @bf type bridge vlan_filtering 1 vlan_default_pvid 9"],
        {"@bf": {"Bridge.VlanFiltering": True, "Bridge.VlanDefaultPvid": 9}},
    ),
    "tun": Case(
        ["tuntap add dev @tu mode tun user 7", "tuntap add dev @ta mode tap multi_queue group 9"],
        {
            "@tu": {"Type": "tuntap", "Driver": "tun", "Tun.Mode": "tun", "Tun.Owner": 7},
            "@ta": {"Tun.Mode": "tap", "Tun.MultiQueue": True, "Tun.Persist": True, "Tun.Group": 9},
        },
    ),
    "settings of all": Case(
        [
            "link add @g1 numtxqueues 4 numrxqueues 3 txqueuelen 50 type veth peer name @g2",
            "link set @g1 alias uplink",
            "link property add dev @g1 altname @other",
            "link set @g1 group 5",
            "link set @g1 gso_max_size 20000",
            "link set @g2 promisc on",
        ],
        {
            "@g1": {
                "Alias": "uplink",
                "AltNames": ["@other"],
                "Group": 5,
                "TxQueueLen": 50,
                "NumTxQueues": 4,
                "NumRxQueues": 3,
                "GSOMaxSize": 20000,
                "Promiscuity": None,
            },
            "@g2": {"TxQueueLen": None, "Promiscuity": 1, "GSOMaxSize": None},
        },
        [("@g1", "@g2", "layer2", "veth")],
    ),
}


class Place:
    """Two namespaces to make interfaces in, and the kinds that could be made."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.netns = f"{prefix}n"
        self.other = f"{prefix}o"
        self.lacking: dict[str, str] = {}

    def name(self, text: str) -> str:
        """A name of a case as it is in the kernel; alone, the marks stand for the namespaces."""
        if text in {"@", "~"}:
            return {"@": self.netns, "~": self.other}[text]
        return text.replace("@", self.prefix).replace("~", self.other)

    def ip(self, line: str) -> str:
        """Run a command; what it complains of."""
        command = ["ip", "-n", self.netns, *self.name(line).split()]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stderr.strip() if done.returncode else ""

    def make(self) -> None:
        for netns in (self.netns, self.other):
            subprocess.run(["ip", "netns", "add", netns], check=True)
        for line in GROUND:
            assert self.ip(line) == ""
        for kind, case in CASES.items():
            for line in case.lines:
                complaint = self.ip(line)
                if complaint:
                    self.lacking[kind] = f"{line}: {complaint}"
                    break

    def wrong(self, running: Running) -> list[str]:
        """What the graph does not say, of all that could be made."""
        by_name = {str(node.metadata["Name"]): node.metadata for node in running.nodes(self.prefix)}
        edges = {
            (
                *(str(end.metadata["Name"]) for end in (parent, child)),
                edge.metadata["RelationType"],
                edge.metadata.get("Type", ""),
            )
            for edge in running.graph.edges()
            if (parent := running.graph.node(edge.parent))
            and (child := running.graph.node(edge.child))
        }
        found = []
        for kind, case in CASES.items():
            if kind in self.lacking:
                continue
            for name, keys in case.metadata.items():
                for key, value in keys.items():
                    said = member(by_name.get(self.name(name), {}), key)
                    if said != self.wanted(value):
                        found.append(f"{kind}: {name} {key} is {said!r}, not {value!r}")
            for above, below, *label in case.edges:
                if (self.name(above), self.name(below), *label) not in edges:
                    found.append(f"{kind}: no edge {above} {below} {label}")
        return found

    def wanted(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.name(value)
        if isinstance(value, list):
            return [self.name(text) for text in value]
        return value


def member(metadata: Any, key: str) -> Any:
    for part in key.split("."):
        metadata = metadata.get(part) if metadata is not None else None
    return metadata


@pytest.mark.root
@pytest.mark.vm
async def test_every_kind_of_interface_is_seen_with_its_attributes(
    broker: Broker, prefix: str
) -> None:
    """By events as they are made, and the same from a dump."""
    place = Place(prefix)
    running = Running(broker, probes())
    async with running.at_work():
        place.make()
        try:
            await running.until(lambda: not place.wrong(running))
        except TimeoutError:
            assert place.wrong(running) == []
    later = Running(broker, probes())
    async with later.at_work():
        try:
            await later.until(lambda: not place.wrong(later))
        except TimeoutError:
            assert place.wrong(later) == []
    if place.lacking and not inside():
        pytest.skip(f"left to the virtual machine, this kernel has no {', '.join(place.lacking)}")
    assert place.lacking == {}


@pytest.mark.root
@pytest.mark.vm
async def test_changes_of_a_bridge_port_arrive_as_they_are_made(
    broker: Broker, prefix: str
) -> None:
    """They are announced in a form of their own, and by no other."""
    netns, bridge, port, peer = (f"{prefix}{letter}" for letter in "nbpq")
    running = Running(broker, probes())

    def ports() -> dict[str, Any]:
        return dict(running.named(port).get("BridgePort", {}))

    def ip(line: str, tool: str = "ip") -> None:
        subprocess.run([tool, "-n", netns, *line.split()], check=True)

    async with running.at_work():
        subprocess.run(["ip", "netns", "add", netns], check=True)
        ip(f"link add {bridge} type bridge forward_delay 200 stp_state 1")
        ip(f"link add {port} type veth peer name {peer}")
        ip(f"link set {port} master {bridge}")
        await running.until(lambda: ports().get("State") == "disabled")
        ip(f"link set dev {port} isolated on", "bridge")
        await running.until(lambda: ports().get("Isolated") is True)
        for device in (bridge, port, peer):
            ip(f"link set {device} up")
        await running.until(lambda: ports().get("State") == "listening")
        await running.until(lambda: ports().get("State") == "forwarding")
        ip(f"link set dev {port} isolated off", "bridge")
        await running.until(lambda: "Isolated" not in ports())
        ip(f"link set {port} nomaster")
        await running.until(lambda: not ports())


@pytest.mark.root
@pytest.mark.vm
async def test_an_attached_xdp_program_is_told(broker: Broker, prefix: str) -> None:
    """It decides over every packet before anybody else sees it."""
    netns, name = f"{prefix}n", f"{prefix}x"
    running = Running(broker, probes())
    async with running.at_work():
        subprocess.run(["ip", "netns", "add", netns], check=True)
        subprocess.run(["ip", "-n", netns, "link", "add", name, "type", "bridge"], check=True)
        # Of an interface that is down the kernel announces no such change.
        subprocess.run(["ip", "-n", netns, "link", "set", name, "up"], check=True)
        await running.until(lambda: bool(running.named(name)))
        assert "XDP" not in running.named(name)
        program = pass_all()
        try:
            attach(netns, running.named(name)["IfIndex"], program)
            await running.until(lambda: "XDP" in running.named(name))
            assert running.named(name)["XDP"]["Attached"] == "generic"
            assert running.named(name)["XDP"]["ProgID"] > 0
            attach(netns, running.named(name)["IfIndex"], -1)
            await running.until(lambda: "XDP" not in running.named(name))
        finally:
            os.close(program)


def attach(netns: str, index: int, program: int) -> None:
    """Give an interface its XDP program, in generic mode, or take it away (-1)."""
    nested = struct.pack("=HHiHHI", 8, 1, program, 8, 3, 2)  # IFLA_XDP_FD, IFLA_XDP_FLAGS
    payload = struct.pack("=BxHiIIHH", 0, 0, index, 0, 0, 4 + len(nested), 0x8000 | 43) + nested
    header = struct.pack("=IHHII", 16 + len(payload), 19, 5, 1, 0)  # RTM_SETLINK, acknowledged
    with open_socket(Namespace("", netns), socket.AF_NETLINK, socket.SOCK_RAW) as asker:
        asker.send(header + payload)
        (answer,) = decode_netlink(asker.recv(4096))
    assert (answer["errno"], answer["message"]) == (0, "")


def pass_all() -> int:
    """File descriptor of an XDP program that lets everything pass (bpf(2), BPF_PROG_LOAD)."""
    code = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit
    instructions, license_ = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "=IIQQ", 6, 2, ctypes.addressof(instructions), ctypes.addressof(license_)
    ).ljust(128, b"\0")
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    opened = ctypes.CDLL(None, use_errno=True).syscall(number, 5, attributes, len(attributes))
    if opened < 0:
        raise OSError(ctypes.get_errno(), "BPF_PROG_LOAD")
    return int(opened)


@pytest.mark.root
@pytest.mark.vm
@pytest.mark.skipif(not inside(), reason="a CAN controller on a terminal needs a full kernel")
async def test_a_can_controller_tells_its_state(broker: Broker) -> None:
    """The only kind of controller that needs no hardware speaks over a serial line."""
    script = """
import fcntl, os, struct, sys
master, terminal = os.openpty()
fcntl.ioctl(terminal, 0x5423, struct.pack("i", 17))  # TIOCSETD, N_SLCAN
print("ready", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        running = Running(broker, probes())
        async with running.at_work():
            await running.until(lambda: bool(running.nodes("can") or running.nodes("slcan")))
            (node,) = [*running.nodes("can"), *running.nodes("slcan")]
            assert node.metadata["Type"] == "can"
            assert node.metadata["Can"]["State"] == "STOPPED"
        holder.communicate()
