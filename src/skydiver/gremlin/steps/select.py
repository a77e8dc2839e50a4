"""``Select('a', 'b', …)``: the nodes marked with these names, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import Self

from skydiver.base.errors import QueryError
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import NodeList
from skydiver.gremlin.offers import Offer, Window
from skydiver.gremlin.registry import Step, step
from skydiver.gremlin.selection import Selection


@step("Select")
@dataclass(frozen=True, slots=True)
class Select(Step):
    names: tuple[str, ...]
    window: Window | None = None

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(args.texts(minimum=1))

    def absorb(self, offer: Offer) -> Self | None:
        if isinstance(offer, Window) and self.window is None:
            return replace(self, window=offer)
        return None

    def run(self, source: NodeList) -> NodeList:
        marks = source.scope.marks
        for name in self.names:
            if name not in marks:
                raise QueryError(f"nothing was marked as '{name}' by As()")
        nodes = chain.from_iterable(marks[name] for name in self.names)
        return NodeList(source.scope, Selection(window=self.window).within_window(nodes))
