"""After any changes the graph is what a fresh agent sees, and what the kernel itself says."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from skydiver.lab.churn import Churn
from skydiver.lab.lab import Lab, wait_until
from skydiver.lab.running import Running, descendants

pytestmark = pytest.mark.root

SECONDS = float(os.environ.get("CHURN_SECONDS", "15"))
RATE = 200
SETTLED_S = 15.0
MOST_THREADS = 8
"""A few that the standard library keeps for its own use."""
# Of one agent's own life, or of the moment.
OWN = {"Agent", "LastUpdateMetric", "Metric", "TID", "Clock"}
FLAGS = {
    "UP": "UP",
    "BROADCAST": "BROADCAST",
    "LOOPBACK": "LOOPBACK",
    "POINTOPOINT": "POINTTOPOINT",
    "MULTICAST": "MULTICAST",
}


@pytest.mark.xfail(
    reason="about one run in six still ends with a difference that is not understood", strict=False
)
def test_after_churn_the_graph_equals_that_of_a_fresh_agent_and_the_kernel() -> None:
    """Adding, moving, renaming, enslaving, flapping and killing, at 200 changes a second."""
    with Lab("churn") as lab, Running() as running:
        churn = Churn(lab, seed=int.from_bytes(os.urandom(4)))
        running.seconds_until(lambda r: len(r.query("G.V().Has('Type', 'netns')")) > 0)
        (agent, *_) = running.pids_of("agent")
        wait_until(lambda: sends_flows(running), "connected", timeout_s=SETTLED_S)
        before = descriptors(agent)
        churn.run(seconds=SECONDS, rate=RATE)
        with Running() as fresh:
            fresh.seconds_until(lambda r: len(r.query("G.V().Has('Type', 'netns')")) > 0)
            settle(lambda: different(content(running), content(fresh)))
        settle(lambda: different(in_kernel(lab), in_graph(lab, running)))
        left = f"G.V().Has('Name', Regex('{lab.prefix}.*')).Count()"
        lab.close()
        wait_until(lambda: running.query(left) == 0, "all gone", timeout_s=SETTLED_S)
        with suppress(TimeoutError):
            wait_until(lambda: descriptors(agent) <= before, "as before", timeout_s=SETTLED_S)
        assert descriptors(agent) <= before
        assert threads(agent) <= MOST_THREADS


def settle(differences: Any) -> None:
    """Fail with what still differs after a while."""
    try:
        wait_until(lambda: not differences(), "the same", timeout_s=SETTLED_S, every_s=0.5)
    except TimeoutError:
        assert differences() == {}


def sends_flows(running: Running) -> bool:
    """Whether the agent has the last of its connections."""
    url = f"http://127.0.0.1:{running.agent_port}/api/status"
    with urllib.request.urlopen(url, timeout=5) as answer:
        ways = json.load(answer)["Flows"]["Analyzers"].values()
    return bool(ways) and "away" not in ways


def descriptors(pid: int) -> int:
    """How many descriptors the agent and its broker hold."""
    return sum(
        len(list(Path(f"/proc/{number}/fd").iterdir())) for number in (pid, *descendants(pid))
    )


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def content(running: Running) -> dict[str, Any]:
    """Nodes by identifier and edges by their ends, without what is of the moment."""
    (graph,) = running.query("G")
    nodes = {
        node["ID"]: {k: in_order(v) for k, v in node["Metadata"].items() if k not in OWN}
        for node in graph["Nodes"]
    }
    edges = {
        f"{edge['Parent']} {edge['Child']} {edge['Metadata']['RelationType']}": edge["Metadata"]
        for edge in graph["Edges"]
    }
    return nodes | edges


def in_order(value: Any) -> Any:
    """Lists in one order: that of the kernel's dumps and that of its events are not the same."""
    return sorted(value, key=json.dumps) if isinstance(value, list) else value


def different(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What only one of the two has, or has otherwise."""
    found: dict[str, Any] = {}
    for key in one.keys() | other.keys():
        a, b = one.get(key), other.get(key)
        if a is None or b is None:
            found[key] = (a, b)
        elif a != b:
            found[key] = {
                name: (a.get(name), b.get(name))
                for name in a.keys() | b.keys()
                if a.get(name) != b.get(name)
            }
    return found


def in_kernel(lab: Lab) -> dict[str, Any]:
    """The interfaces in the lab's namespaces, as `ip` tells them."""
    found = {}
    for path in Path("/run/netns").glob(f"{lab.prefix}-*"):
        done = subprocess.run(
            ["ip", "-n", path.name, "-j", "addr"], capture_output=True, text=True, check=False
        )
        for link in json.loads(done.stdout or "[]"):
            addresses = {
                family: sorted(
                    f"{address['local']}/{address['prefixlen']}"
                    for address in link["addr_info"]
                    if address["family"] == family
                )
                for family in ("inet", "inet6")
            }
            found[f"{path.name} {link['ifindex']}"] = {
                "Name": link["ifname"],
                "MTU": link["mtu"],
                "MAC": "" if link["address"] == "00:00:00:00:00:00" else link["address"],
                "State": link["operstate"].replace("LOWERLAYERDOWN", "LOWER-LAYER-DOWN"),
                "LinkFlags": sorted(FLAGS[flag] for flag in link["flags"] if flag in FLAGS),
                "Master": link.get("master", ""),
                "IPV4": addresses["inet"],
                "IPV6": addresses["inet6"],
            }
    return found


def in_graph(lab: Lab, running: Running) -> dict[str, Any]:
    """The same of the graph."""
    (graph,) = running.query("G")
    nodes = {node["ID"]: node["Metadata"] for node in graph["Nodes"]}
    found = {}
    for edge in graph["Edges"]:
        parent, child = nodes[edge["Parent"]], nodes[edge["Child"]]
        if edge["Metadata"]["RelationType"] != "ownership" or parent["Type"] != "netns":
            continue
        if not parent["Name"].startswith(f"{lab.prefix}-"):
            continue
        masters = {
            node["IfIndex"]: node["Name"]
            for other in graph["Edges"]
            if other["Parent"] == edge["Parent"] and "IfIndex" in (node := nodes[other["Child"]])
        }
        found[f"{parent['Name']} {child['IfIndex']}"] = {
            "Name": child["Name"],
            "MTU": child["MTU"],
            "MAC": child.get("MAC", ""),
            "State": child["State"],
            "LinkFlags": sorted(child["LinkFlags"]),
            "Master": masters.get(child.get("MasterIndex", 0), ""),
            "IPV4": sorted(child.get("IPV4", ())),
            "IPV6": sorted(child.get("IPV6", ())),
        }
    return found
