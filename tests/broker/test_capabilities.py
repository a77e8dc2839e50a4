from __future__ import annotations

import subprocess
import sys

import pytest

from skydiver.broker.capabilities import (
    CAP_NET_RAW,
    CAP_SYS_ADMIN,
    NEEDED,
    missing_words,
)


def run(script: str) -> str:
    """Capabilities are given up for good, so each trial has a process of its own."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_nothing_is_missing_with_all_needed_capabilities() -> None:
    """A full agent must not complain."""
    assert missing_words(sum(1 << capability for capability in NEEDED)) == ()


def test_a_missing_capability_is_told_by_what_one_cannot_do() -> None:
    """The name alone means nothing to most users."""
    without = sum(1 << capability for capability in NEEDED if capability != CAP_NET_RAW)
    assert missing_words(without) == ("CAP_NET_RAW: no captures",)


def test_sys_admin_stands_for_the_newer_bpf_capabilities() -> None:
    """They were split from it in Linux 5.8; whoever has it is not limited."""
    words = missing_words(1 << CAP_SYS_ADMIN)
    assert not any(word.startswith(("CAP_BPF", "CAP_PERFMON")) for word in words)


def test_dropping_leaves_no_capability_of_any_kind() -> None:
    """One forgotten set (bounding, ambient) would give them back to the next program."""
    out = run(
        "from skydiver.broker import drop_capabilities\n"
        "drop_capabilities()\n"
        "print(open('/proc/self/status').read())"
    )
    status = dict(line.split(":\t", 1) for line in out.splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0
    assert status["NoNewPrivs"] == "1"


@pytest.mark.root
def test_a_program_run_after_dropping_has_none_either() -> None:
    """Root usually gets everything back by running a program."""
    out = run(
        "from skydiver.broker import drop_capabilities\n"
        "import os\n"
        "drop_capabilities()\n"
        "os.execv('/bin/grep', ['grep', 'CapEff', '/proc/self/status'])"
    )
    assert int(out.split()[1], 16) == 0


def test_dropping_with_several_threads_is_refused() -> None:
    """The other threads would keep theirs, and memory is shared: no boundary at all."""
    out = run(
        "from skydiver.broker import drop_capabilities\n"
        "import threading\n"
        "stop = threading.Event()\n"
        "threading.Thread(target=stop.wait).start()\n"
        "try:\n"
        "    drop_capabilities()\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
        "finally:\n"
        "    stop.set()\n"
    )
    assert out == "capabilities must be dropped before threads start, 2 run\n"


@pytest.mark.root
def test_a_supervisor_lowers_itself_and_not_what_it_starts() -> None:
    """A part that has died is started again with all that it needs."""
    said = run(
        "import subprocess\n"
        "from skydiver.broker.capabilities import CAP_KILL, lower\n"
        "lower(1 << CAP_KILL)\n"
        "print(open('/proc/self/status').read())\n"
        "print(subprocess.run(['grep', 'CapEff', '/proc/self/status'],"
        " capture_output=True, text=True).stdout)"
    )
    own, started = [line.split()[1] for line in said.splitlines() if line.startswith("CapEff")]
    assert int(own, 16) == 1 << 5
    assert int(started, 16) & (1 << CAP_NET_RAW | 1 << CAP_SYS_ADMIN)
