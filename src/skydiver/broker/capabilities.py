"""Linux capabilities: what the broker keeps, what the agent gives up, and what is lacking."""

from __future__ import annotations

import os

CAP_DAC_READ_SEARCH = 2
CAP_KILL = 5
CAP_NET_BROADCAST = 11
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
CAP_PERFMON = 38
CAP_BPF = 39

NEEDED = {
    CAP_SYS_ADMIN: "CAP_SYS_ADMIN: no captures inside other network namespaces",
    CAP_NET_ADMIN: "CAP_NET_ADMIN: interfaces of other network namespaces are not seen",
    CAP_NET_BROADCAST: "CAP_NET_BROADCAST: no events from other network namespaces",
    CAP_NET_RAW: "CAP_NET_RAW: no captures",
    CAP_SYS_PTRACE: "CAP_SYS_PTRACE: namespaces held by processes of other users are not seen",
    CAP_DAC_READ_SEARCH: "CAP_DAC_READ_SEARCH: namespaces below closed folders are not seen",
    CAP_BPF: "CAP_BPF: no captures by eBPF",
    CAP_PERFMON: "CAP_PERFMON: no kernel events of processes, no tracing by eBPF",
}
"""Everything that the broker may use, and what a user misses without it."""

_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_IMPLIED_BY_ADMIN = (CAP_BPF, CAP_PERFMON)


def effective() -> int:
    """The effective capabilities of this process as a bit set."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0


def missing_words(have: int) -> tuple[str, ...]:
    """What cannot be done with the capabilities `have`, one line each."""
    if have >> CAP_SYS_ADMIN & 1:
        # What CAP_BPF and CAP_PERFMON allow was part of CAP_SYS_ADMIN before, and still is.
        have |= sum(1 << capability for capability in _IMPLIED_BY_ADMIN)
    return tuple(words for capability, words in NEEDED.items() if not have >> capability & 1)


def drop_capabilities() -> None:
    """Give up all capabilities of this process for good; also those that a new program would get.

    Capabilities belong to threads: call it while there is only one.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise RuntimeError(f"capabilities must be dropped before threads start, {threads} run")
    keep_only(0)


def keep_only(capabilities: int) -> None:
    """Reduce all capability sets of this thread to those in the bit set `capabilities`.

    ``no_new_privs`` makes it final: not even a new program run as root gets more.
    """
    import ctypes  # here, because whoever only reads capabilities need not pay for it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(no_new_privs): {os.strerror(number)}")
    # Kernels before 4.3 know no ambient set; then there is nothing to clear.
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(64):
        if libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) < 0:
            break
        if not capabilities >> capability & 1:
            # Refused without CAP_SETPCAP, that is when there was no privilege to begin with.
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _change_sets(effective=capabilities, permitted=capabilities, inheritable=0)


def lower(effective: int) -> None:
    """Let of the permitted capabilities only those in the bit set take effect; -1 = all again.

    For whoever starts programs, which are to have more.
    """
    _change_sets(effective, permitted=-1, inheritable=-1)


def _change_sets(effective: int, permitted: int, inheritable: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def call(what: str, result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    class Data(ctypes.Structure):
        _fields_ = (
            ("effective", ctypes.c_uint32),
            ("permitted", ctypes.c_uint32),
            ("inheritable", ctypes.c_uint32),
        )

    header = Header(_CAPABILITY_VERSION_3, 0)
    data = (Data * 2)()
    call("capget", libc.capget(ctypes.byref(header), ctypes.byref(data)))
    for word in range(2):
        data[word].permitted &= permitted >> (32 * word) & 0xFFFFFFFF
        data[word].effective = data[word].permitted & (effective >> (32 * word) & 0xFFFFFFFF)
        data[word].inheritable &= inheritable >> (32 * word) & 0xFFFFFFFF
    call("capset", libc.capset(ctypes.byref(header), ctypes.byref(data)))
