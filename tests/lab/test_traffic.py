"""The traffic programs, on loopback: what they send arrives, and they end when told."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from skydiver.lab import traffic


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def program(*words: str) -> Iterator["subprocess.Popen[str]"]:
    """A listening program, ended the way a lab ends it: by closing its standard input."""
    popen = subprocess.Popen(
        [sys.executable, "-I", traffic.__file__, *words, "--with-owner"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with popen:
        try:
            yield popen
        finally:
            assert popen.stdin is not None
            popen.stdin.close()
            assert popen.wait(10) is not None


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-I", traffic.__file__, *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def said(popen: "subprocess.Popen[str]") -> str:
    assert popen.stdout is not None
    return popen.stdout.readline().strip()


def test_a_page_is_served_with_the_size_asked_for() -> None:
    """Byte counts of flows are compared with what was sent, so the size must be exact."""
    port = free_port()
    with program("http-server", "127.0.0.1", str(port), "--size=1000") as server:
        assert said(server) == "listening"
        assert len(run("http-client", f"http://127.0.0.1:{port}/").stdout) == 1000


def test_a_single_fetch_that_fails_says_so() -> None:
    """A test that expects a path to work must see that it does not."""
    done = run("http-client", f"http://127.0.0.1:{free_port()}/", "--timeout=1")
    assert (done.returncode, "refused" in done.stderr) == (1, True)


def test_a_port_in_use_is_said_in_one_line() -> None:
    """The lab turns this line into its error."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for kind in ("http-server", "tcp-sink"):
            with program(kind, "127.0.0.1", port) as server:
                assert said(server) == "Address already in use"


@pytest.mark.parametrize(
    ("kind", "type_"), [("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)]
)
def test_a_sender_sends_exactly_what_was_asked(kind: str, type_: socket.SocketKind) -> None:
    """Counters are compared with these numbers."""
    with socket.socket(socket.AF_INET, type_) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        if kind == "tcp":
            sock.listen()
        address, port = sock.getsockname()
        arguments = ("--count=20", "--size=100", "--rate=10000")
        assert run(f"{kind}-send", address, str(port), *arguments).returncode == 0
        received = 0
        if kind == "udp":
            received = sum(len(sock.recv(1000)) for _ in range(20))
        else:
            connection, _ = sock.accept()
            with connection:
                while data := connection.recv(65536):
                    received += len(data)
    assert received == 2000


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_sink_takes_what_is_sent_and_stays(kind: str) -> None:
    """A sink that ends with its first connection would turn later senders into errors."""
    port = str(free_port(socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM))
    with program(f"{kind}-sink", "127.0.0.1", port) as sink:
        assert said(sink) == "listening"
        for _ in range(2):
            assert run(f"{kind}-send", "127.0.0.1", port, "--count=5").returncode == 0
        assert sink.poll() is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0xFFFF), (b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 0x220D), (b"\xff", 0x00FF)],
)
def test_the_checksum_is_that_of_rfc_1071(data: bytes, expected: int) -> None:
    """A wrong checksum is dropped silently by every receiver."""
    assert traffic.checksum(data) == expected
