"""What is wrong with the settings is found in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skydiver.base.errors import ConfigError
from skydiver.base.settings import load_settings
from skydiver.cli import checks


def test_what_a_check_finds_is_raised_here() -> None:
    """All lines of it."""

    def check() -> None:
        raise ConfigError("a: wrong\nb: wrong")

    with pytest.raises(ConfigError, match=r"^a: wrong\nb: wrong$"):
        checks.apart(check)


def test_a_check_that_finds_nothing_changes_nothing() -> None:
    """Neither modules nor descriptors of the parent."""
    seen: list[int] = []
    open_before = len(os.listdir("/proc/self/fd"))
    checks.apart(lambda: seen.append(1))
    assert seen == []
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_fault_of_the_check_itself_is_one_line() -> None:
    """It must not look as if all were well."""

    def check() -> None:
        raise ZeroDivisionError("oops")

    with pytest.raises(ConfigError, match=r"^check of the settings: ZeroDivisionError: oops$"):
        checks.apart(check)


def test_good_settings_pass(tmp_path: Path) -> None:
    """The defaults above all."""
    settings = load_settings([], {"data_dir": str(tmp_path / "data")}, {})
    checks.check_agent(settings)
    checks.check_analyzer(settings, os.geteuid())
    assert (tmp_path / "data").is_dir()


def test_listening_beyond_this_machine_is_refused_for_either_part(tmp_path: Path) -> None:
    """The part would say so only after the other has started."""
    overrides = {f"{part}.listen": "0.0.0.0:1" for part in ("agent", "analyzer")}
    settings = load_settings([], {"data_dir": str(tmp_path), **overrides}, {})
    with pytest.raises(ConfigError, match=r"^agent\.listen is"):
        checks.check_agent(settings)
    with pytest.raises(ConfigError, match=r"^analyzer\.listen is"):
        checks.check_analyzer(settings, os.geteuid())
