"""``HasNot(key)``: keep the elements that lack the key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.filters import Filter, Missing
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import EdgeList, NodeList
from skydiver.gremlin.offers import Condition
from skydiver.gremlin.registry import step
from skydiver.gremlin.selection import Filtering


@step("HasNot")
@dataclass(frozen=True, slots=True)
class HasNot(Filtering):
    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(Condition(key=args.one_text()))

    def where(self) -> Filter:
        return Missing(self.condition.key or "")

    def run(self, source: NodeList | EdgeList) -> NodeList | EdgeList:
        return self.kept(source)
