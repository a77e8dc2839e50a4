"""``Both()``: parents and children of nodes; of flows, the nodes on both sides."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.endpoints import Endpoints
from skydiver.gremlin.kinds import FlowList, NodeList
from skydiver.gremlin.navigation import BOTH, Navigation, neighbours
from skydiver.gremlin.registry import step


@step("Both")
@dataclass(frozen=True, slots=True)
class Both(Navigation):
    def run(self, source: NodeList | FlowList) -> NodeList:
        view = source.scope.view
        if isinstance(source, FlowList):
            found = Endpoints(view, self.selection.where).interfaces(source.items, sides="AB")
            return NodeList(source.scope, self.selection.within_window(found))
        found = neighbours(view, source.items, BOTH)
        return NodeList(source.scope, self.selection.nodes(found))
