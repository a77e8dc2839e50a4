"""One WebSocket connection, used by one thread only.

The protocol itself (handshake, masks, fragments) is that of websocket-client; the socket is made
here, because the library loses those that do not connect. Modules are called as modules
(``select.select``), so that it does not matter whether eventlet or gevent replaced their members
before or after this was imported.
"""

from __future__ import annotations

import base64
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import websocket

from skydive_publisher.errors import Invalid, Refused, Unavailable

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 30.0
PERMANENT = {401, 403, 404}


class Server(NamedTuple):
    """Where to publish, and as whom."""

    address: str
    """``host:port``, as messages show it."""
    host: str
    port: int
    url: str
    username: str
    password: str
    context: ssl.SSLContext | None


def server(
    address: str,
    endpoint: str,
    username: str,
    password: str,
    context: ssl.SSLContext | None,
) -> Server:
    """From ``host:port``; with a context, over TLS."""
    host, colon, port = address.rpartition(":")
    plain = host.startswith("[") == host.endswith("]") and (":" not in host or "[" in host)
    if not (colon and host and plain and port.isdigit() and 0 < int(port) < 65536):
        raise Invalid(f"address: expected host:port or [v6]:port, got {address!r}")
    scheme = "wss" if context is not None else "ws"
    url = f"{scheme}://{address}{endpoint}"
    return Server(address, host.strip("[]"), int(port), url, username, password, context)


class Connection:
    """A connection that is open; any failure is `Unavailable` and ends it."""

    def __init__(self, to: Server, headers: dict[str, str]) -> None:
        self.frames = 0
        """Frames that have arrived: signs of life."""
        self._server = to
        if to.username:
            pair = (f"{to.username}:{to.password}").encode()
            headers = dict(headers, Authorization="Basic " + base64.b64encode(pair).decode("ascii"))
        opened = False
        self._stream: socket.socket | None = None
        try:
            self._stream = _connected(to)
            self._socket = websocket.create_connection(
                to.url,
                timeout=CONNECT_TIMEOUT_S,
                socket=self._stream,
                header=headers,
                suppress_origin=True,
            )
            opened = True
        except websocket.WebSocketBadStatusException as error:
            raise self._refused(error.status_code, headers["X-Host-ID"]) from error
        except (websocket.WebSocketException, OSError, ValueError) as error:
            raise Unavailable(f"{to.address}: {_words(error)}") from error
        finally:
            if self._stream is not None and not opened:
                self._stream.close()
        self._socket.settimeout(WRITE_TIMEOUT_S)

    def send(self, text: str) -> None:
        """Send a message."""
        self._guarded(self._socket.send, text)

    def ping(self, payload: str) -> None:
        """Ask for a pong that carries `payload`."""
        self._guarded(self._socket.ping, payload)

    def received(self) -> list[str]:
        """Payloads of the pongs that have arrived. Pings are answered."""
        pongs = []
        while self._readable():
            opcode, frame = self._guarded(self._socket.recv_data_frame, True)
            self.frames += 1
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                raise Unavailable(f"{self._server.address}: the server closed the connection")
            if opcode == websocket.ABNF.OPCODE_PONG:
                pongs.append(bytes(frame.data).decode("utf-8", "replace"))
        return pongs

    def wait(self, wake: socket.socket, timeout_s: float) -> bool:
        """Wait until there is something to read, from the server or from `wake`; which of them has
        something is not said, but False when neither had in time."""
        if self._buffered():
            return True
        return _ready([self._socket.sock, wake], timeout_s)

    def close(self) -> None:
        """Close in order, as far as that is possible."""
        try:
            self._socket.close(timeout=1)
        finally:
            # The library leaves it open when the server closed first.
            if self._stream is not None:
                self._stream.close()

    def _buffered(self) -> bool:
        """Whether TLS has decrypted more than was read."""
        return isinstance(self._socket.sock, ssl.SSLSocket) and self._socket.sock.pending() > 0

    def _readable(self) -> bool:
        return self._buffered() or _ready([self._socket.sock], 0)

    def _guarded(self, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return call(*arguments)
        except (websocket.WebSocketException, OSError) as error:
            raise Unavailable(f"{self._server.address}: {_words(error)}") from error

    def _refused(self, status: int, host_id: str) -> Exception:
        where = self._server.address
        if status == 401:
            return Refused(f"{where} refuses the credentials of {self._server.username!r}")
        if status == 403:
            return Refused(f"{where} does not let {self._server.username!r} publish")
        if status == 409:
            return Unavailable(f"{where} has a publisher named {host_id!r} already")
        kind = Refused if status in PERMANENT else Unavailable
        return kind(f"{self._server.url} answers with status {status}")


def _connected(to: Server) -> socket.socket:
    stream = socket.create_connection((to.host, to.port), timeout=CONNECT_TIMEOUT_S)
    if to.context is None:
        return stream
    try:
        return to.context.wrap_socket(stream, server_hostname=to.host)
    except BaseException:
        stream.close()
        raise


def _ready(sockets: list[socket.socket | None], timeout_s: float) -> bool:
    """Whether one of them can be read."""
    descriptors = [one.fileno() for one in sockets if one is not None]
    if len(descriptors) != len(sockets) or min(descriptors) < 0:
        raise Unavailable("the connection is closed")
    # eventlet takes `poll` away; its `select` has no limit of 1024 descriptors, which others have.
    poll = getattr(select, "poll", None)
    if poll is None:
        return bool(select.select(descriptors, [], [], timeout_s)[0])
    waiting = poll()
    for descriptor in descriptors:
        waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(int(timeout_s * 1000)))


def _words(error: BaseException) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).lower().split())[:200]
