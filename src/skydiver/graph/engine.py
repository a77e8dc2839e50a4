"""Changing a graph one revision at a time, and telling about each in order.

Every change, whoever asks for it, comes down to one of the operations here: the core keeps it, an
event says it. Whoever asked calls `tell` when all that belongs together is done, so nobody sees
half of it. Listeners may change the graph in turn; their changes happen at once and are told after
what is being told now, so all listeners see all events in the same order.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from skydiver.base.clock import ClockMs
from skydiver.base.ids import Origin
from skydiver.base.losses import Losses, LossReason
from skydiver.graph.core import GraphCore
from skydiver.graph.elements import Edge, Element, Metadata, Node
from skydiver.graph.events import EventKind, GraphEvent, Listener, Op

log = logging.getLogger(__name__)

MAX_NESTED = 500
"""Events that listeners may have caused and that are not told yet."""


@dataclass(slots=True, eq=False)
class _Subscription:
    listener: Listener


def _ignore(event: GraphEvent) -> None:
    """What an ended subscription does."""


class Engine:
    """A core whose changes are told."""

    def __init__(
        self, core: GraphCore, *, host: str, origin: Origin, clock_ms: ClockMs, losses: Losses
    ) -> None:
        self.core = core
        self.host = host
        self.origin = origin
        self.clock_ms = clock_ms
        self._losses = losses
        self._subscriptions: tuple[_Subscription, ...] = ()
        self._followers: list[Listener] = []
        self._pending: deque[tuple[GraphEvent, bool]] = deque()
        """Not told yet, and whether a listener caused it."""
        self._nested = 0
        """Of these, those that listeners caused."""
        self._telling = False
        self._listening = False

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` from now on, until what is returned is called."""
        subscription = _Subscription(listener)
        self._subscriptions = (*self._subscriptions, subscription)

        def unsubscribe() -> None:
            # Told nothing more even when this comes in the middle of telling.
            subscription.listener = _ignore
            self._subscriptions = tuple(
                other for other in self._subscriptions if other is not subscription
            )

        return unsubscribe

    def follow(self, follower: Listener) -> None:
        """Tell `follower`, a part of the engine, before all listeners."""
        self._followers.append(follower)

    def check_room(self) -> None:
        """Refuse a change while listeners have caused too many that are not told yet."""
        if self._listening and self._nested >= MAX_NESTED:
            raise RuntimeError(f"listeners of the graph caused {MAX_NESTED} changes at once")

    def insert(self, element: Element, cause: str = "") -> None:
        """Add an element whose ID is new and whose ends are there."""
        if isinstance(element, Node):
            self.core.put_node(element, None)
        else:
            self.core.put_edge(element, None)
        self._queue(GraphEvent(EventKind.ADDED, None, element, None, cause))

    def replace(
        self,
        before: Element,
        metadata: Metadata,
        *,
        revision: int,
        updated_at_ms: int,
        ops: tuple[Op, ...] | None = None,
        cause: str = "",
    ) -> Element:
        """Put a new revision in the place of `before`."""
        touched = None if ops is None else _roots(ops)
        after: Element
        if isinstance(before, Node):
            after = Node(
                before.id,
                metadata,
                before.host,
                before.origin,
                before.created_at_ms,
                updated_at_ms,
                revision,
            )
            self.core.put_node(after, before, touched)
        else:
            after = Edge(
                before.id,
                before.parent,
                before.child,
                metadata,
                before.host,
                before.origin,
                before.created_at_ms,
                updated_at_ms,
                revision,
            )
            self.core.put_edge(after, before, touched)
        self._queue(GraphEvent(EventKind.UPDATED, before, after, ops, cause))
        return after

    def remove_node(self, node: Node, *, at_ms: int, cause: str = "") -> None:
        """Remove `node` with its edges, which are told first."""
        edges = {edge.id: edge for edge in self.core.out_edges(node.id)}
        edges.update((edge.id, edge) for edge in self.core.in_edges(node.id))
        for edge in edges.values():
            self.remove_edge(edge, at_ms=at_ms, cause=cause)
        self.core.remove_node(node)
        self._queue(deleted(node, at_ms, cause))

    def remove_edge(self, edge: Edge, *, at_ms: int, cause: str = "") -> None:
        self.core.remove_edge(edge)
        self._queue(deleted(edge, at_ms, cause))

    def _queue(self, event: GraphEvent) -> None:
        self._pending.append((event, self._listening))
        self._nested += self._listening

    def tell(self) -> None:
        """Tell what has changed. While that goes on already, what is new is told after it."""
        if self._telling:
            return
        self._telling = True
        pending = self._pending
        try:
            while pending:
                event, nested = pending.popleft()
                self._nested -= nested
                for follower in self._followers:
                    follower(event)
                self._listening = True
                for subscription in self._subscriptions:
                    try:
                        subscription.listener(event)
                    except Exception:
                        # One part that fails must not keep the others from being told.
                        log.exception("a listener failed on %s of %s", event.kind, event.after.id)
                        self._losses.add("graph.listener", LossReason.FAILED)
                self._listening = False
        finally:
            self._telling = self._listening = False


def deleted(element: Element, at_ms: int, cause: str) -> GraphEvent:
    """The event of a deletion."""
    after: Element
    if isinstance(element, Node):
        after = Node(
            element.id,
            element.metadata,
            element.host,
            element.origin,
            element.created_at_ms,
            element.updated_at_ms,
            element.revision,
            at_ms,
        )
    else:
        after = Edge(
            element.id,
            element.parent,
            element.child,
            element.metadata,
            element.host,
            element.origin,
            element.created_at_ms,
            element.updated_at_ms,
            element.revision,
            at_ms,
        )
    return GraphEvent(EventKind.DELETED, element, after, None, cause)


def _roots(ops: tuple[Op, ...]) -> Collection[str]:
    """Keys of the top level that `ops` touch."""
    if len(ops) == 1 and "." not in ops[0].key:
        return (ops[0].key,)
    return [op.key.partition(".")[0] for op in ops]
