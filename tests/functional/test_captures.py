"""Captures of interfaces that come and go, with the real agent and analyzer."""

from __future__ import annotations

import json
import os
import random
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from skydiver.lab.lab import Lab
from skydiver.lab.running import Running

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

FLAPS = 50
TAPS = 100


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


def capture(skydive: Running, gremlin: str, bpf: str) -> str:
    created = skydive.client("capture", "create", "--gremlin", gremlin, "--bpf", bpf)
    return str(json.loads(created.stdout)["UUID"])


def descriptors(skydive: Running) -> int:
    """Open files of the agent, its rings among them."""
    return len(os.listdir(f"/proc/{skydive.pids_of('agent')[0]}/fd"))


def threads(skydive: Running) -> int:
    return len(os.listdir(f"/proc/{skydive.pids_of('agent')[0]}/task"))


def at_rest(skydive: Running) -> bool:
    """Nothing is captured, and the threads that a burst made are gone."""
    return captured(skydive)["Running"] == 0 and threads(skydive) <= 8


def captured(skydive: Running) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{skydive.agent_port}/api/status") as answer:
        captures: dict[str, Any] = json.load(answer)["Captures"]
    return captures


def test_a_capture_follows_an_interface_that_comes_back_again_and_again(skydive: Running) -> None:
    """Containers that crash and restart do this; the last one is the one that counts."""
    chance = random.Random(5)
    with Lab("flap") as lab:
        a, b = lab.netns("a"), lab.netns("b")
        tap = f"G.V().Has('Type', 'netns', 'Name', '{b.full}').Out('Name', 'tap0')"

        def plug() -> None:
            lab.veth((a, "eth0"), (b, "tap0"))
            lab.address(a, "eth0", "10.9.0.1/24")
            lab.address(b, "tap0", "10.9.0.2/24")

        def entries() -> list[Any]:
            return [node["Metadata"].get("Captures") for node in skydive.query(tap)]

        def received() -> list[Any]:
            return [entry.get("PacketsReceived") for found in entries() for entry in found or []]

        plug()
        eventually(lambda: len(entries()) == 1, entries)
        open_before = descriptors(skydive)
        uuid = capture(skydive, tap, "icmp")
        eventually(lambda: received() == [0], entries)
        for number in range(FLAPS):
            lab.delete(b, "tap0")
            plug()
            # Some are gone before their capture has started, some after, some while it starts.
            if number % 2:
                time.sleep(chance.uniform(0, 1.5) ** 6 / 8)
        eventually(lambda: received() == [0], entries)
        assert lab.ping(a, "10.9.0.2", count=5) == 5
        eventually(lambda: received() == [10], entries)
        assert [entry["State"] for found in entries() for entry in found] == ["active"]
        assert captured(skydive)["Running"] == 1
        assert captured(skydive)["Errors"] == 0
        # One ring, whatever was before.
        eventually(lambda: descriptors(skydive) <= open_before + 1, lambda: descriptors(skydive))
        skydive.client("capture", "delete", uuid)
        eventually(lambda: entries() == [None], entries)
        eventually(lambda: descriptors(skydive) <= open_before, lambda: descriptors(skydive))
    assert "Traceback" not in skydive.log()


def test_many_interfaces_start_and_go_in_a_few_lines_of_the_log(skydive: Running) -> None:
    """A host full of taps is captured by one expression, and may be emptied at once."""
    with Lab("taps") as lab:
        place = lab.netns("place")
        with lab.batch():
            for number in range(TAPS):
                lab.veth((place, f"tap{number}"), (place, f"end{number}"))
        taps = f"G.V().Has('Type', 'netns', 'Name', '{place.full}').Out('Name', Regex('^tap.*'))"
        eventually(lambda: skydive.query(f"{taps}.Count()") == TAPS, skydive.log)
        open_before, lines_before = descriptors(skydive), len(skydive.log().splitlines())
        uuid = capture(skydive, taps, "udp port 5")
        eventually(lambda: captured(skydive)["Running"] == TAPS, lambda: captured(skydive))
        lab.delete_netns(place)
        eventually(lambda: at_rest(skydive), lambda: (captured(skydive), threads(skydive)))
        eventually(lambda: descriptors(skydive) <= open_before, lambda: descriptors(skydive))
        skydive.client("capture", "delete", uuid)
    said = [line for line in skydive.log().splitlines()[lines_before:] if "capture" in line]
    assert f"{TAPS} interfaces" in "\n".join(said)
    assert len(said) < 10
