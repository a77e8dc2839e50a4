"""``In()``: the parents of nodes; of flows, the node on the A side."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.endpoints import Endpoints
from skydiver.gremlin.kinds import FlowList, NodeList
from skydiver.gremlin.navigation import IN, Navigation, neighbours
from skydiver.gremlin.registry import step


@step("In")
@dataclass(frozen=True, slots=True)
class In(Navigation):
    def run(self, source: NodeList | FlowList) -> NodeList:
        view = source.scope.view
        if isinstance(source, FlowList):
            found = Endpoints(view, self.selection.where).interfaces(source.items, sides="A")
            return NodeList(source.scope, self.selection.within_window(found))
        found = neighbours(view, source.items, IN)
        return NodeList(source.scope, self.selection.nodes(found))
