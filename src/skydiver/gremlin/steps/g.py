"""``.G`` inside a chain: back to the whole graph, keeping the marks and the time context."""

from __future__ import annotations

from dataclasses import dataclass

from skydiver.gremlin.kinds import EdgeList, GraphResult, NodeList
from skydiver.gremlin.registry import Step, step


@step("G")
@dataclass(frozen=True, slots=True)
class G(Step):
    def run(self, source: NodeList | EdgeList) -> GraphResult:
        return GraphResult(source.scope)
