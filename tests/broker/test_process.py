from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from skydiver.broker.capabilities import NEEDED
from skydiver.broker.client import Broker

AGENT = """
import os, signal, sys, time
from skydiver.broker import fork_broker
broker = fork_broker()
print(broker.pid, flush=True)
time.sleep(60)
"""


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def is_alive(pid: int) -> bool:
    try:
        return not status(pid)["State"].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_the_broker_keeps_no_more_than_it_needs(broker: Broker) -> None:
    """Whatever else root may do is not the broker's business."""
    await broker.holders()
    needed = sum(1 << capability for capability in NEEDED)
    found = status(broker.pid)
    for name in ("CapPrm", "CapEff", "CapBnd" if os.geteuid() == 0 else "CapEff"):
        assert int(found[name], 16) & ~needed == 0
    assert found["NoNewPrivs"] == "1"
    assert found["Threads"] == "1"


async def test_the_broker_holds_on_to_nothing_of_the_agent(broker: Broker) -> None:
    """An inherited descriptor would keep files, sockets and namespaces of the agent alive."""
    await broker.holders()
    links = {
        os.readlink(f"/proc/{broker.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{broker.pid}/fd")
    }
    kept = {link.partition(":")[0] for link in links} - {os.readlink("/proc/self/fd/2")}
    assert kept <= {"/dev/null", "socket", "net"}


def test_the_broker_dies_with_its_agent() -> None:
    """Even when the agent is killed: nothing privileged may be left behind."""
    with subprocess.Popen(
        [sys.executable, "-c", AGENT], stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout is not None
        broker = int(agent.stdout.readline())
        assert is_alive(broker)
        agent.kill()
        agent.wait()
        deadline = time.monotonic() + 10
        while is_alive(broker) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_alive(broker)


async def test_a_stop_of_the_whole_service_leaves_the_broker_to_the_agent(broker: Broker) -> None:
    """Ctrl-C reaches both; the agent still needs the broker to end its captures in order."""
    await broker.holders()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(broker.pid, number)
    await broker.holders()
