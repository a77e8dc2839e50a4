"""Every snippet of docs/probes/writing-a-probe.md is run, or is part of what `probe new` writes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.installed import install, install_in_place

from skydiver.base.settings import load_settings
from skydiver.broker.client import Broker
from skydiver.graph import Join
from skydiver.probes.probe import Probe
from skydiver.probes.trial import at_work

PAGE = Path(__file__).resolve().parents[2] / "docs" / "probes" / "writing-a-probe.md"


def snippets(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first commands of the page lead."""
    return tmp_path_factory.mktemp("page") / "skydive-probe-thermometer"


def shell(commands: str, folder: Path, project: Path) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder, env={**os.environ, "PATH": path, "PYTHONPATH": str(project)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_lead_to_a_node(project: Path) -> None:
    """In the order of the page; installing is what the page leaves to pip."""
    make, try_out = snippets("bash")
    made = shell(make.replace("pytest -q", "pytest -q -p no:asyncio"), project.parent, project)
    assert "5 passed" in made
    install_in_place(project)
    shown = shell(try_out, project, project)
    assert '"Name": "thermometer"' in shown
    assert '"Name": "Attic"' in shown


def defines() -> dict[str, Any]:
    """What the complete snippets define together; parts of the generated module are left out."""
    names: dict[str, Any] = {}
    for snippet in snippets("python"):
        if snippet.startswith(("import ", "from ")):
            exec(snippet, names)
    return names


def test_parts_of_a_new_probe_are_quoted_as_they_are(tmp_path: Path) -> None:
    """Whoever reads the page looks for the same lines in front of them."""
    shell("skydive probe new thermometer --output here", tmp_path, tmp_path)
    module = (tmp_path / "here" / "skydive_probe_thermometer.py").read_text(encoding="utf-8")
    quoted = [one for one in snippets("python") if not one.startswith(("import ", "from "))]
    assert len(quoted) == 3
    for one in quoted:
        assert one in module
    (toml,) = snippets("toml")
    made = (tmp_path / "here" / "pyproject.toml").read_text(encoding="utf-8")
    assert toml in made
    assert tomllib.loads(toml)


def test_the_joins_are_joins() -> None:
    """Their fields are positional; a slip would link nothing, silently."""
    assert all(isinstance(join, Join) for join in defines()["joins"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RackProbe", {"Rack": {"Row": 3, "Slot": 12}}),
        ("LinkEventsProbe", {"LinkEvents": 0}),
        ("ProcessesProbe", {}),
    ],
)
async def test_the_probes_of_the_page_run(
    broker: Broker, name: str, expected: dict[str, Any]
) -> None:
    """On the node of the host, which another probe states."""
    probe: Probe[Any] = defines()[name](None)
    async with at_work(probe, broker=broker) as trial:

        def shows() -> bool:
            host = trial.named("host")
            return host is not None and expected.items() <= host.metadata.items()

        await trial.until(shows)
        assert trial.probes.status()[probe.name] == {"Status": "running"}


@pytest.mark.root
async def test_the_probe_of_namespaces_shows_who_is_in_them(broker: Broker, prefix: str) -> None:
    """Enriching a node waits for the one who states it, and another probe states namespaces."""
    from tests.probes.conftest import Running, ip

    from skydiver.base.settings import NetnsSettings
    from skydiver.probes.netns import NetnsProbe

    ip(f"netns add {prefix}a")
    probes: list[Probe[Any]] = [
        NetnsProbe(NetnsSettings(run_path="/var/run/netns")),
        defines()["ProcessesProbe"](None),
    ]
    async with Running(broker, probes).at_work() as running:
        await running.until(lambda: "Processes" in running.named(f"{prefix}a"))


def test_the_test_of_the_page_passes() -> None:
    """It is what people copy."""
    defines()["test_the_rack_is_on_the_node_of_the_host"]()


def test_the_settings_of_the_page_are_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the probe installed; without it they are refused."""
    install(tmp_path, monkeypatch)
    (written,) = snippets("yaml")
    file = tmp_path / "skydive.yml"
    file.write_text(written, encoding="utf-8")
    topology = load_settings([file], environ={}).agent.topology
    assert topology.probes == ("thermometer",)
    assert topology.plugins["thermometer"].plain() == {"folder": "/run/thermometer"}
