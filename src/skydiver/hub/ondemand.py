"""Captures on demand: what is stored as wanted is started on the agents' nodes (api.md §2.18).

Nothing is remembered but orders under way. What should run is asked anew from the store and from
each capture's query; what does run is read from the nodes, whose metadata `Captures` the agents
keep. The difference is ordered:

- a node that a query gives and that does not carry the capture gets a `Start`, and so does one that
  shows that its agent refused it: an entry in state "error" that never came to have counters;
- a node that carries a capture which nobody stores (deleted, expired, or left over from another
  life of the analyzer) gets a `Stop`.

So it does not matter which side was restarted, or which message was lost: the next comparison finds
it. Comparisons follow changes of the graph, at most one a second, and changes of the store at once.
Only for their own nodes do agents get orders: what somebody else published, an import for one,
shows the captures of another place or time. A refused or unanswered order is repeated with growing
pauses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from skydiver.base.errors import SkydiverError, StoreError, Unavailable
from skydiver.base.ids import NodeID
from skydiver.graph import EventKind, Graph, GraphEvent, Node
from skydiver.hub.messages import OK, Message
from skydiver.hub.pod import CAPTURES
from skydiver.objects.capture import Capture
from skydiver.objects.store import Change, ChangeKind, ObjectStore
from skydiver.topology import CAPTURABLE_TYPES, Key
from skydiver.topology.places import place

log = logging.getLogger(__name__)

NOTIFICATION = "OnDemandCaptureNotification"

_AGENT = "agent"
"""Service in the origin of an agent's elements."""
_BETWEEN_S = 1.0
"""Least time between two comparisons that changes of the graph ask for."""
_SHOWN_WITHIN_S = 10.0
"""Time that a node has to show a capture after its agent said that it was started."""
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 30.0
_STORE_PAUSE_S = 3.0
_AT_A_TIME = 64
"""Orders under way."""

EvaluateNodes: TypeAlias = Callable[[str], Awaitable[Iterable[Node]]]
"""The nodes that a Gremlin expression gives now; those on the paths when it gives paths."""


_Key: TypeAlias = tuple[str, NodeID, str]
"""Of an order: verb, node, capture."""


class Agents(Protocol):
    """What carries orders to agents and news to subscribers: the hub."""

    async def request(
        self, host_id: str, namespace: str, type_: str, obj: Any, timeout_s: float | None = None
    ) -> Message: ...

    def broadcast(self, namespace: str, type_: str, obj: Any) -> None: ...


@dataclass(slots=True)
class _Order:
    """A `Start` or `Stop` of one capture on one node, until the node shows its effect."""

    under_way: bool = False
    again_at: float = 0.0
    """Not repeated before; time of the event loop."""
    failures: int = 0


class CaptureController:
    """Keeps what the agents capture equal to what is stored."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        hub: Agents,
        graph: Graph,
        evaluate: EvaluateNodes,
    ) -> None:
        self._store = store
        self._hub = hub
        self._graph = graph
        self._evaluate = evaluate
        self._captures: dict[str, Capture] = {}
        self._loaded = False
        self._gone_meanwhile: set[str] = set()
        self._carried: dict[NodeID, frozenset[str]] = {}
        """Captures that nodes show, by identifier."""
        self._refused: set[tuple[NodeID, str]] = set()
        """Those of them that did not start."""
        self._active: set[tuple[NodeID, str]] = set()
        self._orders: dict[_Key, _Order] = {}
        self._said: set[tuple[str, str]] = set()
        """Captures and what is wrong with orders for them, so that it is said once."""
        self._wrong: dict[str, str] = {}
        """What is wrong with a capture's query, so that it is said once."""
        self._changed = False
        self._stir = asyncio.Event()
        self._at_once = asyncio.Event()
        self._limit = asyncio.Semaphore(_AT_A_TIME)

    async def run(self) -> None:
        """Follow the store and the graph; until cancelled."""
        forget = self._graph.subscribe(self._on_event)
        try:
            for node in self._graph.view().nodes():
                self._note_carried(node)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_store(), name="captures wanted")
                group.create_task(self._compare_for_ever(group), name="capture orders")
        finally:
            forget()

    def status(self) -> dict[str, Any]:
        """For the status of the analyzer (api.md §3.12)."""
        return {"IsMaster": True}

    # What happens

    async def _follow_store(self) -> None:
        """Know the stored captures from now on."""
        forget = self._store.watch(Capture, self._on_change)
        try:
            # Watching began before, so what happens meanwhile may be seen twice, never not at all.
            stored = await self._list()
            for capture_id in stored.keys() - self._gone_meanwhile:
                self._captures.setdefault(capture_id, stored[capture_id])
            self._loaded = True
            self._soon()
            await asyncio.Event().wait()
        finally:
            forget()

    async def _list(self) -> dict[str, Capture]:
        while True:
            try:
                return await self._store.list(Capture)
            except StoreError as error:
                log.warning("captures cannot be listed: %s; trying again", error)
                await asyncio.sleep(_STORE_PAUSE_S)

    def _on_change(self, change: Change[Capture]) -> None:
        capture = change.resource
        if change.gone:
            if not self._loaded:
                self._gone_meanwhile.add(capture.uuid)
            if self._captures.pop(capture.uuid, None) is not None:
                self._wrong.pop(capture.uuid, None)
                self._hub.broadcast(NOTIFICATION, "Deleted", capture.to_json())
        else:
            self._captures[capture.uuid] = capture
            if change.kind is ChangeKind.CREATED:
                self._hub.broadcast(NOTIFICATION, "Added", capture.to_json())
        self._soon()

    def _soon(self) -> None:
        """Compare without waiting for the end of the pause."""
        self._change()
        self._at_once.set()

    def _change(self) -> None:
        """Something happened that may make a difference."""
        self._changed = True
        self._stir.set()

    def _on_event(self, change: GraphEvent) -> None:
        element = change.after
        if not isinstance(element, Node):
            if change.kind is EventKind.ADDED:
                self._change()
            return
        if change.kind is EventKind.DELETED:
            self._node_gone(element.id)
            return
        carried_before = self._carried.get(element.id)
        self._note_carried(element)
        if self._carried.get(element.id) != carried_before or not self._is_noise(change):
            self._change()

    def _is_noise(self, change: GraphEvent) -> bool:
        """True for counters, which change all the time and matter to no query."""
        if change.ops is None:
            return False
        changed = {op.key.partition(".")[0] for op in change.ops}
        return changed <= _COUNTERS and not any(
            key in capture.gremlin_query for key in changed for capture in self._captures.values()
        )

    def _note_carried(self, node: Node) -> None:
        """Take in what a node shows, and close the orders that it shows the effect of."""
        entries = {str(e.get("ID") or ""): e for e in _entries(node)} if _is_agents(node) else {}
        before, ran = self._carried.get(node.id, frozenset()), self._running(node.id)
        if entries:
            self._carried[node.id] = frozenset(entries)
        else:
            self._carried.pop(node.id, None)
        self._refused -= {(node.id, capture_id) for capture_id in before}
        self._refused |= {(node.id, id_) for id_, entry in entries.items() if _is_refusal(entry)}
        for type_, changed in (
            ("Start", self._running(node.id) - ran),
            ("Stop", before - entries.keys()),
        ):
            for capture_id in changed:
                self._close((type_, node.id, capture_id))
        self._active -= {
            key
            for key in ((node.id, capture_id) for capture_id in before)
            if key[1] not in entries or key in self._refused
        }
        states = {capture_id: entry.get("State") for capture_id, entry in entries.items()}
        for capture_id, state in states.items():
            if state == "active" and (node.id, capture_id) not in self._active:
                self._active.add((node.id, capture_id))
                self._notify("NodeUpdated", capture_id)

    def _running(self, node_id: NodeID) -> frozenset[str]:
        """Captures that a node shows as started."""
        carried = self._carried.get(node_id, frozenset())
        return frozenset(id_ for id_ in carried if (node_id, id_) not in self._refused)

    def _close(self, key: _Key) -> None:
        order = self._orders.get(key)
        if order is not None and not order.under_way:
            del self._orders[key]

    def _has_effect(self, key: _Key) -> bool:
        type_, node_id, capture_id = key
        if type_ == "Start":
            return capture_id in self._running(node_id)
        return capture_id not in self._carried.get(node_id, ())

    def _node_gone(self, node_id: NodeID) -> None:
        for _, capture_id in [key for key in self._active if key[0] == node_id]:
            self._active.discard((node_id, capture_id))
            self._notify("NodeUpdated", capture_id)
        for capture_id in self._carried.pop(node_id, ()):
            self._refused.discard((node_id, capture_id))
        for order in [key for key in self._orders if key[1] == node_id]:
            del self._orders[order]

    def _notify(self, type_: str, capture_id: str) -> None:
        capture = self._captures.get(capture_id)
        if capture is not None:
            self._hub.broadcast(NOTIFICATION, type_, capture.to_json())

    # Comparing

    async def _compare_for_ever(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._next_reason()
            self._changed = False
            self._at_once.clear()
            if self._loaded:
                await self._compare(group)
            with suppress(TimeoutError):
                async with asyncio.timeout(_BETWEEN_S):
                    await self._at_once.wait()

    async def _next_reason(self) -> None:
        """Wait for a change, or for the time when an order may be repeated."""
        loop = asyncio.get_running_loop()
        while not self._changed:
            self._stir.clear()
            due = [order.again_at for order in self._orders.values() if not order.under_way]
            pause_s = min(due) - loop.time() if due else None
            if pause_s is not None and pause_s <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stir.wait()

    async def _compare(self, group: asyncio.TaskGroup) -> None:
        wanted: set[_Key] = set()
        exclusive: set[tuple[NodeID, str]] = set()
        for capture in list(self._captures.values()):
            for node in await self._nodes_of(capture):
                if not _can_start(node, capture):
                    continue
                if not capture.abilities.several_per_node:
                    if (node.id, capture.type) in exclusive:
                        continue
                    exclusive.add((node.id, capture.type))
                wanted.add(("Start", node.id, capture.uuid))
        # A node may show by now what the query's snapshot did not.
        wanted = {key for key in wanted if not self._has_effect(key)}
        for node_id, carried in self._carried.items():
            for capture_id in carried - self._captures.keys():
                wanted.add(("Stop", node_id, capture_id))
        for key in [k for k, o in self._orders.items() if k not in wanted and not o.under_way]:
            del self._orders[key]
        troubled = {capture_id for _, _, capture_id in self._orders}
        self._said = {known for known in self._said if known[0] in troubled}
        now = asyncio.get_running_loop().time()
        for key in wanted:
            order = self._orders.setdefault(key, _Order())
            if not order.under_way and order.again_at <= now:
                order.under_way = True
                group.create_task(self._give(order, key), name=f"{key[0]} capture {key[2]}")

    async def _nodes_of(self, capture: Capture) -> Iterable[Node]:
        try:
            nodes = await self._evaluate(capture.gremlin_query)
        except SkydiverError as error:
            if self._wrong.get(capture.uuid) != str(error):
                self._wrong[capture.uuid] = str(error)
                log.warning("capture %s: %s: %s", capture.uuid, capture.gremlin_query, error)
            return ()
        self._wrong.pop(capture.uuid, None)
        return {node.id: node for node in nodes}.values()

    # Orders

    async def _give(self, order: _Order, key: _Key) -> None:
        """Send one order; what comes of it decides when it may be sent again."""
        async with self._limit:
            problem = await self._send(*key)
        now = asyncio.get_running_loop().time()
        order.under_way = False
        if problem:
            order.failures += 1
            pause_s = _FIRST_PAUSE_S * 2.0 ** (order.failures - 1)
            order.again_at = now + min(pause_s, _LONGEST_PAUSE_S)
            if (key[2], problem) not in self._said:
                self._said.add((key[2], problem))
                log.warning("capture %s: %s, on %s first", key[2], problem, self._name(key[1]))
        elif self._has_effect(key):
            self._close(key)
        else:
            order.failures = 0
            order.again_at = now + _SHOWN_WITHIN_S
        self._stir.set()

    def _name(self, node_id: NodeID) -> str:
        """Of a node, for people: namespace or host, and interface."""
        node = self._graph.node(node_id)
        return str(node_id) if node is None else place(self._graph, node)

    async def _send(self, type_: str, node_id: NodeID, capture_id: str) -> str:
        """Empty, or what went wrong."""
        node = self._graph.node(node_id)
        capture = self._captures.get(capture_id)
        if node is None or (type_ == "Start" and capture is None):
            return ""
        resource = {"UUID": capture_id} if capture is None else capture.to_json()
        try:
            reply = await self._hub.request(
                node.host, CAPTURES, type_, {"NodeID": node_id, "Resource": resource}
            )
        except Unavailable as error:
            return str(error)
        if type_ == "Start":
            self._notify("NodeUpdated", capture_id)
        return (
            "" if reply.status == OK else f"agent {node.host} answers {type_} with {reply.status}"
        )


_COUNTERS = frozenset({Key.METRIC, Key.LAST_UPDATE_METRIC, Key.CAPTURES})


def _entries(node: Node) -> list[Mapping[str, Any]]:
    entries: Any = node.metadata.get(Key.CAPTURES)
    return [e for e in entries if isinstance(e, Mapping)] if isinstance(entries, list) else []


def _is_refusal(entry: Mapping[str, Any]) -> bool:
    """True for what an agent did not start; what started has counters, whatever befell it then."""
    return entry.get("State") == "error" and "PacketsReceived" not in entry


def _is_agents(node: Node) -> bool:
    """True for a node that is the agent's own, and that of an agent."""
    return bool(node.host) and node.origin == f"{_AGENT}.{node.host}"


def _can_start(node: Node, capture: Capture) -> bool:
    """True for a node that an agent owns, that can be captured, and is not yet."""
    if not _is_agents(node) or str(node.metadata.get(Key.TYPE)) not in CAPTURABLE_TYPES:
        return False
    running = [entry for entry in _entries(node) if not _is_refusal(entry)]
    if any(entry.get("ID") == capture.uuid for entry in running):
        return False
    if capture.abilities.several_per_node:
        return True
    return all(entry.get("Type") != capture.type for entry in running)
