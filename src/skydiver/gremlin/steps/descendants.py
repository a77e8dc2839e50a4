"""``Descendants(depth)``: the nodes, and what they own."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import NodeList
from skydiver.gremlin.navigation import OUT, Walk, walk
from skydiver.gremlin.registry import step


@step("Descendants", vocabulary="full")
@dataclass(frozen=True, slots=True)
class Descendants(Walk):
    """Depth 0 means all the way down."""

    def run(self, source: NodeList) -> NodeList:
        scope = source.scope
        found = walk(scope.view, source.items, OUT, along=self.along, depth=self.depth or None)
        return NodeList(scope, tuple(found))
