"""From flows to nodes: where a flow was captured, and whose interfaces it runs between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from skydiver.filters import Filter, compile_for
from skydiver.flow import Flow
from skydiver.graph import GraphView, Node
from skydiver.graph.fields import node_access


class Endpoints:
    """Looks up nodes by what flows say; the first that passes the filter counts.

    Flows without a link layer have no interfaces. What was looked up is remembered, because many
    flows run between the same two.
    """

    def __init__(self, view: GraphView, where: Filter | None) -> None:
        self._view = view
        self._matches = None if where is None else compile_for(where, node_access)
        self._known: dict[tuple[str, ...], Node | None] = {}

    def interfaces(self, flows: Iterable[Flow], *, sides: str) -> Iterator[Node]:
        """For each flow the nodes of its `sides` (``A``, ``B``), or of the peers of these."""
        for flow in flows:
            for side in sides:
                yield from self._of_side(flow, side, ("MAC", "PeerIntfMAC"))

    def captures(self, flows: Iterable[Flow]) -> Iterator[Node]:
        """For each flow the node it was captured on."""
        for flow in flows:
            yield from self._first(flow.get("NodeTID", ""), ("TID",))

    def all(self, flows: Iterable[Flow]) -> Iterator[Node]:
        """For each flow the node it was captured on, then those of its A and of its B side."""
        for flow in flows:
            yield from self._first(flow.get("NodeTID", ""), ("TID",))
            for side in "AB":
                yield from self._of_side(flow, side, ("MAC",))

    def _of_side(self, flow: Flow, side: str, keys: tuple[str, ...]) -> Iterable[Node]:
        link = flow.get("Link")
        return self._first(link.get(side, ""), keys) if link else ()

    def _first(self, value: str, keys: tuple[str, ...]) -> Iterable[Node]:
        if not value:
            return ()
        asked = (value, *keys)
        if asked not in self._known:
            self._known[asked] = self._look_up(value, keys)
        node = self._known[asked]
        return () if node is None else (node,)

    def _look_up(self, value: str, keys: tuple[str, ...]) -> Node | None:
        for key in keys:
            for node in self._view.lookup(key, value):
                if self._matches is None or self._matches(node):
                    return node
        return None
