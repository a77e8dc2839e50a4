"""What a probe, a rule or a capture holds to state its facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from skydiver.base.ids import NodeID
from skydiver.graph.elements import EdgeSpec, Node, NodeSpec
from skydiver.graph.events import Op
from skydiver.graph.statements import Statements


class Writer:
    """The facts of one source. Sources do not overwrite each other (see `facets`)."""

    def __init__(self, statements: Statements, source: str) -> None:
        self.source = source
        self._statements = statements
        self._patches: dict[NodeID, list[Op]] = {}
        self._transactions = 0

    def upsert(self, spec: NodeSpec, *, plain: bool = False) -> Node:
        """State all that this source knows about a node, making it if need be.

        What the source stated before and does not now is removed; what it patched beside its
        statement stays. Nothing happens when nothing changes. With `plain` the metadata are
        taken as they are, without the copy in normal form that others get: for probes with very
        many elements, of plain JSON types only, which nobody changes afterwards.
        """
        self._flush(spec.id)
        return self._statements.state_node(self.source, spec, plain=plain)

    def enrich(self, node_id: NodeID, metadata: Mapping[str, Any]) -> None:
        """State all that this source knows about a node that another source states.

        It shows while that node is there, whichever comes first, and again after the node was
        gone for a while; `delete` withdraws it.
        """
        self._flush(node_id)
        self._statements.enrich_node(self.source, NodeSpec(node_id, metadata))

    def delete(self, node_id: NodeID) -> None:
        """Withdraw all that this source says about a node and about edges at it.

        The node goes when no other source states it.
        """
        self._patches.pop(node_id, None)
        self._statements.withdraw_node(self.source, node_id)

    def link(self, spec: EdgeSpec) -> None:
        """State an edge. It is there while both its ends are, whichever comes first, and comes
        back with them. A new owner of a node replaces the owner that it has."""
        self._statements.state_edge(self.source, spec)

    def unlink(self, parent: NodeID, child: NodeID, relation: str) -> None:
        """Withdraw an edge."""
        for edge_id in self._statements.between(self.source, parent, child, relation):
            self._statements.withdraw_edge(self.source, edge_id)

    def patch(self, node_id: NodeID, ops: Sequence[Op], *, plain: bool = False) -> bool:
        """Change parts of what this source says about any node, in one revision.

        False when there is no such node: nothing is kept for later. `plain` as in `upsert`.
        """
        if self._transactions:
            if not self._statements.has_node(node_id):
                return False
            self._patches.setdefault(node_id, []).extend(ops)
            return True
        return self._statements.patch_node(self.source, node_id, ops, plain=plain)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make of all patches of a node inside one revision and one event, at the end.

        None is made when the block fails.
        """
        self._transactions += 1
        try:
            yield
        except BaseException:
            self._transactions -= 1
            if not self._transactions:
                self._patches.clear()
            raise
        self._transactions -= 1
        if not self._transactions:
            for node_id in list(self._patches):
                self._flush(node_id)

    @contextmanager
    def resync(self) -> Iterator[Writer]:
        """List everything: what is not stated again inside is withdrawn at the end.

        Nothing is withdrawn when the block fails: half a list is no evidence that the other half
        is gone. What other tasks of the source state meanwhile counts as well.
        """
        began = self._statements.next_stamp()
        yield self
        nodes, edges = self._statements.stale(self.source, began)
        for edge_id in edges:
            self._statements.withdraw_edge(self.source, edge_id)
        for node_id in nodes:
            self.delete(node_id)

    def _flush(self, node_id: NodeID) -> None:
        ops = self._patches.pop(node_id, None)
        if ops:
            self._statements.patch_node(self.source, node_id, ops)
