"""``CaptureNode()``, ``Node()``, ``Hops()`` of flows: the node each was captured on."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.endpoints import Endpoints
from skydiver.gremlin.kinds import FlowList, NodeList, bounded
from skydiver.gremlin.navigation import FlowNodes
from skydiver.gremlin.registry import step


@step("CaptureNode", "Node", "Hops", vocabulary="full")
@dataclass(frozen=True, slots=True)
class CaptureNode(FlowNodes):
    def run(self, source: FlowList) -> NodeList:
        found = Endpoints(source.scope.view, self.where).captures(source.items)
        return NodeList(source.scope, bounded(found))
