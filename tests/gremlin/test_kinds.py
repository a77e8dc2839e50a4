"""Results as JSON and as what other parts ask of them (gremlin.md §13)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from skydiver.base.errors import QueryError
from skydiver.gremlin import Environment, parse
from skydiver.gremlin import kinds as kinds_module
from skydiver.gremlin.kinds import Value, bounded
from skydiver.gremlin.scope import Scope


async def answer(query: str, environment: Environment) -> Any:
    return json.loads((await parse(query).run(environment)).to_json())


async def test_a_node_has_all_its_members(environment: Environment) -> None:
    """Clients read them without asking whether they are there."""
    (node,) = await answer("G.V('C')", environment)
    assert node == {
        "ID": "C",
        "Metadata": {
            "Name": "br0",
            "Type": "bridge",
            "TID": "tC",
            "PeerIntfMAC": "cc",
            "MTU": 1500,
        },
        "Host": "h1",
        "Origin": "agent.h1",
        "CreatedAt": 1000,
        "UpdatedAt": 2000,
        "DeletedAt": None,
        "Revision": 1,
    }


async def test_an_edge_also_has_its_ends(environment: Environment) -> None:
    """A graph can be drawn from edges alone."""
    (edge,) = await answer("G.E('eCB')", environment)
    assert (edge["ID"], edge["Parent"], edge["Child"]) == ("eCB", "C", "B")


@pytest.mark.parametrize(
    ("query", "empty"),
    [
        ("G.V().Has('x','y').SubGraph()", [{"Nodes": [], "Edges": []}]),
        ("G.V().Has('x','y')", []),
        ("G.E().Has('x','y')", []),
        ("G.Flows('UUID','x')", []),
        ("G.V().Has('x','y').ShortestPathTo(Metadata('Name','eth0'))", []),
        ("G.V().Has('x','y').Count()", 0),
        ("G.V().Has('x','y').Sum('MTU')", 0),
        ("G.V().Has('x','y').Metrics().Sum()", None),
        ("G.V().Has('x','y').Metrics()", []),
        ("G.V().Has('x','y').Metrics().Keys()", None),
        ("G.V().Has('x','y').Metrics().Aggregates()", [{"Aggregated": []}]),
        ("G.V().Has('x','y').Sockets()", []),
        ("G.V().Has('x','y').NextHop('1.1.1.1')", []),
        ("G.Flows('UUID','x').Group()", []),
        ("G.V().Has('x','y').Values('Name')", None),
        ("G.V().Has('x','y').ValueMap('Name')", None),
        ("G.V().Has('x','y').Keys()", None),
        ("G.V().Values('x').Dedup()", None),
        ("G.V().Values('x').Has('a')", None),
        ("G.V().Has('x','y').Flows()", []),
    ],
)
async def test_nothing_has_the_form_that_clients_expect(
    query: str, empty: Any, environment: Environment
) -> None:
    """Empty lists and null are not the same to them."""
    assert await answer(query, environment) == empty


async def test_members_of_a_list_that_meet_are_paths_of_nodes(environment: Environment) -> None:
    """Captures are made of the nodes of a path."""
    paths = await parse("G.V('A').ShortestPathTo(Metadata('Name','eth1'))").run(environment)
    assert [node.id for node in paths.nodes()] == ["A", "C", "B"]


@pytest.mark.parametrize(("query", "kind"), [("G.E()", "edges"), ("G.V().Count()", "a value")])
async def test_only_nodes_and_paths_have_nodes(
    query: str, kind: str, environment: Environment
) -> None:
    """A capture cannot be made of a number."""
    result = await parse(query).run(environment)
    with pytest.raises(QueryError, match=f"must end in nodes or paths, not in {kind}"):
        result.nodes()
    with pytest.raises(QueryError, match=f"must end in a graph, not in {kind}"):
        result.graph()
    with pytest.raises(QueryError, match="Only graph can be outputted as dot"):
        result.to_dot()


async def test_a_graph_can_be_drawn(environment: Environment) -> None:
    """`client query --format dot` pipes it into Graphviz."""
    dot = (await parse("G.V('C').OutE().SubGraph()").run(environment)).to_dot()
    assert "br0-C" in dot
    assert "eth1-B" in dot
    assert "host1" not in dot


async def test_what_one_encoder_refuses_is_encoded_all_the_same(environment: Environment) -> None:
    """Sums beyond 64 bits, and texts from hosts whose names are not UTF-8."""
    scope = Scope(environment, environment.view)
    assert Value(scope, 2**80).to_json() == str(2**80).encode()
    assert json.loads(Value(scope, ["\ud800"]).to_json()) == ["\ud800"]


def test_results_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Navigation does not de-duplicate: a few steps could fill any memory."""
    monkeypatch.setattr(kinds_module, "MAX_ITEMS", 3)
    assert bounded(range(3)) == (0, 1, 2)
    with pytest.raises(QueryError, match="more than 3 results"):
        bounded(range(4))


@pytest.mark.parametrize(
    "query", ["G", "G.V()", "G.E()", "G.V().Has('x', 'y')", "G.Flows()", "G.V().Values('Name')"]
)
async def test_the_pieces_of_an_answer_are_the_answer(
    query: str, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large answers leave in pieces; the bytes are the same."""
    result = await parse(query).run(environment)
    for size in (1, 2, 1_000):
        monkeypatch.setattr(kinds_module, "PIECE", size)
        assert b"".join(result.json_pieces()) == result.to_json()
