from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from skydiver.broker.processes import Processes, container_of

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


ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("0::/\n", ""),
        (f"0::/system.slice/docker-{ID}.scope\n", "0123456789ab"),
        (f"9:memory:/docker/{ID}\n8:cpu:/docker/{ID}\n0::/\n", "0123456789ab"),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", "0123456789ab"),
        (f"0::/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope/container", "0123456789ab"),
        (f"2:cpu:/kubepods/burstable/pod7a3e/{ID}\n", "0123456789ab"),
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", "0123456789ab"),
        ("0::/lxc.payload.web-1/init.scope\n", "web-1"),
        ("4:cpu:/lxc/web-1\n", "web-1"),
        (f"0::/system.slice/docker-{'f' * 64}.scope/docker/{ID}\n", "0123456789ab"),
        (f"0::/docker/{ID[:20]}\n", ""),
        ("0::/lxc.monitor.web-1\n", ""),
    ],
)
def test_a_container_is_known_by_its_control_group(cgroup: str, container: str) -> None:
    """As the engines of today and yesterday name them; the innermost counts."""
    assert container_of(cgroup) == container


def test_a_holder_that_is_looked_at_is_told_at_once(proc: Path) -> None:
    """The kernel said that something may have happened to it."""
    processes = Processes(str(proc))
    before = processes.scan(everything=True)
    process(proc, 40, OTHER, "pause")
    (proc / "40" / "cgroup").write_text(f"0::/docker/{ID}\n")
    assert processes.look([40, 41, 1]) != before
    assert processes.namespaces() == [(OTHER, [40], "pause", "0123456789ab")]
    move(proc, 40, OWN)
    processes.look([40])
    assert processes.namespaces() == []


def test_a_look_at_what_is_where_it_was_changes_nothing(proc: Path) -> None:
    """Thousands of programs a second are started in the host's namespace."""
    process(proc, 40, OWN)
    processes = Processes(str(proc))
    before = processes.scan(everything=True)
    assert processes.look([40, 1, 999]) == before


def test_the_generation_stays_while_the_first_process_does(proc: Path) -> None:
    """A shell in a container starts a program now and then; that is no news."""
    process(proc, 20, OTHER)
    processes = Processes(str(proc))
    before = processes.scan(everything=True)
    process(proc, 21, OTHER)
    assert processes.scan(everything=True) == before
    assert processes.namespaces() == [(OTHER, [20, 21], "sleep", "")]


def test_a_thread_in_another_namespace_is_found_and_kept(proc: Path) -> None:
    """It has no entry of its own in /proc, but can be asked for."""
    process(proc, 20, OWN)
    for thread in (20, 33, 34):
        (proc / "20" / "task" / str(thread)).mkdir(parents=True)
    hidden = proc / "hidden"
    process(hidden, 33, OTHER, "worker")
    processes = Processes(str(proc))
    processes.scan(everything=False)
    assert processes.namespaces() == []
    (proc / "33").symlink_to(hidden / "33")
    processes = Processes(str(proc))
    listed = os.scandir

    class Listing:
        """What the kernel lists: processes only."""

        def __init__(self, path: str) -> None:
            self.entries = [entry for entry in listed(path) if entry.name != "33"]

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", Listing)
        for _ in range(3):
            processes.scan(everything=False)
            assert processes.namespaces() == [(OTHER, [33], "worker", "")]
        (proc / "33").unlink()
        processes.scan(everything=False)
    assert processes.namespaces() == []


def test_mounts_of_other_mount_namespaces_are_told(proc: Path) -> None:
    """With paths through a process that is there; what cannot be opened by them is left out."""
    table = (
        "60 50 0:4 net:[4026532111] /run/netns/inner rw shared:3 - nsfs nsfs rw\n"
        f"61 50 0:4 net:[{OWN}] /run/docker/netns/default rw - nsfs nsfs rw\n"
        "62 50 0:4 mnt:[4026532112] /run/snapd/ns/x.mnt rw - nsfs nsfs rw\n"
        "63 50 0:4 net:[4026532113] /run/a\\040blank rw - nsfs nsfs rw\n"
        "64 50 0:4 net:[4026532114] /run/netns/gone//deleted rw - nsfs nsfs rw\n"
        "65 50 0:30 / /net:[4026532115] rw - tmpfs nsfs rw\n"
    )
    process(proc, 40, OWN)
    (proc / "40" / "ns" / "mnt").symlink_to("mnt:[17]")
    (proc / "40" / "mountinfo").write_text(table)
    processes = Processes(str(proc), own=OWN)
    processes.scan(everything=False)
    assert processes.mounts() == [(4026532111, f"{proc}/40/root/run/netns/inner")]
