"""`skydive client topology`, run as a user runs it."""

import json
from pathlib import Path
from typing import Any

import pytest

from skydiver.base.errors import ConfigError
from skydiver.cli.topology import read_graph

NODE = {"ID": "n1", "Metadata": {"Name": "a", "Type": "host"}, "Host": "h"}
EDGE = {"ID": "e1", "Parent": "n1", "Child": "n1", "Metadata": {}, "Host": "h"}
GRAPH = [{"Nodes": [NODE], "Edges": [EDGE]}]


def test_what_was_exported_can_be_imported(analyzer: Any, skydive: Any, tmp_path: Path) -> None:
    """The way to carry a topology from one analyzer to another."""
    analyzer.answers["G"] = GRAPH
    exported = skydive("client", "topology", "export", "--analyzer", analyzer.address)
    assert json.loads(exported.stdout) == GRAPH
    file = tmp_path / "graph.json"
    file.write_text(exported.stdout)
    analyzer.answers |= {
        "G.V().Has('@ID',Within('n1')).Count()": 1,
        "G.E().Has('@ID',Within('e1')).Count()": 1,
    }
    words = ("client", "topology", "import", "--file", str(file), "--analyzer", analyzer.address)
    done = skydive(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert [(one["Type"], one["Obj"]) for one in analyzer.published] == [
        ("NodeAdded", NODE),
        ("EdgeAdded", EDGE),
    ]


def test_the_older_form_of_the_query_asks_for_everything(analyzer: Any, skydive: Any) -> None:
    """Without --gremlin it means G, as documented."""
    analyzer.answers |= {"G": GRAPH, "G.V()": [NODE]}
    words = ("client", "topology", "query")
    assert json.loads(skydive(*words, SKYDIVE_ANALYZER=analyzer.address).stdout) == GRAPH
    done = skydive(*words, "--gremlin", "G.V()", SKYDIVE_ANALYZER=analyzer.address)
    assert json.loads(done.stdout) == [NODE]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{", "is not JSON"),
        ("[]", "is not an exported graph"),
        ('{"x":1}', "is not an exported graph"),
        ('{"Nodes":5}', "Nodes: expected a list"),
        ('{"Nodes":[{}]}', r"Nodes\[0\]: expected an object with an ID"),
        ('{"Nodes":[],"Edges":["x"]}', r"Edges\[0\]: expected an object with an ID"),
    ],
)
def test_a_file_that_is_no_graph_is_said(tmp_path: Path, content: str | None, said: str) -> None:
    """Nothing is sent of a file that is wrong somewhere."""
    file = tmp_path / "graph.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_graph(file)


@pytest.mark.parametrize("graph", [GRAPH, GRAPH[0], {"Nodes": [NODE], "Edges": None}])
def test_both_forms_of_a_graph_are_read(tmp_path: Path, graph: Any) -> None:
    """The answer to a query, and that of GET /api/topology; null is the original's empty list."""
    file = tmp_path / "graph.json"
    file.write_text(json.dumps(graph))
    assert read_graph(file)[0] == [NODE]
