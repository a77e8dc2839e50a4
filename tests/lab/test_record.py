"""A crash leaves nothing behind at the next start, and nothing of anybody else is touched."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skydiver.base.errors import Unavailable
from skydiver.lab import record
from skydiver.lab.record import Record, boot_id, claim, load, process_start, stop_processes


@pytest.fixture
def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def reap(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def test_a_record_survives_being_written_and_read(tmp_path: Path) -> None:
    """Cleaning up after a crash is only as good as what can be read back."""
    written = Record("x", (1, 2), "boot", {"x-a": 3}, {"x-eth": 4}, {5: 6})
    written.save(tmp_path)
    assert load(tmp_path / "x.json") == written


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"prefix": 1, "owner": 2}', "\0\xff"])
def test_a_file_that_is_no_record_is_left_alone(tmp_path: Path, content: str) -> None:
    """Somebody else's file in the folder must neither stop a lab nor be deleted."""
    (tmp_path / "other.json").write_text(content, encoding="latin-1")
    assert record.remove_stale(tmp_path) == []
    assert (tmp_path / "other.json").exists()


def test_a_prefix_is_given_to_one_lab_at_a_time(tmp_path: Path) -> None:
    """Two labs of the same name, as in parallel tests, must not share names."""
    assert [claim("unittest", tmp_path).prefix for _ in range(3)] == [
        "unittest",
        "unittest2",
        "unittest3",
    ]


def test_the_record_of_a_dead_owner_is_removed_and_that_of_a_living_one_kept(
    tmp_path: Path,
) -> None:
    """Start time and process id both count: numbers are used again."""
    start = process_start(os.getpid()) or 0
    Record("dead", (os.getpid(), start + 1), boot_id()).save(tmp_path)
    Record("living", (os.getpid(), start), boot_id()).save(tmp_path)
    assert record.remove_stale(tmp_path) == ["dead"]
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["living.json"]


def test_processes_of_a_dead_owner_are_stopped(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    """Traffic must not go on for ever after a SIGKILL of its lab."""
    try:
        start = process_start(sleeper.pid) or 0
        Record("dead", (1, 0), boot_id(), processes={sleeper.pid: start}).save(tmp_path)
        record.remove_stale(tmp_path)
        assert sleeper.wait(10) == -signal.SIGTERM
    finally:
        reap(sleeper)


def test_a_process_that_only_has_the_same_number_is_not_stopped(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    """The identity of a process is its number and its start time."""
    try:
        stop_processes({sleeper.pid: (process_start(sleeper.pid) or 0) + 1})
        assert sleeper.poll() is None
    finally:
        reap(sleeper)


def test_what_an_earlier_boot_made_is_not_looked_for(tmp_path: Path) -> None:
    """After a restart of the machine the names may belong to somebody else."""
    Record("old", (1, 0), "another boot", {"lo": 0}, {"lo": 0}, {os.getpid(): 0}).save(tmp_path)
    assert record.remove_stale(tmp_path) == ["old"]
    assert record.device_index("lo") == 1


def test_a_device_whose_index_changed_is_not_ours() -> None:
    """A device of the same name that somebody made after ours was gone must stay."""
    before = record.device_index("lo")
    Record("x", (1, 0), boot_id(), devices={"lo": before + 1}).remove()
    assert record.device_index("lo") == before


def test_a_folder_that_cannot_be_written_gives_one_clear_line(tmp_path: Path) -> None:
    """A user without privilege reads what is missing instead of a traceback."""
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(Unavailable, match="a lab needs root"):
        claim("unittest", tmp_path / "records")
