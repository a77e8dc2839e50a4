"""Packets from end to end: kept with flows and fetched, sent to a socket, and imported."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skydiver.lab.lab import Lab, Namespace
from skydiver.lab.running import COMMAND, Running

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def eventually(condition: Callable[[], Any], what: Callable[[], Any], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {limit_s} s: {what()}")
        time.sleep(0.1)


@pytest.fixture(scope="module")
def skydive() -> Iterator[Running]:
    with Running() as running:
        running.seconds_until(lambda r: bool(r.query("G.V().Has('Type', 'host')")))
        yield running


@dataclass(frozen=True)
class Pair:
    """Two namespaces with a link."""

    lab: Lab
    a: Namespace
    tap: str
    """Query for the interface at the other end."""

    def ping(self, count: int) -> None:
        assert self.lab.ping(self.a, "10.9.8.2", count=count) == count


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Lab("pkts") as lab:
        a, b = lab.netns("a"), lab.netns("b")
        lab.veth((a, "eth0"), (b, "tap0"))
        lab.address(a, "eth0", "10.9.8.1/24")
        lab.address(b, "tap0", "10.9.8.2/24")
        owner = f"G.V().Has('Type', 'netns', 'Name', '{b.full}')"
        yield Pair(lab, a, f"{owner}.Out('Name', 'tap0')")


def entries(skydive: Running, gremlin: str) -> list[dict[str, Any]]:
    nodes = skydive.query(gremlin)
    return [entry for node in nodes for entry in node["Metadata"].get("Captures") or []]


def capture(skydive: Running, gremlin: str, *options: str) -> str:
    eventually(lambda: len(skydive.query(gremlin)) == 1, lambda: skydive.query(gremlin))
    created = skydive.client("capture", "create", "--gremlin", gremlin, *options)

    def states() -> list[Any]:
        return [(entry.get("State"), "PacketsReceived" in entry) for entry in found()]

    def found() -> list[dict[str, Any]]:
        return entries(skydive, gremlin)

    eventually(lambda: states() == [("active", True)], found)
    return str(json.loads(created.stdout)["UUID"])


def file_of(skydive: Running, gremlin: str, format_: str) -> bytes:
    words = ["client", "--analyzer", f"127.0.0.1:{skydive.port}", "query", gremlin]
    done = subprocess.run(
        [COMMAND, *words, "--format", format_], capture_output=True, timeout=30, check=True
    )
    return done.stdout


def shown_by_tcpdump(file: bytes) -> list[str]:
    done = subprocess.run(
        ["tcpdump", "-nn", "-r", "-"], input=file, capture_output=True, timeout=30, check=True
    )
    return done.stdout.decode().splitlines()


def test_packets_that_a_capture_keeps_can_be_looked_at(skydive: Running, pair: Pair) -> None:
    """The first packets of a flow often tell why it fails."""
    if shutil.which("tcpdump") is None:
        pytest.skip("tcpdump is not installed")
    query = pair.tap
    uuid = capture(skydive, query, "--bpf", "icmp", "--rawpacket-limit", "3")
    pair.ping(4)
    flows = f"G.Flows().Has('CaptureID', '{uuid}')"
    eventually(
        lambda: [f["RawPacketsCaptured"] for f in skydive.query(flows)] == [3],
        lambda: skydive.query(flows),
    )
    [flow] = skydive.query(flows)
    [series] = skydive.query(f"{flows}.RawPackets()")
    [packets] = series.values()
    assert list(series) == [flow["UUID"]]
    assert [packet["Index"] for packet in packets] == [1, 2, 3]
    [replies] = skydive.query(f"{flows}.RawPackets().BPF('icmp[icmptype] == icmp-echoreply')")
    assert [packet["Index"] for packet in replies[flow["UUID"]]] == [2]
    [none] = skydive.query(f"{flows}.RawPackets().BPF('tcp')")
    assert none == {flow["UUID"]: None}
    for format_ in ("pcap", "pcapng"):
        file = file_of(skydive, f"{flows}.RawPackets()", format_)
        lines = shown_by_tcpdump(file)
        assert [line.split(":", 3)[-1].split(",")[0].strip() for line in lines] == [
            "ICMP echo request",
            "ICMP echo reply",
            "ICMP echo request",
        ]
    assert b"tap0" in file
    assert f"TID {flow['NodeTID']}".encode() in file
    skydive.client("capture", "delete", uuid)


def udp_file(ports: range) -> bytes:
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)]
    for port in ports:
        udp = struct.pack(">HHHH", port, 53, 8, 0)
        head = bytes.fromhex("4500001c0001000040110000") + bytes([10, 0, 0, 1, 10, 0, 0, 2])
        data = bytes.fromhex("020000000002020000000001") + b"\x08\x00" + head + udp
        out += [struct.pack("<IIII", 1_000_000_000, 0, len(data), len(data)), data]
    return b"".join(out)


def test_packets_that_somebody_sends_are_flows_of_the_node(skydive: Running, pair: Pair) -> None:
    """The node tells where to send them."""
    query = pair.tap
    uuid = capture(skydive, query, "--type", "pcapsocket")
    eventually(
        lambda: all("PCAPSocket" in entry for entry in entries(skydive, query)),
        lambda: entries(skydive, query),
    )
    [entry] = entries(skydive, query)
    host, port = entry["PCAPSocket"].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sender:
        sender.sendall(udp_file(range(1, 51)))
    flows = f"{query}.Flows().Has('CaptureID', '{uuid}')"
    eventually(lambda: skydive.query(f"{flows}.Count()") == 50, lambda: skydive.query(flows))
    eventually(
        lambda: [entry["PacketsReceived"] for entry in entries(skydive, query)] == [50],
        lambda: entries(skydive, query),
    )
    skydive.client("capture", "delete", uuid)
    eventually(lambda: entries(skydive, query) == [], lambda: entries(skydive, query))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=10).close()


def test_an_imported_file_is_found_beside_the_flows_of_agents(
    skydive: Running, pair: Pair, tmp_path: Path
) -> None:
    """One query over both; the analyzer goes on answering while it reads."""
    query = pair.tap
    uuid = capture(skydive, query, "--bpf", "icmp")
    pair.ping(1)
    file = tmp_path / "incident.pcap"
    file.write_bytes(udp_file(range(1, 1001)))
    done = skydive.client("pcap", "--trace", str(file))
    id_ = done.stdout.split("'CaptureID','")[1].split("'")[0]
    both = f"G.Flows().Has('CaptureID', Within('{id_}', '{uuid}')).Count()"
    eventually(lambda: skydive.query(both) == 1001, lambda: skydive.query(both))
    file.write_bytes(udp_file(range(1, 4))[:-1])
    broken = skydive.client("pcap", "--trace", str(file), check=False)
    assert broken.returncode == 1
    assert "ends in the middle, after 2 packets; the flows of 2 packets" in broken.stderr
    skydive.client("capture", "delete", uuid)
    assert "Traceback" not in skydive.log()
