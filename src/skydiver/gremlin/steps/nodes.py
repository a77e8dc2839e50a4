"""``Nodes()`` of flows: the node each was captured on, and those of its two sides."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.endpoints import Endpoints
from skydiver.gremlin.kinds import FlowList, NodeList, bounded
from skydiver.gremlin.navigation import FlowNodes
from skydiver.gremlin.registry import step


@step("Nodes", vocabulary="full")
@dataclass(frozen=True, slots=True)
class Nodes(FlowNodes):
    def run(self, source: FlowList) -> NodeList:
        found = Endpoints(source.scope.view, self.where).all(source.items)
        return NodeList(source.scope, bounded(found))
