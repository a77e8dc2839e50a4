from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from skydiver.broker.tracepoints import EVENTS, Tracepoints

FORMAT = """name: any
ID: 7
format:
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:pid_t pid;\toffset:24;\tsize:4;\tsigned:1;
"""


def tracefs(folder: Path, content: str = FORMAT) -> str:
    for number, (event, _) in enumerate(EVENTS):
        (folder / event).mkdir(parents=True)
        (folder / event / "id").write_text(f"{number + 7}\n")
        (folder / event / "format").write_text(content)
    return str(folder)


def tracepoints(*mounted: str) -> Tracepoints:
    return Tracepoints(ctypes.CDLL(None, use_errno=True), mounted)


def test_what_a_mounted_tracefs_says_is_used(tmp_path: Path) -> None:
    """Numbers and places of fields belong to the running kernel, and to nothing else."""
    found = tracepoints("/nowhere", tracefs(tmp_path)).formats()
    assert [(one.number, one.pid_offset) for one in found] == [(7, 24), (8, 24)]
    assert found[1].filter == b"clone_flags & 1073741824\0"


@pytest.mark.parametrize("content", ["", "\tfield:pid_t pid;\toffset;", FORMAT.replace("24", "x")])
def test_a_strange_tracefs_is_refused(tmp_path: Path, content: str) -> None:
    """A kernel to come may write something else; the broker goes on without."""
    with pytest.raises(OSError, match=r"process|not what it should be"):
        tracepoints(tracefs(tmp_path, content)).formats()


@pytest.mark.root
def test_tracefs_is_read_without_being_mounted() -> None:
    """Where it is not mounted the host must look as before."""
    before = Path("/proc/self/mountinfo").read_text()
    descriptors = os.listdir("/proc/self/fd")
    assert all(one.number > 0 for one in tracepoints().formats())
    assert Path("/proc/self/mountinfo").read_text() == before
    assert os.listdir("/proc/self/fd") == descriptors


@pytest.mark.root
def test_a_processor_that_is_not_there_is_refused_and_leaks_nothing() -> None:
    """One may go offline between listing and opening."""
    points = tracepoints()
    points.formats()
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="perf_event_open") as caught:
        points.open(8191)
    assert caught.value.errno in (errno.ENODEV, errno.EINVAL)
    assert os.listdir("/proc/self/fd") == descriptors
