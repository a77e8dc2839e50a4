"""The publisher: holds what a program states, and makes a server agree with it.

The protocol has no acknowledgements, and a server may restart at any time. So what is kept is the
state and not a queue of messages: all nodes and edges that are stated now, and which of them the
server has yet to hear about. A server that was away is told everything (``Sync``); one that is slow
gets the last state of each element instead of all states in between. That is bounded by what the
program states, and nothing is lost.

One thread of its own does all the talking, because a server drops whoever does not answer its pings
for some seconds, and because a TLS connection must not be used by two threads.
"""

from __future__ import annotations

import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from skydive_publisher.connection import Connection, server
from skydive_publisher.elements import (
    EDGE,
    NODE,
    Element,
    Key,
    changed,
    checked,
    checked_id,
    edge_id,
    envelope,
)
from skydive_publisher.errors import Full, Invalid, PublisherError, Refused, Unavailable

MOST_BYTES = 12 * 1024 * 1024
"""Of all elements together as JSON: a server takes messages of up to 16 MiB, and a synchronisation
is one message."""
OVERHEAD_BYTES = 256
"""Of an element, besides its identifiers and metadata."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
SILENCE_S = 30.0
"""A server pings every few seconds; one that is silent for so long is gone."""
REPEAT_FOREIGN_S = 30.0
"""How often edges to nodes of others are stated again: they go with these nodes, and nobody tells
when the nodes come back."""
STOP_S = 2.0
"""How long the end waits for the thread, which may be inside an attempt to connect; it ends after
that by itself."""
LOOK_EVERY = 64
"""Messages between two looks at what the server says."""


class Publisher:
    """States nodes and edges. Any thread may call any method."""

    def __init__(
        self,
        address: str,
        *,
        origin: str,
        username: str = "",
        password: str = "",
        host: str = "",
        persistent: bool = False,
        context: ssl.SSLContext | None = None,
        endpoint: str = "/ws/publisher",
    ) -> None:
        """`origin` is ``<program>.<name>``. A server takes one publisher of each name at a time,
        whatever the program: ``neutron.neutron-host1`` leaves room for others on that host. `host`
        is the one that the elements are on; by default the name.

        `persistent`: the elements stay when this program ends, until it states something else the
        next time. Otherwise they go with the connection. `context` switches TLS on.
        """
        program, dot, name = origin.partition(".")
        if not (program and dot and name and origin.isascii() and origin.isprintable()):
            raise Invalid(f"origin: expected <program>.<name>, got {origin!r}")
        self._server = server(address, endpoint, username, password, context)
        self._origin, self._host = origin, checked_id(host or name, "host")
        self._headers = {
            "X-Host-ID": name,
            "X-Client-Type": program,
            "X-Client-Protocol": "json",
            "X-Persistence-Policy": "Persistent" if persistent else "DeleteOnDisconnect",
        }
        self._changed = threading.Condition()
        self._held: dict[Key, Element] = {}
        self._edges_at: dict[str, dict[Key, None]] = {}
        self._bytes = 0
        self._unsent: dict[Key, Element] = {}
        """What the server has yet to hear of: how it was when it heard of it last, or as it is."""
        self._known: dict[Key, None] = {}
        """What the server was told of."""
        self._batches: list[int] = []
        """The threads that are inside one."""
        self._synced = False
        self._stated = 0
        """Counts statements."""
        self._read = 0
        """The statements that the server is known to have read."""
        self._awaited = 0
        self._error: PublisherError | None = None
        self._connected = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._wake: socket.socket | None = None

    # Life

    def start(self, timeout_s: float | None = 10.0) -> Publisher:
        """Connect, and keep connected from now on.

        Raises when that does not work within `timeout_s`; with None it does not wait, and goes on
        trying in the background. To be called after a fork: threads do not follow a child.
        """
        with self._changed:
            if self._thread is not None or self._closing:
                raise PublisherError("this publisher was started already")
            self._pid = os.getpid()
            self._wake, waked = socket.socketpair()
            self._wake.setblocking(False)
            waked.setblocking(False)
            name = f"skydive publisher {self._origin}"
            self._thread = threading.Thread(target=self._run, args=(waked,), name=name, daemon=True)
            self._thread.start()
        if timeout_s is not None:
            try:
                self._wait(lambda: self._connected, timeout_s)
            except PublisherError:
                self._stop()
                raise
        return self

    def close(self, timeout_s: float = 30.0) -> None:
        """Wait until the server has read everything, and disconnect."""
        try:
            if self._thread is not None:
                self.flush(timeout_s)
        finally:
            self._stop()

    def __enter__(self) -> Publisher:
        return self if self._thread is not None else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._stop()

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connected

    @property
    def error(self) -> PublisherError | None:
        """Why there is no connection; None while there is one."""
        return self._error

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until the server has read all that was stated before this call."""
        with self._changed:
            self._alive()
            if self._thread is None:
                raise PublisherError("this publisher was not started; use 'with' or start()")
            if threading.get_ident() in self._batches:
                raise PublisherError("flush() inside batch() would wait for its own end")
            mark = self._stated
            self._awaited = max(self._awaited, mark)
            self._wake_up()
        self._wait(lambda: self._read >= mark, timeout_s)

    # Statements

    def upsert_node(self, id: str, metadata: Mapping[str, Any]) -> None:  # noqa: A002
        """State a node with all its metadata; ``Type`` and ``Name`` are needed."""
        key = (NODE, checked_id(id, "id"))
        copy, size = checked(metadata, NODE)
        with self._changed:
            self._put(key, copy, size)

    def update(
        self,
        id: str,  # noqa: A002
        changes: Mapping[str, Any],
        remove: tuple[str, ...] = (),
    ) -> None:
        """Change a part of a node's metadata; a dot in a key goes into an object."""
        with self._changed:
            element = self._held.get((NODE, id))
            if element is None:
                raise Invalid(f"{id!r} is no node of this publisher")
            copy, size = checked(changed(element.metadata, changes, remove), NODE)
            self._put(element.key, copy, size)

    def delete_node(self, id: str) -> None:  # noqa: A002
        """Withdraw a node and the edges at it; nothing happens when it is not there."""
        with self._changed:
            if (NODE, id) in self._held:
                for key in list(self._edges_at.get(id, ())):
                    self._drop(key)
                self._drop((NODE, id))

    def link(
        self,
        parent: str,
        child: str,
        relation: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """State an edge: ``ownership``, ``layer2``, or any other relation.

        Both ends may be stated later, and may be nodes of others.
        """
        ends = checked_id(parent, "parent"), checked_id(child, "child")
        copy, size = checked({**_mapping(metadata), "RelationType": relation}, EDGE)
        with self._changed:
            self._put((EDGE, edge_id(parent, child, relation)), copy, size, *ends)

    def unlink(self, parent: str, child: str, relation: str) -> None:
        """Withdraw an edge; nothing happens when it is not there."""
        with self._changed:
            key = (EDGE, edge_id(parent, child, relation))
            if key in self._held:
                self._drop(key)

    def batch(self) -> _Batch:
        """``with publisher.batch():`` sends nothing before its end.

        The first batch after the start replaces what an earlier run left, without a moment in which
        only a part of it is there.
        """
        return _Batch(self)

    def __len__(self) -> int:
        """Nodes and edges that are stated now."""
        return len(self._held)

    # What is held; to be called with the lock

    def _put(
        self, key: Key, metadata: Mapping[str, Any], size: int, parent: str = "", child: str = ""
    ) -> None:
        self._alive()
        before = self._held.get(key)
        if before is not None and before.metadata == metadata:
            return
        size += OVERHEAD_BYTES + len(key[1]) + len(parent) + len(child)
        size += len(self._origin) + len(self._host)
        grown = self._bytes + size - (before.size if before else 0)
        if grown > MOST_BYTES:
            raise Full(f"a publisher holds at most {MOST_BYTES >> 20} MiB")
        now_ms = int(time.time() * 1000)
        # A deletion that the server has not heard of is none: it takes only higher revisions.
        last = before or self._unsent.get(key)
        self._held[key] = Element(
            key,
            metadata,
            parent,
            child,
            last.created_at_ms if last else now_ms,
            now_ms,
            last.revision + 1 if last else 1,
            size,
        )
        self._bytes = grown
        for end in {parent, child} - {""}:
            self._edges_at.setdefault(end, {})[key] = None
        self._unsent[key] = self._held[key]
        self._tell()

    def _drop(self, key: Key) -> None:
        self._alive()
        element = self._held.pop(key)
        self._bytes -= element.size
        for end in {element.parent, element.child} - {""}:
            del self._edges_at[end][key]
            if not self._edges_at[end]:
                del self._edges_at[end]
        self._unsent[key] = element
        self._tell()

    def _alive(self) -> None:
        if self._closing:
            raise PublisherError("this publisher was closed")
        if self._thread is not None and self._pid != os.getpid():
            raise PublisherError("this publisher was started before a fork; start one after it")

    def _tell(self) -> None:
        self._stated += 1
        if not self._batches:
            self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None:
            try:
                self._wake.send(b"\0")
            except OSError:
                return  # it is full, so it wakes already

    def _wait(self, true: Any, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        with self._changed:
            while not true():
                if isinstance(self._error, Refused):
                    raise Refused(str(self._error))
                left = end - time.monotonic()
                if left <= 0 or self._closing:
                    why = self._error or f"{self._server.address}: no answer in {timeout_s:g} s"
                    raise Unavailable(str(why))
                self._changed.wait(left)

    def _stop(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._wake_up()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(STOP_S)
        if self._wake is not None:
            self._wake.close()
            self._wake = None

    # The thread

    def _run(self, waked: socket.socket) -> None:
        pause_s = FIRST_PAUSE_S
        try:
            while not self._closing:
                began = time.monotonic()
                try:
                    self._connection(waked)
                except PublisherError as error:
                    self._lost(error)
                except Exception as error:  # noqa: BLE001
                    # The end of this thread would be noticed by nobody; this way `flush` says it.
                    self._lost(Unavailable(f"{self._server.address}: {error!r}"))
                if time.monotonic() - began > LONGEST_PAUSE_S:
                    pause_s = FIRST_PAUSE_S
                with self._changed:
                    if not self._closing:
                        # Not all at the same time, after a server was restarted.
                        self._changed.wait(pause_s * random.uniform(0.5, 1))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        finally:
            waked.close()

    def _lost(self, error: PublisherError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _connection(self, waked: socket.socket) -> None:
        """One connection, until it ends or this publisher does."""
        connection = Connection(self._server, dict(self._headers))
        try:
            with self._changed:
                self._connected, self._error, self._synced = True, None, False
                self._changed.notify_all()
            self._converse(connection, waked)
        finally:
            self._connected = False
            connection.close()

    def _converse(self, connection: Connection, waked: socket.socket) -> None:
        asked = 0
        heard = repeated = time.monotonic()
        while not self._closing:
            self._send(connection)
            with self._changed:
                asks = self._awaited > max(asked, self._read) and not self._pending()
                asked = self._stated if asks else asked
            if asks:
                connection.ping(str(asked))
            if connection.wait(waked, 1.0):
                _drain(waked)
                heard = time.monotonic() if self._listen(connection) else heard
            now = time.monotonic()
            if now - heard > SILENCE_S:
                raise Unavailable(f"{self._server.address}: silent for {SILENCE_S:g} s")
            if now - repeated > REPEAT_FOREIGN_S:
                repeated = now
                self._repeat_foreign(connection)

    def _listen(self, connection: Connection) -> bool:
        """Take in what the server says; whether it said anything."""
        before = connection.frames
        for payload in connection.received():
            if payload.isdigit():
                with self._changed:
                    self._read = max(self._read, int(payload))
                    self._changed.notify_all()
        return connection.frames > before

    def _pending(self) -> bool:
        """Whether there is something to send; to be called with the lock."""
        return bool(self._unsent) or (bool(self._stated) and not self._synced)

    def _send(self, connection: Connection) -> None:
        """Tell the server what it does not know yet, if anything."""
        with self._changed:
            if self._batches or not self._pending():
                return
            if self._synced:
                messages = self._differences()
            else:
                messages = [("Sync", self._everything())]
            self._unsent.clear()
            self._known = dict.fromkeys(self._held)
            self._synced = True
        for number, (type_, obj) in enumerate(messages, 1):
            connection.send(envelope(type_, obj))
            if number % LOOK_EVERY == 0:
                self._listen(connection)

    def _everything(self) -> dict[str, list[Any]]:
        document: dict[str, list[Any]] = {"Nodes": [], "Edges": []}
        for key, element in self._held.items():
            document[key[0] + "s"].append(self._json(element))
        return document

    def _differences(self) -> list[tuple[str, Any]]:
        """Messages in an order in which no edge is without its nodes."""
        edges_gone, nodes_gone, nodes, edges = [], [], [], []
        for key, last in list(self._unsent.items()):
            if key[0] == EDGE:
                continue
            now = self._held.get(key)
            if now is None and key in self._known:
                nodes_gone.append(("NodeDeleted", self._json(last)))
                # The server takes the edges at it with it.
                for edge in self._edges_at.get(key[1], ()):
                    self._known.pop(edge, None)
            elif now is not None and key in self._known:
                nodes.append(("NodeUpdated", self._json(now)))
            elif now is not None:
                nodes.append(("NodeAdded", self._json(now)))
                # Those that were stated before it were refused.
                for edge in self._edges_at.get(key[1], ()):
                    self._unsent[edge] = self._held[edge]
        for key, last in self._unsent.items():
            if key[0] == NODE:
                continue
            now = self._held.get(key)
            if now is None and key in self._known:
                edges_gone.append(("EdgeDeleted", self._json(last)))
            elif now is not None:
                # It may have gone with a node of somebody else; to add what is there does nothing.
                edges.append(("EdgeAdded", self._json(now)))
                if key in self._known:
                    edges.append(("EdgeUpdated", self._json(now)))
        return edges_gone + nodes_gone + nodes + edges

    def _repeat_foreign(self, connection: Connection) -> None:
        with self._changed:
            if self._batches or not self._synced:
                return
            edges = [
                self._json(element)
                for key, element in self._held.items()
                if key[0] == EDGE
                and not {(NODE, element.parent), (NODE, element.child)} <= self._held.keys()
            ]
        for edge in edges:
            connection.send(envelope("EdgeAdded", edge))

    def _json(self, element: Element) -> dict[str, Any]:
        return element.as_json(self._host, self._origin)


class _Batch:
    """Holds back what is sent while any of them is open."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def __enter__(self) -> None:
        with self._publisher._changed:
            self._publisher._batches.append(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._publisher._changed:
            self._publisher._batches.remove(threading.get_ident())
            if not self._publisher._batches:
                self._publisher._wake_up()


def _mapping(metadata: Any) -> Mapping[str, Any]:
    if metadata is not None and not isinstance(metadata, Mapping):
        raise Invalid(f"metadata: expected a mapping, got {metadata!r}")
    return metadata or {}


def _drain(waked: socket.socket) -> None:
    try:
        waked.recv(4096)
    except OSError:
        return  # nothing in it: it was the server
