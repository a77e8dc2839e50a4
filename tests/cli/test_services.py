"""Programs that run until they are stopped refuse what is wrong at once, in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["analyzer", "--listen", "nonsense"], "nonsense"),
        (["-b", "etcd", "analyzer"], "configuration backend 'etcd' is not supported"),
        (["-c", "/nonexistent/skydive.yml", "agent"], "/nonexistent/skydive.yml"),
        (["allinone", "--no-such-option"], "no such option"),
    ],
)
def test_a_wrong_line_is_one_message_and_status_1(arguments: list[str], expected: str) -> None:
    """Service managers show the last line of what a program said."""
    done = subprocess.run(
        [sys.executable, "-m", "skydiver.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
