"""Flows from the agent to the analyzer, with both as real processes and the analyzer killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from skydiver.lab.lab import Lab, Namespace
from skydiver.lab.running import COMMAND, free_port
from skydiver.lab.sockets import open_socket

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

OUTAGE_S = 20
FLOWS = 400
"""Ports that are sent from, so flows that change with every update."""


class Pair:
    """An analyzer that can be killed and started again, and an agent."""

    def __init__(self, folder: Path, buffer_mib: int) -> None:
        self.port, self.agent_port = free_port(), free_port()
        self._folder = folder
        self._settings = folder / "skydive.yml"
        self._settings.write_text(
            "host_id: transport\n"
            f"analyzers: ['127.0.0.1:{self.port}']\n"
            f"analyzer:\n  listen: 127.0.0.1:{self.port}\n"
            f"agent:\n  listen: 127.0.0.1:{self.agent_port}\n"
            f"  flow:\n    buffer_mib: {buffer_mib}\n"
            "flow:\n  update: 1\n",
            encoding="utf-8",
        )
        self._log = (folder / "log").open("w+", encoding="utf-8")
        self.analyzer = self.start("analyzer")
        self.agent = self.start("agent")

    def start(self, part: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [COMMAND, "--conf", self._settings, part],
            stdout=self._log,
            stderr=self._log,
            env=os.environ | {"SKYDIVE_DATA_DIR": str(self._folder / "data")},
        )

    def log(self) -> str:
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def flows(self, port: int) -> dict[str, Any]:
        """What the status of a process says of flows; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status", timeout=5) as answer:
                flows: dict[str, Any] = json.load(answer)["Flows"]
                return flows
        except OSError:
            return {}

    def client(self, *arguments: str) -> str:
        done = subprocess.run(
            [COMMAND, "client", "--analyzer", f"127.0.0.1:{self.port}", *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout

    def close(self) -> None:
        for process in (self.agent, self.analyzer):
            process.send_signal(signal.SIGINT)
        for process in (self.agent, self.analyzer):
            try:
                process.wait(15)
            finally:
                process.kill()
        self._log.close()


@contextmanager
def pair(buffer_mib: int) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="skydive-transport-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = Pair(folder, buffer_mib)
        try:
            yield made
        finally:
            made.close()


def eventually(condition: Callable[[], Any], pair: Pair, limit_s: float = 30) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            both = pair.flows(pair.agent_port), pair.flows(pair.port)
            pytest.fail(f"not within {limit_s} s: {both}\n{pair.log()}")
        time.sleep(0.1)


class Traffic(threading.Thread):
    """UDP from many ports to one, some 2,000 packets a second, until told to stop."""

    def __init__(self, space: Namespace, flows: int) -> None:
        super().__init__(name="traffic")
        self._senders = [
            open_socket(space, socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)
        ]
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            for sender in self._senders:
                sender.sendto(b"x" * 20, ("10.77.0.2", 9))
            self._ended.wait(0.2)

    def end(self) -> None:
        self._ended.set()
        self.join()
        for sender in self._senders:
            sender.close()


@contextmanager
def captured_traffic(pair: Pair, flows: int) -> Iterator[Traffic]:
    """A namespace with traffic in it, its interface captured."""
    with Lab("flowway") as lab:
        a, b = lab.netns("a"), lab.netns("b")
        lab.veth((a, "eth0"), (b, "tap0"))
        lab.address(a, "eth0", "10.77.0.1/24")
        lab.address(b, "tap0", "10.77.0.2/24")
        tap = f"G.V().Has('Type', 'netns', 'Name', '{b.full}').Out('Name', 'tap0')"
        eventually(lambda: pair.flows(pair.port).get("Agents"), pair)
        eventually(lambda: len(json.loads(pair.client("query", tap))) == 1, pair)
        pair.client("capture", "create", "--gremlin", tap, "--bpf", "udp and dst port 9")
        active = f"{tap}.Has('Captures.State', 'active')"
        eventually(lambda: len(json.loads(pair.client("query", active))) == 1, pair)
        traffic = Traffic(a, flows)
        traffic.start()
        try:
            yield traffic
        finally:
            traffic.end()


def kill_and_start_again(pair: Pair, traffic: Traffic) -> tuple[dict[str, Any], dict[str, Any]]:
    """Kill the analyzer under traffic, and start it after a while; what agent and analyzer say
    once everything has arrived. What was received before the kill counts as received."""
    eventually(lambda: pair.flows(pair.agent_port).get("Acknowledged", 0) > 2 * FLOWS, pair)
    pair.analyzer.kill()
    pair.analyzer.wait()
    # Acknowledged is what the killed one took and said so.
    eventually(lambda: "away" in pair.flows(pair.agent_port)["Analyzers"].values(), pair)
    before = pair.flows(pair.agent_port)["Acknowledged"]
    time.sleep(OUTAGE_S)
    assert pair.flows(pair.agent_port)["Acknowledged"] == before
    pair.analyzer = pair.start("analyzer")
    eventually(lambda: pair.flows(pair.port).get("Received", 0) > 0, pair)
    traffic.end()

    def settled() -> bool:
        first = pair.flows(pair.agent_port)
        time.sleep(2.5)
        again = pair.flows(pair.agent_port)
        return bool(first["Waiting"] == 0 and first["Taken"] == again["Taken"])

    eventually(settled, pair, limit_s=60)
    analyzer = pair.flows(pair.port)
    analyzer["Received"] += before
    return pair.flows(pair.agent_port), analyzer


def test_an_analyzer_that_is_killed_under_traffic_misses_nothing() -> None:
    """That is what the buffer is for: 20 s of 400 changing flows are a few megabytes."""
    with pair(buffer_mib=32) as running, captured_traffic(running, FLOWS) as traffic:
        agent, analyzer = kill_and_start_again(running, traffic)
        assert agent["Lost"] == 0
        assert agent["Taken"] == agent["Acknowledged"]
        # A batch that was taken by the killed one, which could not say so, would be received once
        # more than taken, and not less.
        assert analyzer["Received"] == agent["Taken"]
        assert agent["Taken"] > FLOWS * OUTAGE_S
        assert "Traceback" not in running.log()


def test_what_does_not_fit_into_the_buffer_is_counted_exactly() -> None:
    """Sent = received + lost, to the last flow."""
    with pair(buffer_mib=1) as running, captured_traffic(running, FLOWS) as traffic:
        agent, analyzer = kill_and_start_again(running, traffic)
        assert agent["Lost"] > 0
        assert agent["Taken"] == analyzer["Received"] + agent["Lost"]
        assert "Traceback" not in running.log()


async def test_a_follower_of_flows_sees_those_of_a_real_capture() -> None:
    """From the packet to the program that follows, through all parts."""

    def follow(port: int) -> list[dict[str, Any]]:
        async def first() -> list[dict[str, Any]]:
            url = f"ws://127.0.0.1:{port}/ws/subscriber/flow?x-client-type=test"
            async with aiohttp.ClientSession() as session, session.ws_connect(url) as web_socket:
                while True:
                    message = (await web_socket.receive(timeout=20)).json()
                    if message["Namespace"] == "flow":
                        flows: list[dict[str, Any]] = message["Obj"]
                        return flows

        return asyncio.run(first())

    def all_parts() -> list[dict[str, Any]]:
        with pair(buffer_mib=32) as running, captured_traffic(running, 20):
            return follow(running.port)

    flows = await asyncio.to_thread(all_parts)
    assert {flow["Network"]["B"] for flow in flows} == {"10.77.0.2"}
    assert all(flow["LastUpdateMetric"]["ABPackets"] > 0 for flow in flows)
    assert all(flow["CaptureID"] for flow in flows)
