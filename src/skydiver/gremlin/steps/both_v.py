"""``BothV()``: parent, then child of each edge."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import EdgeList, NodeList
from skydiver.gremlin.navigation import BOTH, Navigation, ends
from skydiver.gremlin.registry import step


@step("BothV")
@dataclass(frozen=True, slots=True)
class BothV(Navigation):
    def run(self, source: EdgeList) -> NodeList:
        view = source.scope.view
        return NodeList(source.scope, self.selection.nodes(ends(view, source.items, BOTH)))
