"""T11: 500 taps captured by one regular expression, idle and with packets on all of them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benches.figure import Figure
from benches.startup import cpu_seconds, rss_bytes
from skydiver.lab.lab import Lab, Namespace
from skydiver.lab.running import Running
from skydiver.lab.sockets import open_socket

TAPS = 500
IDLE_S = 10
RUNS = 5
RATE = 150_000
"""Packets sent a second; each is seen at both ends."""
LOADED_S = 5
FRAME = bytes.fromhex(
    "02000000000202000000000108004500003200000000401100000a0000010a00000203e80009001e0000"
) + bytes(22)
"""UDP from port 1000 to port 9."""


def figures() -> Iterator[Figure]:
    with Lab("taps") as lab:
        space = lab.netns("n")
        with lab.batch():
            for number in range(TAPS // 2):
                lab.veth((space, f"tapa{number}"), (space, f"tapb{number}"))
        with Running() as running:
            taps = f"G.V().Has('Name', '{space.full}').Out('Name', Regex('^tap.*'))"
            running.seconds_until(lambda r: r.query(f"{taps}.Count()") == TAPS)
            began_s = time.monotonic()
            created = running.client("capture", "create", "--gremlin", taps, "--bpf", "udp port 9")
            active = f"{taps}.Has('Captures.State', 'active').Count()"
            running.seconds_until(lambda r: r.query(active) == TAPS, limit_s=120)
            started_s = time.monotonic() - began_s
            time.sleep(5)
            agent = running.pids_of("agent")
            cpu = []
            for _ in range(RUNS):
                before = cpu_seconds(agent)
                time.sleep(IDLE_S)
                cpu.append((cpu_seconds(agent) - before) / IDLE_S * 100)
            threads = len(list(Path(f"/proc/{agent[0]}/task").iterdir()))
            memory = sum(rss_bytes(pid) for pid in agent) / 1e6 + rings_mb(agent[0])
            before = cpu_seconds(agent)
            sent, sent_s = send(space)
            time.sleep(3)
            load_ns = (cpu_seconds(agent) - before) / (2 * sent) * 1e9
            seen, dropped = counted(running, taps)
            began_s = time.monotonic()
            running.client("capture", "delete", json.loads(created.stdout)["UUID"])
            while running.query(active):
                time.sleep(0.01)
            stopped_s = time.monotonic() - began_s
    load = f"{TAPS} ends of veth pairs captured by one Regex, idle for {IDLE_S} s, {RUNS} times"
    yield Figure("T11", "500 taps: agent and its rings", "MB", [memory], 200, load=load)
    yield Figure("T11", "500 taps: threads of the agent", "", [threads], 8, load=load)
    yield Figure("T11", "500 taps: idle CPU", "%", cpu, 2, load=load)
    yield Figure("T11", "500 taps: all active after the command", "s", [started_s], 2, load=load)
    yield Figure("T11", "500 taps: none active after deleting it", "s", [stopped_s], 2, load=load)
    load = f"{2 * sent / sent_s / 1e3:.0f} k packets/s over all {TAPS}, {sent_s:.0f} s"
    missing = abs(2 * sent - seen - dropped)
    yield Figure("T11", "500 taps: packets neither seen nor dropped", "", [missing], 0, load=load)
    yield Figure("T11", "500 taps: dropped by the kernel", "", [dropped], 0, load=load)
    yield Figure("T11", "500 taps: CPU of the agent a packet", "ns", [load_ns], 1000, load=load)


def send(space: Namespace) -> tuple[int, float]:
    """Packets sent, evenly over all pairs, and the seconds that it took."""
    senders = [open_socket(space, socket.AF_PACKET, socket.SOCK_RAW) for _ in range(TAPS // 2)]
    try:
        for number, sender in enumerate(senders):
            sender.bind((f"tapa{number}", 0))
        began_s, sent = time.monotonic(), 0
        while (elapsed_s := time.monotonic() - began_s) < LOADED_S:
            if sent > elapsed_s * RATE:
                time.sleep(0.0005)
                continue
            for sender in senders:
                sender.send(FRAME)
            sent += len(senders)
        return sent, elapsed_s
    finally:
        for sender in senders:
            sender.close()


def counted(running: Running, taps: str) -> tuple[int, int]:
    """Packets received and dropped by all captures."""
    entries: list[dict[str, Any]] = [
        entry for node in running.query(taps) for entry in node["Metadata"]["Captures"]
    ]
    received, dropped = (
        sum(entry[name] for entry in entries) for name in ("PacketsReceived", "PacketsDropped")
    )
    return received, dropped


def rings_mb(pid: int) -> float:
    """Mapped packet sockets: memory of the kernel, in no count of the process."""
    total = 0
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        if "socket:[" in line:
            low, _, high = line.split()[0].partition("-")
            total += int(high, 16) - int(low, 16)
    return total / 1e6
