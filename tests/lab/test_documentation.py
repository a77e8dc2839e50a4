"""The worked examples of README and guide, line by line against the demo's network."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from skydiver.lab import Lab, demo, wait_until
from skydiver.lab.running import Running

ROOT = Path(__file__).resolve().parent.parent.parent

Shell = Callable[[str], "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def examples(page: str) -> list[tuple[str, list[str]]]:
    """Headings with the command lines below them."""
    found = []
    for section in re.split(r"^## ", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE):
        blocks = re.findall(r"^```\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        lines = "".join(blocks).replace("\\\n", " ").splitlines()
        commands = [line for line in lines if line.startswith(("skydive ", "ip netns exec "))]
        if commands:
            found.append((section.splitlines()[0], commands))
    return found


EXAMPLES = [
    pytest.param(commands, id=f"{page}: {heading}")
    for page in ("README.md", "docs/guide/demo.md")
    for heading, commands in examples(page)
]


@pytest.fixture(scope="module")
def prefix() -> Iterator[tuple[str, Running]]:
    """The demo's network with its traffic, and a Skydive that sees it."""
    with Lab("demo") as lab, Running() as running:
        at = demo.build(lab)
        demo.start_traffic(lab, at)
        count = f"G.V().Has('Type','netns','Name',Regex('{lab.prefix}-.*')).Count()"
        running.seconds_until(lambda one: one.query(count) == len(at))
        yield lab.prefix, running


@pytest.fixture
def shell(prefix: tuple[str, Running]) -> Iterator[Shell]:
    """Runs a line as a user does; ends its captures afterwards."""
    name, running = prefix
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SKYDIVE_ANALYZER": f"127.0.0.1:{running.port}",
    }

    def run(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", line.replace("demo-", f"{name}-")],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    yield run
    for uuid in json.loads(run("skydive client capture list").stdout):
        run(f"skydive client capture delete {uuid}")


@pytest.mark.parametrize("commands", EXAMPLES)
def test_every_line_of_the_documentation_shows_something(commands: list[str], shell: Shell) -> None:
    """A line that does nothing is the last one that a new user types."""
    found: list[str] = []

    def shows_something(line: str) -> bool:
        done = shell(line)
        assert (done.returncode, done.stderr) == (0, ""), line
        found.append(done.stdout)
        return done.stdout.strip() not in ("", "[]", "null")

    identifier = ""
    for line in commands:
        written = line.replace("…", identifier)
        wait_until(partial(shows_something, written), line, timeout_s=15, every_s=0.5)
        if match := re.search(r'"L3TrackingID": "([0-9a-f]+)"', found[-1]):
            identifier = match[1]


def test_the_path_of_a_request_is_what_the_readme_says(shell: Shell) -> None:
    """Tunnel, router and bridge, and none of the other ports."""
    create, request, *_ = next(
        lines for heading, lines in examples("README.md") if heading.startswith("Follow")
    )
    shell(create)
    running = "skydive client query \"G.V().HasKey('Captures').Count()\""
    wait_until(lambda: int(shell(running).stdout) >= 17, "captures on every device", timeout_s=15)
    assert shell(request).stdout == "skydive lab\n"
    flows = "G.Flows().Has('Network','10.0.2.2','Transport','80')"

    def path() -> list[str]:
        known = json.loads(shell(f'skydive client query "{flows}.Sort()"').stdout)
        id_ = known[-1]["L3TrackingID"] if known else ""
        where = f"G.Flows().Has('L3TrackingID','{id_}').CaptureNode().Dedup()"
        nodes = json.loads(shell(f'skydive client query "{where}"').stdout)
        return sorted(node["Metadata"]["Name"] for node in nodes)

    expected = ["eth0", "eth0", "eth0", "eth2", "tap-router", "tap-web", "wan", "wan"]
    wait_until(lambda: path() == expected, f"{expected}, but {path()}", timeout_s=15, every_s=0.5)
