"""Which processes are in which network namespace, from /proc, without reading all of it each time.

The kernel tells of some processes that may be in a new one (see `tracepoints`); these are looked
at once. For all others the broker looks by itself. A full look costs a few microseconds per
process, which a host with thousands of processes would notice each second. So a process is looked
at when it appears, again a few times while it is young (that is when programs unshare), and after
that in turn with its threads, a bounded number per scan. When it matters that nothing is missed
(the last known holder of a namespace is gone) the caller asks for everything.

A process is recognised by the inode number of its /proc folder, which comes with the listing: a
process that reuses a number has another inode. A listing that shows a new inode for an old
process (the kernel dropped it from its cache) costs one more look, nothing else.

Processes in another mount namespace show which namespaces are mounted there: that is how one that
``ip netns add`` made inside a container is found. It is read from the list of mounts, never by
walking through file systems that belong to strangers, which may keep one waiting for ever.
"""

from __future__ import annotations

import os
import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # see `wire`
    from collections.abc import Container, Iterable
    from typing import TypeAlias

    Holders: TypeAlias = tuple[int, list[int], str, str]
    Mount: TypeAlias = tuple[int, str]

_LOOKS_WHILE_YOUNG = 5
_LOOKS_IN_TURN = 64
_HOLDERS_TOLD = 4
_MOUNT_TABLES_IN_TURN = 4
_BUSY_TABLES = 16
_LOOKS_WHILE_BUSY = 4
"""At a mount table in which a program was started."""
_REST_OF_TABLES = 20
"""Reading mount tables is followed by a rest from it of this many times its own length."""
_LONGEST_TABLE = 1 << 20
_MOST_MOUNTS = 256
"""Per mount namespace."""

_CONTAINER = re.compile(
    r"(?:docker|cri-containerd|crio|libpod|containerd)-(?P<scope>[0-9a-f]{64})\.scope"
    r"|/(?P<plain>[0-9a-f]{64})(?=/|$)"
    r"|/lxc(?:/|\.payload[./])(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,62})(?=/|$)",
    re.MULTILINE,
)
_SHORT = 12
"""Digits of an identifier, as `docker ps` shows it."""
_NSFS = re.compile(r"^\d+ \d+ \S+ net:\[(?P<inode>\d+)\] (?P<path>/\S*) .* - nsfs ", re.MULTILINE)


class _Process:
    __slots__ = ("command", "container", "folder", "looks", "mounts", "namespace")

    def __init__(self, folder: int) -> None:
        self.folder = folder
        """Inode of /proc/<pid>; 0 = it is a thread, or was not listed yet."""
        self.namespace = 0
        """Inode of its network namespace; 0 = may not be seen."""
        self.mounts = 0
        """Inode of its mount namespace; 0 = may not be seen."""
        self.command = ""
        self.container = ""
        """Both are read only outside the host's namespace."""
        self.looks = 0


class Processes:
    """A cache of ``/proc/<pid>/ns/net``."""

    def __init__(self, proc: str = "/proc", *, own: int = 0) -> None:
        """`own` is the inode of the host's network namespace, if it is not that of ``self``."""
        self._proc = proc
        self._own = own or _namespace_of(f"{proc}/self", "net")
        # Not below `proc`: what is mounted where this process is, it sees by itself.
        self._own_mounts = _namespace_of("/proc/self", "mnt")
        self._known: dict[int, _Process] = {}
        self._turn: list[int] = []
        self._tables: dict[int, list[tuple[str, int]]] = {}
        """By mount namespace: mount points, and inodes of the network namespaces there."""
        self._tables_turn: list[int] = []
        self._next_tables_s = 0.0
        self._busy: dict[int, int] = {}
        """Mount namespaces in which something happens, and how often they are still looked at."""
        self._generation = 0
        self._told: list[Holders] = []
        self._mounts_told: list[Mount] = []

    @property
    def generation(self) -> int:
        """A number that changes with `namespaces` and `mounts`; not if only processes other than
        the first of a namespace come and go, as they do all the time."""
        return self._generation

    def scan(self, *, everything: bool) -> int:
        """Look at what is new, or at everything; returns the generation."""
        seen: dict[int, _Process] = {}
        with os.scandir(self._proc) as entries:
            for entry in entries:
                if not entry.name.isdecimal():
                    continue
                pid, folder = int(entry.name), entry.inode()
                process = self._known.get(pid)
                if process is None or process.folder != folder:
                    process = _Process(folder)
                    self._look(pid, process)
                elif everything or process.looks < _LOOKS_WHILE_YOUNG:
                    self._look(pid, process)
                seen[pid] = process
        for pid, process in self._known.items():
            # A thread is not listed, but found under its number.
            if pid not in seen and process.folder == 0 and self._is_foreign(process):
                self._look(pid, process)
                if process.namespace:
                    seen[pid] = process
        self._known = seen
        if not everything:
            self._look_in_turn()
        self._look_at_mounts(in_turn=True)
        return self._conclude()

    def look(self, pids: Iterable[int]) -> int:
        """Look at some processes or threads now; returns the generation."""
        changed = False
        for pid in pids:
            namespace = _namespace_of(f"{self._proc}/{pid}", "net")
            known = self._known.get(pid)
            if namespace not in (0, self._own) or (known is not None and self._is_foreign(known)):
                process = known or _Process(0)
                self._look(pid, process)
                if process.namespace:
                    self._known[pid] = process
                else:
                    self._known.pop(pid, None)
                changed = True
            mounts = _namespace_of(f"{self._proc}/{pid}", "mnt") if namespace else 0
            if mounts not in (0, self._own_mounts):
                self._busy[mounts] = _LOOKS_WHILE_BUSY
                if known is None and pid not in self._known:
                    process = self._known[pid] = _Process(0)
                    process.namespace, process.mounts = namespace, mounts
        if self._busy:
            self._look_at_mounts(in_turn=False)
            changed = True
        return self._conclude() if changed else self._generation

    def namespaces(self) -> list[Holders]:
        """Inode, some holders (lowest first), command and container of the first, by inode."""
        return self._told

    def mounts(self) -> list[Mount]:
        """Inode and path of what is mounted in other mount namespaces."""
        return self._mounts_told

    def _is_foreign(self, process: _Process) -> bool:
        return process.namespace not in (0, self._own)

    def _look_in_turn(self) -> None:
        if not self._turn:
            self._turn = list(self._known)
        looks = 0
        while self._turn and looks < _LOOKS_IN_TURN:
            pid = self._turn.pop()
            process = self._known.get(pid)
            if process is not None:
                self._look(pid, process)
                looks += 1 + self._look_at_threads(pid, process)

    def _look_at_threads(self, pid: int, process: _Process) -> int:
        """Find those that left the namespace of their process; returns how many there are."""
        folder = f"{self._proc}/{pid}/task"
        try:
            if os.stat(folder).st_nlink <= 3:  # two, and one for each thread
                return 0
            threads = [int(name) for name in os.listdir(folder)]
        except (OSError, ValueError):
            return 0
        for thread in threads[:_LOOKS_IN_TURN]:
            if thread not in self._known:
                namespace = _namespace_of(f"{self._proc}/{thread}", "net")
                if namespace not in (0, self._own, process.namespace):
                    self._known[thread] = _Process(0)
                    self._look(thread, self._known[thread])
        return len(threads)

    def _look(self, pid: int, process: _Process) -> None:
        folder = f"{self._proc}/{pid}"
        process.namespace = _namespace_of(folder, "net")
        if process.looks < _LOOKS_WHILE_YOUNG or process.looks % _LOOKS_WHILE_YOUNG == 0:
            process.mounts = _namespace_of(folder, "mnt")
        if self._is_foreign(process):
            process.command = _text(f"{folder}/comm").strip()
            process.container = container_of(_text(f"{folder}/cgroup"))
        process.looks += 1

    def _look_at_mounts(self, *, in_turn: bool) -> None:
        """Read the mount tables of new, busy and some other mount namespaces."""
        processes = {
            process.mounts: pid
            for pid, process in self._known.items()
            if process.mounts not in (0, self._own_mounts)
        }
        for gone in self._tables.keys() - processes.keys():
            del self._tables[gone]
        began_s = time.monotonic()
        if began_s < self._next_tables_s:
            return  # they are long, and what is busy stays so
        due = [number for number in self._busy if number in processes][:_BUSY_TABLES]
        if in_turn:
            due += processes.keys() - self._tables.keys()
            if not self._tables_turn:
                self._tables_turn = list(processes)
            for _ in range(min(_MOUNT_TABLES_IN_TURN, len(self._tables_turn))):
                due.append(self._tables_turn.pop())
        self._busy = {number: left - 1 for number, left in self._busy.items() if left > 1}
        # Mount namespaces of services have copies of what is mounted on the host.
        copies = (
            {inode for _, inode in _mounted("/proc/self/mountinfo", most=1 << 16)} if due else ()
        )
        for number in dict.fromkeys(due):
            if number in processes:
                table = _mounted(f"{self._proc}/{processes[number]}/mountinfo", but=copies)
                self._tables[number] = table
        done_s = time.monotonic()
        self._next_tables_s = done_s + _REST_OF_TABLES * (done_s - began_s)

    def _conclude(self) -> int:
        holders: dict[int, list[int]] = {}
        pids_of_tables: dict[int, int] = {}
        for pid, process in self._known.items():
            if self._is_foreign(process):
                holders.setdefault(process.namespace, []).append(pid)
            if process.mounts in self._tables:
                # The lowest has the best chance to stay for as long as the mounts.
                pids_of_tables[process.mounts] = min(pid, pids_of_tables.get(process.mounts, pid))
        told: list[Holders] = []
        for namespace, pids in sorted(holders.items()):
            first = sorted(pids)[:_HOLDERS_TOLD]
            process = self._known[first[0]]
            told.append((namespace, first, process.command, process.container))
        mounts = self._mounts(pids_of_tables)
        if _heads(told) != _heads(self._told) or mounts != self._mounts_told:
            self._generation += 1
        self._told, self._mounts_told = told, mounts
        return self._generation

    def _mounts(self, pids: dict[int, int]) -> list[Mount]:
        found: dict[int, str] = {}
        for number, pid in sorted(pids.items(), key=lambda item: item[1]):
            for path, inode in self._tables[number]:
                if inode != self._own:
                    found.setdefault(inode, f"{self._proc}/{pid}/root{path}")
        return sorted(found.items())


def _heads(told: list[Holders]) -> list[tuple[int, int, str, str]]:
    return [(inode, pids[0], command, container) for inode, pids, command, container in told]


def container_of(cgroup: str) -> str:
    """The container that the content of ``/proc/<pid>/cgroup`` speaks of; empty = none.

    The innermost: twelve digits of its identifier (Docker, containerd, CRI-O, Podman), or its name
    (LXC).
    """
    found = ""
    for match in _CONTAINER.finditer(cgroup):
        identifier = match["scope"] or match["plain"]
        found = identifier[:_SHORT] if identifier else match["name"]
    return found


def _mounted(
    mountinfo: str, *, but: Container[int] = (), most: int = _MOST_MOUNTS
) -> list[tuple[str, int]]:
    """Mount points of network namespaces other than `but`, and their inodes."""
    found: list[tuple[str, int]] = []
    for match in _NSFS.finditer(_text(mountinfo, _LONGEST_TABLE)):
        path, inode = match["path"], int(match["inode"])
        if inode in but:
            continue
        # What ends in //deleted was unlinked, and a name with a blank is written with \040.
        if "\\" not in path and not path.endswith("//deleted") and len(found) < most:
            found.append((path, inode))
    return found


def _namespace_of(folder: str, kind: str) -> int:
    """The inode in ``net:[4026531840]``; 0 when the process is gone or may not be seen."""
    try:
        target = os.readlink(f"{folder}/ns/{kind}")
        return int(target[target.index("[") + 1 : -1])
    except (OSError, ValueError):
        return 0


def _text(path: str, most: int = 1 << 16) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(most).decode(errors="replace")
    except OSError:
        return ""
