"""Probes of other distributions: found, configured, and harmless when broken."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.installed import PROBE, install
from tests.probes.conftest import Running

from skydiver.base.errors import ConfigError
from skydiver.base.settings import AgentSettings, TopologySettings
from skydiver.base.settings_kinds import tree
from skydiver.base.settings_plugins import PluginSection
from skydiver.broker.client import Broker
from skydiver.probes import ALWAYS
from skydiver.probes.supervisor import configured, load


def settings(**section: object) -> AgentSettings:
    written = tree(section)
    assert isinstance(written, dict)
    plugins = {"thermometer": PluginSection("agent.topology.thermometer", "f.yml, line 3", written)}
    topology = replace(TopologySettings(), probes=("thermometer",), plugins=plugins)
    return replace(AgentSettings(), topology=topology)


@pytest.mark.parametrize("value", ["thermometer_probe", "thermometer_probe:Thermometer"])
async def test_an_installed_probe_runs_with_its_settings(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Module or class, as the author likes; nothing else is to be done than naming it."""
    install(tmp_path, monkeypatch, value=value)
    probes = configured(settings(url="tcp://there"))
    assert [probe.name for probe in probes] == [*ALWAYS, "thermometer"]
    async with Running(broker, probes[-1:]).at_work() as running:
        await running.until(lambda: bool(running.named("tcp://there")))
        assert running.probes.status() == {"thermometer": {"Status": "running"}}


async def test_a_bug_ends_the_probe_and_takes_back_what_it_stated(
    broker: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Facts that nobody keeps true any more are worse than none; the agent goes on."""
    fails = PROBE.replace("await asyncio.Event().wait()", 'raise KeyError("room")')
    install(tmp_path, monkeypatch, source=fails)
    with caplog.at_level(logging.INFO):
        async with Running(broker, configured(settings())[-1:]).at_work() as running:
            await running.until(lambda: "Error" in running.probes.status()["thermometer"])
            status = running.probes.status()["thermometer"]
            assert not list(running.graph.nodes())
    assert status["Status"] == "stopped"
    assert status["Error"].startswith("ended by KeyError: 'room' (thermometer_probe.py:")
    assert len(caplog.messages) == 1


async def test_an_outage_of_an_installed_probe_is_retried(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a task of it found out: then it comes in a group."""
    source = PROBE.replace(
        "        async def run",
        "        tries = 0\n\n        async def run",
    ).replace(
        "            with ctx",
        "            from skydiver.base.errors import Unavailable\n"
        "            self.tries += 1\n"
        "            if self.tries < 3:\n"
        '                raise ExceptionGroup("tasks", [Unavailable("no daemon")])\n'
        "            with ctx",
    )
    install(tmp_path, monkeypatch, source=source)
    async with Running(broker, configured(settings(url="u"))[-1:]).at_work() as running:
        await running.until(lambda: bool(running.named("u")))


BROKEN = [
    ("import no_such_module", "", r"cannot be loaded: ModuleNotFoundError: .*no_such_module"),
    ("raise SystemExit(3)", "", r"cannot be loaded: SystemExit: 3"),
    ("def broken(:", "", r"cannot be loaded: SyntaxError"),
    ("x = 1", "", r"thermometer_probe is no class derived from skydiver.probes.probe.Probe"),
    ("x = 1", "thermometer_probe:x", r"thermometer_probe:x is no class derived"),
    ("x = 1", "thermometer_probe:y", r"cannot be loaded: AttributeError"),
    (PROBE.replace('"thermometer"', '"other"'), "", r"with the name 'thermometer'"),
    (PROBE.replace("async def run", "async def go"), "", r"TypeError: .*abstract"),
    (PROBE.replace("Probe[Config]", "Probe[int]"), "", r"the settings of a probe are a dataclass"),
    (PROBE.replace("Probe[Config]", "Probe[None]"), "", r"f.yml, line 3: .*takes no settings"),
    (PROBE.replace("every_s: float", "url_s: float"), "", r"unknown key .*thermometer.every_s"),
    (PROBE.replace('name = "', 'joins = (1,); name = "'), "", r"its joins are not of the class"),
    (
        PROBE.replace(
            'name = "', 'from skydiver.graph import Link; joins = (Link(1, 2, 3, 4),); name = "'
        ),
        "",
        r"TypeError: ",
    ),
]


@pytest.mark.parametrize(("source", "value", "said"), BROKEN)
async def test_a_broken_one_is_one_line_and_the_others_run(
    broker: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    source: str,
    value: str,
    said: str,
) -> None:
    """A package that was installed must not be able to blind the agent."""
    install(tmp_path, monkeypatch, source=source, value=value)
    *others, broken = configured(settings(every_s=1))
    assert [probe.name for probe in others] == list(ALWAYS)
    running = Running(broker, [broken])
    status = running.probes.status()["thermometer"]
    assert status["Status"] == "stopped"
    assert re.search(said, status["Error"])
    assert len(caplog.messages) == 1
    assert caplog.messages[0] == f"{status['Error']}; the agent goes on without it"


def test_a_name_of_ours_cannot_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its section of the settings means something else already."""
    install(tmp_path, monkeypatch, name="docker", module="foreign_docker")
    with pytest.raises(ConfigError, match=r"thermometers 1.2: its name is not one"):
        load("docker")


def test_two_probes_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them runs must not hang on the order of folders."""
    install(tmp_path, monkeypatch)
    install(tmp_path, monkeypatch, distribution="others", value="thermometer_probe:Thermometer")
    with pytest.raises(ConfigError, match=r"installed by thermometers 1.2 and others 1.2"):
        load("thermometer")


def test_an_unknown_name_lists_the_installed_ones_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slip of the pen is found by comparing."""
    install(tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match=r"'thermo', expected of .*netlink.*thermometer"):
        load("thermo")
