from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from skydiver.broker.processes import Processes

OWN = 4026531840
OTHER = 4026532000


def process(proc: Path, pid: int, namespace: int, command: str = "sleep") -> None:
    folder = proc / str(pid) / "ns"
    folder.mkdir(parents=True)
    (folder / "net").symlink_to(f"net:[{namespace}]")
    (folder.parent / "comm").write_text(f"{command}\n")


def move(proc: Path, pid: int, namespace: int) -> None:
    link = proc / str(pid) / "ns" / "net"
    link.unlink()
    link.symlink_to(f"net:[{namespace}]")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    process(tmp_path, 1, OWN)
    (tmp_path / "self").symlink_to("1")
    return tmp_path


def test_only_foreign_namespaces_are_told(proc: Path) -> None:
    """The host's own has a node of another kind."""
    process(proc, 30, OTHER, "nginx")
    process(proc, 20, OTHER, "pause")
    processes = Processes(str(proc))
    processes.scan(everything=False)
    assert processes.namespaces() == [(OTHER, [20, 30], "pause", "")]


def test_the_generation_changes_only_with_the_outcome(proc: Path) -> None:
    """An unchanged answer is not sent again each second."""
    processes = Processes(str(proc))
    first = processes.scan(everything=False)
    process(proc, 20, OWN)
    assert processes.scan(everything=False) == first
    process(proc, 21, OTHER)
    assert processes.scan(everything=False) != first


def test_a_young_process_that_unshares_is_noticed(proc: Path) -> None:
    """Programs like `unshare` start in their parent's namespace and leave it a moment later."""
    process(proc, 20, OWN)
    processes = Processes(str(proc))
    processes.scan(everything=False)
    move(proc, 20, OTHER)
    processes.scan(everything=False)
    assert [namespace for namespace, *_ in processes.namespaces()] == [OTHER]


def test_old_processes_are_looked_at_in_turn(proc: Path) -> None:
    """A bounded number each time, but every one of them sooner or later."""
    for pid in range(100, 400):
        process(proc, pid, OWN)
    processes = Processes(str(proc))
    for _ in range(10):
        processes.scan(everything=False)
    move(proc, 399, OTHER)
    scans = 0
    while not processes.namespaces():
        processes.scan(everything=False)
        scans += 1
        assert scans < 10


def test_everything_is_looked_at_on_demand(proc: Path) -> None:
    """Whether a namespace ended must not be guessed from old knowledge."""
    for pid in range(100, 400):
        process(proc, pid, OWN)
    processes = Processes(str(proc))
    for _ in range(10):
        processes.scan(everything=False)
    move(proc, 150, OTHER)
    processes.scan(everything=True)
    assert [namespace for namespace, *_ in processes.namespaces()] == [OTHER]


def test_a_process_that_may_not_be_seen_is_left_out(proc: Path) -> None:
    """Without CAP_SYS_PTRACE the links of other users' processes cannot be read."""
    (proc / "50").mkdir()
    processes = Processes(str(proc))
    processes.scan(everything=False)
    assert processes.namespaces() == []


@pytest.mark.root
def test_a_real_unshared_process_is_found_and_forgotten() -> None:
    """The real /proc, with the form of link and the reuse of inodes that it has."""
    processes = Processes()
    holder = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    try:
        deadline = time.monotonic() + 10
        inode = 0
        while time.monotonic() < deadline:
            processes.scan(everything=False)
            found = [i for i, pids, *_ in processes.namespaces() if holder.pid in pids]
            if found and processes.namespaces()[0]:
                inode = found[0]
                break
        assert inode == os.stat(f"/proc/{holder.pid}/ns/net").st_ino
    finally:
        holder.kill()
        holder.wait()
    processes.scan(everything=True)
    assert inode not in [i for i, *_ in processes.namespaces()]
