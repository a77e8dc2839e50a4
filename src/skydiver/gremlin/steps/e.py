"""``E()`` and ``E('id')``: the edges of a graph, or one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from skydiver.base.errors import QueryError
from skydiver.base.ids import EdgeID
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import EdgeList, GraphResult
from skydiver.gremlin.offers import Offer
from skydiver.gremlin.registry import Step, step
from skydiver.gremlin.selection import Selection


@step("E")
@dataclass(frozen=True, slots=True)
class E(Step):
    id: EdgeID | None
    """None = all edges."""
    selection: Selection

    @classmethod
    def parse(cls, args: Args) -> Self:
        edge_id = args.optional_text()
        if edge_id is None:
            return cls(None, Selection(least_arguments=2))
        return cls(EdgeID(edge_id), Selection(open_to_condition=False))

    def absorb(self, offer: Offer) -> Self | None:
        selection = self.selection.absorb(offer)
        return None if selection is None else replace(self, selection=selection)

    def run(self, source: GraphResult) -> EdgeList:
        view = source.scope.view
        if self.id is not None:
            edge = view.edge(self.id)
            if edge is None:
                raise QueryError(f"no edge '{self.id}'")
            edges = iter((edge,))
        else:
            edges = view.edges(self.selection.where)
        return EdgeList(source.scope, self.selection.within_window(edges))
