"""``Sort()``, ``Sort(key)``, ``Sort(ASC|DESC, key)``: nodes and flows in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.filters import MISSING, to_int
from skydiver.graph import Node
from skydiver.graph.fields import node_access
from skydiver.gremlin.arguments import Args, Keyword
from skydiver.gremlin.kinds import NodeList
from skydiver.gremlin.offers import Order
from skydiver.gremlin.registry import Step, step

DEFAULT_KEY = "@CreatedAt"


@step("Sort")
@dataclass(frozen=True, slots=True)
class Sort(Step):
    """Numbers come before texts; what lacks the key counts as 0 (gremlin.md §15, Q12)."""

    order: Order

    @classmethod
    def parse(cls, args: Args) -> Self:
        args.at_most(2)
        if len(args) < 2:
            return cls(Order(args.optional_text() or ""))
        direction, key = args.items
        if direction.value not in (Keyword.ASC, Keyword.DESC):
            raise args.error("ASC or DESC before the key", at=direction)
        if not isinstance(key.value, str):
            raise args.error("a key that is a text", at=key)
        return cls(Order(key.value, descending=direction.value is Keyword.DESC))

    def offer(self) -> Order:
        return self.order

    def run(self, source: NodeList) -> NodeList:
        read = node_access(self.order.by or DEFAULT_KEY)

        def rank(node: Node) -> tuple[int, int, str]:
            value = read(node)
            if value is MISSING:
                return (0, 0, "")
            number = to_int(value)
            if number is not None:
                return (0, number, "")
            return (1, 0, value if isinstance(value, str) else "")

        ordered = sorted(source.items, key=rank, reverse=self.order.descending)
        return NodeList(source.scope, tuple(ordered))
