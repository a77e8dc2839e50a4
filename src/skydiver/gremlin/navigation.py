"""Walking a graph: from nodes to their neighbours and edges, from edges to their ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from skydiver.filters import Eq, Filter, compile_for
from skydiver.graph import Edge, GraphView, Node
from skydiver.graph.fields import edge_access
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.offers import Condition, Offer, both
from skydiver.gremlin.registry import Step
from skydiver.gremlin.selection import Selection
from skydiver.topology import Relation


class Way(NamedTuple):
    """Directions along an edge, which leads from parent to child."""

    to_children: bool
    to_parents: bool


OUT = Way(to_children=True, to_parents=False)
IN = Way(to_children=False, to_parents=True)
BOTH = Way(to_children=True, to_parents=True)


@dataclass(frozen=True, slots=True)
class Navigation(Step):
    """A step whose arguments filter what it leads to, as a `Has` behind it would."""

    selection: Selection = field(default_factory=Selection)

    @classmethod
    def parse(cls, args: Args) -> Self:
        where = Condition.parse(args).on_elements()
        return cls(Selection(where, open_to_condition=not args.items))

    def absorb(self, offer: Offer) -> Self | None:
        selection = self.selection.absorb(offer)
        return None if selection is None else replace(self, selection=selection)


def edges_of(view: GraphView, node: Node, way: Way) -> Iterator[Edge]:
    """Edges of `node`; one that leads back to it counts once."""
    if way.to_children:
        yield from view.out_edges(node.id)
    if way.to_parents:
        for edge in view.in_edges(node.id):
            if not way.to_children or edge.parent != edge.child:
                yield edge


def edges_of_all(view: GraphView, nodes: Iterable[Node], way: Way) -> Iterator[Edge]:
    """Edges of each node in turn, not de-duplicated."""
    for node in nodes:
        yield from edges_of(view, node, way)


def neighbours(view: GraphView, nodes: Iterable[Node], way: Way) -> Iterator[Node]:
    """Neighbours of each node in turn, not de-duplicated."""
    for node in nodes:
        for edge in edges_of(view, node, way):
            other = view.node(edge.child if edge.parent == node.id else edge.parent)
            if other is not None:
                yield other


def ends(view: GraphView, edges: Iterable[Edge], way: Way) -> Iterator[Node]:
    """Ends of each edge in turn: the parent going in, the child going out; the parent first."""
    for edge in edges:
        if way.to_parents and (parent := view.node(edge.parent)) is not None:
            yield parent
        if way.to_children and (child := view.node(edge.child)) is not None:
            yield child


@dataclass(frozen=True, slots=True)
class FlowNodes(Step):
    """A step from flows to nodes that every `Has` behind it filters further."""

    where: Filter | None = None

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(Condition.parse(args).on_elements())

    def absorb(self, offer: Offer) -> Self | None:
        if isinstance(offer, Condition) and not offer.either:
            return replace(self, where=both(self.where, offer.on_elements()))
        return None


OWNERSHIP = Eq("RelationType", Relation.OWNERSHIP.value)


@dataclass(frozen=True, slots=True)
class Walk(Step):
    """A step with arguments ``(depth)``, ``(key, value, …)``, ``(key, value, …, depth)`` or none.

    Contrary to `Has`, one true pair is enough for an edge to be followed.
    """

    along: Filter = OWNERSHIP
    """Edges to follow."""
    depth: int = 1
    """Edges to follow one after the other."""

    @classmethod
    def parse(cls, args: Args) -> Self:
        *pairs, last = args.items or (None,)
        if last is None:
            return cls()
        depth = 1
        if len(args) % 2:
            depth = args.count(len(pairs))
        else:
            pairs.append(last)
        where = Condition.parse(replace(args, items=tuple(pairs)), either=True).on_elements()
        return cls(where or OWNERSHIP, depth)


def walk(
    view: GraphView, nodes: Iterable[Node], way: Way, *, along: Filter, depth: int | None
) -> Iterable[Node]:
    """`nodes`, then what is at most `depth` edges away; each once. None = however far."""
    follows = compile_for(along, edge_access)
    found = {node.id: node for node in nodes}
    border = list(found.values())
    while border and depth != 0:
        reached: list[Node] = []
        for node in border:
            for edge in edges_of(view, node, way):
                other_id = edge.child if edge.parent == node.id else edge.parent
                if other_id in found or not follows(edge):
                    continue
                other = view.node(other_id)
                if other is not None:
                    found[other_id] = other
                    reached.append(other)
        border = reached
        depth = None if depth is None else depth - 1
    return found.values()
