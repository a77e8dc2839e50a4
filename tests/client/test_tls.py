"""Connections by TLS from the command line's side."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.certificates import Authority, authority

from skydiver.base.errors import ConfigError, SkydiverError
from skydiver.client.publisher import Publisher
from skydiver.client.rest import Access, Client
from skydiver.client.tls import client_context, load_pair


@contextmanager
def server(context: ssl.SSLContext | None) -> Iterator[int]:
    """The port of a server that answers each connection with an empty JSON object."""

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            with peer, suppress(OSError):
                peer.settimeout(5)
                with context.wrap_socket(peer, server_side=True) if context else peer as talk:
                    if talk.recv(65536).startswith((b"GET", b"POST")):
                        talk.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    elif context is None:
                        talk.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = authority(tmp_path_factory.mktemp("ca"))
    made.issue("server")
    made.issue("client")
    return made


@pytest.fixture
def context(ca: Authority) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(made, f"{ca.folder}/server.pem", f"{ca.folder}/server.key")
    return made


def test_a_server_of_the_given_authority_is_trusted(ca: Authority, context: ssl.SSLContext) -> None:
    """With the authority's file alone, with a certificate to show, and with trust in anybody."""
    pair = {"cert": f"{ca.folder}/client.pem", "key": f"{ca.folder}/client.key"}
    with server(context) as port:
        for how in ({"cacert": ca.cert}, {"cacert": ca.cert, **pair}, {"insecure": True, **pair}):
            with Client(Access(port=port, tls=True, **how)) as client:
                assert client.info() == {}


@pytest.mark.parametrize(
    ("server_tls", "client_tls", "said"),
    [
        (True, True, "certificate is not trusted: unable to get local issuer certificate; see --c"),
        (False, True, "no TLS connection to .*: it does not speak TLS; see --cacert"),
        (True, False, "closed the connection without response; if it speaks TLS, give --cacert"),
    ],
)
def test_who_does_not_fit_is_one_line(
    context: ssl.SSLContext, server_tls: bool, client_tls: bool, said: str
) -> None:
    """The commonest mistakes, each with what to do."""
    with server(context if server_tls else None) as port:
        access = Access(port=port, tls=client_tls)
        with pytest.raises(SkydiverError, match=said), Client(access) as client:
            client.info()
        if client_tls:
            with pytest.raises(SkydiverError, match=said), Publisher(access):
                pass


def test_a_server_that_demands_a_certificate_is_named(
    ca: Authority, context: ssl.SSLContext
) -> None:
    """The connection breaks only after the handshake, in TLS 1.3."""
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca.cert)
    said = r"it (closed the connection, so it may )?demand.? a client certificate; see"
    with server(context) as port, pytest.raises(SkydiverError, match=said):
        Client(Access(port=port, tls=True, cacert=ca.cert)).info()


def test_an_encrypted_key_is_refused_without_asking(tmp_path: Path) -> None:
    """A service that asks at a terminal never starts."""
    cert, key = authority(tmp_path / "ca").issue("x")
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-in", key, "-aes128", "-passout", "pass:secret", "-out", str(locked)],
        check=True,
        capture_output=True,
    )
    with pytest.raises(ConfigError, match=r"locked\.key: it is encrypted"):
        load_pair(client_context(), cert, str(locked))
