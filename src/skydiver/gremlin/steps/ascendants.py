"""``Ascendants(depth)``: the nodes, and what owns them."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import NodeList
from skydiver.gremlin.navigation import IN, Walk, walk
from skydiver.gremlin.registry import step


@step("Ascendants", vocabulary="full")
@dataclass(frozen=True, slots=True)
class Ascendants(Walk):
    """Depth 0 means up to the root."""

    def run(self, source: NodeList) -> NodeList:
        scope = source.scope
        found = walk(scope.view, source.items, IN, along=self.along, depth=self.depth or None)
        return NodeList(scope, tuple(found))
