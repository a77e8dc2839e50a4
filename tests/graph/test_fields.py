"""Fields of elements by name."""

from __future__ import annotations

from typing import Any

import pytest

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.filters import MISSING, Eq, compile_filter
from skydiver.graph import Edge, Node
from skydiver.graph.fields import OWN_KEYS, edge_reader, get_path, node_keys, node_reader

NODE = Node(
    NodeID("n"),
    {
        "Name": "eth0",
        "Null": None,
        "Nested": {"a": {"b": "c"}},
        "L": [{"k": "v1"}, {"k": "v2"}, "text"],
        "RoutingTables": [{"ID": 254, "Routes": [{"Prefix": "10.1.0.0/16"}, {"Prefix": "::/0"}]}],
        "LastUpdateMetric": {"RxBytes": 10},
        "Ovs": {"Metric": {"TxBytes": 1}},
        "Metric": "nonsense",
        "ID": "metadata",
    },
    host="h1",
    origin=Origin("agent.h1"),
    created_at_ms=1,
    updated_at_ms=2,
    revision=3,
)
EDGE = Edge(
    EdgeID("e"),
    NodeID("p"),
    NodeID("c"),
    {"RelationType": "layer2", "Tags": ["x", "y"]},
    host="h1",
    origin=Origin("agent.h1"),
    created_at_ms=1,
    updated_at_ms=2,
)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("@ID", "n"),
        ("@Host", "h1"),
        ("@Origin", "agent.h1"),
        ("@CreatedAt", 1),
        ("@UpdatedAt", 2),
        ("@DeletedAt", 0),
        ("@Revision", 3),
        ("ID", "metadata"),
        ("Host", MISSING),
        ("Name", "eth0"),
        ("Metadata.Name", "eth0"),
        ("Metadata.Metadata.Name", MISSING),
        ("Null", None),
        ("Nested.a.b", "c"),
        ("Metadata.Nested.a", {"b": "c"}),
        ("Nested.a.b.c", MISSING),
        ("Nested.x", MISSING),
        ("Name.x", MISSING),
        ("L.k", ["v1", "v2"]),
        ("L.nope", []),
        ("RoutingTables.Routes.Prefix", [["10.1.0.0/16", "::/0"]]),
        ("LastUpdateMetric.RxBytes", 10),
        ("LastUpdateMetric.TxBytes", 0),
        ("LastUpdateMetric.Nope", MISSING),
        ("Ovs.Metric.TxBytes", 1),
        ("Ovs.Metric.RxBytes", 0),
        ("Ovs.LastUpdateMetric.RxBytes", MISSING),
        ("SFlow.Metric.IfInOctets", MISSING),
        ("Metric.RxBytes", MISSING),
        ("", MISSING),
    ],
)
def test_fields_of_a_node(key: str, value: Any) -> None:
    """Paths as gremlin.md §§5.1-5.2 resolves them, implied zeros included."""
    assert node_reader(NODE)(key) == value


def test_a_path_through_lists_matches_any_member() -> None:
    """However deep the lists are nested."""
    matches = compile_filter(Eq("RoutingTables.Routes.Prefix", "::/0"))
    assert matches(node_reader(NODE))


@pytest.mark.parametrize(
    ("key", "value"),
    [("Parent", "p"), ("Child", "c"), ("@ID", "e"), ("RelationType", "layer2"), ("nope", MISSING)],
)
def test_fields_of_an_edge(key: str, value: Any) -> None:
    """Its ends are fields too."""
    assert edge_reader(EDGE)(key) == value


def test_lists_of_an_edge_match_too() -> None:
    """Upstream they never did (gremlin.md §15, Q30)."""
    assert compile_filter(Eq("Tags", "y"))(edge_reader(EDGE))


def test_get_path_is_what_a_reader_reads() -> None:
    """Two ways to the same value."""
    assert get_path(NODE.metadata, "L.k") == ["v1", "v2"]
    assert get_path(NODE.metadata, "LastUpdateMetric.TxBytes") == 0


def test_keys_are_all_paths_above_lists() -> None:
    """With the counters that their object leaves out (gremlin.md §5.2)."""
    keys = list(node_keys(NODE))
    assert keys[: len(OWN_KEYS)] == list(OWN_KEYS)
    assert {"Name", "Nested", "Nested.a", "Nested.a.b", "L", "LastUpdateMetric.TxBytes"} < set(keys)
    assert "L.k" not in keys
    assert len(keys) == len(set(keys))
