"""``BothE()``: the edges of each node, from its parents and to its children."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import EdgeList, NodeList
from skydiver.gremlin.navigation import BOTH, Navigation, edges_of_all
from skydiver.gremlin.registry import step


@step("BothE")
@dataclass(frozen=True, slots=True)
class BothE(Navigation):
    def run(self, source: NodeList) -> EdgeList:
        view = source.scope.view
        return EdgeList(source.scope, self.selection.edges(edges_of_all(view, source.items, BOTH)))
