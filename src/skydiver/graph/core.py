"""Keeping elements: the contract between the engine and its storage, and storage in dictionaries.

The engine decides what changes and tells; a core holds elements, finds them by identifier,
neighbourhood and indexed field, and gives snapshots. Small on purpose: it is what a core written in
Rust will have to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from weakref import ReferenceType, ref

from skydiver.base.ids import EdgeID, NodeID
from skydiver.filters import And, Eq, Filter, Or, to_int
from skydiver.graph.elements import Edge, Element, Node
from skydiver.graph.fields import edge_access, metadata_path, node_access
from skydiver.graph.scan import scan
from skydiver.graph.tables import Frozen, SetTable, Table, members
from skydiver.graph.view import GraphView

E = TypeVar("E", Node, Edge)

DEFAULT_INDEXES: tuple[str, ...] = (
    "Name",
    "Type",
    "TID",
    "MAC",
    "PeerIntfMAC",
    "IPV4",
    "IPV6",
    "IfIndex",
    "Inode",
    "Captures.ID",
    "@Host",
    "@Origin",
)
"""Fields of nodes that are found without a scan."""

EDGE_INDEXES: tuple[str, ...] = ("@Origin",)


class GraphCore(GraphView, Protocol):
    """What the engine needs of its storage."""

    def put_node(
        self, after: Node, before: Node | None, touched: Collection[str] | None = None
    ) -> None:
        """Keep `after`, in place of `before` if there was one. `touched`: the keys of the top level
        of the metadata that may differ; None = any."""
        ...

    def remove_node(self, node: Node) -> None:
        """Forget `node`, which has no edges any more."""
        ...

    def put_edge(
        self, after: Edge, before: Edge | None, touched: Collection[str] | None = None
    ) -> None:
        """Keep `after`, in place of `before`, which had the same ends. Both ends are there."""
        ...

    def remove_edge(self, edge: Edge) -> None: ...

    def nodes_of(self, origin: str) -> Sequence[Node]: ...

    def edges_of(self, origin: str) -> Sequence[Edge]: ...

    def view(self) -> GraphView:
        """The elements as they are now, for as long as it is held."""
        ...


class Index:
    """Identifiers by the value of one field.

    A value is filed under each text and each number that a filter may look for: a list under its
    members, a text that says a number under both. What is found is more than what matches, never
    less, so whoever looks up tests what is found.
    """

    __slots__ = ("_access", "root", "sets")

    def __init__(self, key: str, access: Callable[[Any], Any]) -> None:
        self._access = access
        self.root = "" if key.startswith("@") else metadata_path(key).partition(".")[0]
        """Key of the top level of the metadata that it depends on; "" = of none."""
        self.sets: SetTable[str | int] = SetTable()

    def insert(self, element: Element) -> None:
        """File a new element."""
        for term in _terms(self._access(element)):
            self.sets.add(term, element.id)

    def remove(self, element: Element) -> None:
        """Forget an element."""
        for term in _terms(self._access(element)):
            self.sets.discard(term, element.id)

    def update(self, before: Element, after: Element) -> None:
        """File an element anew."""
        old, new = self._access(before), self._access(after)
        if old is new:
            return
        old_terms, new_terms = _terms(old), _terms(new)
        for term in new_terms:
            if term not in old_terms:
                self.sets.add(term, after.id)
        for term in old_terms:
            if term not in new_terms:
                self.sets.discard(term, after.id)


def _terms(value: Any) -> Collection[str | int]:
    """What `value` is filed under; a missing one under nothing."""
    if isinstance(value, str):
        number = to_int(value)
        return (value,) if number is None else (value, number)
    if isinstance(value, list):
        return {term for member in value for term in _terms(member)}
    number = to_int(value)
    return () if number is None else (number,)


class _Reader:
    """Reading of tables, live or frozen: a `GraphView`."""

    __slots__ = ()

    _nodes: Table[NodeID, Node] | Frozen[NodeID, Node]
    _edges: Table[EdgeID, Edge] | Frozen[EdgeID, Edge]
    _out: Table[NodeID, Any] | Frozen[NodeID, Any]
    _in: Table[NodeID, Any] | Frozen[NodeID, Any]
    _node_terms: Mapping[str, Table[str | int, Any] | Frozen[str | int, Any]]
    _edge_terms: Mapping[str, Table[str | int, Any] | Frozen[str | int, Any]]

    def node(self, node_id: NodeID) -> Node | None:
        return self._nodes.rows.get(node_id)

    def edge(self, edge_id: EdgeID) -> Edge | None:
        return self._edges.rows.get(edge_id)

    def nodes(self, where: Filter | None = None) -> Iterator[Node]:
        # A generator holds the snapshot, so that it goes on while the graph changes.
        if where is None:
            yield from self._nodes.rows.values()
            return
        found = _candidates(where, self._nodes.rows, self._node_terms)
        yield from scan(where, found, node_access)

    def edges(self, where: Filter | None = None) -> Iterator[Edge]:
        if where is None:
            yield from self._edges.rows.values()
            return
        found = _candidates(where, self._edges.rows, self._edge_terms)
        yield from scan(where, found, edge_access)

    def lookup(self, key: str, value: Any) -> Iterable[Node]:
        terms = self._node_terms.get(metadata_path(key))
        nodes = self._nodes.rows
        found: Iterable[Node] = nodes.values()
        if terms is not None and isinstance(value, str | int):
            term = value if isinstance(value, str) else int(value)
            found = [nodes[NodeID(member)] for member in members(terms.rows, term)]
        read = node_access(key)
        return [node for node in found if _holds(read(node), value)]

    def out_edges(self, node_id: NodeID) -> Iterable[Edge]:
        edges = self._edges.rows
        return [edges[EdgeID(member)] for member in members(self._out.rows, node_id)]

    def in_edges(self, node_id: NodeID) -> Iterable[Edge]:
        edges = self._edges.rows
        return [edges[EdgeID(member)] for member in members(self._in.rows, node_id)]

    def node_count(self) -> int:
        return len(self._nodes.rows)

    def edge_count(self) -> int:
        return len(self._edges.rows)

    def nodes_of(self, origin: str) -> Sequence[Node]:
        return _members_of(self._nodes.rows, self._node_terms, origin)

    def edges_of(self, origin: str) -> Sequence[Edge]:
        return _members_of(self._edges.rows, self._edge_terms, origin)


def _holds(found: Any, value: Any) -> bool:
    """Whether `found` is `value` or a list that holds it; true is not 1."""
    if isinstance(found, list):
        return any(_holds(member, value) for member in found)
    return type(found) is type(value) and bool(found == value)


def _members_of(
    rows: Mapping[Any, E],
    terms: Mapping[str, Table[str | int, Any] | Frozen[str | int, Any]],
    origin: str,
) -> list[E]:
    index = terms.get("@Origin")
    if index is None:
        return [element for element in rows.values() if element.origin == origin]
    found = (rows[member] for member in members(index.rows, origin))
    return [element for element in found if element.origin == origin]


def _candidates(
    where: Filter,
    rows: Mapping[Any, E],
    terms: Mapping[str, Table[str | int, Any] | Frozen[str | int, Any]],
) -> Iterable[E]:
    """Elements among which are all that match, as few as the indexes tell."""
    found = _among(where, terms)
    if found is None:
        return rows.values()
    return [element for member in found if (element := rows.get(member)) is not None]


def _among(
    where: Filter, terms: Mapping[str, Table[str | int, Any] | Frozen[str | int, Any]]
) -> Collection[str] | None:
    """Identifiers among which are all that match; None = any may."""
    match where:
        case Eq("@ID", str(value)):
            return (value,)
        case Eq(key, value):
            path = metadata_path(key)
            if path not in terms or (path != key and path.startswith("@")):
                return None
            return members(terms[path].rows, value if isinstance(value, str) else int(value))
        case And(filters):
            known = [ids for part in filters if (ids := _among(part, terms)) is not None]
            return min(known, key=len) if known else None
        case Or(filters) if filters:
            each = [_among(part, terms) for part in filters]
            if any(ids is None for ids in each):
                return None
            return dict.fromkeys(member for ids in each if ids is not None for member in ids)
        case _:
            return None


class Snapshot(_Reader):
    """The elements of a `DictCore` at one moment."""

    __slots__ = ("__weakref__", "_edge_terms", "_edges", "_in", "_node_terms", "_nodes", "_out")

    def __init__(self, core: DictCore) -> None:
        self._nodes = core._nodes.freeze()
        self._edges = core._edges.freeze()
        self._out = core._out.freeze()
        self._in = core._in.freeze()
        self._node_terms = {key: table.freeze() for key, table in core._node_terms.items()}
        self._edge_terms = {key: table.freeze() for key, table in core._edge_terms.items()}


class DictCore(_Reader):
    """Elements in dictionaries."""

    _nodes: Table[NodeID, Node]
    _edges: Table[EdgeID, Edge]
    _out: Table[NodeID, Any]
    _in: Table[NodeID, Any]
    _node_terms: Mapping[str, Table[str | int, Any]]
    _edge_terms: Mapping[str, Table[str | int, Any]]

    def __init__(self, indexes: Sequence[str] = DEFAULT_INDEXES) -> None:
        self._nodes = Table()
        self._edges = Table()
        self._out_sets: SetTable[NodeID] = SetTable()
        self._in_sets: SetTable[NodeID] = SetTable()
        self._out, self._in = self._out_sets.table, self._in_sets.table
        node_indexes = {metadata_path(key): Index(key, node_access(key)) for key in indexes}
        edge_indexes = {key: Index(key, edge_access(key)) for key in EDGE_INDEXES}
        self._node_indexes = tuple(node_indexes.values())
        self._edge_indexes = tuple(edge_indexes.values())
        self._node_terms = {key: index.sets.table for key, index in node_indexes.items()}
        self._edge_terms = {key: index.sets.table for key, index in edge_indexes.items()}
        self._node_roots = frozenset(index.root for index in self._node_indexes)
        self._view: ReferenceType[Snapshot] | None = None

    def put_node(
        self, after: Node, before: Node | None, touched: Collection[str] | None = None
    ) -> None:
        self._view = None
        self._nodes.writable()[after.id] = after
        if before is None:
            for index in self._node_indexes:
                if not index.root or index.root in after.metadata:
                    index.insert(after)
        elif touched is None or not self._node_roots.isdisjoint(touched):
            for index in self._node_indexes:
                index.update(before, after)

    def remove_node(self, node: Node) -> None:
        self._view = None
        del self._nodes.writable()[node.id]
        for index in self._node_indexes:
            index.remove(node)

    def put_edge(
        self, after: Edge, before: Edge | None, touched: Collection[str] | None = None
    ) -> None:
        self._view = None
        self._edges.writable()[after.id] = after
        if before is None:
            self._out_sets.add(after.parent, after.id)
            self._in_sets.add(after.child, after.id)
            for index in self._edge_indexes:
                index.insert(after)

    def remove_edge(self, edge: Edge) -> None:
        self._view = None
        del self._edges.writable()[edge.id]
        self._out_sets.discard(edge.parent, edge.id)
        self._in_sets.discard(edge.child, edge.id)
        for index in self._edge_indexes:
            index.remove(edge)

    def view(self) -> Snapshot:
        if self._view is not None and (snapshot := self._view()) is not None:
            return snapshot
        snapshot = Snapshot(self)
        self._view = ref(snapshot)
        return snapshot
