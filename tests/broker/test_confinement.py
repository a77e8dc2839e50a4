"""What the agent cannot do any more, whoever it was started as."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFINED = """
import os, subprocess, sys
from skydiver.broker import drop_capabilities
from skydiver.broker.confinement import forbid_writing
drop_capabilities()
if not forbid_writing():
    print('no Landlock')
    sys.exit()
def tried(what, *arguments):
    try:
        what(*arguments)
        print('done')
    except OSError as error:
        print(type(error).__name__)
"""


def run(script: str, *arguments: object) -> list[str]:
    """It is for good, so each trial has a process of its own."""
    argv = [sys.executable, "-c", CONFINED + script, *map(str, arguments)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("\n")
    if said[0] == "no Landlock":
        pytest.skip("this kernel has no Landlock")
    return said[:-1]


def test_no_file_is_changed_made_or_removed(tmp_path: Path) -> None:
    """Root without capabilities still owns /etc/shadow and the folder of cron."""
    old = tmp_path / "old"
    old.write_text("as it was")
    folder = tmp_path / "folder"
    folder.mkdir()
    said = run(
        """
old, new, folder = sys.argv[1:]
tried(open, old, 'w')
tried(open, old, 'a')
tried(os.truncate, old, 0)
tried(open, new, 'w')
tried(os.unlink, old)
tried(os.rename, old, new)
tried(os.link, old, folder + '/link')
tried(os.rmdir, folder)
tried(os.mkdir, new)
tried(os.symlink, old, new)
""",
        old,
        tmp_path / "new",
        folder,
    )
    assert {*said} <= {"PermissionError", "OSError"}
    assert len(said) == 10
    assert old.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "old"]


def test_reading_and_starting_programs_stay(tmp_path: Path) -> None:
    """Probes live on it."""
    (tmp_path / "old").write_text("as it was")
    said = run(
        """
print(open(sys.argv[1]).read())
tried(os.listdir, '/proc')
tried(open, os.devnull, 'w')
print(subprocess.run(['/bin/echo', 'started'], stdin=subprocess.DEVNULL, text=True,
                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip())
child = subprocess.Popen(['/bin/sleep', '60'])
tried(child.kill)
print(child.wait())
""",
        tmp_path / "old",
    )
    assert said == ["as it was", "done", "done", "started", "done", "-9"]


def test_what_it_starts_cannot_either(tmp_path: Path) -> None:
    """The way around would be to start a shell."""
    new = tmp_path / "new"
    run("subprocess.run(['/bin/sh', '-c', 'echo > ' + sys.argv[1]], stderr=-3)", new)
    assert not new.exists()


def test_processes_of_the_same_user_are_not_signalled() -> None:
    """Root without capabilities may end every other service of root."""
    with subprocess.Popen(["/bin/sleep", "60"]) as victim:
        said = run(
            """
release = tuple(int(n) for n in os.uname().release.split('-')[0].split('.')[:2])
print('new' if release >= (6, 12) else 'old')
tried(os.kill, int(sys.argv[1]), 15)
""",
            victim.pid,
        )
        alive = victim.poll() is None
        victim.kill()
    if said[0] == "new":
        assert said == ["new", "PermissionError"]
        assert alive
