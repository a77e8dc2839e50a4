"""What is said inside packets, as a capture sees it that asks, with the real agent and analyzer."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from skydiver.lab.lab import Lab, Namespace
from skydiver.lab.running import Running
from skydiver.lab.sockets import open_socket

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NAME = "shop.example"
ADDRESS = "10.8.0.2"


@pytest.fixture(scope="module")
def skydive() -> Iterator[Running]:
    with Running() as running:
        running.seconds_until(lambda r: bool(r.query("G.V().Has('Type', 'host')")))
        yield running


def eventually(condition: Callable[[], Any], what: Callable[[], Any], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {limit_s} s: {what()}")
        time.sleep(0.1)


def question(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return (
        struct.pack("!HHHHHH", 77, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)
    )


def answer(asked: bytes) -> bytes:
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("192.0.2.7")
    return asked[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + asked[12:] + record


@contextmanager
def name_server(place: Namespace) -> Iterator[None]:
    """Answers one question at a time until it is told to end by an empty one."""
    with open_socket(place, socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((ADDRESS, 53))
        server.settimeout(30)

        def serve() -> None:
            while True:
                asked, client = server.recvfrom(9000)
                if not asked:
                    return
                server.sendto(answer(asked), client)

        thread = threading.Thread(target=serve, name="name-server")
        thread.start()
        try:
            yield
        finally:
            with open_socket(place, socket.AF_INET, socket.SOCK_DGRAM) as ended:
                ended.sendto(b"", (ADDRESS, 53))
            thread.join()


def test_questions_fragments_and_requests_are_seen_by_those_who_ask(skydive: Running) -> None:
    """One capture with all options, real packets, and queries by what is inside of them."""
    with Lab("inside") as lab:
        a, b = lab.netns("a"), lab.netns("b")
        lab.veth((a, "eth0"), (b, "eth0"))
        lab.address(a, "eth0", "10.8.0.1/24")
        lab.address(b, "eth0", f"{ADDRESS}/24")
        node = f"G.V().Has('Type', 'netns', 'Name', '{a.full}').Out('Name', 'eth0')"
        eventually(lambda: len(skydive.query(node)) == 1, lambda: skydive.query(node), 60)
        created = skydive.client(
            *("capture", "create", "--gremlin", node, "--bpf", "ip", "--ip-defrag"),
            *("--reassemble-tcp", "--extra-tcp-metric"),
            *("--extra-layer", "DNS", "--extra-layer", "HTTP"),
        )
        uuid = json.loads(created.stdout)["UUID"]

        def entries() -> list[Any]:
            (found,) = skydive.query(node)
            return found["Metadata"].get("Captures") or []

        eventually(lambda: [entry["State"] for entry in entries()] == ["active"], entries)
        with name_server(b), open_socket(a, socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(question(NAME), (ADDRESS, 53))
            assert client.recv(512) == answer(question(NAME))
        with open_socket(a, socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(bytes(4000), (ADDRESS, 4444))
        server = lab.http_server(b, ADDRESS, 8080)
        assert lab.http_get(a, f"http://{ADDRESS}:8080/page").startswith(b"skydive lab")
        server.stop()

        mine = f"G.Flows().Has('CaptureID', '{uuid}')"

        def flow_with(where: str) -> Any:
            found: list[Any] = []

            def is_there() -> bool:
                # Frames are read a block at a time.
                found[:] = skydive.query(f"{mine}.Has({where})") or []
                return len(found) == 1

            eventually(is_there, lambda: skydive.query(mine))
            return found[0]

        asked = f"'DNS.Questions.Name', '{NAME}'"
        flow = flow_with(f"{asked}, 'DNS.QR', true")
        assert (flow["Metric"]["ABPackets"], flow["Metric"]["BAPackets"]) == (1, 1)
        assert [record["IP"] for record in flow["DNS"]["answers"]] == ["192.0.2.7"]
        assert flow_with("'DNS.Answers.IP', Regex('192.0.2.*')")["UUID"] == flow["UUID"]
        assert skydive.query(f"{mine}.Has({asked}).Values('DNS.Questions.Name')") == [[NAME]]

        flow = flow_with("'Transport.B', 4444")
        assert flow["LayersPath"] == "Ethernet/IPv4/Fragment/UDP"
        assert flow["IPMetric"] == {"Fragments": 2, "FragmentErrors": 0}

        flow = flow_with("'HTTP.Target', '/page', 'TCPMetric.BASawEnd', 1")
        assert (flow["HTTP"]["Method"], flow["HTTP"]["Host"]) == ("GET", f"{ADDRESS}:8080")
        metric = flow["TCPMetric"]
        assert (metric["ABSawStart"], metric["BASawStart"]) == (1, 1)
        assert metric["BABytes"] > len("skydive lab")
        assert metric["BASegmentSkipped"] == 0
        eventually(lambda: entries()[0].get("FragmentsJoined") == 2, entries)
        assert "FragmentsLost" not in entries()[0]
        skydive.client("capture", "delete", uuid)
