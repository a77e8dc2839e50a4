"""Watching directories: which names appeared in them or left."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass

_CREATE, _DELETE = 0x100, 0x200
_MOVED_FROM, _MOVED_TO = 0x40, 0x80
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_CLOSE_WRITE = 0x8
_ONLYDIR = 0x01000000
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_INTERESTING = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO | _DELETE_SELF | _MOVE_SELF | _ONLYDIR

_EVENT = struct.Struct("=iIII")


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to `name` in `directory`."""

    directory: str
    """Empty when the kernel lost events: look at everything again."""
    name: str
    """Empty when it happened to the directory itself."""


class Inotify:
    """An inotify instance; readable when there are changes."""

    def __init__(self, *, writes: bool = False) -> None:
        """With `writes`, also of files that somebody wrote to and closed."""
        self._mask = _INTERESTING | (_CLOSE_WRITE if writes else 0)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot watch directories: {os.strerror(number)}")
        self._directories: dict[int, str] = {}

    def fileno(self) -> int:
        """For the event loop."""
        return int(self._descriptor)

    def watches(self, directory: str) -> bool:
        """Whether `directory` is watched now."""
        return directory in self._directories.values()

    def watch(self, directory: str) -> bool:
        """Watch `directory`; False when it does not exist or may not be read."""
        number = self._libc.inotify_add_watch(
            self._descriptor, os.fsencode(directory), ctypes.c_uint32(self._mask)
        )
        if number < 0:
            return False
        self._directories[number] = directory
        return True

    def changes(self) -> list[Change]:
        """What happened since the last call."""
        try:
            data = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return []
        changes = []
        offset = 0
        while offset + _EVENT.size <= len(data):
            number, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            if mask & _OVERFLOW:
                changes.append(Change("", ""))
            elif mask & _IGNORED:
                self._directories.pop(number, None)
            elif number in self._directories:
                changes.append(Change(self._directories[number], name))
        return changes

    def close(self) -> None:
        """End all watches."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
