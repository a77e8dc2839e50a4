"""The whole path as a user walks it: a lab, `skydive allinone`, and the command line."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from skydiver.lab import demo
from skydiver.lab.lab import Lab, Namespace
from skydiver.lab.running import Running

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def eventually(condition: Callable[[], Any], what: str, *, limit_s: float = 20) -> Any:
    """The first true answer of `condition`."""
    deadline = time.monotonic() + limit_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {limit_s} s: {what}")
        time.sleep(0.1)


def of_lab(lab: Lab, steps: str) -> str:
    """A query from the lab's namespaces on; the host may have others."""
    return f"G.V().Has('Type', 'netns', 'Name', Regex('{lab.prefix}-.*')).{steps}"


@pytest.fixture(scope="module")
def skydive() -> Iterator[Running]:
    with Running() as running:
        running.seconds_until(lambda r: bool(r.query("G.V().Has('Type', 'host')")))
        yield running


@pytest.fixture(scope="module")
def lab(skydive: Running) -> Iterator[tuple[Lab, dict[str, Namespace]]]:
    with Lab("spine") as lab:
        at = demo.build(lab)
        lab.http_server(at["web"], demo.WEB)
        count = f"G.V().Has('Type', 'netns', 'Name', Regex('{lab.prefix}-.*')).Count()"
        eventually(lambda: skydive.query(count) == len(at), "every namespace of the lab")
        eventually(
            lambda: (
                skydive.query(
                    f"G.V().Has('Name', '{at['switch'].full}').Out('Name', 'br0')"
                    ".Out('Name', Regex('tap-.*')).Count()"
                )
                == 4
            ),
            "the ports of the bridge",
        )
        yield lab, at


def test_documented_queries_answer_on_a_real_host(
    skydive: Running, lab: tuple[Lab, dict[str, Namespace]]
) -> None:
    """These lines stand in documentation all over the web; a user pastes them first."""
    names = {
        node["Metadata"]["Name"]
        for node in json.loads(skydive.client("query", "G.V().Has('Type','netns')").stdout)
    }
    assert {namespace.full for namespace in lab[1].values()} <= names
    ports = json.loads(
        skydive.client("topology", "query", "--gremlin", "G.V().Has('Name','br0').Out()").stdout
    )
    expected = {"tap-web", "tap-desk", "tap-router", "tap-nat"}
    assert expected <= {port["Metadata"]["Name"] for port in ports}
    status = json.loads(skydive.client("status").stdout)
    assert status["Agents"]["lab"]["IsConnected"] is True


def test_a_request_is_followed_over_bridge_and_router(
    skydive: Running, lab: tuple[Lab, dict[str, Namespace]]
) -> None:
    """The reason why people install this: where did my connection go?"""
    network, at = lab
    created = json.loads(
        skydive.client(
            "capture",
            "create",
            "--gremlin",
            of_lab(network, "Out('Name', Regex('^tap.*|eth1'))"),
            "--layer-key-mode",
            "L3",
        ).stdout
    )
    try:
        eventually(
            lambda: skydive.query(f"G.V().Has('Captures.ID', '{created['UUID']}').Count()") >= 5,
            "captures on the ports and on the router",
        )
        network.http_get(at["branch"], f"http://{demo.WEB}/")
        find = f"G.Flows().Has('Network','{demo.WEB}','Transport','80')"
        seen = eventually(
            lambda: (
                {"tap-web", "tap-router", "eth1"}
                <= {n["Metadata"]["Name"] for n in skydive.query(f"{find}.Nodes().Dedup()")}
            ),
            "the flow on the web's port, the router's port and the router",
        )
        assert seen
        flow = json.loads(skydive.client("query", f"{find}.Limit(1)").stdout)[0]
        names = {
            node["Metadata"]["Name"]
            for node in json.loads(
                skydive.client(
                    "query",
                    f"G.Flows().Has('L3TrackingID','{flow['L3TrackingID']}').CaptureNode()",
                ).stdout
            )
        }
        assert {"tap-web", "tap-router", "eth1"} <= names
        assert "tap-desk" not in names
        listed = json.loads(skydive.client("capture", "list").stdout)
        assert created["UUID"] in listed
    finally:
        skydive.client("capture", "delete", created["UUID"])
    eventually(
        lambda: skydive.query(f"G.V().Has('Captures.ID', '{created['UUID']}').Count()") == 0,
        "no capture left on any node",
    )


def test_a_request_is_followed_into_the_tunnel(
    skydive: Running, lab: tuple[Lab, dict[str, Namespace]]
) -> None:
    """The inner conversation keeps its identity; its parent is the flow of the tunnel."""
    network, at = lab
    created = json.loads(
        skydive.client(
            "capture",
            "create",
            "--gremlin",
            of_lab(network, "Out('Name', 'wan')"),
            "--layer-key-mode",
            "L3",
        ).stdout
    )
    try:
        eventually(
            lambda: skydive.query(f"G.V().Has('Captures.ID', '{created['UUID']}').Count()") == 2,
            "captures on both ends of the tunnel's cable",
        )
        network.http_get(at["guest"], f"http://{demo.WEB}/")
        inner = eventually(
            lambda: skydive.query(f"G.Flows().Has('Network','{demo.WEB}','Transport',80)"),
            "the inner flow",
        )[0]
        outer = skydive.query(f"G.Flows().Has('UUID', '{inner['ParentUUID']}')")
        assert [flow["LayersPath"] for flow in outer] == ["Ethernet/IPv4/UDP/VXLAN"]
        assert outer[0]["Network"]["ID"] == 42
    finally:
        skydive.client("capture", "delete", created["UUID"])


def test_a_dying_namespace_takes_its_interfaces_with_it(skydive: Running) -> None:
    """An observer that kept the namespace alive would keep its cable in the host's way."""
    name = f"dy{os.getpid() % 100000}"
    holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    created: dict[str, Any] = {}
    try:
        eventually(
            lambda: (
                os.stat(f"/proc/{holder.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
            ),
            "a namespace of its own",
        )
        subprocess.run(
            ["ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b",
             "netns", str(holder.pid)],
            check=True,
        )  # fmt: skip
        for command in (
            ["ip", "link", "set", f"{name}a", "up"],
            ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "ip", "link", "set", f"{name}b", "up"],
        ):
            subprocess.run(command, check=True)
        created = json.loads(
            skydive.client(
                "capture", "create", "--gremlin", f"G.V().Has('Name', Regex('{name}.'))"
            ).stdout
        )
        eventually(
            lambda: skydive.query(f"G.V().Has('Captures.State', 'active', 'Name', '{name}b')"),
            "a capture inside the namespace",
        )
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        eventually(lambda: not os.path.exists(f"/sys/class/net/{name}a"), "gone", limit_s=1)
        eventually(lambda: not skydive.query(f"G.V().Has('Name', Regex('{name}.'))"), "no node")
    finally:
        holder.kill()
        holder.wait()
        subprocess.run(["ip", "link", "del", f"{name}a"], check=False, capture_output=True)
        if created:
            skydive.client("capture", "delete", created["UUID"], check=False)


def elements(running: Running, port: int) -> dict[str, Any]:
    """Everything that the agent owns, as the program at `port` sees it, but for the counters."""
    graph = running.query("G", port=port)[0]
    found: dict[str, Any] = {}
    for element in [*graph["Nodes"], *graph["Edges"]]:
        if element["Origin"] == "agent.lab":
            metadata = dict(element["Metadata"])
            for moving in ("Metric", "LastUpdateMetric", "Captures"):
                metadata.pop(moving, None)
            found[element["ID"]] = (metadata, element.get("Parent"), element.get("Child"))
    return found


@pytest.mark.parametrize("victim", ["agent", "analyzer"])
def test_both_graphs_are_equal_again_after_a_kill(victim: str) -> None:
    """A crash must not leave anything stale or missing, whenever it comes."""
    with Running() as running, Lab("kill") as lab:
        running.seconds_until(lambda r: bool(r.query("G.V().Has('Type', 'host')")))
        choose = random.Random(victim)
        for round_number in range(4):
            pid = running.pids_of(victim)[0]
            with lab.batch():
                for number in range(20):
                    lab.netns(f"{round_number}x{number}")
            time.sleep(choose.uniform(0, 0.5))
            os.kill(pid, signal.SIGKILL)
            with lab.batch():
                for number in range(20, 30):
                    lab.netns(f"{round_number}x{number}")

            def equal(wanted: int = 30 * (round_number + 1)) -> bool:
                try:
                    there = elements(running, running.port)
                    here = elements(running, running.agent_port)
                except OSError:
                    return False
                names = [m.get("Name", "") for m, _, _ in there.values()]
                found = sum(name.startswith(f"{lab.prefix}-") for name in names)
                return here == there and found == wanted

            eventually(equal, f"equal graphs after a kill of the {victim}", limit_s=15)
