"""A running `skydive allinone` of our own, on free ports: for tests, benchmarks and the demo."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

COMMAND = Path(sys.executable).parent / "skydive"


class Running:
    """Analyzer and agent as child processes; ended when the block ends."""

    def __init__(self, extra_settings: str = "") -> None:
        self.port = free_port()
        """TCP port of the analyzer."""
        self.agent_port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="skydive-running-")
        folder = Path(self._folder.name)
        folder.chmod(0o755)
        settings = folder / "skydive.yml"
        settings.write_text(
            f"host_id: lab\n"
            f"analyzer:\n  listen: 127.0.0.1:{self.port}\n"
            f"agent:\n  listen: 127.0.0.1:{self.agent_port}\n"
            f"{extra_settings}",
            encoding="utf-8",
        )
        self._log = (folder / "log").open("w+", encoding="utf-8")
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [COMMAND, "--conf", settings, "allinone"],
            stdout=self._log,
            stderr=self._log,
            env=os.environ | {"SKYDIVE_DATA_DIR": str(folder / "data")},
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(15)
        finally:
            self._process.kill()
            self._log.close()
            self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Process that supervises analyzer and agent."""
        return self._process.pid

    def query(self, gremlin: str, *, port: int = 0) -> Any:
        """Result of a Gremlin query over REST; `port` 0 is the analyzer's."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.request("POST", "/api/topology", json.dumps({"GremlinQuery": gremlin}))
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise OSError(f"HTTP {answer.status}: {body.decode(errors='replace').strip()}")
        return json.loads(body)

    def client(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``skydive client`` against this analyzer, its output captured."""
        return subprocess.run(
            [COMMAND, "client", "--analyzer", f"127.0.0.1:{self.port}", *arguments],
            capture_output=True,
            text=True,
            check=check,
            timeout=30,
        )

    def log(self) -> str:
        """What both parts have logged so far."""
        self._log.flush()
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def seconds_until(self, condition: Callable[[Running], bool], *, limit_s: float = 30) -> float:
        """Seconds since the start when `condition` became true."""
        while time.monotonic() - self._started < limit_s:
            try:
                if condition(self):
                    return time.monotonic() - self._started
            except OSError:
                pass  # not listening yet
            time.sleep(0.005)
        raise TimeoutError(f"not within {limit_s} s; the log says:\n{self.log()}")

    def pids_of(self, part: str) -> list[int]:
        """Processes of ``agent`` (with its broker) or ``analyzer``."""
        for child in descendants(self._process.pid, deep=False):
            arguments = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if part.encode() in arguments:
                return [child, *descendants(child)]
        raise LookupError(f"no process of the {part}")


def descendants(pid: int, *, deep: bool = True) -> list[int]:
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            children += [int(c) for c in (task / "children").read_text(encoding="ascii").split()]
    if not deep:
        return children
    return children + [grandchild for child in children for grandchild in descendants(child)]


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
