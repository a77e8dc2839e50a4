"""Captures start, count, fail and end as their nodes and namespaces do."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from fcntl import ioctl
from http import HTTPStatus
from typing import Any

import msgspec
import pytest

from skydiver.base.errors import ConfigError, QueryError, SkydiverError, Unavailable
from skydiver.base.ids import NodeID, Origin
from skydiver.base.losses import Losses
from skydiver.base.settings import Settings, load_settings
from skydiver.broker import fork_broker
from skydiver.broker.client import Broker, NetnsRef
from skydiver.broker.namespaces import Namespaces
from skydiver.captures.supervisor import BUILTIN, CaptureSet
from skydiver.graph import EdgeSpec, Graph, NodeSpec
from skydiver.lab import Lab, Namespace
from skydiver.lab.sockets import open_socket
from skydiver.native import (
    flow_message_json,
    flow_set_json,
    flow_stats_json,
    join_flow_messages,
)
from skydiver.objects.capture import CAPTURE_TYPES, Capture

SIOCGIFINDEX = 0x8933
VETH = NodeID("veth")


def settings(**overrides: Any) -> Settings:
    """Defaults, with keys given as ``flow_update=1``."""
    return load_settings([os.devnull], {k.replace("__", "."): v for k, v in overrides.items()}, {})


def request(**members: Any) -> Capture:
    return Capture(uuid=members.pop("uuid", "capture-1"), gremlin_query="G.V()", **members)


def graph_of(
    *, netns: NetnsRef | None = None, ifindex: int = 7, **metadata: Any
) -> tuple[Graph, Callable[[], None]]:
    """A host with one interface, perhaps inside a namespace; and what deletes the interface."""
    graph = Graph(host="h1", origin=Origin("agent.h1"))
    writer = graph.owned_by("test.topology")
    owner = NodeID("host")
    writer.upsert(NodeSpec(owner, {"Type": "host", "Name": "h1", "TID": "tid-host"}))
    if netns is not None:
        owner = NodeID("netns")
        where = {"Path": netns.path or "", "Inode": netns.inode, "Device": netns.device}
        writer.upsert(NodeSpec(owner, {"Type": "netns", "Name": "b", **where}))
        writer.link(EdgeSpec(NodeID("host"), owner, {"RelationType": "ownership"}))
    link = {
        "Type": "veth",
        "Name": "eth0",
        "IfIndex": ifindex,
        "EncapType": "ether",
        "TID": "tid-b",
        **metadata,
    }
    writer.upsert(NodeSpec(VETH, {key: value for key, value in link.items() if value is not None}))
    writer.link(EdgeSpec(owner, VETH, {"RelationType": "ownership"}))
    return graph, lambda: writer.delete(VETH)


class NoPrivilege:
    """A broker that may not open packet sockets."""

    missing = ("CAP_NET_RAW: no captures",)

    async def packet_socket(self, netns: NetnsRef | None) -> socket.socket:
        raise Unavailable("broker: packet_socket: Operation not permitted")


class NoNamespaces:
    """A host without other namespaces."""

    def get(self, inode: int, device: int | None = None) -> None:
        return None

    def subscribe(self, **listeners: Any) -> Callable[[], None]:
        return lambda: None


def idle_set(graph: Graph) -> CaptureSet:
    return CaptureSet(
        graph, NoPrivilege(), NoNamespaces(), settings(), Losses(), sink=lambda _: None
    )


def captures_of(graph: Graph) -> list[dict[str, Any]]:
    node = graph.view().node(VETH)
    return [] if node is None else node.metadata.get("Captures", [])


async def test_an_unknown_node_or_capture_is_not_found() -> None:
    """The analyzer may know of a node that has just gone."""
    graph, _ = graph_of()
    captures = idle_set(graph)
    assert await captures.start(NodeID("nobody"), request()) is HTTPStatus.NOT_FOUND
    assert await captures.stop(VETH, "nothing") is HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("metadata", "members", "error", "words"),
    [
        ({"Type": "netns"}, {}, ConfigError, "node of type 'netns' cannot be captured"),
        ({}, {"type": "dpdk"}, ConfigError, "'dpdk' on a node of type 'veth'"),
        ({}, {"type": "ebpf"}, Unavailable, "no source of this agent serves captures of type"),
        ({"TID": None}, {}, Unavailable, "node veth has no TID"),
        ({"EncapType": None}, {}, Unavailable, "node veth has no EncapType"),
        ({}, {"bpf_filter": "tcp porrt 80"}, QueryError, "filter 'tcp porrt 80': can't parse"),
        ({}, {"bpf_filter": "tcp) or (udp"}, QueryError, "syntax error"),
        ({}, {"target_type": "erspanv1"}, ConfigError, "capture target type 'erspanv1'"),
        ({}, {"target": "127.0.0.1:9"}, ConfigError, "option Target is not available"),
        ({}, {}, Unavailable, "the agent lacks CAP_NET_RAW: no captures"),
    ],
)
async def test_what_cannot_start_says_why_in_one_line_on_the_node_until_it_is_stopped(
    metadata: dict[str, Any], members: dict[str, Any], error: type[SkydiverError], words: str
) -> None:
    """Nobody reads the log of an agent to learn why there are no flows."""
    graph, _ = graph_of(**metadata)
    captures = idle_set(graph)
    with pytest.raises(error) as caught:
        await captures.start(VETH, request(**members))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    (entry,) = captures_of(graph)
    assert (entry["ID"], entry["State"], entry["Error"]) == (
        "capture-1",
        "error",
        str(caught.value),
    )
    assert "PacketsReceived" not in entry  # by which it differs from one that runs
    assert (captures.status()["Running"], captures.status()["Errors"]) == (0, 1)
    assert await captures.stop(VETH, "capture-1") is HTTPStatus.OK
    assert captures_of(graph) == []
    assert captures.status()["Errors"] == 0
    assert await captures.stop(VETH, "capture-1") is HTTPStatus.NOT_FOUND


async def test_a_refusal_is_logged_once_however_often_it_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The analyzer asks again every 30 s, for as long as the capture exists."""
    graph, _ = graph_of()
    captures = idle_set(graph)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await captures.start(VETH, request())
    lines = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert lines == ["capture capture-1 on h1/eth0: the agent lacks CAP_NET_RAW: no captures"]
    assert len(captures_of(graph)) == 1


def test_creation_knows_what_the_sources_serve() -> None:
    """A type is refused when a capture is created exactly if no source of the agents has it."""
    served = {name for source in BUILTIN for name in source.names}
    assert {name for name, able in CAPTURE_TYPES.items() if able.available} == served


async def test_an_interface_of_a_namespace_that_is_not_known_is_not_captured_elsewhere() -> None:
    """The same index names another interface on the host."""
    graph, _ = graph_of(netns=NetnsRef(path="/run/netns/x", pid=None, inode=5, device=4))
    with pytest.raises(Unavailable, match="network namespace 'b' is gone"):
        await idle_set(graph).start(VETH, request())


# With real interfaces


@dataclass
class Site:
    """Two namespaces and an agent that captures in the second."""

    lab: Lab
    a: Namespace
    b: Namespace
    broker: Broker
    namespaces: Namespaces
    losses: Losses = field(default_factory=Losses)
    sent: list[bytes] = field(default_factory=list)

    @property
    def netns(self) -> NetnsRef:
        found = os.stat(self.b.path)
        return NetnsRef(str(self.b.path), None, found.st_ino, found.st_dev)

    def ifindex(self) -> int:
        with open_socket(self.b, socket.AF_INET, socket.SOCK_DGRAM) as opened:
            asked = struct.pack("16si", b"eth0", 0) + bytes(20)
            return int(struct.unpack_from("i", ioctl(opened, SIOCGIFINDEX, asked), 16)[0])

    @asynccontextmanager
    async def captures(self, graph: Graph, **overrides: Any) -> AsyncIterator[CaptureSet]:
        """A set that runs."""
        keys = {"agent__capture__stats_update": 0.05, **overrides}
        captures = CaptureSet(
            graph,
            self.broker,
            self.namespaces,
            settings(**keys),
            self.losses,
            sink=self.sent.append,
        )
        task = asyncio.create_task(captures.run(), name="captures")
        try:
            await self.known()
            yield captures
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def known(self) -> None:
        inode = self.netns.inode
        await until(lambda: self.namespaces.get(inode) is not None, "the namespace to be known")

    def send(self, count: int, port: int = 5) -> None:
        length = 60
        ip = struct.pack("!BBHHHBBH", 0x45, 0, length - 14, 0, 0, 64, 17, 0)
        udp = struct.pack("!HHHH", 1000, port, length - 34, 0)
        link = bytes.fromhex("0200000000020200000000010800")
        frame = link + ip + bytes((10, 0, 0, 1, 10, 0, 0, 2)) + udp + bytes(length - 42)
        with open_socket(self.a, socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("eth0", 0))
            for _ in range(count):
                sender.send(frame)

    def flows(self) -> list[dict[str, Any]]:
        """All flows that were sent."""
        return [flow for message in self.sent for flow in json.loads(flow_message_json(message))]


@contextmanager
def two_namespaces(name: str) -> Iterator[tuple[Lab, Namespace, Namespace]]:
    with Lab(name) as lab:
        a, b = lab.netns("a"), lab.netns("b")
        lab.veth((a, "eth0"), (b, "eth0"))
        yield lab, a, b


@asynccontextmanager
async def site(name: str) -> AsyncIterator[Site]:
    with two_namespaces(name) as (lab, a, b):
        broker = fork_broker()
        namespaces = Namespaces(broker, run_paths=["/var/run/netns"])
        following = asyncio.create_task(namespaces.run(), name="namespaces")
        try:
            yield Site(lab, a, b, broker, namespaces)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            broker.close()


async def until(condition: Callable[[], bool], what: str, *, timeout_s: float = 5.0) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


@pytest.mark.root
async def test_a_capture_shows_on_its_node_counts_and_hands_over_its_flows() -> None:
    """The whole life: started, counted, asked, stopped."""
    async with site("cap1") as at:
        graph, _ = graph_of(netns=at.netns, ifindex=at.ifindex())
        async with at.captures(graph) as captures:
            asked = request(bpf_filter="udp port 5", name="mine", description="of the day")
            assert await captures.start(VETH, asked) is HTTPStatus.OK
            assert await captures.start(VETH, asked) is HTTPStatus.OK
            assert captures.status()["Running"] == 1
            assert captures_of(graph) == [
                {
                    "PacketsReceived": 0,
                    "PacketsDropped": 0,
                    "PacketsIfDropped": 0,
                    "ID": "capture-1",
                    "State": "active",
                    "Name": "mine",
                    "Description": "of the day",
                    "BPFFilter": "udp port 5",
                }
            ]
            at.send(100)
            await until(
                lambda: captures_of(graph)[0]["PacketsReceived"] == 100, "100 packets on the node"
            )
            await until_flows(captures, 100)
            assert await captures.stop(VETH, "capture-1") is HTTPStatus.OK
            node = graph.view().node(VETH)
            assert node is not None
            assert "Captures" not in node.metadata
    (flow,) = at.flows()
    assert flow["Metric"]["ABPackets"] == 100
    assert (flow["NodeTID"], flow["CaptureID"]) == ("tid-b", "capture-1")
    assert at.losses.as_json() == {}


@pytest.mark.root
@pytest.mark.parametrize(("port", "path"), [(5, "Ethernet/IPv4/UDP/MPLS"), ("5", None), (0, None)])
async def test_a_node_names_the_udp_port_that_carries_mpls(port: Any, path: str | None) -> None:
    """OpenContrail tells so on its interfaces; nothing in the packets does."""
    async with site("cap12") as at:
        graph, _ = graph_of(netns=at.netns, ifindex=at.ifindex(), MPLSUDPPort=port)
        async with at.captures(graph) as captures:
            await captures.start(VETH, request(bpf_filter="udp port 5"))
            at.send(3)
            await until_flows(captures, 3)
    assert at.flows()[0]["LayersPath"] == (path or "Ethernet/IPv4/UDP")


async def until_flows(captures: CaptureSet, packets: int) -> None:
    """Wait until a live query sees so many packets."""
    async with asyncio.timeout(5):
        while True:
            answers = await captures.query(b"")
            flows = [flow for answer in answers for flow in json.loads(flow_set_json(answer))]
            if sum(flow["Metric"]["ABPackets"] for flow in flows) == packets:
                return
            await asyncio.sleep(0.01)


@pytest.mark.root
async def test_what_was_refused_becomes_active_once_it_starts() -> None:
    """The analyzer repeats its order; the error must not outlive its reason."""
    async with site("cap9") as at:
        graph, _ = graph_of(netns=at.netns, ifindex=at.ifindex())
        async with at.captures(graph) as captures:
            with pytest.raises(QueryError):
                await captures.start(VETH, request(bpf_filter="tcp porrt 80"))
            assert [entry["State"] for entry in captures_of(graph)] == ["error"]
            assert await captures.start(VETH, request()) is HTTPStatus.OK
            assert [entry["State"] for entry in captures_of(graph)] == ["active"]
            assert captures.status()["Errors"] == 0


@pytest.mark.root
async def test_interfaces_that_are_refused_for_one_reason_make_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A capture on all of 4,000 interfaces met the ring budget, and wrote 3,400 warnings."""
    async with site("cap13") as at:
        graph, _ = graph_of(netns=at.netns, ifindex=at.ifindex())
        loopback, other = NodeID("lo"), NodeID("other")
        writer = graph.owned_by("test.topology")
        for node_id, name in ((loopback, "lo"), (other, "other")):
            link = {"Type": "device", "Name": name, "IfIndex": 1, "EncapType": "ether", "TID": name}
            writer.upsert(NodeSpec(node_id, link))
            writer.link(EdgeSpec(NodeID("netns"), node_id, {"RelationType": "ownership"}))
        async with at.captures(graph, agent__capture__ring_budget_mib=1) as captures:
            for number in range(64):
                try:
                    await captures.start(VETH, request(uuid=f"filler-{number}"))
                except Unavailable:
                    break
            caplog.clear()
            for node_id in (loopback, other):
                with pytest.raises(Unavailable, match="the ring memory of 1048576 bytes is taken"):
                    await captures.start(node_id, request(uuid="all"))
    lines = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert len(lines) == 1
    assert lines[0].startswith("capture all on b/lo: the ring memory of ")


@pytest.mark.root
async def test_two_captures_on_a_node_are_independent() -> None:
    """Each has its entry, its filter and its flows (flows.md §11.5)."""
    async with site("cap2") as at:
        graph, _ = graph_of(netns=at.netns, ifindex=at.ifindex())
        async with at.captures(graph) as captures:
            for number in (5, 6):
                await captures.start(
                    VETH, request(uuid=f"c{number}", bpf_filter=f"udp port {number}", type="pcap")
                )
            at.send(10, port=5)
            at.send(20, port=6)
            await until(
                lambda: (
                    {entry["ID"]: entry["PacketsReceived"] for entry in captures_of(graph)}
                    == {"c5": 10, "c6": 20}
                ),
                "the counters of both",
            )
            await captures.stop(VETH, "c5")
            assert [entry["ID"] for entry in captures_of(graph)] == ["c6"]


@pytest.mark.root
async def test_an_interface_that_goes_down_is_an_error_on_the_node_until_it_is_back() -> None:
    """The entry stays, says why nothing comes, and the capture goes on by itself."""
    async with site("cap3") as at:
        graph, _ = graph_of(netns=at.netns, ifindex=at.ifindex())
        async with at.captures(graph) as captures:
            await captures.start(VETH, request(bpf_filter="udp port 5"))
            at.lab.down(at.b, "eth0")
            await until(lambda: captures_of(graph)[0]["State"] == "error", "the error")
            assert captures_of(graph)[0]["Error"] == "interface is down"
            assert captures.status()["Errors"] == 1
            at.lab.up(at.b, "eth0")
            await until(lambda: captures_of(graph)[0]["State"] == "active", "the recovery")
            assert "Error" not in captures_of(graph)[0]
            at.send(7)
            await until(lambda: captures_of(graph)[0]["PacketsReceived"] == 7, "the packets")


@pytest.mark.root
async def test_a_capture_ends_with_its_node(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would stop it any more; its last flows are still sent."""
    async with site("cap4") as at:
        graph, delete = graph_of(netns=at.netns, ifindex=at.ifindex())
        async with at.captures(graph) as captures:
            await captures.start(VETH, request(bpf_filter="udp port 5"))
            at.send(3)
            caplog.set_level(logging.INFO, "skydiver.captures")
            at.lab.ip(at.b, "link delete eth0")
            delete()
            await until(lambda: captures.status()["Running"] == 0, "the end")
            assert await captures.stop(VETH, "capture-1") is HTTPStatus.NOT_FOUND
    assert [flow["Metric"]["ABPackets"] for flow in at.flows()] == [3]
    said = [r for r in caplog.records if r.name == "skydiver.captures.supervisor"]
    assert said[-1].message == "captures ended on b/eth0, now gone"
    assert {r.levelname for r in said} == {"INFO"}


@pytest.mark.root
async def test_a_captured_interface_does_not_outlive_the_only_process_of_its_namespace() -> None:
    """A ring pins the namespace: it must be closed as soon as nothing else holds it."""
    async with site("cap5") as at:
        with subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "ip link set lo up; echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == b"ready\n"
                at.lab.ip(at.a, f"link add there type veth peer name eth0 netns {holder.pid}")
                found = os.stat(f"/proc/{holder.pid}/ns/net")
                await until(lambda: at.namespaces.get(found.st_ino) is not None, "the namespace")
                shown = subprocess.run(
                    ["nsenter", "-n", "-t", str(holder.pid), "ip", "-json", "link", "show", "eth0"],
                    capture_output=True,
                    check=True,
                )
                known = at.namespaces.get(found.st_ino)
                assert known is not None
                ifindex = json.loads(shown.stdout)[0]["ifindex"]
                graph, _ = graph_of(netns=known.ref, ifindex=ifindex)
                async with at.captures(graph) as captures:
                    assert await captures.start(VETH, request()) is HTTPStatus.OK
                    holder.kill()
                    await until(
                        lambda: "there" not in at.lab.run(at.a, ["ip", "-o", "link"]).stdout,
                        "the end of the other end",
                        timeout_s=2.0,
                    )
                    await until(lambda: captures.status()["Running"] == 0, "the end")
            finally:
                holder.kill()


@pytest.mark.root
async def test_flows_leave_at_every_update_and_at_the_end() -> None:
    """An analyzer sees a long flow while it lasts."""
    async with site("cap6") as at:
        graph, _ = graph_of(netns=at.netns, ifindex=at.ifindex())
        async with at.captures(graph, flow__update=0.2, flow__expire=0.4) as captures:
            await captures.start(VETH, request(bpf_filter="udp port 5"))
            at.send(4)
            await until(lambda: len(at.flows()) >= 2, "an update, then the end of the flow")
    updated, ended = at.flows()[:2]
    assert (updated.get("FinishType"), updated["Metric"]["ABPackets"]) == (None, 4)
    assert (ended["FinishType"], ended["UUID"]) == (1, updated["UUID"])


@pytest.mark.root
async def test_statistics_say_what_is_new_since_the_last() -> None:
    """The original adds up sums, so its numbers say nothing after a while."""
    async with site("cap15") as at:
        graph, _ = graph_of(netns=at.netns, ifindex=at.ifindex())
        async with at.captures(graph) as captures:
            await captures.start(VETH, request(bpf_filter="udp port 5"))

            def told() -> list[dict[str, Any]]:
                return [json.loads(flow_stats_json(s)) for s in join_flow_messages(at.sent)[2]]

            for total in (4, 7):
                at.send(4 if total == 4 else 3)
                # The kernel counts packets before the table has them.
                while not told() or told()[-1]["FlowCount"] == 0 or received(told()) < total:
                    await captures.count()
                    await captures.tell()
                    await asyncio.sleep(0.005)
            said = len(told())
            await captures.tell()
            assert len(told()) == said
    assert received(told()) == 7
    assert {stats["CaptureID"] for stats in told()} == {"capture-1"}


def received(told: list[dict[str, Any]]) -> int:
    return sum(stats["PacketsReceived"] for stats in told)


@pytest.mark.root
async def test_evicted_flows_are_counted_on_the_node_and_for_the_agent() -> None:
    """A table that is too small must not look like a quiet network."""
    async with site("cap7") as at:
        graph, _ = graph_of(netns=at.netns, ifindex=at.ifindex())
        async with at.captures(graph, flow__max_entries=16) as captures:
            await captures.start(VETH, request(bpf_filter="udp"))
            for port in range(200):
                at.send(1, port=1000 + port)
            await until(lambda: captures_of(graph)[0]["PacketsReceived"] == 200, "the packets")
            await until(lambda: captures_of(graph)[0].get("FlowsEvicted", 0) > 0, "evictions")
            await captures.stop(VETH, "capture-1")
    assert at.losses.as_json()["capture.afpacket"]["table_full"] == 200 - len(at.flows())


@pytest.mark.root
async def test_a_start_that_is_overtaken_by_a_stop_leaves_nothing_behind() -> None:
    """Messages of the analyzer may come quickly one after the other."""
    async with site("cap8") as at:
        graph, _ = graph_of(netns=at.netns, ifindex=at.ifindex())
        async with at.captures(graph) as captures:
            asked = request()
            for _ in range(5):
                started, stopped = await asyncio.gather(
                    captures.start(VETH, asked), captures.stop(VETH, asked.uuid)
                )
                assert (started, stopped) == (HTTPStatus.NOT_FOUND, HTTPStatus.OK)
            assert captures.status()["Running"] == 0
            again = await asyncio.gather(*(captures.start(VETH, asked) for _ in range(3)))
            assert again == [HTTPStatus.OK] * 3
            assert captures.status()["Running"] == 1
            cancelled = asyncio.create_task(
                captures.start(VETH, msgspec.structs.replace(asked, uuid="c2"))
            )
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            assert [entry["ID"] for entry in captures_of(graph)] == ["capture-1"]
