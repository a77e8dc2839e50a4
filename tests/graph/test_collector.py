"""Keeping the garbage collector away from the graph."""

from __future__ import annotations

import gc

from skydiver.base.ids import NodeID, Origin
from skydiver.graph import Graph, Node
from skydiver.graph.collector import Collector


def test_what_outlives_many_changes_is_frozen_and_freed_all_the_same(graph: Graph) -> None:
    """The collector must not visit the graph, and the graph must not grow for ever."""
    thresholds = gc.get_threshold()
    frozen = gc.get_freeze_count()
    collector = Collector(graph, changes=50)
    try:
        for i in range(100):
            metadata = {"L": [{"i": i}]}
            graph.add_node(Node(NodeID(f"n{i}"), metadata, "h", Origin("o"), 1, 1))
        assert gc.get_freeze_count() > frozen
        after = gc.get_freeze_count()
        del metadata
        for i in range(40):
            graph.delete_node(NodeID(f"n{i}"))
        assert gc.get_freeze_count() < after
    finally:
        collector.close()
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == 0
