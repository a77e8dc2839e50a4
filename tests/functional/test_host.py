"""What is known of a host, asked as a user asks."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from skydiver.lab.running import Running

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]


def until(running: Running, query: str, expected: object) -> None:
    """Wait until a query has this answer."""
    deadline = time.monotonic() + 20
    while (answer := running.query(query)) != expected:
        assert time.monotonic() < deadline, f"{query}: {answer}"
        time.sleep(0.1)


def test_a_host_is_found_by_what_it_is(tmp_path: Path) -> None:
    """By the metadata of the settings, by its kernel, by values of files while they change, and by
    the clock that its analyzer measured."""
    file = tmp_path / "ex.ini"
    file.write_text("[DEFAULT]\nl3_driver = ovs\n")
    settings = f"""
agent.metadata:
  mydict: {{value: 123}}
  myarrays: {{integers: [1, 2, 3], bools: [true, true], strings: [dog, cat, frog]}}
agent.metadata_config.files:
  - {{path: {file}, type: ini, name: driver, selector: DEFAULT.l3_driver}}
"""
    with Running(settings) as running:
        running.seconds_until(lambda r: bool(r.query("G.V().Has('Type', 'host')")))
        for has in (
            "'mydict.value', 123",
            "'myarrays.integers', 1",
            "'myarrays.strings', 'cat'",
            "'myarrays.bools', true",
            f"'KernelVersion', '{os.uname().release}'",
            "'OS', 'linux'",
            "'CPU.Cores', 1",
            "'Config.driver', 'ovs'",
            "'Clock.Flagged', false",
            "'Clock.ErrorMs', LT(1000)",
        ):
            until(running, f"G.V().Has({has}).Has('Type', 'host').Count()", 1)
        (tmp_path / "new").write_text("[DEFAULT]\nl3_driver = ovn\n")
        (tmp_path / "new").rename(file)
        until(running, "G.V().Has('Config.driver', 'ovn').Count()", 1)
        file.unlink()
        until(running, "G.V().HasKey('Config.driver').Count()", 0)
