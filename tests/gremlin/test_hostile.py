"""Whatever is asked of whatever graph, the answer is a result or one clear line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skydiver.base.errors import QueryError
from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.graph import Edge, Node
from skydiver.gremlin import Environment, parse
from skydiver.gremlin.registry import UNAVAILABLE, steps
from skydiver.gremlin.subgraph import SubGraph

# Imported before the first example, which would otherwise be too slow.
NAMES = [*(entry.name for entry in steps().values()), *UNAVAILABLE, "Foo"]

KEYS = ["Name", "@ID", "@DeletedAt", "a.b", "L.k", "Metadata.Name", "Parent", "Transport", "Metric"]
VALUES = st.one_of(
    st.sampled_from([f"'{key}'" for key in KEYS]),
    st.sampled_from(["'10.0.0.1'", "'80'", "''", "'^a|b$'", "'(?i)x'", "'10.0.0.0/8'", "'-5m'"]),
    st.integers(-3, 2**70).map(str),
    st.sampled_from(["1.5", "true", "FALSE", "ASC", "DESC", "NOW", "FOREVER", ",", "foo"]),
    st.sampled_from(["Within('a',1,true)", "Ne('x')", "Nee(true)", "Gt(1)", "Inside(1,5)"]),
    st.sampled_from(["Regex('e.*')", "Regex('(')", "Ipv4Range('10.0.0.0/8')", "Without()"]),
    st.sampled_from(["Metadata('Name','eth0')", "Metadata('a')", "Metadata()"]),
)
STEPS = st.builds(
    lambda name, values: f".{name}({','.join(values)})" if name != "G" else ".G",
    st.sampled_from(NAMES),
    st.lists(VALUES, max_size=3),
)
QUERIES = st.builds(
    lambda root, parts: "".join([root, *parts]),
    st.sampled_from(["G", "G.V()", "G.E()", "G.Flows()", "G.V().Values('L')"]),
    st.lists(STEPS, max_size=4),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
NAMES_OF_METADATA = [
    *("Name", "Type", "TID", "MAC", "Sockets", "RoutingTables", "Neighbors", "LastUpdateMetric"),
    *("SFlow", "a", "L"),
]
MEMBERS = ["Routes", "Prefix", "NextHops", "IP", "LocalAddress", "LocalPort", "k"]
METADATA = st.dictionaries(
    st.sampled_from(NAMES_OF_METADATA),
    JSON | st.lists(st.dictionaries(st.sampled_from(MEMBERS), JSON), max_size=2),
)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_query_or_an_error(text: str) -> None:
    """Queries come from anybody who can reach the port."""
    with suppress(QueryError):
        parse(text)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(QUERIES)
async def test_any_chain_of_steps_has_an_answer_or_an_error(
    environment: Environment, text: str
) -> None:
    """A step must bear every result that it accepts."""
    with suppress(QueryError):
        result = await parse(text).run(environment)
        assert result.to_json()


@pytest.mark.parametrize(
    "query",
    [
        "G.V().Keys()",
        "G.V().Dedup('a','L','Name')",
        "G.V().Sort('a').ValueMap('a','L.k')",
        "G.V().Values('a').Dedup()",
        "G.V().Values('L').Has('k')",
        "G.V().Sum('a')",
        "G.V().Metrics().Sum()",
        "G.V().Metrics('SFlow').Aggregates(1000)",
        "G.V().Sockets().Has('LocalPort',1)",
        "G.Flows().Sockets()",
        "G.V().NextHop('10.0.0.1')",
        "G.V().Flows().Hops()",
        "G.V().Descendants(0)",
        "G.V().ShortestPathTo(Metadata('a',1))",
        "G.V().SubGraph()",
    ],
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(METADATA, min_size=1, max_size=3))
async def test_any_metadata_has_an_answer_or_an_error(
    environment: Environment, query: str, metadata: list[dict[str, object]]
) -> None:
    """Metadata comes from publishers, which may state anything."""
    origin = Origin("publisher.x")
    nodes = [Node(NodeID(str(i)), m, "h", origin, 1, 1) for i, m in enumerate(metadata)]
    edges = [
        Edge(EdgeID(str(i)), nodes[0].id, node.id, {"RelationType": i}, "h", origin, 1, 1)
        for i, node in enumerate(nodes)
    ]
    graph = Environment(SubGraph(nodes, edges), environment.flows)
    with suppress(QueryError):
        result = await parse(query).run(graph)
        assert result.to_json()
