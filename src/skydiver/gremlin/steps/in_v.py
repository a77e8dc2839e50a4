"""``InV()``: the parent of each edge, contrary to what TinkerPop calls so."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import EdgeList, NodeList
from skydiver.gremlin.navigation import IN, Navigation, ends
from skydiver.gremlin.registry import step


@step("InV")
@dataclass(frozen=True, slots=True)
class InV(Navigation):
    def run(self, source: EdgeList) -> NodeList:
        view = source.scope.view
        return NodeList(source.scope, self.selection.nodes(ends(view, source.items, IN)))
