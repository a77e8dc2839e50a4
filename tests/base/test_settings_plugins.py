from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.installed import install

from skydiver.base.errors import ConfigError
from skydiver.base.settings import Settings, load_settings
from skydiver.base.settings_plugins import PluginSection


@dataclass(frozen=True, slots=True)
class Place:
    room: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    url: str = "unix:///run/thermometer"
    password: str = ""
    every_s: float = 5.0
    loud: bool = False
    rooms: tuple[str, ...] = ()
    place: Place = Place()
    ports: dict[int, str] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def thermometer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)


def loaded(tmp_path: Path, text: str = "", **environ: str) -> Settings:
    file = tmp_path / "skydive.yml"
    file.write_text(text, encoding="utf-8")
    return load_settings([file], environ={f"SKYDIVE_{k}": v for k, v in environ.items()})


def config(settings: Settings) -> Config:
    return settings.agent.topology.plugins["thermometer"].read(Config)


FILE = """
agent:
  topology:
    thermometer:
      url: tcp://here
      password: 0123
      every_s: 2
      loud: true
      rooms: [1, kitchen]
      place: {room: hall}
      ports: {80: web}
"""


def test_the_section_of_an_installed_probe_becomes_its_dataclass(tmp_path: Path) -> None:
    """Each value is what its field says, not what YAML makes of it: a password keeps its zero."""
    assert config(loaded(tmp_path, FILE)) == Config(
        url="tcp://here", password="0123", every_s=2.0, loud=True,
        rooms=("1", "kitchen"), place=Place("hall"), ports={80: "web"},
    )  # fmt: skip


def test_dotted_keys_and_variables_reach_it_and_the_variable_wins(tmp_path: Path) -> None:
    """As for every other setting."""
    settings = loaded(
        tmp_path,
        "agent.topology.thermometer.place.room: hall\nagent.topology.thermometer.url: file\n",
        AGENT_TOPOLOGY_THERMOMETER_URL="variable",
        AGENT_TOPOLOGY_THERMOMETER_ROOMS='["a", "b"]',
    )
    assert config(settings) == Config(url="variable", rooms=("a", "b"), place=Place("hall"))


def test_a_variable_may_hold_the_whole_section(tmp_path: Path) -> None:
    """Containers are given their settings like this."""
    settings = loaded(tmp_path, AGENT_TOPOLOGY_THERMOMETER='{"every_s": 3}')
    assert config(settings) == Config(every_s=3.0)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{every_s: soon}", r"yml, line 1: agent.topology.thermometer.every_s: expected float"),
        ("{evry_s: 1}", r"yml, line 1: unknown key agent.topology.thermometer.evry_s"),
        ("{place: {rom: 1}}", r"unknown key agent.topology.thermometer.place.rom"),
        ("{place: 1}", r"agent.topology.thermometer.place: expected object, got str"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(tmp_path: Path, section: str, said: str) -> None:
    """A slip in the settings must not look like a probe that sees nothing."""
    settings = loaded(tmp_path, f"agent.topology.thermometer: {section}")
    with pytest.raises(ConfigError, match=said):
        config(settings)


@pytest.mark.parametrize("value", ["5", "[1]"])
def test_a_section_that_is_none_is_refused_at_once(tmp_path: Path, value: str) -> None:
    """Before any code of the probe is loaded."""
    with pytest.raises(ConfigError, match=r"thermometer: expected keys and values"):
        loaded(tmp_path, f"agent.topology.thermometer: {value}")


def test_a_section_that_nobody_installed_is_still_a_slip_of_the_pen(tmp_path: Path) -> None:
    """Sections are accepted for probes that exist only."""
    with pytest.raises(ConfigError, match=r"unknown key agent.topology.thermometr"):
        loaded(tmp_path, "agent.topology.thermometr: {url: x}")


def test_the_section_is_shown_with_its_secrets_masked(tmp_path: Path) -> None:
    """As `GET /api/config` shows everything else."""
    shown = loaded(tmp_path, FILE).get("agent.topology.thermometer")
    assert (shown["url"], shown["password"], shown["every_s"]) == ("tcp://here", "********", 2)


def test_nothing_written_means_the_defaults() -> None:
    """A probe runs with no more than its name in the list."""
    assert PluginSection("agent.topology.x").read(Config) == Config()
