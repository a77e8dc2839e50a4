"""T1: the way of a packet through decoder, keys and table; T2: memory of a flow.

The measuring is done in Rust (``dataplane/core/examples/table_bench.rs``).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benches.figure import Figure

DATAPLANE = Path(__file__).resolve().parent.parent / "dataplane"

TARGETS = {
    "tcp_100000_packet": ("T1", "packet of TCP, 100 k flows", 100),
    "mix_100000_packet": ("T1", "packet of a mix, 100 k flows", 110),
    "vxlan_100000_packet": ("T1", "packet in VXLAN (two flows), 100 k flows", 170),
    "tcp_1000000_packet": ("T1", "packet of TCP, 1 M flows", 180),
    "mix_1000000_packet": ("T1", "packet of a mix, 1 M flows", 200),
    "vxlan_1000000_packet": ("T1", "packet in VXLAN (two flows), 1 M flows", 250),
    "tcp_100000_memory": ("T2", "memory of a flow, 100 k flows", 420),
    "tcp_1000000_memory": ("T2", "memory of a flow, 1 M flows", 420),
}


def figures() -> Iterator[Figure]:
    done = subprocess.run(
        "cargo run --release --quiet -p skydive-core --example table_bench",
        shell=True,
        cwd=DATAPLANE,
        capture_output=True,
        text=True,
        check=True,
    )
    measured = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    for name, (target_id, what, target) in TARGETS.items():
        yield Figure(
            target_id,
            what,
            measured[name]["unit"],
            measured[name]["samples"],
            target,
            load="frames in memory, each of a flow drawn at random, 64 at a time, one core",
        )
