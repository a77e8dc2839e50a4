"""Kernel events of processes that may be in a new network namespace: tracepoints, for the agent.

The kernel tells nobody that a namespace was made. Two tracepoints come near, and cost the host
nothing to speak of: ``task_newtask``, with a filter in the kernel for clones with CLONE_NEWNET, and
``sched_process_exec``, because programs that unshare go on to run another one. Why not the system
calls themselves, nor the records that perf has for namespaces: docs/adr/0008.

Tracepoints are known by numbers, which tracefs tells. Where it is not mounted, it is opened without
being mounted anywhere (fsopen, Linux 5.2), so that the host looks as before.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from fcntl import ioctl

TYPE_CHECKING = False
if TYPE_CHECKING:  # see `wire`
    from collections.abc import Sequence

CLONE_NEWNET = 0x40000000
EVENTS = (
    ("events/sched/sched_process_exec", b""),
    ("events/task/task_newtask", b"clone_flags & %d\0" % CLONE_NEWNET),
)
"""Folder in tracefs, and filter."""

_MOUNTED = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")

# These three have one number on all architectures that Python runs on, but Alpha.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _CMD_CREATE = 1, 1, 6
_RDONLY_NOSUID_NODEV_NOEXEC = 0xF
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "s390x": 331}

_TYPE_TRACEPOINT = 2
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
"""struct perf_event_attr of its first version, linux/perf_event.h."""
_SAMPLE_RAW = 1 << 10
_DISABLED, _WATERMARK = 1 << 0, 1 << 14
_FD_CLOEXEC = 8
_SET_FILTER = 0x40082406


class Format:
    """How one tracepoint writes its records."""

    __slots__ = ("filter", "number", "pid_offset")

    def __init__(self, number: int, pid_offset: int, words: bytes) -> None:
        self.number = number
        """Stands at the beginning of each record, too."""
        self.pid_offset = pid_offset
        """Of the number of the process, as the first pid namespace counts."""
        self.filter = words


class Tracepoints:
    """Opens the tracepoints of one processor after the other."""

    def __init__(self, libc: ctypes.CDLL, mounted: Sequence[str] = _MOUNTED) -> None:
        self._libc = libc
        self._mounted = mounted
        self._formats: list[Format] = []

    def formats(self) -> list[Format]:
        """Of all tracepoints, in the order in which `open` opens them."""
        if not self._formats:
            folder = self._tracefs()
            try:
                self._formats = [_format(folder, event, words) for event, words in EVENTS]
            except (ValueError, IndexError) as error:
                raise OSError(errno.EBADMSG, "tracefs is not what it should be") from error
            finally:
                os.close(folder)
        return self._formats

    def open(self, processor: int) -> list[int]:
        """A descriptor for each tracepoint, of what happens on one processor; not enabled yet."""
        opened: list[int] = []
        try:
            for one in self.formats():
                opened.append(self._open(one.number, processor))
                if one.filter:
                    ioctl(opened[-1], _SET_FILTER, one.filter)
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            raise
        return opened

    def _open(self, number: int, processor: int) -> int:
        machine = os.uname().machine
        if machine not in _PERF_EVENT_OPEN:
            raise OSError(errno.ENOSYS, f"tracepoints are not supported on {machine}")
        attributes = ctypes.create_string_buffer(
            _ATTRIBUTES.pack(
                _TYPE_TRACEPOINT,
                _ATTRIBUTES.size,
                number,
                1,  # each one, not a sample
                _SAMPLE_RAW,
                0,
                _DISABLED | _WATERMARK,
                1,  # byte that wakes the reader
                0,
                0,
            )
        )
        return self._call(
            "perf_event_open",
            _PERF_EVENT_OPEN[machine],
            attributes,
            ctypes.c_int(-1),
            ctypes.c_int(processor),
            ctypes.c_int(-1),
            ctypes.c_ulong(_FD_CLOEXEC),
        )

    def _tracefs(self) -> int:
        """A descriptor of the root of tracefs."""
        for path in self._mounted:
            if os.path.isdir(f"{path}/events/sched"):
                return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        context = self._call("fsopen", _FSOPEN, b"tracefs", _FSOPEN_CLOEXEC)
        try:
            self._call("fsconfig", _FSCONFIG, context, _CMD_CREATE, None, None, 0)
            mount = self._call(
                "fsmount", _FSMOUNT, context, _FSMOUNT_CLOEXEC, _RDONLY_NOSUID_NODEV_NOEXEC
            )
        finally:
            os.close(context)
        try:
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
        finally:
            os.close(mount)

    def _call(self, name: str, number: int, *arguments: object) -> int:
        result = self._libc.syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            failure = ctypes.get_errno()
            raise OSError(failure, f"{name}: {os.strerror(failure)}")
        return int(result)


def _format(folder: int, event: str, words: bytes) -> Format:
    number = int(_read(folder, f"{event}/id"))
    for line in _read(folder, f"{event}/format").split(b"\n"):
        # "\tfield:pid_t pid;\toffset:8;\tsize:4;\tsigned:1;"
        field, _, rest = line.strip().partition(b";")
        if field == b"field:pid_t pid":
            return Format(number, int(rest.split(b"offset:")[1].split(b";")[0]), words)
    raise OSError(errno.ENODATA, f"{event} tells no process")


def _read(folder: int, path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        content = b""
        while part := os.read(descriptor, 65536):
            content += part
        return content
    finally:
        os.close(descriptor)
