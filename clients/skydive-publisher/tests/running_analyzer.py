"""A real analyzer, which a test may stop and start again at its address."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Analyzer:
    def __init__(self, folder: Path, settings: str = "") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._settings = folder / "skydive.yml"
        self._settings.write_text(f"data_dir: {folder / 'data'}\n{settings}", encoding="utf-8")
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "skydiver.cli", "-c", str(self._settings), "analyzer",
                 "--listen", self.address, "--analyzer-uid", str(os.getuid())],
                stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(15)
            self._process = None

    def kill(self) -> None:
        """End it without a word to its peers."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(15)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def query(self, gremlin: str) -> Any:
        return self._ask("POST", "/api/topology", {"GremlinQuery": gremlin})

    def alone(self) -> bool:
        """Whether nobody publishes, and nothing is left."""
        return not self._ask("GET", "/api/status", None)["Publishers"] and not self.nodes()

    def _ask(self, method: str, path: str, body: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            return json.loads(text)
        finally:
            connection.close()

    def nodes(self) -> dict[str, Any]:
        """Metadata by identifier."""
        return {node["ID"]: node["Metadata"] for node in self.query("G.V()")}

    def edges(self) -> set[tuple[str, str, str]]:
        return {
            (edge["Parent"], edge["Child"], edge["Metadata"]["RelationType"])
            for edge in self.query("G.E()")
        }

    def until(self, true: Callable[[], bool], within_s: float = 20) -> None:
        deadline = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
