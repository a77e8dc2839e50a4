"""``SubGraph()``: a graph of nothing but these nodes, edges or paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from skydiver.filters import Filter, compile_for
from skydiver.graph import Edge, GraphView, Node
from skydiver.graph.fields import edge_access
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import EdgeList, GraphResult, NodeList, PathList
from skydiver.gremlin.navigation import BOTH, OUT, edges_of_all, ends
from skydiver.gremlin.offers import Condition
from skydiver.gremlin.registry import Step, step
from skydiver.gremlin.subgraph import SubGraph as SubGraphView


@step("SubGraph")
@dataclass(frozen=True, slots=True)
class SubGraph(Step):
    where: Filter | None
    """Of the edges between the nodes, the ones to keep."""

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(Condition.parse(args).on_elements())

    def run(self, source: NodeList | EdgeList | PathList) -> GraphResult:
        view = source.scope.view
        if isinstance(source, EdgeList):
            graph = SubGraphView(ends(view, source.items, BOTH), source.items)
        else:
            nodes = source.nodes()
            where = self.where if isinstance(source, NodeList) else None
            graph = SubGraphView(nodes, _edges(view, nodes, where))
        return GraphResult(source.scope.on(graph))


def _edges(view: GraphView, nodes: Iterable[Node], where: Filter | None) -> Iterator[Edge]:
    distinct = {node.id: node for node in nodes}
    matches = None if where is None else compile_for(where, edge_access)
    for edge in edges_of_all(view, distinct.values(), OUT):
        if edge.child in distinct and (matches is None or matches(edge)):
            yield edge
