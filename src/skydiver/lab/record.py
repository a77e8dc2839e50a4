"""What labs have made, in files that outlive their owners, so that a crash leaves nothing behind.

A lab writes down each namespace, host device and process *before* making it and its kernel
identity (inode, interface index, start time) right after. The next lab to start removes what
belongs to owners that are dead, and only that: a name whose identity no longer fits was made
by somebody else since, and stays.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skydiver.base.errors import Unavailable

RECORDS = Path("/run/skydive-lab")
NAMESPACES = Path("/run/netns")
DEVICES = Path("/sys/class/net")


@dataclass(slots=True)
class Record:
    """One lab: its owner and what it has made."""

    prefix: str
    """Begins the name of each namespace and each host device of the lab."""
    owner: tuple[int, int]
    """Process id and start time; both must fit for the owner to count as alive."""
    boot: str
    """Identity of this run of the kernel; nothing of another one exists any more."""
    namespaces: dict[str, int] = field(default_factory=dict)
    """Name to inode; 0 = about to be made."""
    devices: dict[str, int] = field(default_factory=dict)
    """Name of a device outside the lab's namespaces to interface index; 0 = about to be made."""
    processes: dict[int, int] = field(default_factory=dict)
    """Process id to start time."""

    def alive(self) -> bool:
        """True while the owner runs."""
        return self.boot == boot_id() and process_start(self.owner[0]) == self.owner[1]

    def save(self, directory: Path) -> None:
        """Replace the file of this record; never half written."""
        path = directory / f"{self.prefix}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.replace(path)

    def remove(self) -> None:
        """Stop the processes and delete the devices and namespaces that are still ours."""
        if self.boot != boot_id():
            return
        stop_processes(self.processes)
        lines = [
            f"link del dev {name}"
            for name, index in self.devices.items()
            if _same_device(name, index)
        ]
        lines += [
            f"netns del {name}"
            for name, inode in self.namespaces.items()
            if _same_namespace(name, inode)
        ]
        if lines:
            # -force goes on after a failure: something may have vanished by itself meanwhile.
            subprocess.run(
                ["ip", "-force", "-batch", "-"],
                input="\n".join(lines) + "\n",
                text=True,
                capture_output=True,
                check=False,
                start_new_session=True,
            )


def claim(name: str, directory: Path) -> Record:
    """Remove the labs of dead owners, then reserve a prefix: `name`, or `name2`, `name3`, …"""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _locked(directory):
            remove_stale(directory)
            prefix = next(p for p in _candidates(name) if not _taken(p, directory))
            pid = os.getpid()
            record = Record(prefix, (pid, process_start(pid) or 0), boot_id())
            record.save(directory)
            return record
    except PermissionError as error:
        raise Unavailable(f"a lab needs root: cannot write {directory}") from error


def release(record: Record, directory: Path) -> None:
    """Forget a lab whose things are gone."""
    (directory / f"{record.prefix}.json").unlink(missing_ok=True)


def remove_stale(directory: Path) -> list[str]:
    """Remove what labs of dead owners left; returns their prefixes. Call it under the lock."""
    removed = []
    for path in sorted(directory.glob("*.json")):
        record = load(path)
        if record is None or record.alive():
            continue
        record.remove()
        path.unlink(missing_ok=True)
        removed.append(record.prefix)
    return removed


def load(path: Path) -> Record | None:
    """Read a record; None when the file is gone or is not a record, which is then left alone."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Record(
            prefix=str(raw["prefix"]),
            owner=(int(raw["owner"][0]), int(raw["owner"][1])),
            boot=str(raw["boot"]),
            namespaces={str(k): int(v) for k, v in raw["namespaces"].items()},
            devices={str(k): int(v) for k, v in raw["devices"].items()},
            processes={int(k): int(v) for k, v in raw["processes"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def boot_id() -> str:
    """Changes with each start of the kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the command in parentheses and may hold anything.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def namespace_inode(name: str) -> int:
    """Inode of a named namespace; 0 when there is none."""
    try:
        return (NAMESPACES / name).stat().st_ino
    except OSError:
        return 0


def device_index(name: str) -> int:
    """Index of an interface in the caller's own namespace; 0 when there is none."""
    try:
        return int((DEVICES / name / "ifindex").read_text(encoding="ascii"))
    except OSError:
        return 0


def stop_processes(processes: dict[int, int], *, patience_s: float = 2.0) -> None:
    """Ask the processes to end, insist after `patience_s`, and wait until they are gone."""

    def remaining() -> list[int]:
        return [pid for pid, start in processes.items() if process_start(pid) == start]

    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in remaining():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if not _poll(remaining, patience_s):
            return


def _poll(remaining: Callable[[], list[int]], patience_s: float) -> list[int]:
    deadline = time.monotonic() + patience_s
    while (left := remaining()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _same_namespace(name: str, inode: int) -> bool:
    found = namespace_inode(name)
    return found != 0 and inode in (0, found)


def _same_device(name: str, index: int) -> bool:
    found = device_index(name)
    return found != 0 and index in (0, found)


def _candidates(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}{number}"
        number += 1


def _taken(prefix: str, directory: Path) -> bool:
    pattern = re.compile(rf"{re.escape(prefix)}(-|$)")
    folders = [folder for folder in (NAMESPACES, DEVICES) if folder.exists()]
    return (directory / f"{prefix}.json").exists() or any(
        pattern.match(entry.name) for folder in folders for entry in folder.iterdir()
    )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
