"""``Neighbors(depth)``: the nodes, and what is within so many edges, whichever way they lead."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import NodeList
from skydiver.gremlin.navigation import BOTH, Walk, walk
from skydiver.gremlin.registry import step


@step("Neighbors", vocabulary="full")
@dataclass(frozen=True, slots=True)
class Neighbors(Walk):
    """Depth 0 means the nodes themselves."""

    def run(self, source: NodeList) -> NodeList:
        scope = source.scope
        found = walk(scope.view, source.items, BOTH, along=self.along, depth=self.depth)
        return NodeList(scope, tuple(found))
