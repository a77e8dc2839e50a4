"""The client commands against `skydive analyzer` as a user starts it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NODES = [
    {"ID": "host", "Metadata": {"Name": "h1", "Type": "host", "TID": "t-host"}, "Host": "h1"},
    {"ID": "ns", "Host": "h1",
     "Metadata": {"Name": "web", "Type": "netns", "TID": "t-ns", "Path": "/run/netns/web"}},
    {"ID": "eth", "Host": "h1",
     "Metadata": {"Name": "tap0", "Type": "veth", "TID": "t-eth", "IPV4": ["10.0.0.18/24"]}},
]  # fmt: skip
EDGES = [
    {"ID": "e1", "Parent": "host", "Child": "ns", "Metadata": {"RelationType": "ownership"},
     "Host": "h1"},
    {"ID": "e2", "Parent": "ns", "Child": "eth", "Metadata": {"RelationType": "ownership"},
     "Host": "h1"},
]  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real analyzer with its objects in a folder of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    settings = tmp_path_factory.mktemp("analyzer") / "skydive.yml"
    settings.write_text(f"data_dir: {settings.parent / 'data'}\n")
    words = ["-c", str(settings), "analyzer", "--listen", address]
    process = subprocess.Popen(
        [sys.executable, "-m", "skydiver.cli", *words, "--analyzer-uid", str(os.getuid())],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                pytest.fail(f"no analyzer: {process.communicate()[1]}")
            time.sleep(0.05)
    yield address
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=15)
    assert process.returncode == 0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "graph.json"
    path.write_text(json.dumps([{"Nodes": NODES, "Edges": EDGES}]))
    return path


@pytest.fixture
def client(address: str, file: Path, skydive: Any) -> Any:
    """`skydive client` of that analyzer, after the import of a small graph."""

    def run(*words: str) -> Any:
        return skydive("client", *words, SKYDIVE_ANALYZER=address)

    done = run("topology", "import", "--file", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    return run


def test_an_imported_graph_can_be_exported_again(client: Any) -> None:
    """Nothing is lost on the way, and the analyzer says who stated it."""
    graph = json.loads(client("topology", "export").stdout)[0]
    assert {node["ID"]: node["Metadata"] for node in graph["Nodes"]} == {
        node["ID"]: node["Metadata"] for node in NODES
    }
    assert {edge["ID"] for edge in graph["Edges"]} == {"e1", "e2"}
    assert {node["Origin"] for node in graph["Nodes"]} == {f"CLI.{socket.gethostname()}"}


def test_elements_that_the_analyzer_drops_are_said(client: Any, tmp_path: Path) -> None:
    """It does not answer a publisher, so an import must look for itself."""
    path = tmp_path / "bad.json"
    nameless = {"ID": "nameless", "Metadata": {"Type": "host"}, "Host": "h1"}
    path.write_text(json.dumps([{"Nodes": [*NODES, nameless], "Edges": EDGES}]))
    done = client("topology", "import", "--file", str(path))
    assert done.returncode == 1
    assert "took 3 of 4 nodes and 2 of 2 edges" in done.stderr


def test_a_table_names_the_namespace_of_an_interface(client: Any) -> None:
    """The queries for names are understood by the real parser."""
    shown = client("query", "G.V().Has('Type','veth')", "--format", "table").stdout
    assert shown.splitlines()[1].split() == ["tap0", "veth", "web", "10.0.0.18/24", "h1", "t-eth"]
    path = client(
        "query", "G.V('eth').ShortestPathTo(Metadata('Type','host'))", "--format", "table"
    )
    assert path.stdout.splitlines()[0] == "web/tap0 → h1/web → h1"
    edges = client("query", "G.E()", "--format", "table").stdout
    assert ["ownership", "web", "tap0"] in [line.split()[:3] for line in edges.splitlines()]


def test_a_graph_is_drawn(client: Any) -> None:
    """For Graphviz; what is not a graph is refused in one line."""
    assert client("query", "G", "--format", "dot").stdout.startswith("digraph")
    done = client("query", "G.V()", "--format", "dot")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_a_wrong_query_names_its_column(client: Any) -> None:
    """One line, with the position that the parser found."""
    done = client("query", "G.V().Has('Name'")
    assert (done.returncode, done.stdout) == (1, "")
    assert "column" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_life_of_a_capture(client: Any) -> None:
    """Created, listed, shown, refused twice, ended, gone."""
    taps = "G.V().Has('Name', Regex('^tap.*'))"
    words = ("capture", "create", "--gremlin", taps, "--layer-key-mode", "L3", "--bpf", "port 80")
    made = json.loads(client(*words).stdout)
    assert (made["GremlinQuery"], made["LayerKeyMode"]) == (taps, "L3")
    again = client(*words)
    assert (again.returncode, "duplicate" in again.stderr) == (1, True)
    assert json.loads(client("capture", "get", made["UUID"]).stdout)["BPFFilter"] == "port 80"
    assert list(json.loads(client("capture", "list").stdout)) == [made["UUID"]]
    table = client("capture", "list", "--format", "table").stdout
    assert made["UUID"] in table
    assert client("capture", "delete", made["UUID"]).returncode == 0
    gone = client("capture", "get", made["UUID"])
    assert gone.stderr == f"skydive: capture {made['UUID']}: Capture '{made['UUID']}' not found\n"
    wrong = client("capture", "create", "--gremlin", taps, "--bpf", "no such filter")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)


def test_the_status_is_that_of_an_analyzer(client: Any) -> None:
    """Nobody is connected; a table says the same."""
    status = json.loads(client("status").stdout)
    assert (status["Agents"], status["Captures"]) == ({}, {"IsMaster": True})
    assert "Agents: none" in client("status", "--format", "table").stdout
