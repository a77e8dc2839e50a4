"""Which processes are in which network namespace, from /proc, without reading all of it each time.

The kernel tells nobody that a process made or changed its namespace, so the broker looks. A full
look costs a few microseconds per process, which a host with thousands of processes would notice
each second. So a process is looked at when it appears, again a few times while it is young (that
is when programs unshare), and after that in turn, a bounded number per scan. When it matters that
nothing is missed (the last known holder of a namespace is gone) the caller asks for everything.

A process is recognised by the inode number of its /proc folder, which comes with the listing: a
process that reuses a number has another inode. A listing that shows a new inode for an old
process (the kernel dropped it from its cache) costs one more look, nothing else.
"""

from __future__ import annotations

import os

_LOOKS_WHILE_YOUNG = 5
_LOOKS_IN_TURN = 64
_HOLDERS_TOLD = 4


class _Process:
    __slots__ = ("command", "folder", "looks", "namespace")

    def __init__(self, folder: int) -> None:
        self.folder = folder
        """Inode of /proc/<pid>."""
        self.namespace = 0
        """Inode of its network namespace; 0 = may not be seen."""
        self.command = ""
        """Its name, read only outside the host's namespace."""
        self.looks = 0


class Processes:
    """A cache of ``/proc/<pid>/ns/net``."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._own = _namespace_of(f"{proc}/self")
        self._known: dict[int, _Process] = {}
        self._turn: list[int] = []
        self._generation = 0
        self._told: list[tuple[int, list[int], str]] = []

    def scan(self, *, everything: bool) -> int:
        """Look at what is new, or at everything; a number that changes with the outcome."""
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
        self._known = seen
        if not everything:
            self._look_in_turn()
        outcome = self._outcome()
        if outcome != self._told:
            self._told = outcome
            self._generation += 1
        return self._generation

    def namespaces(self) -> list[tuple[int, list[int], str]]:
        """Inode, some holders (lowest first) and the command of the first, by inode."""
        return self._told

    def _look_in_turn(self) -> None:
        if not self._turn:
            self._turn = list(self._known)
        now, self._turn = self._turn[:_LOOKS_IN_TURN], self._turn[_LOOKS_IN_TURN:]
        for pid in now:
            process = self._known.get(pid)
            if process is not None:
                self._look(pid, process)

    def _look(self, pid: int, process: _Process) -> None:
        process.looks += 1
        process.namespace = _namespace_of(f"{self._proc}/{pid}")
        if process.namespace not in (0, self._own):
            process.command = _command(f"{self._proc}/{pid}")

    def _outcome(self) -> list[tuple[int, list[int], str]]:
        holders: dict[int, list[int]] = {}
        for pid, process in self._known.items():
            if process.namespace not in (0, self._own):
                holders.setdefault(process.namespace, []).append(pid)
        outcome = []
        for namespace, pids in sorted(holders.items()):
            first = sorted(pids)[:_HOLDERS_TOLD]
            outcome.append((namespace, first, self._known[first[0]].command))
        return outcome


def _namespace_of(folder: str) -> int:
    """The inode in ``net:[4026531840]``; 0 when the process is gone or may not be seen."""
    try:
        target = os.readlink(f"{folder}/ns/net")
        return int(target[target.index("[") + 1 : -1])
    except (OSError, ValueError):
        return 0


def _command(folder: str) -> str:
    try:
        with open(f"{folder}/comm", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
