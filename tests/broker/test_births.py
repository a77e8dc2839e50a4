from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
from contextlib import closing

import pytest

from skydiver.base.errors import Unavailable
from skydiver.broker.births import Births, _read_records
from skydiver.broker.client import Broker

NEW_NAMESPACE = 0x40000000
FORMATS = {7: 12}


def sample(kind: int, pid: int, *, room: int = 20) -> bytes:
    body = struct.pack("=IH", room, kind).ljust(16, b"\0") + struct.pack("=i", pid) + bytes(room)
    return struct.pack("=IHH", 9, 0, 8 + len(body)) + body


def test_records_of_the_kernel_are_read() -> None:
    """Processes, losses, and nothing else."""
    lost = struct.pack("=IHHQQ", 2, 0, 24, 1, 40)
    other = struct.pack("=IHHQ", 11, 0, 16, 1)
    pids: set[int] = set()
    records = sample(7, 30) + lost + sample(8, 31) + other + sample(7, 32)
    assert _read_records(records, FORMATS, pids) == 40
    assert pids == {30, 32}


@pytest.mark.parametrize(
    "records", [bytes(40), b"\x09", struct.pack("=IHH", 9, 0, 8), sample(7, 30)[:20], b"\xff" * 99]
)
def test_nonsense_in_a_ring_ends_reading_it(records: bytes) -> None:
    """The memory is shared with the kernel; whatever is there, this must end."""
    pids: set[int] = set()
    assert _read_records(records, FORMATS, pids) in (0, 1)
    assert pids == set()


async def test_without_privilege_one_line_says_so(broker: Broker) -> None:
    """The agent goes on with looks at /proc."""
    if os.geteuid() == 0:
        pytest.skip("root may")
    with pytest.raises(Unavailable, match="broker: "):
        await Births.open(broker)


async def read_until(births: Births, wanted: int) -> None:
    pids: set[int] = set()
    async with asyncio.timeout(20):
        while wanted not in pids:
            readable = asyncio.Event()
            births.listen(readable.set)
            await readable.wait()
            pids |= births.read()[0]


@pytest.mark.root
async def test_a_program_that_is_started_is_told(broker: Broker) -> None:
    """Whoever calls unshare goes on to run something."""
    with closing(await Births.open(broker)) as births, subprocess.Popen(["true"]) as process:
        await read_until(births, process.pid)


@pytest.mark.root
async def test_a_clone_into_a_new_namespace_is_told_and_others_are_not(broker: Broker) -> None:
    """The kernel filters: forks are the most frequent thing that a busy host does."""
    script = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None)
for flags in (17, 17 | {NEW_NAMESPACE}):
    pid = libc.syscall({{"x86_64": 56}}.get(os.uname().machine, 220), flags, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    print(pid)
"""
    with closing(await Births.open(broker)) as births:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        plain, new = map(int, output.split())
        pids, lost = births.read()
    assert (plain in pids, new in pids, lost) == (False, True, 0)


@pytest.mark.root
async def test_what_has_no_room_is_counted(broker: Broker) -> None:
    """A reader that is kept from reading must learn that it missed something."""
    with closing(await Births.open(broker)) as births:
        script = "i=0; while [ $i -lt 3000 ]; do /bin/true; i=$((i+1)); done"
        process = await asyncio.create_subprocess_exec("sh", "-c", script)
        await process.wait()
        first = births.read()
        assert first[0]
        # The kernel tells of the loss with the next record that has room.
        again = [os.posix_spawn("/bin/true", ["true"], {}) for _ in range(20)]
        for pid in again:
            os.waitpid(pid, 0)
        assert first[1] + births.read()[1] > 0


@pytest.mark.root
async def test_nothing_is_left_of_the_rings(broker: Broker) -> None:
    """Descriptors, memory and tracepoints end with the reader."""
    (await Births.open(broker)).close()
    await broker.holders()
    before = [os.listdir(f"/proc/{pid}/fd") for pid in ("self", broker.pid)]
    for _ in range(3):
        births = await Births.open(broker)
        births.listen(lambda: None)
        births.close()
    await broker.holders()  # it closes what it sent after sending it
    assert [os.listdir(f"/proc/{pid}/fd") for pid in ("self", broker.pid)] == before
    with open("/proc/self/maps") as maps:
        assert "[perf_event]" not in maps.read()
