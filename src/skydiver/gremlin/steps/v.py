"""``V()`` and ``V('id')``: the nodes of a graph, or one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from skydiver.base.errors import QueryError
from skydiver.base.ids import NodeID
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import GraphResult, NodeList
from skydiver.gremlin.offers import Offer
from skydiver.gremlin.registry import Step, step
from skydiver.gremlin.selection import Selection


@step("V")
@dataclass(frozen=True, slots=True)
class V(Step):
    id: NodeID | None
    """None = all nodes."""
    selection: Selection

    @classmethod
    def parse(cls, args: Args) -> Self:
        node_id = args.optional_text()
        if node_id is None:
            return cls(None, Selection(least_arguments=2))
        return cls(NodeID(node_id), Selection(open_to_condition=False))

    def absorb(self, offer: Offer) -> Self | None:
        selection = self.selection.absorb(offer)
        return None if selection is None else replace(self, selection=selection)

    def run(self, source: GraphResult) -> NodeList:
        view = source.scope.view
        if self.id is not None:
            node = view.node(self.id)
            if node is None:
                raise QueryError(f"no node '{self.id}'")
            nodes = iter((node,))
        else:
            # The graph filters: it has the indexes.
            nodes = view.nodes(self.selection.where)
        return NodeList(source.scope, self.selection.within_window(nodes))
