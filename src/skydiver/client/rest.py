"""Blocking client of the REST API: small and quick to import, for the command line and scripts.

Every failure is a `SkydiverError` with one line that names the address, what was asked and, when
it helps, what to do.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from skydiver.base.errors import ConfigError, ProtocolError, QueryError, SkydiverError, Unavailable

if TYPE_CHECKING:
    import ssl

DOT = "text/vnd.graphviz"
PCAP = "application/vnd.tcpdump.pcap"
PCAPNG = "application/x-pcapng"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is, and who asks."""

    host: str = "127.0.0.1"
    port: int = 8082
    username: str = ""
    """Empty = no credentials are sent."""
    password: str = ""
    cacert: str = ""
    """File of the authorities to trust; empty = those of the system."""
    cert: str = ""
    """Shown to the server."""
    key: str = ""
    insecure: bool = False
    """Trust any certificate of the server."""
    tls: bool = False
    """Whether connections are encrypted."""
    timeout_s: float = 60.0

    @property
    def authority(self) -> str:
        """``host:port`` as one writes it in an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def headers(self) -> dict[str, str]:
        """Credentials as a request carries them."""
        if not self.username:
            return {}
        token = b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
        return {"Authorization": f"Basic {token}"}

    def ssl_context(self) -> ssl.SSLContext:
        """What `cacert`, `cert`, `key` and `insecure` say, for a TLS connection."""
        from skydiver.client.tls import client_context  # late: most requests are in clear

        return client_context(
            cacert=self.cacert, cert=self.cert, key=self.key, insecure=self.insecure
        )


def parse_address(text: str) -> tuple[str, int]:
    """Read ``host:port``, ``[v6]:port``, ``:port``, ``port`` or ``host``."""
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        host, port = ("", port) if port.isdigit() else (port, "8082")
    elif ":" in host.strip("[]") and not host.startswith("["):
        host, port = text.strip(), "8082"  # an IPv6 address without a port
    elif port.endswith("]"):
        host, port = f"{host}:{port}", "8082"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536) or not _is_host(host):
        raise ConfigError(f"address {text!r}: expected host:port, like 127.0.0.1:8082")
    return host.strip("[]") or "localhost", int(port)


def _is_host(text: str) -> bool:
    """Whether this may be a name or an address: a list of them, or a URL, is neither."""
    if ":" not in text:
        return not set(text) & set("/, \t\n")
    try:
        ipaddress.IPv6Address(text.strip("[]"))
    except ValueError:
        return False
    return True


class Client:
    """Requests to one analyzer (or agent, for what agents answer)."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._connection: http.client.HTTPConnection | None = None
        self.missing: set[str] = set()
        """Hosts that did not answer in time, so that what came back is without their flows."""
        self.left_out = 0
        """Packets that have no place in a pcap file that came back."""

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later request opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def info(self) -> dict[str, Any]:
        """Host, version and service of the server."""
        return self._object("GET", "/api", "info")

    def status(self) -> dict[str, Any]:
        """Who is connected, what runs, what was lost."""
        return self._object("GET", "/api/status", "status")

    def query(self, gremlin: str, *, accept: str = JSON) -> bytes:
        """Run a Gremlin query; the answer as it came, in the asked encoding."""
        body = orjson.dumps({"GremlinQuery": gremlin})
        return self.request("POST", "/api/topology", "query", body, {"Accept": accept})

    def lookup(self, gremlin: str) -> Any:
        """Run a Gremlin query; the decoded answer, None for an empty query."""
        return _decode(self.query(gremlin) or b"null", "query", self.access.authority)

    def list(self, kind: str) -> dict[str, dict[str, Any]]:
        """All resources of a kind (``capture``, …) by id."""
        return self._object("GET", f"/api/{kind}", f"list of {kind}s")

    def get(self, kind: str, id_: str) -> dict[str, Any]:
        """One resource."""
        return self._object("GET", _path(kind, id_), f"{kind} {id_}")

    def create(self, kind: str, body: Mapping[str, Any], *, ttl_ms: int = 0) -> dict[str, Any]:
        """Create a resource, which goes by itself after `ttl_ms` unless that is 0."""
        headers = {"X-Resource-TTL": f"{ttl_ms}ms"} if ttl_ms else {}
        what = f"creation of a {kind}"
        return self._object("POST", f"/api/{kind}", what, orjson.dumps(dict(body)), headers)

    def delete(self, kind: str, id_: str) -> None:
        """Delete a resource."""
        self.request("DELETE", _path(kind, id_), f"deletion of {kind} {id_}")

    def upload(
        self, path: str, what: str, pieces: Iterator[bytes], size: int | None
    ) -> dict[str, Any]:
        """Send a file; the JSON object of the answer, empty if there is none.

        `size` None = not known. Whoever refuses a file may do so before all of it is sent.
        """
        headers = {"Content-Type": "application/octet-stream", **self.access.headers()}
        if size is not None:
            headers["Content-Length"] = str(size)
        where = self.access.authority
        connection = self._connected()
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                # Without a length the pieces go chunked.
                connection.request("POST", path, pieces, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error, what) from error
        finally:
            self.close()
        if not 200 <= response.status < 300:
            raise _refusal(what, where, response.status, response.reason, content)
        decoded = _decode(content or b"{}", what, where)
        return decoded if isinstance(decoded, dict) else {}

    def request(
        self,
        method: str,
        path: str,
        what: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send one request; the body of a 2xx answer. `what` names it in errors."""
        every = {
            "Accept": JSON,
            "Accept-Encoding": "gzip",
            "Content-Type": JSON,
            **self.access.headers(),
            **(headers or {}),
        }
        where = self.access.authority
        connection = self._connected()
        try:
            connection.request(method, path, body, every)
            response = connection.getresponse()
            content = _decompressed(response.read(), response.getheader("Content-Encoding"), where)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._failure(error, what) from error
        except BaseException:
            self.close()  # half an answer must not be taken for the next one's
            raise
        if not 200 <= response.status < 300:
            raise _refusal(what, where, response.status, response.reason, content)
        if hosts := response.getheader("X-Skydive-Missing"):
            self.missing.update(hosts.split(", "))
        if (left_out := response.getheader("X-Skydive-Left-Out", "")).isdecimal():
            self.left_out += int(left_out)
        return content

    def _object(
        self,
        method: str,
        path: str,
        what: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        decoded = _decode(
            self.request(method, path, what, body, headers), what, self.access.authority
        )
        if not isinstance(decoded, dict):
            raise ProtocolError(f"{what} from {self.access.authority}: expected a JSON object")
        return decoded

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            access = self.access
            if access.tls:
                self._connection = http.client.HTTPSConnection(
                    access.host, access.port, timeout=access.timeout_s, context=access.ssl_context()
                )
            else:
                self._connection = http.client.HTTPConnection(
                    access.host, access.port, timeout=access.timeout_s
                )
        return self._connection

    def _failure(self, error: OSError | http.client.HTTPException, what: str) -> SkydiverError:
        where = self.access.authority
        if self.access.tls:
            from skydiver.client.tls import reason_of

            if refused := reason_of(error):
                return refused_tls(where, refused)
        match error:
            case ConnectionRefusedError():
                return unreachable(where, "connection refused")
            case TimeoutError():
                return Unavailable(f"{where} did not answer within {self.access.timeout_s:g} s")
            case socket.gaierror():
                return ConfigError(f"address {where}: {error.strerror}")
            case http.client.RemoteDisconnected() | ConnectionResetError() if not self.access.tls:
                return Unavailable(
                    f"{what}: {where} closed the connection without response; "
                    "if it speaks TLS, give --cacert"
                )
            case http.client.HTTPException() if not isinstance(error, ConnectionError):
                kind = type(error).__name__
                return ProtocolError(f"{what}: {where} does not answer in HTTP ({kind})")
            case _:
                reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
                return unreachable(where, str(reason))


def unreachable(where: str, reason: str) -> Unavailable:
    """Nobody is at an address: what to start, or how to name another one."""
    return Unavailable(
        f"no analyzer at {where} ({reason.lower()}); start one with 'skydive allinone', "
        "or name another by --analyzer or SKYDIVE_ANALYZER"
    )


def refused_tls(where: str, reason: str) -> Unavailable:
    """Somebody is at an address, but not whom we trust, or who trusts us."""
    return Unavailable(
        f"no TLS connection to {where}: {reason}; see --cacert, --cert, --key and --insecure"
    )


def _path(kind: str, id_: str) -> str:
    return f"/api/{kind}/{quote(id_, safe='')}"


def _decode(content: bytes, what: str, where: str) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"{what} from {where} is not JSON: {error}") from error


def _decompressed(content: bytes, encoding: str | None, where: str) -> bytes:
    if encoding in (None, "", "identity") or not content:
        return content
    if encoding != "gzip":
        raise ProtocolError(f"{where} answered in the encoding {encoding!r}; only gzip was offered")
    try:
        return zlib.decompress(content, wbits=31)
    except zlib.error as error:
        raise ProtocolError(f"{where} sent damaged gzip: {error}") from error


def _refusal(what: str, where: str, status: int, reason: str, content: bytes) -> SkydiverError:
    said = " ".join(content.decode("utf-8", "replace").split())[:500]
    text = said or f"{status} {reason}"
    if status == 401:
        return ConfigError(
            f"{where} refuses the credentials ({text}); give --username and --password, "
            "or SKYDIVE_USERNAME and SKYDIVE_PASSWORD"
        )
    if status == 405:
        return ConfigError(f"{what}: not allowed for this user at {where} ({text})")
    if status == 409:
        return ConfigError(f"{what}: there is one like it already ({text})")
    if status >= 500:
        return Unavailable(f"{what}: {where} failed with {status} {reason}: {said}".rstrip(": "))
    if 300 <= status < 400:
        return ProtocolError(f"{what}: {where} redirects ({status}); is this the analyzer's API?")
    if what == "query":
        return QueryError(text)
    return ConfigError(f"{what}: {text}")
