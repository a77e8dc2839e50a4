"""``Dedup(keys…)``: the first of those that are the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from skydiver.filters import MISSING
from skydiver.graph import Edge, Node
from skydiver.graph.fields import edge_access, node_access
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import EdgeList, NodeList, PathList, Value
from skydiver.gremlin.offers import Distinct, Offer, Window
from skydiver.gremlin.registry import Step, step
from skydiver.gremlin.selection import Selection
from skydiver.gremlin.values import identity

E = TypeVar("E", Node, Edge)
T = TypeVar("T")


@step("Dedup")
@dataclass(frozen=True, slots=True)
class Dedup(Step):
    """The window counts what is left, not what came in as upstream (gremlin.md §15, Q6)."""

    keys: tuple[str, ...]
    """Fields whose values are compared; empty = the identity."""
    window: Window | None = None

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(args.texts())

    def offer(self) -> Distinct:
        return Distinct(self.keys)

    def absorb(self, offer: Offer) -> Self | None:
        if isinstance(offer, Window) and self.window is None:
            return replace(self, window=offer)
        return None

    def run(self, source: NodeList | EdgeList | PathList | Value) -> NodeList | EdgeList | Value:
        window = Selection(window=self.window)
        match source:
            case Value():
                values = source.value if isinstance(source.value, list) else [source.value]
                if source.value is None:
                    values = []
                found = _first((identity(value), value) for value in values)
                return Value.listing(source.scope, window.within_window(found))
            case EdgeList():
                of_edge = [edge_access(key) for key in self.keys]
                edges = _first((_same(edge, of_edge), edge) for edge in source.items)
                return EdgeList(source.scope, window.within_window(edges))
            case _:
                of_node = [node_access(key) for key in self.keys]
                nodes = _first((_same(node, of_node), node) for node in source.nodes())
                return NodeList(source.scope, window.within_window(nodes))


def _same(element: E, fields: Sequence[Callable[[E], Any]]) -> Hashable:
    """What equal elements share: the values there are. None is shared with nobody."""
    if not fields:
        return element.id
    values = [value for read in fields if (value := read(element)) is not MISSING]
    return tuple(identity(value) for value in values) if values else None


def _first(items: Iterable[tuple[Hashable, T]]) -> Iterator[T]:
    seen: set[Hashable] = set()
    for same, item in items:
        if same is not None and same in seen:
            continue
        seen.add(same)
        yield item
