"""``OutE()``: the edges that lead from each node to its children."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import EdgeList, NodeList
from skydiver.gremlin.navigation import OUT, Navigation, edges_of_all
from skydiver.gremlin.registry import step


@step("OutE")
@dataclass(frozen=True, slots=True)
class OutE(Navigation):
    def run(self, source: NodeList) -> EdgeList:
        view = source.scope.view
        return EdgeList(source.scope, self.selection.edges(edges_of_all(view, source.items, OUT)))
