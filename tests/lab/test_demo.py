"""The demo's network does what its drawing says."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from skydiver.lab import Lab, demo
from skydiver.lab.record import NAMESPACES

LAST = "Ctrl-C ends the traffic and removes the lab.\n"


class Analyzer(BaseHTTPRequestHandler):
    """The two requests that the demo makes, answered as api.md says."""

    found = 10

    def do_GET(self) -> None:
        self.answer(b'{"Host":"h","Version":"0","Service":"analyzer"}\n')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(f"{self.found}\n".encode())

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Analyzer) as server:
        monkeypatch.setattr(demo, "ANALYZER", ("127.0.0.1", server.server_port))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("running")
def test_an_analyzer_that_runs_already_is_used() -> None:
    """Starting a second one would fail on the port."""
    assert demo.answers()
    assert demo.wait_seen("demo", 10) == 10


@pytest.mark.usefixtures("running")
def test_an_analyzer_that_sees_less_is_not_waited_for_without_end() -> None:
    """An agent without privilege never sees the lab; the user must be told."""
    assert demo.wait_seen("demo", 11, timeout_s=0.1) == 10
    assert "sees 10 of the 11 namespaces" in demo.introduction(11, 10)


def test_no_analyzer_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """This decides whether the demo starts one."""
    with HTTPServer(("127.0.0.1", 0), Analyzer) as server:
        port = server.server_port
    monkeypatch.setattr(demo, "ANALYZER", ("127.0.0.1", port))
    assert not demo.answers()
    assert demo.count("G.V().Count()") == 0


def test_five_commands_are_shown() -> None:
    """They are the point of the demo."""
    shown = demo.introduction(10, 10)
    assert sum(" client " in line for line in shown.splitlines()) == 5
    assert "does its agent run as root" not in shown


@pytest.mark.root
def test_every_host_of_the_demo_reaches_the_web_server() -> None:
    """Bridge, router, tunnel and NAT each carry one of these."""
    with Lab("labdemo") as lab:
        at = demo.build(lab)
        demo.start_traffic(lab, at)
        reached = [
            name
            for name in ("desk", "branch", "guest", "home")
            if len(lab.http_get(at[name], f"http://{demo.WEB}/")) == 512
        ]
        assert reached == ["desk", "branch", "guest", "home"]
        # The web server has no way back to the address behind the NAT: it was translated.
        assert lab.ping(at["web"], "192.168.7.2", timeout_s=0.2) == 0


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_stays_until_it_is_told_to_end_and_leaves_nothing(
    running: int, number: signal.Signals
) -> None:
    """Traffic that goes on for ever would be a bad guest."""
    code = (
        "import sys; from skydiver.lab import demo;"
        f"demo.ANALYZER = ('127.0.0.1', {running}); sys.exit(demo.main())"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = list(iter(lambda: process.stdout.readline() if process.stdout else "", LAST))
    namespaces = {entry.name for entry in NAMESPACES.iterdir()}
    assert any(line.startswith("using the skydive that runs") for line in lines)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == (0 if number == signal.SIGINT else 128 + number)
    gone = namespaces - {entry.name for entry in NAMESPACES.iterdir()}
    assert len([name for name in gone if name.startswith("demo")]) == 10
