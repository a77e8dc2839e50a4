"""The captures of an agent: started and stopped on demand, followed as their nodes change.

A capture is asked for by the analyzer, for one node at a time. The set finds what is to be opened
(interface, namespace), hands it to the source that serves the capture type, and from then on
keeps three things true:

- the node's metadata `Captures` says what runs there, its counters, and what is wrong with it. What
  was refused has an entry, too, without counters, until it is started after all or stopped;
- a capture ends with its node, and a namespace that nothing else keeps alive loses its rings at
  once: a ring pins the namespace, and an observer must not do that;
- flows leave on time, and every loss is counted: on the node and in `Losses`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from skydiver import native
from skydiver.base.clock import ClockMs, wall_ms
from skydiver.base.errors import SkydiverError, Unavailable
from skydiver.base.ids import NodeID
from skydiver.base.losses import Losses, LossReason
from skydiver.base.settings import Settings
from skydiver.broker.namespaces import Key as NetnsKey
from skydiver.broker.namespaces import Namespace
from skydiver.captures.afpacket import AFPacket, PacketSockets
from skydiver.captures.bursts import Bursts
from skydiver.captures.capture import Capture, CaptureTarget, Counters
from skydiver.captures.node_types import capture_type
from skydiver.captures.pcapsocket import PcapSocket
from skydiver.graph import EventKind, Graph, GraphEvent, GraphView, Node, Op, OpKind
from skydiver.objects.capture import Capture as Request
from skydiver.topology import Key, NodeType
from skydiver.topology.places import LONGEST_PATH, owner_of, place

log = logging.getLogger(__name__)

BUILTIN = (AFPacket, PcapSocket)

Sink = Callable[[bytes], None]
"""Takes flows as a protobuf `flow.Message`; called in the event loop, must be quick."""

_MPLS_UDP_PORT = "MPLSUDPPort"
"""Metadata key of the UDP port that carries MPLS at a node, as OpenContrail uses one."""
_STATISTICS_S = 10.0
_ORDINARY = ("", "interface is down", "interface is gone")
"""What captures say of an interface that is doing what it was told to."""


class KnownNamespaces(Protocol):
    """What knows the network namespaces: `broker.namespaces.Namespaces`."""

    def get(self, inode: int, device: int | None = None) -> Namespace | None: ...

    def subscribe(
        self,
        *,
        added: Callable[[Namespace], None],
        removed: Callable[[Namespace], None],
        released: Callable[[Namespace], None],
    ) -> Callable[[], None]: ...


@dataclass(slots=True)
class _Running:
    """One capture on one node."""

    node_id: NodeID
    request: Request
    source: Capture
    place: str
    """Namespace or host, and interface, for people."""
    netns: NetnsKey | None
    """None = the host's namespace."""
    number: int | None = None
    """None while it is being started or stopped."""
    unwanted: bool = False
    """Stopped, or its node or namespace went, perhaps while it was being started."""
    gone: bool = False
    """Its node or namespace went."""
    counters: Counters = field(default_factory=Counters)
    told: Counters = field(default_factory=Counters)
    """What the analyzers were told last."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class CaptureSet:
    """All captures of this agent."""

    def __init__(
        self,
        graph: Graph,
        broker: PacketSockets,
        namespaces: KnownNamespaces,
        settings: Settings,
        losses: Losses,
        *,
        sink: Sink,
        clock_ms: ClockMs = wall_ms,
    ) -> None:
        self._graph = graph
        self._writer = graph.owned_by("captures")
        self._sources: tuple[Capture, ...] = tuple(source(broker, settings) for source in BUILTIN)
        self._by_type = {name: source for source in self._sources for name in source.names}
        self._namespaces = namespaces
        self._settings = settings
        self._losses = losses
        self._sink = sink
        self._clock_ms = clock_ms
        self._running: dict[tuple[NodeID, str], _Running] = {}
        self._refused: dict[NodeID, dict[str, tuple[Request, str]]] = {}
        """Why captures were not started, by node and capture."""
        self._of_node: dict[NodeID, dict[str, None]] = {}
        """Captures in `_running`, in the order in which they came."""
        self._doomed: set[tuple[NodeID, str]] = set()
        """To be stopped because the node or the namespace went."""
        self._wake = asyncio.Event()
        self._bursts = Bursts(log)

    async def start(self, node_id: NodeID, request: Request) -> HTTPStatus:
        """Start a capture on a node; OK also when it runs already, NOT_FOUND without the node.

        Raises a `SkydiverError` when it cannot be started; the node shows it, too.
        """
        key = (node_id, request.uuid)
        while (running := self._running.get(key)) is not None:
            if not running.unwanted:
                return HTTPStatus.OK
            await running.ended.wait()
        node = self._graph.node(node_id)
        if node is None:
            return HTTPStatus.NOT_FOUND
        try:
            running = await self._open(key, node, request)
        except SkydiverError as error:
            self._refuse(key, request, str(error))
            raise
        if running.unwanted:
            await self._end(key)
            return HTTPStatus.NOT_FOUND
        self._pardon(node_id, request.uuid)
        self._describe(node_id)
        self._bursts.say(f"capture {request.uuid} started on", running.place)
        return HTTPStatus.OK

    async def _open(self, key: tuple[NodeID, str], node: Node, request: Request) -> _Running:
        asked = capture_type(str(node.metadata.get(Key.TYPE, "")), request.type)
        source = self._by_type.get(asked)
        if source is None:
            raise Unavailable(f"no source of this agent serves captures of type {asked!r}")
        target, netns = self._target(self._graph, node)
        running = _Running(node.id, request, source, place(self._graph, node), netns)
        self._running[key] = running
        self._of_node.setdefault(node.id, {})[request.uuid] = None
        try:
            running.number = await source.start(target, request)
        finally:
            if running.number is None:
                self._forget(key)
        return running

    async def stop(self, node_id: NodeID, capture_id: str) -> HTTPStatus:
        """Stop a capture on a node; NOT_FOUND when it does not run there."""
        key = (node_id, capture_id)
        running = self._running.get(key)
        if running is None:
            if not self._pardon(node_id, capture_id):
                return HTTPStatus.NOT_FOUND
            self._describe(node_id)
            return HTTPStatus.OK
        running.unwanted = True
        await self._end(key)
        await running.ended.wait()
        if self._pardon(node_id, capture_id):
            self._describe(node_id)  # it was refused just now
        return HTTPStatus.OK

    async def query(self, search: bytes) -> list[bytes]:
        """Answer a protobuf `filters.SearchQuery`: one `flow.FlowSet` per table that has flows."""
        return [answer for source in self._sources for answer in await source.query(search)]

    def status(self) -> dict[str, Any]:
        """For the status of the agent."""
        return {
            "Running": len(self._running),
            "Errors": sum(1 for running in self._running.values() if running.counters.error)
            + sum(map(len, self._refused.values())),
            "Sources": {source.names[0]: source.status() for source in self._sources},
        }

    async def run(self) -> None:
        """Follow nodes and namespaces, count, send flows; ends by cancellation, then stops all."""
        settings = self._settings
        forget_namespaces = self._namespaces.subscribe(
            added=lambda _: None,
            removed=self._on_namespace_removed,
            released=self._on_namespace_removed,
        )
        forget_graph = self._graph.subscribe(self._on_event)
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, period_s, tick in (
                    ("counters", settings.agent.capture.stats_update_s, self.count),
                    ("update", settings.flow.update_s, self.update),
                    ("expire", settings.flow.expire_s, self.expire),
                    ("statistics", _STATISTICS_S, self.tell),
                ):
                    tasks.create_task(_every(period_s, tick), name=f"captures.{name}")
                tasks.create_task(self._reap(), name="captures.reap")
        finally:
            forget_graph()
            forget_namespaces()
            await self.close()

    async def close(self) -> None:
        """Stop all captures; their last flows go to the sink. Safe to repeat."""
        keys = [key for key, running in self._running.items() if running.number is not None]
        await asyncio.gather(*(self._end(key) for key in keys))
        for source in self._sources:
            await source.close()
        self._bursts.flush()

    # Ticks

    async def update(self) -> None:
        """Send the flows that changed."""
        for source in self._sources:
            self._send(await source.update(self._clock_ms()))

    async def expire(self) -> None:
        """Send the flows that ended."""
        for source in self._sources:
            self._send(await source.expire(self._clock_ms()))

    async def tell(self) -> None:
        """Send what each capture counted since it was told last (flows.md §7.6).

        Differences, where the original adds up sums. One that saw nothing is not told."""
        for running in self._running.values():
            now, before = running.counters, running.told
            if running.number is None or now == before:
                continue
            running.told = now
            counts = (
                now.flows,
                now.evicted - before.evicted,
                0,
                now.dropped - before.dropped,
                now.received - before.received,
            )
            self._send(native.flow_stats_message(running.request.uuid, counts))

    async def count(self) -> None:
        """Bring the counters on the nodes and in `Losses` up to date."""
        for source in self._sources:
            counters = await source.counters()
            for running in list(self._running.values()):
                if running.source is source and running.number is not None:
                    self._account(running, counters.get(running.number, running.counters))

    def _account(self, running: _Running, now: Counters) -> None:
        before = running.counters
        if now == before:
            return
        self._add_losses(running, now)
        if now.error != before.error:
            words = now.error or "no error any more"
            if now.error in _ORDINARY:
                said = f"capture {running.request.uuid} on"
                self._bursts.say(said, running.place, f": {words}")
            else:
                log.warning("capture %s on %s: %s", running.request.uuid, running.place, words)
        running.counters = now
        self._describe(running.node_id)

    def _add_losses(self, running: _Running, now: Counters) -> None:
        before = running.counters
        part = f"capture.{running.source.names[0]}"
        fragments, messages = f"{part}.fragments", f"{part}.messages"
        for of, reason, lost in (
            (part, LossReason.KERNEL_RING, now.dropped - before.dropped),
            (part, LossReason.TABLE_FULL, now.evicted - before.evicted),
            (part, LossReason.DECODE, now.undecoded - before.undecoded),
            (fragments, LossReason.INVALID, now.fragments_invalid - before.fragments_invalid),
            (
                fragments,
                LossReason.INCOMPLETE,
                now.fragments_incomplete - before.fragments_incomplete,
            ),
            (fragments, LossReason.QUEUE_FULL, now.fragments_crowded - before.fragments_crowded),
            (messages, LossReason.QUEUE_FULL, now.messages_left_out - before.messages_left_out),
        ):
            # What a table counted is gone with it, should an error have ended it.
            self._losses.add(of, reason, max(lost, 0))

    def _send(self, flows: bytes) -> None:
        if flows:
            self._sink(flows)

    # What happens around

    def _on_event(self, event: GraphEvent) -> None:
        if event.kind is EventKind.DELETED and isinstance(event.before, Node):
            node_id = event.before.id
            self._refused.pop(node_id, None)
            if node_id in self._of_node:
                self._doom(lambda running: running.node_id == node_id)

    def _on_namespace_removed(self, namespace: Namespace) -> None:
        self._doom(lambda running: running.netns == namespace.key)

    def _doom(self, condition: Callable[[_Running], bool]) -> None:
        for key, running in self._running.items():
            if condition(running):
                running.unwanted = running.gone = True
                if running.number is not None:
                    self._doomed.add(key)
        if self._doomed:
            self._wake.set()

    async def _reap(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            doomed, self._doomed = self._doomed, set()
            await asyncio.gather(*(self._end(key) for key in doomed))

    async def _end(self, key: tuple[NodeID, str]) -> None:
        """Stop what runs under `key`; nothing if it is being started or stopped."""
        running = self._running.get(key)
        if running is None or running.number is None:
            return
        number, running.number = running.number, None
        running.unwanted = True
        try:
            stopped = await running.source.stop(number, now_ms=self._clock_ms())
        finally:
            self._forget(key)
        # That its interface is gone is no news about a capture that has ended.
        self._add_losses(running, stopped.counters)
        self._describe(running.node_id)
        self._send(stopped.flows)
        if running.gone:
            self._bursts.say("captures ended on", running.place, ", now gone")
        else:
            self._bursts.say(f"capture {running.request.uuid} stopped on", running.place)

    def _forget(self, key: tuple[NodeID, str]) -> None:
        node_id, capture_id = key
        del self._of_node[node_id][capture_id]
        if not self._of_node[node_id]:
            del self._of_node[node_id]
        self._running.pop(key).ended.set()

    # What did not start

    def _refuse(self, key: tuple[NodeID, str], request: Request, words: str) -> None:
        node_id, capture_id = key
        node = self._graph.node(node_id)
        if node is None:
            return
        known = self._refused.get(node_id, {}).get(capture_id)
        if known is None or known[1] != words:
            # It is tried again and again, and on many nodes for the same reason.
            level = logging.DEBUG if self._is_said(capture_id, words) else logging.WARNING
            log.log(level, "capture %s on %s: %s", capture_id, place(self._graph, node), words)
        self._refused.setdefault(node_id, {})[capture_id] = (request, words)
        self._describe(node_id)

    def _is_said(self, capture_id: str, words: str) -> bool:
        return any(
            capture_id in refused and refused[capture_id][1] == words
            for refused in self._refused.values()
        )

    def _pardon(self, node_id: NodeID, capture_id: str) -> bool:
        """Forget a refusal; False if there was none."""
        refused = self._refused.get(node_id, {})
        known = refused.pop(capture_id, None) is not None
        if known and not refused:
            del self._refused[node_id]
        return known

    # The node

    def _target(self, view: GraphView, node: Node) -> tuple[CaptureTarget, NetnsKey | None]:
        metadata = node.metadata
        for name in (Key.NAME, Key.IFINDEX, Key.ENCAP_TYPE, Key.TID):
            if not metadata.get(name):
                raise Unavailable(f"node {node.id} has no {name} (yet), which a capture needs")
        netns = self._namespace_of(view, node)
        target = CaptureTarget(
            node=node,
            netns=None if netns is None else netns.ref,
            ifindex=int(metadata[Key.IFINDEX]),
            name=str(metadata[Key.NAME]),
            encap=str(metadata[Key.ENCAP_TYPE]),
            tid=str(metadata[Key.TID]),
            mpls_udp_port=_port(metadata.get(_MPLS_UDP_PORT)),
        )
        return target, None if netns is None else netns.key

    def _namespace_of(self, view: GraphView, node: Node) -> Namespace | None:
        """The namespace that owns `node`; None = the host's own."""
        inner = node
        for _ in range(LONGEST_PATH):
            owner = owner_of(view, inner)
            if owner is None:
                break
            inner = owner
            if owner.metadata.get(Key.TYPE) == NodeType.HOST:
                return None
            if owner.metadata.get(Key.TYPE) == NodeType.NETNS:
                inode, device = owner.metadata.get(Key.INODE), owner.metadata.get(Key.DEVICE)
                found = self._namespaces.get(int(inode or 0), device)
                if found is None:
                    raise Unavailable(f"network namespace {owner.metadata.get(Key.NAME)!r} is gone")
                return found
        raise Unavailable(f"node {node.id} belongs to no host and no network namespace (yet)")

    def _describe(self, node_id: NodeID) -> None:
        """Write `Captures` of a node, if it still exists."""
        here = [self._running[node_id, id_] for id_ in self._of_node.get(node_id, ())]
        entries = [
            entry_json(running.request, running.counters)
            for running in here
            if running.number is not None
        ]
        entries += [refusal_json(*refused) for refused in self._refused.get(node_id, {}).values()]
        node = self._graph.node(node_id)
        if node is None or node.metadata.get(Key.CAPTURES, []) == entries:
            return
        op = (
            Op(OpKind.SET, Key.CAPTURES.value, entries)
            if entries
            else Op(OpKind.DELETE, Key.CAPTURES.value)
        )
        self._writer.patch(node_id, [op])


def _port(value: Any) -> int:
    """A port of the metadata; 0 for what is none."""
    return value if type(value) is int and 0 < value < 1 << 16 else 0


def entry_json(request: Request, counters: Counters) -> dict[str, Any]:
    """One entry of the node metadata `Captures` (flows.md §11.5)."""
    return {
        "PacketsReceived": counters.received,
        "PacketsDropped": counters.dropped,
        "PacketsIfDropped": counters.interface_dropped,
        **_described(request, counters.error),
        **_unless_zero(
            {
                "PCAPSocket": counters.socket,
                "FlowsEvicted": counters.evicted,
                "DecodeErrors": counters.undecoded,
                "FragmentsJoined": counters.fragments_joined,
                "FragmentsLost": counters.fragments_invalid
                + counters.fragments_incomplete
                + counters.fragments_crowded,
                "MessagesLeftOut": counters.messages_left_out,
            }
        ),
    }


def refusal_json(request: Request, error: str) -> dict[str, Any]:
    """The entry of a capture that was not started; only such entries have no counters."""
    return _described(request, error)


def _described(request: Request, error: str) -> dict[str, Any]:
    members = {
        "ID": request.uuid,
        "State": "error" if error else "active",
        "Name": request.name,
        "Description": request.description,
        "BPFFilter": request.bpf_filter,
        "Type": request.type,
        "Error": error,
    }
    return _unless_zero(members)


def _unless_zero(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}


async def _every(period_s: float, tick: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time() + period_s
    while True:
        await asyncio.sleep(due - loop.time())
        await tick()
        # A tick that took too long is not made up for.
        due = max(due + period_s, loop.time())
