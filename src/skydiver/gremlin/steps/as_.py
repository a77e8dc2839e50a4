"""``As('name')``: marks the current nodes for `Select`, and passes them on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import NodeList
from skydiver.gremlin.offers import Offer, Window
from skydiver.gremlin.registry import Step, step
from skydiver.gremlin.selection import Selection


@step("As")
@dataclass(frozen=True, slots=True)
class As(Step):
    name: str
    window: Window | None = None
    """Of what is passed on; all is marked."""

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(args.one_text())

    def absorb(self, offer: Offer) -> Self | None:
        if isinstance(offer, Window) and self.window is None:
            return replace(self, window=offer)
        return None

    def run(self, source: NodeList) -> NodeList:
        scope = source.scope.marked(self.name, source.items)
        return NodeList(scope, Selection(window=self.window).within_window(source.items))
