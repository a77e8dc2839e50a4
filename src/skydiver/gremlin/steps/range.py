"""``Range(from, to)``: items number from … to - 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import EdgeList, NodeList
from skydiver.gremlin.offers import Window
from skydiver.gremlin.registry import Step, step


@step("Range")
@dataclass(frozen=True, slots=True)
class Range(Step):
    window: Window

    @classmethod
    def parse(cls, args: Args) -> Self:
        args.exactly(2, "two whole numbers")
        return cls(Window(args.count(0), args.count(1)))

    def offer(self) -> Window:
        return self.window

    def run(self, source: NodeList | EdgeList) -> NodeList | EdgeList:
        if isinstance(source, NodeList):
            return NodeList(source.scope, tuple(self.window.of(source.items)))
        return EdgeList(source.scope, tuple(self.window.of(source.items)))
