"""``Out()``: the children of nodes; of flows, the node on the B side."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.endpoints import Endpoints
from skydiver.gremlin.kinds import FlowList, NodeList
from skydiver.gremlin.navigation import OUT, Navigation, neighbours
from skydiver.gremlin.registry import step


@step("Out")
@dataclass(frozen=True, slots=True)
class Out(Navigation):
    def run(self, source: NodeList | FlowList) -> NodeList:
        view = source.scope.view
        if isinstance(source, FlowList):
            found = Endpoints(view, self.selection.where).interfaces(source.items, sides="B")
            return NodeList(source.scope, self.selection.within_window(found))
        found = neighbours(view, source.items, OUT)
        return NodeList(source.scope, self.selection.nodes(found))
