"""``HasKey(key)``: keep the elements that have the key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import EdgeList, NodeList
from skydiver.gremlin.offers import Condition
from skydiver.gremlin.registry import step
from skydiver.gremlin.selection import Filtering


@step("HasKey")
@dataclass(frozen=True, slots=True)
class HasKey(Filtering):
    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(Condition(key=args.one_text()))

    def run(self, source: NodeList | EdgeList) -> NodeList | EdgeList:
        return self.kept(source)
