"""``OutV()``: the child of each edge, contrary to what TinkerPop calls so."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import EdgeList, NodeList
from skydiver.gremlin.navigation import OUT, Navigation, ends
from skydiver.gremlin.registry import step


@step("OutV")
@dataclass(frozen=True, slots=True)
class OutV(Navigation):
    def run(self, source: EdgeList) -> NodeList:
        view = source.scope.view
        return NodeList(source.scope, self.selection.nodes(ends(view, source.items, OUT)))
