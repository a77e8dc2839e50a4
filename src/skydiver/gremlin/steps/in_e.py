"""``InE()``: the edges that lead to each node from its parents."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import EdgeList, NodeList
from skydiver.gremlin.navigation import IN, Navigation, edges_of_all
from skydiver.gremlin.registry import step


@step("InE")
@dataclass(frozen=True, slots=True)
class InE(Navigation):
    def run(self, source: NodeList) -> EdgeList:
        view = source.scope.view
        return EdgeList(source.scope, self.selection.edges(edges_of_all(view, source.items, IN)))
