"""The agent's end of the protocol: its graph goes to one analyzer, orders come from all (§2.11).

The agent connects to every analyzer it knows. One of them, the master, gets the topology: first the
whole graph, then each change; the others are there to ask for flows and to order captures, and to
become master when the present one goes. Nothing is kept for a master that is not there: the next
one gets the whole graph anyway.

The queue of changes is bounded. When it overflows it is thrown away, counted, and the whole graph
is sent instead, so the loss is repaired at once.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from aiohttp import ClientError, ClientSession, WSMsgType, WSServerHandshakeError

from skydiver.base.clock import ClockMs, ClockNs, wall_ms, wall_ns
from skydiver.base.errors import ProtocolError, SkydiverError, Unavailable
from skydiver.base.ids import NodeID
from skydiver.base.losses import Losses, LossReason
from skydiver.base.tasks import heed_cancellation
from skydiver.graph import Graph, GraphEvent
from skydiver.graph.wire import GraphMessage
from skydiver.hub import clocks, table_query
from skydiver.hub.connection import connection_status
from skydiver.hub.dialling import DialledSocket, dial, dialling_session, why
from skydiver.hub.graph_messages import NAMESPACE, change_message
from skydiver.hub.messages import Message, decode, encode, event
from skydiver.hub.messages import Protocol as WireProtocol
from skydiver.hub.settings import HubSettings
from skydiver.hub.snapshot import graph_json
from skydiver.objects.capture import Capture

log = logging.getLogger(__name__)

PART = "hub.pod"
"""Name in the loss counters."""

PATH = "/ws/agent/topology"
CAPTURES = "OnDemandCapture"
INJECTIONS = "OnDemandPacketInjection"

_OK = 200
_BAD_REQUEST = 400
_NOT_FOUND = 404
_FAILED = 500
_BUSY = 503

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 3.0
_MOST_REASONS = 5
"""Reasons of one outage that are said; the first may hide what is really wrong."""
_PIECE = 100
_MOST_REQUESTS = 256
_AT_A_TIME = 64
"""Orders of captures under way; each waits for the kernel."""
_LARGEST_MESSAGE = 16 * 1024 * 1024

Flows: TypeAlias = Callable[[bytes], Sequence[bytes] | Awaitable[Sequence[bytes]]]
"""Answers a serialized `filters.SearchQuery` with one serialized `flow.FlowSet` per table."""


Question: TypeAlias = Callable[[Any], Any]
"""Answers the object of a question with another one. Raises `ProtocolError` for what is no such
question, `Unavailable` when there is no answer."""

ClockTold: TypeAlias = Callable[[str, clocks.Offset | None], None]
"""Gets the host id of an analyzer and how far it says that our clock is off; None = it does not
say."""


class Captures(Protocol):
    """What starts and stops captures; answers with an HTTP status, or raises `SkydiverError`."""

    async def start(self, node_id: NodeID, request: Capture) -> int: ...

    async def stop(self, node_id: NodeID, capture_id: str) -> int: ...


class Pod:
    """An agent's connections to its analyzers."""

    def __init__(
        self,
        *,
        graph: Graph,
        host_id: str,
        analyzers: Iterable[object],
        captures: Captures,
        flows: Flows,
        losses: Losses,
        settings: HubSettings | None = None,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        ready: Callable[[], Awaitable[object]] | None = None,
        clock_ms: ClockMs = wall_ms,
        clock_ns: ClockNs = wall_ns,
        clock_told: ClockTold | None = None,
        questions: Mapping[tuple[str, str], Question] | None = None,
    ) -> None:
        """`analyzers` are `host:port` as text. `headers` carry the credentials. Nothing is
        connected before `ready` returns: a graph that the probes have only begun to fill would
        make the analyzer delete the rest of what it has of this host. `clock_told` gets what the
        master says of `clock_ns`. `questions` are others that may be asked, by namespace and type
        of the message."""
        self._graph = graph
        self._ready = ready
        self._tls = tls
        self._headers = {
            **(headers or {}),
            "X-Host-ID": host_id,
            "X-Client-Type": "agent",
            "X-Client-Protocol": WireProtocol.PROTOBUF,
            "X-Websocket-Namespace": "*",
            "X-Persistence-Policy": "DeleteOnDisconnect",
            clocks.HEADER: clocks.SPOKEN,
        }
        self._clock_told = clock_told
        orders = _Orders(graph, captures, flows, questions or {})
        self._links = [
            _Link(
                str(address),
                graph=graph,
                orders=orders,
                losses=losses,
                settings=settings or HubSettings(),
                clock_ms=clock_ms,
                clock_ns=clock_ns,
                clock_told=self._on_clock,
                connected=self._connected,
                disconnected=self._disconnected,
            )
            for address in analyzers
        ]
        self._master: _Link | None = None

    async def run(self) -> None:
        """Stay connected to all analyzers; until cancelled. Returns at once when there is none."""
        if not self._links:
            return
        if self._ready is not None:
            await self._ready()
        forget = self._graph.subscribe(self._on_event)
        try:
            async with (
                dialling_session(self._headers) as session,
                asyncio.TaskGroup() as group,
            ):
                for link in random.sample(self._links, len(self._links)):
                    group.create_task(link.run(session, self._tls), name=f"analyzer {link.address}")
        finally:
            forget()

    def status(self) -> dict[str, Any]:
        """The analyzers by host id, or by address while not connected (api.md §3.12)."""
        return {
            "Analyzers": {
                link.remote_host or link.address: {
                    **link.status(),
                    "IsMaster": link is self._master,
                }
                for link in self._links
            }
        }

    def _on_event(self, change: GraphEvent) -> None:
        if self._master is not None:
            self._master.push(change)

    def _connected(self, link: _Link) -> None:
        log.info("connected to analyzer %s at %s", link.remote_host, link.address)
        if self._master is None:
            self._elect(link)

    def _disconnected(self, link: _Link) -> None:
        if self._master is link:
            others = [other for other in self._links if other.connected]
            self._elect(random.choice(others) if others else None)

    def _elect(self, link: _Link | None) -> None:
        self._master = link
        if link is not None:
            log.info("analyzer %s gets the topology of this host", link.remote_host)
            link.sync()
            if not link.hears_clock:
                self._on_clock(link, None)

    def _on_clock(self, link: _Link, offset: clocks.Offset | None) -> None:
        if link is self._master and self._clock_told is not None:
            self._clock_told(link.remote_host, offset)


class _Link:
    """The connection to one analyzer, made again whenever it is lost."""

    def __init__(
        self,
        address: str,
        *,
        graph: Graph,
        orders: _Orders,
        losses: Losses,
        settings: HubSettings,
        clock_ms: ClockMs,
        clock_ns: ClockNs,
        clock_told: Callable[[_Link, clocks.Offset], None],
        connected: Callable[[_Link], None],
        disconnected: Callable[[_Link], None],
    ) -> None:
        self.address = address
        self.connected = False
        self.remote_host = ""
        self.hears_clock = False
        self._remote_service = ""
        self._remote: tuple[str, int] = ("", 0)
        self._connected_at_ms = 0
        self._graph = graph
        self._orders = orders
        self._losses = losses
        self._settings = settings
        self._clock_ms = clock_ms
        self._clock_ns = clock_ns
        self._clock_told = clock_told
        self._on_connected = connected
        self._on_disconnected = disconnected
        self._replies: deque[Message] = deque()
        self._changes: deque[GraphEvent] = deque()
        self._sync_due = False
        self._wake = asyncio.Event()
        self._requests = 0
        self._said: set[str] = set()
        """Reasons of the present outage that the log has."""

    async def run(self, session: ClientSession, tls: ssl.SSLContext | None) -> None:
        """Connect, serve, and again after each outage, whose reasons are logged once."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._connect_and_serve(session, tls)
            except Unavailable as error:
                heed_cancellation()
                if self._connected_at_ms:
                    pause_s = _FIRST_PAUSE_S
                reason = str(error)
                if reason not in self._said and len(self._said) < _MOST_REASONS:
                    log.warning("analyzer %s: %s; trying again", self.address, error)
                    self._said.add(reason)
                self._connected_at_ms = 0
            # Chance keeps the agents of a restarted analyzer from coming all at once.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def sync(self) -> None:
        """Send the whole graph, then what changes from now on."""
        self._changes.clear()
        self._sync_due = True
        self._wake.set()

    def push(self, change: GraphEvent) -> None:
        """Send one change."""
        if self._sync_due:
            return  # the graph that is about to be sent has it
        if len(self._changes) >= self._settings.queue_size:
            self._losses.add(PART, LossReason.QUEUE_FULL, len(self._changes) + 1)
            log.warning(
                "analyzer %s does not keep up, %d changes are replaced by the whole graph",
                self.address,
                len(self._changes) + 1,
            )
            self.sync()
            return
        self._changes.append(change)
        self._wake.set()

    def status(self) -> dict[str, Any]:
        record = connection_status(
            client_type="agent",
            protocol=WireProtocol.PROTOBUF,
            address=self._remote[0],
            port=self._remote[1],
            connected=self.connected,
            connected_at_ms=self._connected_at_ms,
            remote_host=self.remote_host,
            remote_service=self._remote_service,
        )
        if self._changes:
            record["Queued"] = len(self._changes)
        return record

    # One connection

    async def _connect_and_serve(self, session: ClientSession, tls: ssl.SSLContext | None) -> None:
        """Connect and serve; always ends with `Unavailable`, which says why."""
        socket = await self._connect(session, tls)
        reason = "connection lost"
        try:
            self.connected = True
            self._said.clear()
            self._on_connected(self)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(socket), name=f"changes to {self.address}")
                group.create_task(self._watch(socket), name=f"watch {self.address}")
                await self._read(socket, group)
        except* Unavailable as errors:
            reason = str(errors.exceptions[0])
        finally:
            self.connected = False
            self._changes.clear()
            self._replies.clear()
            self._sync_due = False
            self._on_disconnected(self)
            await socket.close()
        raise Unavailable(reason)

    async def _connect(self, session: ClientSession, tls: ssl.SSLContext | None) -> DialledSocket:
        try:
            socket = await dial(
                session,
                self.address,
                PATH,
                tls=tls,
                timeout_s=self._settings.request_timeout_s,
                largest_message=_LARGEST_MESSAGE,
                autoping=False,
            )
        except WSServerHandshakeError as error:
            raise Unavailable(_refusal(error.status)) from error
        self.remote_host = socket.answer.headers.get("X-Host-ID", "")
        self._remote_service = socket.answer.headers.get("X-Service-Type", "")
        self.hears_clock = clocks.speaks(socket.answer.headers)
        if not self.remote_host or not self._remote_service:
            await socket.close()
            raise Unavailable("answers without X-Host-ID and X-Service-Type, so is no analyzer")
        peer = socket.get_extra_info("peername")
        self._remote = (str(peer[0]), int(peer[1])) if peer else ("", 0)
        self._connected_at_ms = self._clock_ms()
        return socket

    async def _read(self, socket: DialledSocket, group: asyncio.TaskGroup) -> None:
        # The server pings; one that was silent for a whole read deadline longer is gone.
        silence_s = self._settings.read_deadline_s + self._settings.ping_delay_s
        while True:
            try:
                received = await socket.receive(timeout=silence_s)
            except TimeoutError:
                raise Unavailable(f"silent for {silence_s:g} s") from None
            match received.type:
                case WSMsgType.PING:
                    await socket.pong(self._pong(received.data))
                case WSMsgType.BINARY | WSMsgType.TEXT:
                    self._take(received.data, group)
                case WSMsgType.PONG:
                    pass
                case _:
                    raise Unavailable("connection lost")

    def _pong(self, payload: bytes) -> bytes:
        """The answer to a ping, with our time if the analyzer wants it."""
        if not self.hears_clock:
            return payload
        answer, offset = clocks.read_ping(payload, self._clock_ns)
        if offset is not None:
            self._clock_told(self, offset)
        return answer

    def _take(self, data: bytes | str, group: asyncio.TaskGroup) -> None:
        try:
            raw = data.encode() if isinstance(data, str) else data
            message = decode(raw, WireProtocol.PROTOBUF)
        except ProtocolError as error:
            log.warning("analyzer %s: %s", self.address, error)
            self._losses.add(PART, LossReason.DECODE)
            return
        if not self._orders.understands(message):
            return
        if self._requests >= _MOST_REQUESTS:
            self._losses.add(PART, LossReason.QUEUE_FULL)
            self._reply(message.reply(f"{message.type}Reply", message.obj, status=_BUSY))
            return
        self._requests += 1
        group.create_task(self._answer(message), name=f"{message.namespace} {message.type}")

    async def _answer(self, message: Message) -> None:
        try:
            self._reply(await self._orders.answer(message))
        finally:
            self._requests -= 1

    def _reply(self, message: Message) -> None:
        self._replies.append(message)
        self._wake.set()

    async def _write(self, socket: DialledSocket) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._replies or self._sync_due or self._changes:
                try:
                    await self._write_piece(socket)
                except (ClientError, OSError) as error:
                    raise Unavailable(f"connection lost ({why(error)})") from error

    async def _watch(self, socket: DialledSocket) -> None:
        """End the connection when nothing leaves any more.

        What counts is that bytes leave, not how long a message takes: the whole graph may take
        minutes over a slow line.
        """
        loop = asyncio.get_running_loop()
        timeout_s = self._settings.write_timeout_s
        waiting, since = 0, loop.time()
        while True:
            await asyncio.sleep(timeout_s / 10)
            before, waiting = waiting, socket.bytes_waiting()
            if not waiting or waiting < before:
                since = loop.time()
            elif loop.time() - since > timeout_s:
                self._losses.add(PART, LossReason.WIRE, max(len(self._changes), 1))
                raise Unavailable(f"takes nothing for {timeout_s:g} s")

    async def _write_piece(self, socket: DialledSocket) -> None:
        while self._replies:
            await _send(socket, self._replies.popleft())
        if self._sync_due:
            view = self._graph.view()
            self._changes.clear()
            self._sync_due = False
            content = await graph_json(view.nodes(), view.edges())
            await _send(socket, event(NAMESPACE, GraphMessage.SYNC, content))
        for _ in range(min(_PIECE, len(self._changes))):
            # An overflow may have emptied the queue while the last one was written.
            if self._changes:
                await _send(socket, change_message(self._changes.popleft(), partial=True))


class _Orders:
    """What analyzers may ask of an agent."""

    def __init__(
        self,
        graph: Graph,
        captures: Captures,
        flows: Flows,
        questions: Mapping[tuple[str, str], Question],
    ) -> None:
        self._questions = questions
        self._namespaces = {
            *(table_query.NAMESPACE, CAPTURES, INJECTIONS),
            *(namespace for namespace, _ in questions),
        }
        self._graph = graph
        self._captures = captures
        self._flows = flows
        self._in_order = tuple(asyncio.Lock() for _ in range(_AT_A_TIME))
        """Orders about one node take the same, so that they are followed in their order."""

    def understands(self, message: Message) -> bool:
        """False for what is silently ignored: other namespaces, and answers."""
        is_answer = message.type.endswith(("Reply", "Result"))
        return message.namespace in self._namespaces and not is_answer

    async def answer(self, message: Message) -> Message:
        try:
            if (message.namespace, message.type) == (table_query.NAMESPACE, table_query.QUERY):
                return await self._search(message)
            if message.namespace == CAPTURES and message.type in ("Start", "Stop"):
                status = await self._capture(message)
                return message.reply(f"{message.type}Reply", message.obj, status=status)
            question = self._questions.get((message.namespace, message.type))
            if question is not None:
                return self._ask(question, message)
        except ProtocolError as error:
            log.warning("order refused: %s", error)
        except Exception:
            # The boundary of one order: a defect in a source must not cost the connection.
            log.exception("%s/%s failed", message.namespace, message.type)
            return self._refuse(message, _FAILED)
        return self._refuse(message, _BAD_REQUEST)

    def _refuse(self, message: Message, status: int) -> Message:
        if message.format:
            return message.reply(table_query.RESULT, None, status=status)
        return message.reply(f"{message.type}Reply", message.obj, status=status)

    def _ask(self, question: Question, message: Message) -> Message:
        """The answer, or in words why there is none."""
        try:
            status, answer = _OK, question(message.obj)
        except ProtocolError as error:
            status, answer = _BAD_REQUEST, {"Error": str(error)}
        except Unavailable as error:
            status, answer = _NOT_FOUND, {"Error": str(error)}
        return message.reply(f"{message.type}Reply", answer, status=status)

    async def _search(self, message: Message) -> Message:
        answer = self._flows(table_query.read_query(message))
        flow_sets = await answer if inspect.isawaitable(answer) else answer
        return table_query.result_message(message, flow_sets)

    async def _capture(self, message: Message) -> int:
        node_id, resource = _read_order(message.obj)
        if self._graph.node(node_id) is None:
            return _NOT_FOUND
        capture = Capture.from_json(resource) if message.type == "Start" else None
        try:
            async with self._in_order[hash(node_id) % _AT_A_TIME]:
                if capture is None:
                    return await self._captures.stop(node_id, str(resource.get("UUID") or ""))
                return await self._captures.start(node_id, capture)
        except SkydiverError as error:
            # Who refuses says it, on the node and in the log, once however often it is asked.
            log.debug("capture %s on %s: %s", resource.get("UUID"), node_id, error)
            return _FAILED


async def _send(socket: DialledSocket, message: Message) -> None:
    await socket.send_bytes(encode(message, WireProtocol.PROTOBUF))


def _read_order(obj: Any) -> tuple[NodeID, Mapping[str, Any]]:
    if not isinstance(obj, dict):
        raise ProtocolError(f"{CAPTURES} order holds no object")
    node_id, resource = obj.get("NodeID"), obj.get("Resource")
    if not isinstance(node_id, str) or not isinstance(resource, dict):
        raise ProtocolError(f"{CAPTURES} order needs the text NodeID and the object Resource")
    return NodeID(node_id), resource


def _refusal(status: int) -> str:
    match status:
        case 401 | 403:
            return f"refuses this agent's credentials (status {status})"
        case 409:
            return "has an agent with this host id already (status 409)"
        case _:
            return f"refuses the connection (status {status})"
