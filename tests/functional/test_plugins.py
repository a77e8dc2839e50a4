"""Probes of other distributions in an agent: one that works and one that does not."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.installed import install

from skydiver.lab.running import Running

pytestmark = [pytest.mark.root]

SETTINGS = """
agent.topology.probes: [thermometer, broken]
agent.topology.thermometer.url: tcp://attic
"""


def test_the_agent_runs_the_one_and_says_of_the_other_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else of the agent is harmed; the status of the analyzer shows it."""
    install(tmp_path, monkeypatch)
    install(
        tmp_path, monkeypatch,
        name="broken", module="broken_probe", distribution="broken", source="import no_such_module",
    )  # fmt: skip
    added = [path for path in sys.path if path.startswith(str(tmp_path))]
    tmp_path.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(added))
    with Running(SETTINGS) as running:
        query = "G.V().Has('Type', 'sensor', 'Name', 'tcp://attic').Count()"
        running.seconds_until(lambda one: one.query(query) == 1)

        def probes(one: Running) -> dict[str, Any]:
            status = json.loads(one.client("status").stdout)
            found: dict[str, Any] = status["Hosts"].get("lab", {}).get("Probes", {})
            return found

        running.seconds_until(lambda one: "broken" in probes(one))
        shown = probes(running)
        assert shown["thermometer"] == shown["netlink"] == {"Status": "running"}
        assert shown["broken"]["Status"] == "stopped"
        assert "No module named 'no_such_module'" in shown["broken"]["Error"]
        assert running.log().count("no_such_module") == 1
        host = "G.V().Has('Type', 'host').Out().Has('Name', 'lo').Count()"
        assert running.query(host) == 1
