"""The peers that follow the graph: every change to each of them, whole or through a filter.

Without a filter a change is turned into bytes once for each encoding and update policy, and the
same bytes go to all peers that share them. What happens within a few milliseconds travels together.

With a filter the peer sees the graph that a Gremlin expression gives (api.md §2.9). The original
evaluates it at each event. Here it is evaluated when something has changed, at most once per
`filter_interval_s`, and the difference to what the peer knows is sent: additions, deletions, then
the updates of what stayed. That is the same sequence of states with fewer steps in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

from skydiver.base.errors import SkydiverError
from skydiver.graph import Edge, EventKind, Graph, GraphEvent, Node
from skydiver.graph.wire import GraphMessage
from skydiver.hub.connection import Connection
from skydiver.hub.frames import frame
from skydiver.hub.graph_messages import NAMESPACE, change_message
from skydiver.hub.messages import Message, Protocol, encode
from skydiver.hub.settings import HubSettings
from skydiver.hub.snapshot import graph_json

log = logging.getLogger(__name__)

Elements: TypeAlias = tuple[Sequence[Node], Sequence[Edge]]
Evaluate: TypeAlias = Callable[[str, int | None], Awaitable[Elements]]
"""The graph that a Gremlin expression gives now (None) or at a time in milliseconds; a
`SkydiverError` when it is wrong, gives no graph, or there is no such past."""

_BAD_REQUEST = 400
_WHOLE_GRAPH = "G"
_TURN = 1_000
"""Changes sent to everybody before others get their turn."""
_BETWEEN_S = 0.005
"""Least time between two writes to everybody. A lone change goes at once; of a stream several go
together, since a write costs the same whatever it carries."""
_LONGEST_MEMORY = 1_000
"""Updates remembered one by one between two evaluations; above, elements are sent whole."""

_E = TypeVar("_E", Node, Edge)


class Subscribers:
    """The subscribing peers of one server."""

    def __init__(self, graph: Graph, evaluate: Evaluate, settings: HubSettings) -> None:
        self._graph = graph
        self._evaluate = evaluate
        self._settings = settings
        self._all: set[Connection] = set()
        self._plain: dict[tuple[Protocol, bool], set[Connection]] = {}
        """Peers without a filter, by what makes their bytes the same."""
        self._filters: set[_Filter] = set()
        self._changes: list[GraphEvent] = []
        self._flush_handle: asyncio.Handle | None = None
        self._flushed_at = 0.0

    def on_event(self, change: GraphEvent) -> None:
        """Listener of the graph."""
        for filter_ in self._filters:
            filter_.changed(change)
        if self._plain:
            self._changes.append(change)
            if self._flush_handle is None:
                self._schedule()

    def _schedule(self) -> None:
        """Send what waits at once, or together with what follows if something was just sent."""
        loop = asyncio.get_running_loop()
        since_s = loop.time() - self._flushed_at
        if since_s >= _BETWEEN_S:
            self._flush_handle = loop.call_soon(self._flush_turn)
        else:
            self._flush_handle = loop.call_later(_BETWEEN_S - since_s, self._flush_turn)

    def broadcast(self, message: Message) -> None:
        """Send something that is not about the graph to every peer that wants it."""
        self.flush()
        for connection in list(self._all):
            connection.send(message)

    def flush(self) -> None:
        """Send all changes that still wait for the end of this turn."""
        while self._changes:
            self._flush_turn()

    def _flush_turn(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        self._flushed_at = asyncio.get_running_loop().time()
        changes, self._changes = self._changes[:_TURN], self._changes[_TURN:]
        messages: dict[bool, list[Message]] = {}
        for (protocol, partial), connections in list(self._plain.items()):
            if partial not in messages:
                messages[partial] = [change_message(c, partial=partial) for c in changes]
            data = b"".join(frame(encode(m, protocol), protocol) for m in messages[partial])
            for connection in list(connections):
                connection.send_frames(data, len(changes))
        if self._changes:
            self._flush_handle = asyncio.get_running_loop().call_soon(self._flush_turn)

    async def serve(self, connection: Connection) -> None:
        """Follow the graph for `connection` until it is gone."""
        async with asyncio.TaskGroup() as group:
            subscription = _Subscription(self, connection, group)
            try:
                if await subscription.begin():
                    await connection.serve(subscription.handle)
                else:
                    await connection.close()
            finally:
                subscription.end()

    # For subscriptions

    def enter(self, connection: Connection) -> None:
        self._all.add(connection)

    def leave(self, connection: Connection) -> None:
        self._all.discard(connection)
        self.leave_plain(connection)

    def enter_plain(self, connection: Connection) -> None:
        """From now on the peer gets every change."""
        if connection.handshake.wants(NAMESPACE):
            self.flush()
            self._plain.setdefault(_kind(connection), set()).add(connection)

    def leave_plain(self, connection: Connection) -> None:
        peers = self._plain.get(_kind(connection))
        if peers is not None and connection in peers:
            self.flush()
            peers.discard(connection)
            if not peers:
                del self._plain[_kind(connection)]

    async def elements(self, text: str | None, at_ms: int | None) -> Elements:
        """The graph as `text` gives it, now or then; the whole graph for None."""
        if text is None and at_ms is None:
            view = self._graph.view()
            return list(view.nodes()), list(view.edges())
        return await self._evaluate(text or _WHOLE_GRAPH, at_ms)

    def open_filter(self, connection: Connection, text: str) -> _Filter:
        """A filter that notes changes from now on, and sends nothing until it is started."""
        filter_ = _Filter(connection, text, self._evaluate, self._settings.filter_interval_s)
        self._filters.add(filter_)
        return filter_

    def close_filter(self, filter_: _Filter) -> None:
        self._filters.discard(filter_)
        filter_.stop()


class _Subscription:
    """What one peer has asked for."""

    def __init__(
        self, subscribers: Subscribers, connection: Connection, group: asyncio.TaskGroup
    ) -> None:
        self._subscribers = subscribers
        self._connection = connection
        self._group = group
        self._filter: _Filter | None = None

    async def begin(self) -> bool:
        """Apply the handshake; False when its filter is wrong."""
        self._subscribers.enter(self._connection)
        text = self._connection.handshake.gremlin_filter
        if text is None:
            self._subscribers.enter_plain(self._connection)
            return True
        try:
            await self._set_filter(text)
        except SkydiverError as error:
            self._connection.refuse(f"filter of the handshake: {error}")
            return False
        return True

    def end(self) -> None:
        if self._filter is not None:
            self._subscribers.close_filter(self._filter)
        self._subscribers.leave(self._connection)

    def handle(self, message: Message) -> Awaitable[None] | None:
        if message.namespace == NAMESPACE and message.type == GraphMessage.SYNC_REQUEST:
            return self._sync(message)
        return None

    async def _sync(self, request: Message) -> None:
        """Answer with a graph, and change the filter if asked to (api.md §2.9)."""
        await self._connection.room()
        try:
            text, at_ms = _read_request(request.obj)
            if text == "":
                self._clear_filter()
            elif text is not None:
                await self._set_filter(text)
        except SkydiverError as error:
            self._connection.send(
                request.reply(GraphMessage.SYNC_REPLY, str(error), status=_BAD_REQUEST)
            )
            return
        if at_ms is None and self._filter is not None:
            # What was sent until now and this answer must be the same state.
            await self._filter.refresh()
        else:
            self._subscribers.flush()
        slot = self._connection.reserve()
        try:
            if at_ms is None and self._filter is not None:
                elements = self._filter.elements()
            else:
                asked = None if self._filter is None else self._filter.text
                elements = await self._subscribers.elements(asked, at_ms)
            slot.fill(request.reply(GraphMessage.SYNC_REPLY, await graph_json(*elements)))
        except SkydiverError as error:
            log.info("%s: %s", self._connection.name, error)
            slot.fill(request.reply(GraphMessage.SYNC_REPLY, None, status=_BAD_REQUEST))
        finally:
            slot.leave_empty()

    async def _set_filter(self, text: str) -> None:
        filter_ = self._subscribers.open_filter(self._connection, text)
        try:
            await filter_.evaluate()
        except SkydiverError:
            self._subscribers.close_filter(filter_)
            raise
        self._clear_filter()
        self._subscribers.leave_plain(self._connection)
        self._filter = filter_
        filter_.start(self._group)

    def _clear_filter(self) -> None:
        if self._filter is not None:
            self._subscribers.close_filter(self._filter)
            self._filter = None
            self._subscribers.enter_plain(self._connection)


class _Filter:
    """The graph that one peer sees, kept up to date."""

    def __init__(
        self, connection: Connection, text: str, evaluate: Evaluate, interval_s: float
    ) -> None:
        self.text = text
        self._connection = connection
        self._evaluate = evaluate
        self._interval_s = interval_s
        self._nodes: dict[str, Node] = {}
        self._edges: dict[str, Edge] = {}
        self._updates: dict[str, list[GraphEvent]] = {}
        self._remembered = 0
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def changed(self, change: GraphEvent) -> None:
        """Something happened somewhere in the graph."""
        self._wake.set()
        if change.kind is EventKind.UPDATED and self._connection.handshake.partial_updates:
            self._remembered += 1
            if self._remembered > _LONGEST_MEMORY:
                self._updates.clear()
            else:
                self._updates.setdefault(change.after.id, []).append(change)

    def start(self, group: asyncio.TaskGroup) -> None:
        self._task = group.create_task(self._run(), name=f"filter of {self._connection.name}")

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def elements(self) -> Elements:
        """What the peer knows."""
        return list(self._nodes.values()), list(self._edges.values())

    async def evaluate(self) -> None:
        """Take the result of the expression as what the peer knows, sending nothing."""
        nodes, edges = await self._evaluate(self.text, None)
        self._nodes = {node.id: node for node in nodes}
        self._edges = {edge.id: edge for edge in edges}

    async def refresh(self) -> None:
        """Evaluate again if something changed, and send the difference."""
        async with self._lock:
            if not self._wake.is_set():
                return
            self._wake.clear()
            updates, self._updates, self._remembered = self._updates, {}, 0
            try:
                nodes, edges = await self._evaluate(self.text, None)
            except SkydiverError as error:
                self._connection.complaints.say(f"filter {self.text!r}: {error}")
                return
            self._send_difference(nodes, edges, updates)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await self.refresh()
            await asyncio.sleep(self._interval_s)

    def _send_difference(
        self, nodes: Sequence[Node], edges: Sequence[Edge], updates: dict[str, list[GraphEvent]]
    ) -> None:
        new_nodes: dict[str, Node] = {node.id: node for node in nodes}
        new_edges: dict[str, Edge] = {edge.id: edge for edge in edges}
        reborn = {n.id for n in nodes if _reborn(self._nodes.get(n.id), n)}
        anew = {
            e.id
            for e in edges
            if e.parent in reborn or e.child in reborn or _reborn(self._edges.get(e.id), e)
        }
        self._send_deletions(self._nodes, reborn)
        self._send_additions(nodes, self._nodes, reborn)
        self._send_deletions(self._nodes, self._nodes.keys() - new_nodes.keys())
        self._send_deletions(self._edges, anew)
        self._send_additions(edges, self._edges, anew)
        self._send_deletions(self._edges, self._edges.keys() - new_edges.keys())
        self._send_updates(nodes, self._nodes, updates, new_nodes)
        self._send_updates(edges, self._edges, updates, new_edges)
        self._nodes, self._edges = new_nodes, new_edges

    def _send(self, kind: EventKind, element: Any) -> None:
        self._connection.send(change_message(GraphEvent(kind, None, element), partial=False))

    def _send_additions(self, now: Iterable[_E], known: dict[str, _E], again: set[Any]) -> None:
        for element in now:
            if element.id not in known or element.id in again:
                self._send(EventKind.ADDED, element)

    def _send_deletions(self, known: dict[str, _E], gone: Iterable[Any]) -> None:
        for element_id in gone:
            if element_id in known:
                self._send(EventKind.DELETED, known[element_id])

    def _send_updates(
        self,
        now: Iterable[_E],
        known: dict[str, _E],
        updates: dict[str, list[GraphEvent]],
        new: dict[Any, _E],
    ) -> None:
        """Bring what stayed from the revision that the peer knows to that of the result."""
        for element in now:
            before = known.get(element.id)
            if before is None or before.revision >= element.revision:
                continue
            steps = [
                step
                for step in updates.get(element.id, ())
                if before.revision < step.after.revision <= element.revision
            ]
            if steps and len(steps) == element.revision - before.revision:
                for step in steps:
                    self._connection.send(change_message(step, partial=True))
            else:
                self._send(EventKind.UPDATED, element)


def _kind(connection: Connection) -> tuple[Protocol, bool]:
    return connection.handshake.protocol, connection.handshake.partial_updates


def _reborn(known: Node | Edge | None, now: Node | Edge) -> bool:
    """True when the peer must forget the element first: it would ignore an older revision."""
    if known is None:
        return False
    return known.created_at_ms != now.created_at_ms or known.revision > now.revision


def _read_request(obj: Any) -> tuple[str | None, int | None]:
    """Filter (None = as it is, empty = none) and time (None = now) of a `SyncRequest`."""
    if obj is None:
        return None, None
    if not isinstance(obj, dict):
        raise _WrongRequest("SyncRequest holds no object")
    text, at_ms = obj.get("GremlinFilter"), obj.get("Time")
    if text is not None and not isinstance(text, str):
        raise _WrongRequest("GremlinFilter is neither a text nor null")
    if at_ms is not None and type(at_ms) is not int:
        raise _WrongRequest("Time is neither a whole number of milliseconds nor null")
    return text, at_ms or None


class _WrongRequest(SkydiverError):
    """A request that is answered with 400."""
