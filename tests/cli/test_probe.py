"""``skydive probe``: what it writes works, is found when installed, and runs without an agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.installed import install_in_place

from skydiver.probes import BUILTIN


def skydive(
    *words: str, path: Path | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    return subprocess.run(
        [sys.executable, "-m", "skydiver.cli", "probe", *words],
        env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new probe, installed where it stands: what an installer reads from its pyproject.toml is
    written beside it."""
    folder = tmp_path_factory.mktemp("new")
    made = skydive("new", "rack_power", cwd=folder)
    assert (made.returncode, made.stderr) == (0, "")
    project = folder / "skydive-probe-rack-power"
    install_in_place(project)
    return project


def test_a_new_probe_passes_its_own_tests(project: Path) -> None:
    """Its author starts from something that works."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=project, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_a_new_probe_has_the_style_of_ours(project: Path) -> None:
    """It is what people copy from."""
    ruff = [str(Path(sys.executable).parent / "ruff")]
    root = Path(__file__).resolve().parents[2]
    options = ["--no-cache", "--config", str(root / "pyproject.toml"), str(project)]
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [*ruff, *command, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_an_installed_probe_is_listed_and_runs_with_its_settings(
    project: Path, tmp_path: Path
) -> None:
    """From `probe new` to a node: what the page of documentation promises."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "pdu.json").write_text('{"Watts": 400}', encoding="utf-8")
    conf = tmp_path / "skydive.yml"
    conf.write_text(
        f"agent:\n  topology:\n    probes: [rack_power]\n    rack_power: {{folder: {documents}}}\n",
        encoding="utf-8",
    )
    listed = json.loads(skydive("list", "--conf", str(conf), path=project).stdout)
    assert [row["Name"] for row in listed] == [*BUILTIN, "rack_power"]
    assert listed[-1] == {
        "Name": "rack_power", "From": "skydive-probe-rack-power 0.1.0", "Runs": "yes",
    }  # fmt: skip

    run = ("run", "rack_power", "--conf", str(conf), "--seconds", "1")
    stated = json.loads(skydive(*run, path=project).stdout)
    assert [node["Metadata"].get("RackPower") for node in stated["Nodes"]] == [
        None, {"Watts": 400},
    ]  # fmt: skip
    assert [edge["Metadata"]["RelationType"] for edge in stated["Edges"]] == ["ownership"]
    shown = skydive(*run, "--format", "table", path=project).stdout
    assert '+ rack_power pdu RackPower={"Watts":400}' in shown


def test_wrong_settings_of_a_probe_are_one_line(project: Path, tmp_path: Path) -> None:
    """The same in the list of probes and at the start of one."""
    conf = tmp_path / "skydive.yml"
    conf.write_text("agent.topology.rack_power: {foldr: /}\n", encoding="utf-8")
    said = f"{conf}, line 1: unknown key agent.topology.rack_power.foldr"
    listed = json.loads(skydive("list", "--conf", str(conf), path=project).stdout)
    assert listed[-1]["Error"] == said
    assert skydive("run", "rack_power", "--conf", str(conf), path=project).stderr == (
        f"skydive: {said}\n"
    )


def test_a_name_in_the_settings_that_nobody_installed_is_listed(tmp_path: Path) -> None:
    """That is what one looks for in the list."""
    conf = tmp_path / "skydive.yml"
    conf.write_text("agent.topology.probes: [rack_powr]\n", encoding="utf-8")
    row = json.loads(skydive("list", "--conf", str(conf)).stdout)[-1]
    assert (row["Name"], row["Error"]) == (
        "rack_powr", "neither a probe of skydive nor installed",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Rack", "expected a letter"),
        ("9rack", "expected a letter"),
        ("rack-power", "expected a letter"),
        ("../rack", "expected a letter"),
        ("r" * 41, "expected a letter"),
        ("netlink", "a name of skydive's own"),
        ("docker", "a name of skydive's own"),
        ("plugins", "a name of skydive's own"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str, said: str) -> None:
    """It becomes a key, a variable, a module and a class."""
    done = skydive("new", name, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Somebody's work may be there."""
    (tmp_path / "mine").write_text("work", encoding="utf-8")
    done = skydive("new", "rack", "--output", str(tmp_path))
    assert done.stderr == f"skydive: {tmp_path} is not empty; nothing was written\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    done = skydive("new", "rack", "--output", str(tmp_path / "mine"))
    assert done.stderr == f"skydive: {tmp_path}/mine: not a directory\n"
