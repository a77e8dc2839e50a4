"""The Tab key: words of commands and options, asked of the program itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skydiver.cli.completion import FILE

ASK = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_skydive_completion skydive
echo "${COMPREPLY[@]}"
"""


def completed(folder: Path, *words: str) -> list[str]:
    """What bash offers after these words, the last of which is unfinished."""
    program = folder / "skydive"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m skydiver.cli "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    script = folder / "script"
    script.write_bytes(subprocess.check_output([program, "completion", "bash"], env=environment))
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", str(script), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("skydive", "cli"), ["client"]),
        (("skydive", "client", "capture", ""), ["create", "list", "get", "delete"]),
        (("skydive", "client", "capture", "create", "--layer"), ["--layer-key-mode"]),
        (("skydive", "client", "query", "--format", "d"), ["dot"]),
        (("skydive", "agent", "--li"), ["--listen"]),
    ],
)
def test_a_sourced_script_offers_what_fits(
    tmp_path: Path, words: tuple[str, ...], offered: list[str]
) -> None:
    """In bash itself, as after `source <(skydive completion bash)`."""
    assert completed(tmp_path, *words) == offered


@pytest.mark.parametrize(
    ("shell", "mark"),
    [
        ("zsh", "compdef _skydive_completion skydive"),
        ("fish", "complete --command skydive"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName skydive"),
    ],
)
def test_other_shells_get_a_script_too(skydive: Any, shell: str, mark: str) -> None:
    """Each in its own language."""
    assert mark in skydive("completion", shell).stdout


def test_an_unknown_shell_is_one_line(skydive: Any) -> None:
    """With those that are known."""
    done = skydive("completion", "tcsh")
    assert done.returncode == 1
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_older_command_writes_a_file(tmp_path: Path) -> None:
    """The original's packages run it when they are built."""
    command = [sys.executable, "-m", "skydiver.cli", "bash-completion"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=30)
    assert "complete -o default -F _skydive_completion skydive" in (tmp_path / FILE).read_text()
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"skydive: {FILE}: is a directory\n")
