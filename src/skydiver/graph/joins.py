"""Joins: edges that follow from metadata alone (topology-probes.md §2.7).

They link nodes of sources that know nothing of each other. A join names the nodes on both sides by
type and by the fields whose values must be equal. A field that holds a list counts with each
member; of several fields all must agree. Each join keeps the nodes of both sides by value. When a
node appears, changes or goes, the edges that it should have are compared with those that the join
stated for it; in whichever order things arrive the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

from skydiver.base.ids import EdgeID, NodeID
from skydiver.graph.elements import EdgeSpec, Metadata, Node
from skydiver.graph.engine import Engine
from skydiver.graph.events import EventKind, GraphEvent
from skydiver.graph.fields import NodeAccess, metadata_path, node_access
from skydiver.graph.relations import LAYER2, OWNERSHIP, RELATION_TYPE, linked_edge_id
from skydiver.graph.statements import Statements

Names: TypeAlias = str | tuple[str, ...]
"""One or several."""
Value: TypeAlias = tuple[Any, ...]
"""Of the fields of one side."""


@dataclass(frozen=True, slots=True)
class Join:
    """Nodes whose fields have equal values are linked."""

    parent_type: Names
    """``Type`` of the parents; "" = any."""
    parent_key: Names
    child_type: Names
    child_key: Names


@dataclass(frozen=True, slots=True)
class Ownership(Join):
    """The parent owns the child. Of several that match, the first that came; none where a source
    states an owner."""


@dataclass(frozen=True, slots=True)
class Link(Join):
    """Every parent is linked to every child."""

    relation: str = LAYER2
    metadata: Metadata = field(default_factory=dict)
    """What the edges say besides their relation."""


class Joins:
    """All joins of a graph."""

    def __init__(self, engine: Engine, statements: Statements) -> None:
        self._engine = engine
        self._statements = statements
        self._joined: list[_Joined] = []
        self._roots: frozenset[str] = frozenset()
        """Keys of the top level of the metadata that any join reads."""

    def add(self, joins: Iterable[Join]) -> None:
        """Keep up `joins`; one that is known already is not added again."""
        if not self._joined:
            self._engine.follow(self._on_event)
        for join in joins:
            if any(join == known.join for known in self._joined):
                continue
            joined = _Joined(join, self._statements, f"join.{len(self._joined)}")
            self._joined.append(joined)
            self._roots |= joined.roots
            for node in list(self._engine.core.nodes()):
                joined.update(node, node)

    def _on_event(self, event: GraphEvent) -> None:
        after = event.after
        if not isinstance(after, Node):
            return
        if event.kind is EventKind.UPDATED and event.ops is not None:
            roots = self._roots
            if not any(op.key.partition(".")[0] in roots for op in event.ops):
                return
        now = None if event.kind is EventKind.DELETED else after
        for joined in self._joined:
            joined.update(after, now)


class _Side:
    """The nodes on one side of a join, by value and back."""

    def __init__(self, types: Names, keys: Names) -> None:
        self._types = frozenset((types,) if isinstance(types, str) else types) - {""}
        names = (keys,) if isinstance(keys, str) else keys
        self._access: tuple[NodeAccess, ...] = tuple(node_access(key) for key in names)
        self.roots = {metadata_path(key).partition(".")[0] for key in names} | {"Type"}
        self.nodes: dict[Value, dict[NodeID, None]] = {}
        self.values: dict[NodeID, frozenset[Value]] = {}

    def update(self, node_id: NodeID, node: Node | None) -> frozenset[Value]:
        """File the node as it is now, None = gone; values that it had or has, if they differ."""
        before = self.values.get(node_id, frozenset())
        after = frozenset() if node is None else frozenset(self._values(node))
        if before == after:
            return frozenset()
        for value in before - after:
            del self.nodes[value][node_id]
            if not self.nodes[value]:
                del self.nodes[value]
        for value in after - before:
            self.nodes.setdefault(value, {})[node_id] = None
        if after:
            self.values[node_id] = after
        else:
            self.values.pop(node_id, None)
        return before | after

    def _values(self, node: Node) -> Iterator[Value]:
        if self._types and node.metadata.get("Type") not in self._types:
            return
        yield from product(*(_alternatives(access(node)) for access in self._access))

    def matching(self, values: Iterable[Value]) -> dict[NodeID, None]:
        """Nodes that have any of `values`."""
        found: dict[NodeID, None] = {}
        for value in values:
            found.update(self.nodes.get(value, {}))
        return found


def _alternatives(value: Any) -> Iterator[Any]:
    """What a field may agree with; nothing, when it is missing or empty."""
    if isinstance(value, list):
        for member in value:
            yield from _alternatives(member)
    elif isinstance(value, str | int) and not isinstance(value, bool) and value != "":
        yield value


class _Joined:
    """One join and the edges that it states."""

    def __init__(self, join: Join, statements: Statements, source: str) -> None:
        self.join = join
        self._statements = statements
        self._source = source
        self._parents = _Side(join.parent_type, join.parent_key)
        self._children = _Side(join.child_type, join.child_key)
        self._edges: dict[tuple[NodeID, NodeID], EdgeID] = {}
        self._children_of: dict[NodeID, dict[NodeID, None]] = {}
        self._parents_of: dict[NodeID, dict[NodeID, None]] = {}
        self.roots = frozenset(self._parents.roots | self._children.roots)

    def update(self, node: Node, now: Node | None) -> None:
        """Reconcile the edges of a node that is now as `now`, None = gone."""
        node_id = node.id
        as_parent = self._parents.update(node_id, now)
        as_child = self._children.update(node_id, now)
        if as_child:
            self._reconcile_child(node_id)
        if as_parent:
            for child in self._children.matching(as_parent) | self._children_of.get(node_id, {}):
                self._reconcile_child(child)

    def _reconcile_child(self, child: NodeID) -> None:
        wanted = self._parents.matching(self._children.values.get(child, ()))
        wanted.pop(child, None)
        stated = self._parents_of.get(child, {})
        if isinstance(self.join, Ownership) and wanted:
            # An owner that still fits stays.
            owner = next((parent for parent in stated if parent in wanted), next(iter(wanted)))
            wanted = {owner: None}
        for parent in [parent for parent in stated if parent not in wanted]:
            self._unlink(parent, child)
        for parent in wanted:
            if (parent, child) not in self._edges:
                self._link(parent, child)

    def _link(self, parent: NodeID, child: NodeID) -> None:
        match self.join:
            case Link(relation=relation, metadata=extra):
                metadata = {RELATION_TYPE: relation, **extra}
                edge_id = linked_edge_id(parent, child, metadata)
                spec = EdgeSpec(parent, child, metadata, edge_id)
            case _:
                spec = EdgeSpec(parent, child, {RELATION_TYPE: OWNERSHIP})
        self._edges[parent, child] = self._statements.state_edge(self._source, spec, yields=True)
        self._children_of.setdefault(parent, {})[child] = None
        self._parents_of.setdefault(child, {})[parent] = None

    def _unlink(self, parent: NodeID, child: NodeID) -> None:
        self._statements.withdraw_edge(self._source, self._edges.pop((parent, child)))
        for sides, one, other in (
            (self._children_of, parent, child),
            (self._parents_of, child, parent),
        ):
            del sides[one][other]
            if not sides[one]:
                del sides[one]
