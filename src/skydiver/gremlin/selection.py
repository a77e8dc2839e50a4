"""Keeping some of what there is: the conditions and windows of steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from skydiver.base.errors import QueryError
from skydiver.filters import MISSING, Filter, compile_filter, compile_for
from skydiver.graph import Edge, Node
from skydiver.graph.fields import edge_access, get_path, node_access
from skydiver.gremlin.kinds import EdgeList, NodeList, SocketSeries, Value, bounded
from skydiver.gremlin.offers import Condition, Offer, Window
from skydiver.gremlin.registry import Step

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter, then a window over what passes it."""

    where: Filter | None = None
    window: Window | None = None
    open_to_condition: bool = True
    """A condition may still be absorbed."""
    least_arguments: int = 0
    """A condition with fewer arguments is not absorbed."""

    def absorb(self, offer: Offer) -> Selection | None:
        """At most one condition and one window, in either order."""
        match offer:
            case Condition(either=False) if (
                self.open_to_condition and offer.arguments >= self.least_arguments
            ):
                return replace(self, where=offer.on_elements(), open_to_condition=False)
            case Window() if self.window is None:
                return replace(self, window=offer)
            case _:
                return None

    def nodes(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        """The nodes to keep, in order."""
        if self.where is not None:
            nodes = filter(compile_for(self.where, node_access), nodes)
        return self.within_window(nodes)

    def edges(self, edges: Iterable[Edge]) -> tuple[Edge, ...]:
        """The edges to keep, in order."""
        if self.where is not None:
            edges = filter(compile_for(self.where, edge_access), edges)
        return self.within_window(edges)

    def within_window(self, items: Iterable[T]) -> tuple[T, ...]:
        """The items inside the window, when they are filtered already."""
        return bounded(items if self.window is None else self.window.of(items))


@dataclass(frozen=True, slots=True)
class Filtering(Step):
    """A filter, and the window that it absorbed."""

    condition: Condition
    window: Window | None = None

    def absorb(self, offer: Offer) -> Self | None:
        if isinstance(offer, Window) and self.window is None:
            return replace(self, window=offer)
        return None

    def where(self) -> Filter:
        """The filter of elements and values."""
        where = self.condition.on_elements()
        if where is None:
            raise QueryError("a key is needed, or pairs of key and value")
        return where

    def kept(self, source: NodeList | EdgeList) -> NodeList | EdgeList:
        """The elements that pass."""
        selection = Selection(self.where(), self.window)
        if isinstance(source, NodeList):
            return NodeList(source.scope, selection.nodes(source.items))
        return EdgeList(source.scope, selection.edges(source.items))

    def kept_values(self, source: Value) -> Value:
        """The objects of a list that pass, keys being relative to each; nothing else does."""
        matches = compile_filter(self.where())
        values = source.value if isinstance(source.value, list) else ()
        kept: Iterable[Any] = (
            value
            for value in values
            if isinstance(value, Mapping) and matches(lambda key, of=value: get_path(of, key))
        )
        return Value.listing(source.scope, self.window.of(kept) if self.window else kept)

    def kept_sockets(self, source: SocketSeries) -> SocketSeries:
        """The sockets that pass; series without any are gone."""
        if self.window is not None:
            raise QueryError("Limit and Range do not apply to sockets")
        matches = compile_filter(self.condition.on_flows())
        series = {
            key: [s for s in sockets if matches(lambda name, of=s: of.get(name, MISSING))]
            for key, sockets in source.series.items()
        }
        return SocketSeries(source.scope, {key: kept for key, kept in series.items() if kept})
