"""The REST client sends what the API expects, and says in one line what went wrong."""

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from skydiver.base.errors import ConfigError, ProtocolError, QueryError, SkydiverError, Unavailable
from skydiver.client.rest import Access, Client, parse_address

Answer = tuple[int, bytes, dict[str, str]]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[Client, list[Any]]]:
    """A real HTTP server that gives one answer to everything, and a client of it."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            status, body, headers = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        with Client(Access(port=http.server_port, username="u", password="p")) as client:
            yield client, seen
        http.shutdown()
        thread.join()


@contextmanager
def raw_server(talk: Callable[[socket.socket], object]) -> Iterator[Client]:
    """A peer that speaks whatever `talk` does with the connection."""

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        with Client(Access(port=listening.getsockname()[1], timeout_s=0.3)) as client:
            yield client
        thread.join()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h:1", ("h", 1)),
        (":1", ("localhost", 1)),
        ("1", ("localhost", 1)),
        ("h", ("h", 8082)),
        ("[::1]:9", ("::1", 9)),
        ("[::1]", ("::1", 8082)),
        ("fd00::1", ("fd00::1", 8082)),
        (" 10.0.0.1:8082 ", ("10.0.0.1", 8082)),
    ],
)
def test_addresses_are_read_as_documented(text: str, expected: tuple[str, int]) -> None:
    """A port alone means this machine, not all interfaces."""
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("h:", "h:x", "h:0", "h:65536", "http://h:1", "h:1/x", "h:-1", "h:²"),
        *("h:1,i:2", "h:1 i:2", "h,i:2", "h::x", "[h]:1:2"),
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    """A name look-up of nonsense would take long and say little."""
    with pytest.raises(ConfigError, match="expected host:port"):
        parse_address(text)


def test_a_query_is_posted_with_credentials_and_may_come_compressed() -> None:
    """The wire facts of api.md §4.3."""
    body = gzip.compress(b"[1,2]\n")
    with server((200, body, {"Content-Encoding": "gzip"})) as (client, seen):
        assert client.lookup("G.V()") == [1, 2]
    method, path, headers, sent = seen[0]
    assert (method, path, json.loads(sent)) == ("POST", "/api/topology", {"GremlinQuery": "G.V()"})
    assert headers["Authorization"] == "Basic dTpw"
    assert (headers["Accept"], headers["Accept-Encoding"]) == ("application/json", "gzip")
    assert headers["Content-Type"] == "application/json"


def test_an_empty_query_has_no_answer() -> None:
    """204 is the documented answer."""
    with server((204, b"", {})) as (client, _):
        assert client.lookup("") is None


def test_resources_are_created_with_a_time_to_live() -> None:
    """The header is a Go duration; the id in a path is quoted."""
    with server((200, b'{"UUID":"u"}', {})) as (client, seen):
        assert client.create("capture", {"A": 1}, ttl_ms=1500) == {"UUID": "u"}
        client.get("capture", "a/b c")
        client.delete("capture", "u")
        assert list(client.list("capture")) == ["UUID"]
        assert client.status() == {"UUID": "u"}
        assert client.info() == {"UUID": "u"}
    assert seen[0][2]["X-Resource-TTL"] == "1500ms"
    assert [(one[0], one[1]) for one in seen[1:]] == [
        ("GET", "/api/capture/a%2Fb%20c"),
        ("DELETE", "/api/capture/u"),
        ("GET", "/api/capture"),
        ("GET", "/api/status"),
        ("GET", "/api"),
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((400, b"unexpected ')' (column 5)\n", {}), QueryError, r"^unexpected '\)' \(column 5\)$"),
        ((400, b"", {}), QueryError, "^400 Bad Request$"),
        ((401, b"Wrong credentials\n", {}), ConfigError, r"refuses the credentials \(Wrong"),
        ((405, b"", {}), ConfigError, "not allowed for this user"),
        ((406, b"Only graph can be outputted as dot", {}), QueryError, "^Only graph"),
        ((404, b"404 page not found\n", {}), QueryError, "^404 page not found$"),
        ((500, b"", {}), Unavailable, "failed with 500 Internal Server Error$"),
        ((503, b"busy\nvery", {}), Unavailable, "503 Service Unavailable: busy very$"),
        ((301, b"", {"Location": "/x"}), ProtocolError, "redirects"),
        ((200, b"<html>", {}), ProtocolError, "query from 127.0.0.1:[0-9]+ is not JSON"),
        ((200, b"xx", {"Content-Encoding": "gzip"}), ProtocolError, "damaged gzip"),
        ((200, b"xx", {"Content-Encoding": "br"}), ProtocolError, "only gzip was offered"),
    ],
)
def test_each_refusal_is_one_line_of_its_kind(
    answer: Answer, kind: type[SkydiverError], said: str
) -> None:
    """The kind decides nothing for the user, the line everything."""
    with server(answer) as (client, _), pytest.raises(kind, match=said) as caught:
        client.lookup("G.V(")
    assert "\n" not in str(caught.value)


def test_a_refused_resource_is_named() -> None:
    """The words of the server alone would leave open which."""
    with (
        server((409, b"duplicated resource\n", {})) as (client, _),
        pytest.raises(
            ConfigError,
            match=r"^creation of a capture: there is one like it already \(duplicated resource\)$",
        ),
    ):
        client.create("capture", {})


def test_an_answer_that_is_no_object_is_refused() -> None:
    """A table of it would fail far away from here."""
    with (
        server((200, b"[]", {})) as (client, _),
        pytest.raises(ProtocolError, match="expected a JSON object"),
    ):
        client.status()


def test_nobody_at_the_address_says_what_to_start() -> None:
    """The first mistake of every new user."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(
        Unavailable, match=r"\(connection refused\); start one with 'skydive allinone'"
    ):
        Client(Access(port=port)).info()


def test_a_name_that_does_not_exist_is_a_wrong_setting() -> None:
    """Starting an analyzer would not help."""
    with pytest.raises(ConfigError, match=r"^address nowhere\.invalid:1: "):
        Client(Access(host="nowhere.invalid", port=1)).info()


@pytest.mark.parametrize(
    ("talk", "kind", "said"),
    [
        (lambda c: c.sendall(b"SSH-2.0-OpenSSH\r\n"), ProtocolError, "does not answer in HTTP"),
        (lambda c: None, Unavailable, "without response"),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
         ProtocolError, "IncompleteRead"),
        (lambda c: c.recv(1), Unavailable, "did not answer within 0.3 s"),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200), ProtocolError, "HTTP"),
    ],
)  # fmt: skip
def test_a_peer_that_speaks_garbage_is_one_line(
    talk: Callable[[socket.socket], object], kind: type[SkydiverError], said: str
) -> None:
    """Any program may listen on that port."""
    with raw_server(talk) as client, pytest.raises(kind, match=said):
        client.info()


def test_tls_files_that_are_missing_are_named(tmp_path: Path) -> None:
    """A path that is mistyped must not look like an analyzer that is away."""
    access = Access(cert=str(tmp_path / "c.pem"), key=str(tmp_path / "k.pem"), tls=True)
    with pytest.raises(ConfigError, match=r"TLS certificate .*c\.pem: no such file or directory"):
        Client(access).info()
