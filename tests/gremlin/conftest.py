"""The graph and the flows that the conformance tables were made with (gremlin.md, appendix A.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.filters import And, Eq, Filter, Or
from skydiver.flow import Flow, FlowAnswer, FlowSearch, RawPacket
from skydiver.flow.flow_set import merge, select
from skydiver.graph import Edge, Graph, GraphView, Node
from skydiver.gremlin import Environment, Period

DATA = Path(__file__).parent.parent / "data" / "gremlin"


PACKETS = {"f1": [RawPacket(12, 0, b"hello", 1), RawPacket(13, 1, b"bye", 1)]}


@dataclass(frozen=True)
class Tables:
    """Flow tables in memory, asked and merged as those of agents are."""

    tables: Sequence[Sequence[Flow]]
    silent: tuple[str, ...] = ()
    """Hosts that do not answer."""

    async def search(
        self, search: FlowSearch, *, tids_by_host: Mapping[str, Sequence[str]] | None = None
    ) -> FlowAnswer:
        where = search.where
        if tids_by_host is not None:
            tids = tuple(tid for tids in tids_by_host.values() for tid in tids)
            captured: Filter = Or(tuple(Eq("NodeTID", tid) for tid in tids))
            where = captured if where is None else And((captured, where))
        asked = FlowSearch(
            where,
            sort=search.sort,
            sort_by=search.sort_by,
            order=search.order,
            dedup=search.dedup,
            dedup_by=search.dedup_by,
            last=search.last,
        )
        answers = [select(table, asked) for table in self.tables]
        return FlowAnswer(merge(answers, search), self.silent, lambda: PACKETS)


def fixture_document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DATA / "fixture.json").read_text())
    return document


def fixture_graph() -> Graph:
    """Four nodes and five edges."""
    document = fixture_document()
    graph = Graph(host="h1", origin=Origin("analyzer.h1"))
    for node_id, metadata in document["nodes"].items():
        graph.add_node(
            Node(
                NodeID(node_id),
                metadata,
                host="h1",
                origin=Origin("agent.h1"),
                created_at_ms=1000,
                updated_at_ms=2000,
            )
        )
    for edge_id, edge in document["edges"].items():
        graph.add_edge(
            Edge(
                EdgeID(edge_id),
                NodeID(edge["Parent"]),
                NodeID(edge["Child"]),
                edge["Metadata"],
                host="h1",
                origin=Origin("analyzer.h1"),
                created_at_ms=1000,
                updated_at_ms=2000,
            )
        )
    return graph


@pytest.fixture
def view() -> GraphView:
    return fixture_graph().view()


@pytest.fixture
def environment(view: GraphView) -> Environment:
    """The fixture now, and the same at any time in the past."""

    async def history(_: Period) -> GraphView:
        return view

    return Environment(view, Tables(fixture_document()["tables"]), history, lambda: 3000)
