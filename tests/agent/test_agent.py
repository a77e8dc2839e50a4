"""The agent as a whole: what it tells analyzers, and that it works without any."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from skydiver.agent.agent import cluster_headers
from skydiver.base.settings import load_settings
from skydiver.lab.running import free_port


def test_credentials_and_cookies_go_to_the_analyzers() -> None:
    """An analyzer with authentication would refuse an agent that does not send them."""
    settings = load_settings(
        [],
        {
            "agent.auth.cluster.username": "u",
            "agent.auth.cluster.password": "p",
            "http.cookie": {"region": "x"},
        },
        {},
    )
    assert cluster_headers(settings) == {"Authorization": "Basic dTpw", "Cookie": "region=x"}
    assert cluster_headers(load_settings([], {}, {})) == {}


@pytest.mark.root
def test_an_agent_without_an_analyzer_shows_its_host(tmp_path: Path) -> None:
    """Looking at one host must not need a second program, and the end must be clean."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SKYDIVE_")}
    agent = subprocess.Popen(
        [sys.executable, "-m", "skydiver.cli", "agent", "--listen", f"127.0.0.1:{port}"],
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        types = wait_for(port, lambda graph: {n["Metadata"].get("Type") for n in graph["Nodes"]})
        assert "host" in types
        status = ask(port, "/api/status")
        assert status["TopologyProbes"]["netlink"] == {"Status": "running"}
        capabilities = Path(f"/proc/{agent.pid}/status").read_text(encoding="utf-8")
        assert "CapEff:\t0000000000000000" in capabilities
    finally:
        agent.send_signal(signal.SIGTERM)
        _, said = agent.communicate(timeout=15)
    assert agent.returncode == 0
    assert "Traceback" not in said


def ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return json.load(answer)


def wait_for(port: int, found: Any) -> Any:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            result = found(ask(port, "/api/topology"))
        except OSError:
            result = None
        if result and "host" in result:
            return result
        time.sleep(0.05)
    pytest.fail("the agent did not show its host within 15 s")
