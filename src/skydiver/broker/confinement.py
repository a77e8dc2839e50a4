"""What the agent gives up beside capabilities: writing files, and signalling others.

An agent that was started as root keeps the number of that user, since the sockets of docker, Open
vSwitch and libvirt and the folders below /run are open to it alone (docs/adr/0007). Without any
capability it may still do what the owner of a file may, and root owns nearly all of them. Landlock
takes that away for good, for this process and what it starts. Reading, running programs and
connecting to sockets stay as they were.
"""

from __future__ import annotations

import os

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls; the numbers are the same on all architectures."""
_VERSION = 1
_PATH_BENEATH = 1

_WRITE_FILE = 1 << 1
_CHANGE_FOLDERS = sum(1 << bit for bit in range(4, 13))
"""Remove, and make files of all kinds."""
_SINCE = {2: 1 << 13, 3: 1 << 14}
"""By version: to move or link between folders; to truncate. Before that, moving is forbidden."""
_SIGNALS_SINCE = 6
_SCOPE_SIGNAL = 1 << 1
_STILL_WRITABLE = (os.devnull,)
"""What programs that are started have as their standard input and output."""


def forbid_writing() -> bool:
    """Give up changing files, and signals to others, for good; False where the kernel has no way.

    Belongs to threads, as capabilities do: call it after `drop_capabilities`, which it needs.
    """
    import ctypes  # here, because whoever only forks the broker need not pay for it

    libc = ctypes.CDLL(None, use_errno=True)

    class Ruleset(ctypes.Structure):
        _fields_ = (
            ("files", ctypes.c_uint64),
            ("network", ctypes.c_uint64),
            ("scoped", ctypes.c_uint64),
        )

    class Rule(ctypes.Structure):
        _pack_ = 1
        _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))

    def call(number: int, *arguments: object) -> int:
        result = int(libc.syscall(ctypes.c_long(number), *arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), f"landlock: {os.strerror(ctypes.get_errno())}")
        return result

    try:
        version = call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return False  # not built in, or not switched on
    forbidden = _WRITE_FILE | _CHANGE_FOLDERS
    forbidden |= sum(bit for since, bit in _SINCE.items() if version >= since)
    signals = _SCOPE_SIGNAL if version >= _SIGNALS_SINCE else 0
    ruleset = Ruleset(forbidden, 0, signals)
    # A kernel refuses a size that it does not know, unless all it does not know is 0.
    size = ctypes.c_size_t(ctypes.sizeof(ruleset))
    rules = call(_CREATE_RULESET, ctypes.byref(ruleset), size, ctypes.c_uint32(0))
    try:
        for path in _STILL_WRITABLE:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                rule = Rule(_WRITE_FILE | forbidden & 1 << 14, opened)
                what = ctypes.c_int(_PATH_BENEATH)
                call(_ADD_RULE, ctypes.c_int(rules), what, ctypes.byref(rule), ctypes.c_uint32(0))
            finally:
                os.close(opened)
        call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)
    return True
