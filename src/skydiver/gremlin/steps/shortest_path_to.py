"""``ShortestPathTo(Metadata(target), Metadata(edges))``: from each node to the nearest target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from skydiver.base.ids import NodeID
from skydiver.filters import And, Eq, Filter, Not, compile_for
from skydiver.graph import Edge, GraphView, Node
from skydiver.graph.fields import edge_access
from skydiver.gremlin.arguments import Args, MetadataPairs
from skydiver.gremlin.kinds import NodeList, PathList
from skydiver.gremlin.navigation import BOTH, edges_of
from skydiver.gremlin.predicates import scalar
from skydiver.gremlin.registry import Step, step
from skydiver.topology import Relation

NOTHING = Not((And(()),))
"""A filter that is never true."""


@step("ShortestPathTo")
@dataclass(frozen=True, slots=True)
class ShortestPathTo(Step):
    """Edges are followed both ways and count the same.

    Of several nodes that match, the nearest is the target (gremlin.md §15, Q22); of several
    shortest paths, one over layer 2 links is preferred to one through an owner.
    """

    target: Filter
    along: Filter | None
    """Edges to follow; None = all."""

    @classmethod
    def parse(cls, args: Args) -> Self:
        args.at_most(2)
        if not args.items:
            raise args.error("Metadata(…) that says where to")
        filters = []
        for item in args.items:
            if not isinstance(item.value, MetadataPairs):
                raise args.error("Metadata(…)", at=item)
            filters.append(_filter(item.value, item.column))
        return cls(filters[0], filters[1] if len(filters) > 1 else None)

    def run(self, source: NodeList) -> PathList:
        view = source.scope.view
        onward = _towards(view, view.nodes(self.target), source.items, self.along)
        paths = (tuple(_path(view, node, onward)) for node in source.items if node.id in onward)
        return PathList(source.scope, tuple(paths))


def _filter(metadata: MetadataPairs, column: int) -> Filter:
    tests: list[Filter] = []
    for key, value in metadata.pairs:
        if not isinstance(value, str | int | float | bool):
            # Only plain values can be equal to something.
            return NOTHING
        tests.append(Eq(key, scalar("Metadata", value, column=column)))
    return And(tuple(tests))


def _towards(
    view: GraphView, targets: Iterable[Node], starts: Sequence[Node], along: Filter | None
) -> dict[NodeID, NodeID | None]:
    """For each node, the next one on its way to the nearest target; None for a target itself.

    One search from the targets outwards serves all starts, and ends when it has met them all.
    """
    follows = None if along is None else compile_for(along, edge_access)
    onward: dict[NodeID, NodeID | None] = {node.id: None for node in targets}
    wanted = {node.id for node in starts}
    wanted.difference_update(onward)
    border = [node for node_id in onward if (node := view.node(node_id)) is not None]
    while border and wanted:
        reached: list[Node] = []
        for node in border:
            for edge in _links_first(edges_of(view, node, BOTH), follows):
                other_id = edge.child if edge.parent == node.id else edge.parent
                if other_id not in onward and (other := view.node(other_id)) is not None:
                    onward[other_id] = node.id
                    wanted.discard(other_id)
                    reached.append(other)
        border = reached
    return onward


def _links_first(edges: Iterable[Edge], follows: Callable[[Edge], bool] | None) -> Iterator[Edge]:
    owned: list[Edge] = []
    for edge in edges:
        if follows is None or follows(edge):
            if edge.metadata.get("RelationType") == Relation.OWNERSHIP:
                owned.append(edge)
            else:
                yield edge
    yield from owned


def _path(view: GraphView, node: Node, onward: dict[NodeID, NodeID | None]) -> Iterator[Node]:
    yield node
    next_id = onward[node.id]
    while next_id is not None and (step_to := view.node(next_id)) is not None:
        yield step_to
        next_id = onward[next_id]
