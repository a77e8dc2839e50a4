"""Capture rings on real interfaces: what was sent is in the flows, or counted as lost."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fcntl import ioctl
from typing import Any

import pytest

from skydiver.base.clock import wall_ms
from skydiver.filters.bpf import compile_bpf
from skydiver.lab import Lab, Namespace, wait_until
from skydiver.lab.sockets import open_socket
from skydiver.native import CaptureEngine, flow_message_json, flow_set_json

pytestmark = pytest.mark.root

MAC_A, MAC_B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
SIOCGIFINDEX = 0x8933
MIB = 1 << 20


def udp_frame(port: int, *, size: int = 60, vlan: int | None = None, source: int = 1000) -> bytes:
    """A UDP datagram from 10.0.0.1 to 10.0.0.2, `size` bytes on the wire."""
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    link = MAC_B + MAC_A + tag + b"\x08\x00"
    length = size - len(link)
    addresses = bytes((10, 0, 0, 1, 10, 0, 0, 2))
    ip = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, 17, 0) + addresses
    udp = struct.pack("!HHHH", source, port, length - 20, 0)
    return link + ip + udp + bytes(length - 28)


class Wire:
    """Two namespaces joined by a pair of devices; frames go in at one end."""

    def __init__(self, lab: Lab, names: tuple[str, str] = ("a", "b")) -> None:
        self.lab = lab
        self.a, self.b = (lab.netns(name) for name in names)
        lab.veth((self.a, "eth0"), (self.b, "eth0"))
        self._sender = open_socket(self.a, socket.AF_PACKET, socket.SOCK_RAW)
        self._sender.bind(("eth0", 0))

    def send(self, frame: bytes, count: int = 1) -> int:
        for _ in range(count):
            self._sender.send(frame)
        return count

    def close(self) -> None:
        self._sender.close()


@contextmanager
def wire(name: str) -> Iterator[Wire]:
    with Lab(name) as lab:
        wire = Wire(lab)
        try:
            yield wire
        finally:
            wire.close()


@contextmanager
def running(*, threads: int = 2, budget: int = 8 * MIB) -> Iterator[CaptureEngine]:
    engine = CaptureEngine(threads=threads, ring_budget_bytes=budget)
    try:
        yield engine
    finally:
        engine.close()


def start(
    engine: CaptureEngine, place: Namespace, device: str = "eth0", bpf: str = "", **options: Any
) -> int:
    opened = open_socket(place, socket.AF_PACKET, socket.SOCK_RAW)
    request = struct.pack("16si", device.encode(), 0) + bytes(20)
    (ifindex,) = struct.unpack_from("i", ioctl(opened, SIOCGIFINDEX, request), 16)
    program = compile_bpf(bpf) if bpf else ()
    return engine.start(opened.detach(), ifindex=ifindex, bpf=program, **options)


def stats(engine: CaptureEngine, handle: int) -> dict[str, Any]:
    return next(entry for entry in engine.stats() if entry["handle"] == handle)


def stop(engine: CaptureEngine, handle: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    message, last = engine.stop(handle, wall_ms())
    return json.loads(flow_message_json(message)), last


def totals(flows: list[dict[str, Any]]) -> tuple[int, int]:
    """Packets and bytes of both directions."""
    metrics = [flow["Metric"] for flow in flows]
    return (
        sum(metric.get("ABPackets", 0) + metric.get("BAPackets", 0) for metric in metrics),
        sum(metric.get("ABBytes", 0) + metric.get("BABytes", 0) for metric in metrics),
    )


def test_every_packet_that_was_sent_is_in_the_flows() -> None:
    """The numbers are the product; one packet off and nobody trusts them."""
    with wire("count") as w, running() as engine:
        handle = start(engine, w.b, bpf="udp port 4242", node_tid="tid-b", capture_id="c1")
        w.send(udp_frame(4242, size=90), 1000)
        flows, last = stop(engine, handle)
    assert (last["packets"], last["dropped"], last["error"]) == (1000, 0, None)
    assert totals(flows) == (1000, 90_000)
    (flow,) = flows
    assert (flow["NodeTID"], flow["CaptureID"]) == ("tid-b", "c1")
    assert (flow["Network"]["A"], flow["Transport"]["B"]) == ("10.0.0.1", 4242)


def test_both_directions_are_seen_at_one_end() -> None:
    """A capture on an interface sees what leaves as well as what arrives."""
    with wire("dirs") as w, running() as engine:
        at_sender = start(engine, w.a, bpf="udp port 7")
        at_receiver = start(engine, w.b, bpf="udp port 7")
        w.send(udp_frame(7), 50)
        assert [totals(stop(engine, handle)[0])[0] for handle in (at_sender, at_receiver)] == [
            50,
            50,
        ]


def test_the_filter_runs_in_the_kernel_before_the_first_packet() -> None:
    """Packets that were not asked for must neither fill the ring nor show up as flows."""
    with wire("bpf") as w, running() as engine:
        handle = start(engine, w.b, bpf="udp port 53")
        for port in (52, 53, 54):
            w.send(udp_frame(port), 20)
        flows, last = stop(engine, handle)
    assert last["packets"] == 20
    assert [flow["Transport"]["B"] for flow in flows] == [53]


def test_bytes_are_those_on_the_wire_however_little_is_captured() -> None:
    """Only headers are read; the rest of a packet must still count."""
    with wire("snap") as w, running() as engine:
        handle = start(engine, w.b, bpf="udp port 9", header_size=64)
        w.send(udp_frame(9, size=1514), 30)
        flows, _ = stop(engine, handle)
    assert totals(flows) == (30, 30 * 1514)


def test_the_vlan_tag_that_the_kernel_strips_is_put_back() -> None:
    """Without it a trunk looks like one untagged network, and bytes are 4 short."""
    with wire("vlan") as w, running() as engine:
        plain = start(engine, w.b, bpf="udp port 11")
        tagged = start(engine, w.b, bpf="vlan 10", bpf_on_wire=True)
        w.send(udp_frame(11, size=104, vlan=10), 10)
        w.send(udp_frame(11, size=104, vlan=20, source=2000), 10)
        w.send(udp_frame(11, size=100, source=3000), 10)
        all_flows, _ = stop(engine, plain)
        some_flows, _ = stop(engine, tagged)
    paths = {flow["Transport"]["A"]: flow["LayersPath"] for flow in all_flows}
    assert paths[1000] == paths[2000] == "Ethernet/Dot1Q/IPv4/UDP"
    assert paths[3000] == "Ethernet/IPv4/UDP"
    assert {flow["Transport"]["A"]: flow["Link"].get("ID", 0) for flow in all_flows} == {
        1000: 10,
        2000: 20,
        3000: 0,
    }
    assert totals(all_flows) == (30, 20 * 104 + 10 * 100)
    assert [flow["Link"]["ID"] for flow in some_flows] == [10]
    assert totals(some_flows) == (10, 1040)


def test_a_packet_on_loopback_is_counted_once() -> None:
    """AF_PACKET shows it leaving and arriving; it is one packet."""
    with Lab("lo") as lab, running() as engine:
        place = lab.netns("a")
        handle = start(engine, place, "lo", bpf="udp port 4000")
        with open_socket(place, socket.AF_INET, socket.SOCK_DGRAM) as speaker:
            speaker.bind(("127.0.0.1", 4000))
            for _ in range(100):
                speaker.sendto(b"x", ("127.0.0.1", 4000))
        flows, last = stop(engine, handle)
    assert last["packets"] == 100
    assert totals(flows)[0] == 100


def test_flows_can_be_asked_for_while_packets_arrive() -> None:
    """A live query reads the tables; it must not wait for the end of the capture."""
    with wire("query") as w, running() as engine:
        start(engine, w.b, bpf="udp", node_tid="here")
        w.send(udp_frame(80), 5)

        def found() -> list[dict[str, Any]]:
            answers = engine.query(b"")
            return [flow for answer in answers for flow in json.loads(flow_set_json(answer))]

        flows = wait_until(found, "a flow in the answer")
        assert [flow["NodeTID"] for flow in flows] == ["here"]
        assert len(json.loads(flow_message_json(engine.update(wall_ms())))) == 1
        assert json.loads(flow_message_json(engine.update(wall_ms()))) == []


def test_an_interface_that_goes_down_is_an_error_until_it_comes_back() -> None:
    """The user must see why no packets come, and needs not start anew."""
    with wire("down") as w, running() as engine:
        handle = start(engine, w.b, bpf="udp port 5")
        assert stats(engine, handle)["error"] is None
        w.lab.down(w.b, "eth0")
        wait_until(lambda: stats(engine, handle)["error"] == "interface is down", "the error")
        w.lab.up(w.b, "eth0")
        wait_until(lambda: stats(engine, handle)["error"] is None, "the end of the error")
        w.send(udp_frame(5), 40)
        flows, last = stop(engine, handle)
    assert last["packets"] == 40
    assert totals(flows)[0] == 40


def test_a_capture_may_start_before_its_interface_is_up() -> None:
    """A new port is often configured before it is plugged in."""
    with wire("early") as w, running() as engine:
        w.lab.down(w.b, "eth0")
        handle = start(engine, w.b, bpf="udp port 5")
        assert stats(engine, handle)["error"] == "interface is down"
        w.lab.up(w.b, "eth0")
        wait_until(lambda: stats(engine, handle)["error"] is None, "the end of the error")
        w.send(udp_frame(5), 10)
        assert totals(stop(engine, handle)[0])[0] == 10


def test_a_deleted_interface_ends_the_ring_and_keeps_the_flows() -> None:
    """What was seen is still true; the ring only costs memory."""
    with wire("gone") as w, running() as engine:
        handle = start(engine, w.b, bpf="udp port 5")
        w.send(udp_frame(5), 40)
        w.lab.delete(w.b, "eth0")
        wait_until(lambda: stats(engine, handle)["error"] == "interface is gone", "the error")
        assert stats(engine, handle)["ring_bytes"] == 0
        flows, last = stop(engine, handle)
    assert (last["packets"], totals(flows)[0]) == (40, 40)


def test_a_stopped_capture_lets_its_namespace_die() -> None:
    """A ring pins its namespace: veth ends on the host would outlive their container."""
    with wire("pin") as w, running() as engine:
        handle = start(engine, w.b)
        w.lab.delete_netns(w.b)

        def peer_exists() -> bool:
            return "eth0" in w.lab.run(w.a, ["ip", "-o", "link"]).stdout

        assert peer_exists()
        engine.stop(handle, wall_ms())
        wait_until(lambda: not peer_exists(), "the end of the namespace", timeout_s=3.0)


def test_a_hundred_captures_share_few_threads_and_one_budget() -> None:
    """One Regex can ask for all taps of a hypervisor."""
    budget = 16 * MIB
    with wire("many") as w, running(threads=4, budget=budget) as engine:
        handles = [start(engine, w.b, bpf="udp port 5", capture_id=str(n)) for n in range(100)]
        assert sum(entry["ring_bytes"] for entry in engine.stats()) <= budget
        assert engine.threads() <= 4
        w.send(udp_frame(5), 100)
        assert len(os.listdir("/proc/self/task")) < 100
        for handle in handles:
            flows, last = stop(engine, handle)
            assert (last["packets"], last["dropped"], totals(flows)[0]) == (100, 0, 100)
        assert engine.stats() == []


def test_a_flood_is_received_or_counted_as_dropped() -> None:
    """Loss under load is allowed; loss without a number is not."""
    with wire("flood") as w, running(threads=1, budget=MIB) as engine:
        handle = start(engine, w.b, bpf="udp port 5", header_size=4096)
        sent = w.send(udp_frame(5, size=1514), 100_000)
        flows, last = stop(engine, handle)
    assert last["packets"] + last["dropped"] == sent
    assert totals(flows)[0] == last["packets"]
    assert last["packets"] > 0


def test_garbage_on_the_wire_is_counted_and_harms_nobody() -> None:
    """Anybody who can send a packet feeds this parser."""
    noise = random.Random(6081)
    with wire("noise") as w, running() as engine:
        handle = start(engine, w.b)
        for _ in range(2000):
            w.send(noise.randbytes(noise.randint(14, 400)))
        # The original's agent died of this one.
        w.send(udp_frame(6081, source=6081, size=200))
        w.send(udp_frame(5), 10)
        flows, last = stop(engine, handle)
    assert last["error"] is None
    assert last["packets"] >= 2011
    assert [flow["Transport"]["B"] for flow in flows if flow.get("Application") == "UDP"] >= [5]


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda: -1, "not an open descriptor"),
        (lambda: 1_000_000, "not an open descriptor"),
        (
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(),
            "cannot use the socket as a packet ring",
        ),
        (
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).detach(),
            "cannot open the interface",
        ),
    ],
)
def test_what_cannot_be_captured_is_refused_in_one_line(
    give: Callable[[], int], words: str
) -> None:
    """The words end up in the answer to the user."""
    with running() as engine:
        with pytest.raises(OSError, match=words):
            engine.start(give(), ifindex=999_999)
        assert engine.stats() == []


def test_a_spent_budget_is_refused_and_given_back() -> None:
    """The bound is a promise; a capture that ends makes room for another."""
    with wire("budget") as w, running(budget=128 << 10) as engine, ExitStack() as stack:
        first, _ = (start(engine, w.b) for _ in range(2))
        with pytest.raises(OSError, match="ring memory of 131072 bytes is taken by 2 captures"):
            start(engine, w.b)
        engine.stop(first, wall_ms())
        stack.callback(engine.stop, start(engine, w.b), wall_ms())


def test_a_closed_engine_has_no_rings_and_takes_no_more() -> None:
    """The agent closes it at its end, perhaps twice."""
    with wire("close") as w, running() as engine:
        handle = start(engine, w.b)
        engine.close()
        engine.close()
        assert engine.stats() == []
        assert engine.threads() == 0
        with pytest.raises(ValueError, match="no capture"):
            engine.stop(handle, wall_ms())
        with pytest.raises(OSError, match="closed"):
            start(engine, w.b)


def test_options_that_make_no_sense_are_refused() -> None:
    """A capture with a wrong key mode would give flows that match nothing."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).detach()
    with running() as engine, pytest.raises(ValueError, match="L4"):
        engine.start(opened, ifindex=1, key_mode="L4")
