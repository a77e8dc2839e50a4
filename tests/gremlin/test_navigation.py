"""Walking a graph."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.filters import Eq, Or
from skydiver.graph import Edge, Node
from skydiver.gremlin import Environment, parse
from skydiver.gremlin.navigation import BOTH, IN, OUT, Way, edges_of_all, neighbours, walk
from skydiver.gremlin.subgraph import SubGraph


def node(name: str) -> Node:
    return Node(NodeID(name), {"Name": name}, "h", Origin("agent.h"), 1, 1)


def edge(ends: str, relation: str = "ownership") -> Edge:
    parent, child = ends[0], ends[1]
    metadata = {"RelationType": relation}
    return Edge(EdgeID(ends), NodeID(parent), NodeID(child), metadata, "h", Origin("agent.h"), 1, 1)


NODES = {name: node(name) for name in "abcd"}
GRAPH = SubGraph(NODES.values(), [edge("ab"), edge("bc"), edge("ca"), edge("cd"), edge("dd", "x")])
EVERY = Or(())


def ids(elements: Iterable[Node | Edge]) -> list[str]:
    return [element.id for element in elements]


@pytest.mark.parametrize(
    ("way", "edges", "nodes"),
    [(OUT, ["dd"], ["d"]), (IN, ["cd", "dd"], ["c", "d"]), (BOTH, ["dd", "cd"], ["d", "c"])],
)
def test_an_edge_back_to_its_node_counts_once(way: Way, edges: list[str], nodes: list[str]) -> None:
    """It is one edge, whichever way it is followed."""
    assert ids(edges_of_all(GRAPH, [NODES["d"]], way)) == edges
    assert ids(neighbours(GRAPH, [NODES["d"]], way)) == nodes


@pytest.mark.parametrize(
    ("depth", "reached"),
    [(0, ["a"]), (1, ["a", "b"]), (2, ["a", "b", "c"]), (None, ["a", "b", "c", "d"])],
)
def test_a_walk_goes_as_deep_as_asked_and_ends_on_a_cycle(
    depth: int | None, reached: list[str]
) -> None:
    """The original never came back from a cycle (gremlin.md §15, Q38)."""
    assert ids(walk(GRAPH, [NODES["a"]], OUT, along=EVERY, depth=depth)) == reached


def test_a_walk_from_several_nodes_reaches_what_is_near_to_any() -> None:
    """One of them being on the way of another must not shorten its own way."""
    starts = [NODES["a"], NODES["b"]]
    assert ids(walk(GRAPH, starts, OUT, along=EVERY, depth=2)) == ["a", "b", "c", "d"]
    assert ids(walk(GRAPH, [NODES["d"]], IN, along=Eq("RelationType", "x"), depth=9)) == ["d"]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        # The nearest of two that match (§15, Q22).
        ("G.V('A').ShortestPathTo(Metadata('MTU',1500))", ["A"]),
        ("G.V('H').ShortestPathTo(Metadata('MTU',9000))", ["H", "B"]),
        # As short through their owner, but that is no network.
        ("G.V('A').ShortestPathTo(Metadata('Name','eth1'))", ["A", "C", "B"]),
        (
            "G.V('A').ShortestPathTo(Metadata('Name','eth1'),"
            " Metadata('RelationType','ownership'))",
            ["A", "H", "B"],
        ),
    ],
)
async def test_the_shortest_path_is_the_one_a_person_would_show(
    query: str, path: list[str], environment: Environment
) -> None:
    """Of equal ones the choice must not be left to chance."""
    result = await parse(query).run(environment)
    assert ids(result.nodes()) == path
