"""`skydive client routes`, run as a user runs it."""

import json
from typing import Any

ROUTES = [
    {
        "Protocol": 4,
        "Prefix": f"10.{n}.0.0/16",
        "Table": 254,
        "NextHops": [{"Priority": 100, "IP": "10.0.0.9", "IfIndex": 2}],
    }
    for n in range(3)
]


def test_routes_are_asked_for_by_id_or_query(analyzer: Any, skydive: Any) -> None:
    """A query must find one node, because one agent answers."""
    analyzer.routes = {"a b": ROUTES}
    analyzer.answers = {"G.V().Has('Name','x')": [{"ID": "a b", "Metadata": {}}], "G.V()": []}
    common = ("client", "routes", "--analyzer", analyzer.address)
    assert json.loads(skydive(*common, "a b").stdout) == ROUTES
    done = skydive(*common, "G.V().Has('Name','x')", "--limit", "2", "--lookup", "10.0.0.1")
    assert json.loads(done.stdout) == ROUTES[:2]
    assert analyzer.asked[-1] == {"lookup": "10.0.0.1", "limit": "2", "offset": "0"}
    refused = skydive(*common, "G.V()")
    assert refused.returncode != 0
    assert "finds 0 nodes, expected one" in refused.stderr


def test_a_table_has_a_line_for_each_hop(analyzer: Any, skydive: Any) -> None:
    """With the words of `ip`, and what is not shown."""
    analyzer.routes = {"n": ROUTES}
    words = ("n", "--limit", "1", "--format", "table", "--analyzer", analyzer.address)
    lines = skydive("client", "routes", *words).stdout.splitlines()
    assert lines[1].split() == ["main", "10.0.0.0/16", "10.0.0.9", "2", "100", "static"]
    assert lines[-1] == "of 3 in all: --limit 0 shows them"
