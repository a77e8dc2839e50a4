"""T1, T2, T6, T7, T8: the flow table alone, measured by the example of the data plane."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benches.figure import Figure

DATAPLANE = Path(__file__).resolve().parent.parent / "dataplane"
SIZES = (100_000, 1_000_000)

PACKETS = {
    "tcp": ("TCP", (100, 180)),
    "mix": ("mix", (110, 200)),
    "vxlan": ("VXLAN, two flows a packet", (170, 250)),
}


def figures() -> Iterator[Figure]:
    samples = measured()
    for kind, (title, targets) in PACKETS.items():
        for flows, target in zip(SIZES, targets, strict=True):
            yield Figure(
                "T1",
                f"packet to updated flow, {flows:,} flows, {title}",
                "ns",
                samples[f"{kind}_{flows}_packet"],
                target,
                load=f"minimum-size frames from memory, {title}, the flow of each drawn at random; "
                "time of one core",
            )
    for flows in SIZES:
        reserved, resident = samples[f"tcp_{flows}_memory"]
        yield Figure("T2", f"memory a flow, {flows:,} flows, reserved", "bytes", [reserved], 420)
        yield Figure("T2", f"memory a flow, {flows:,} flows, resident", "bytes", [resident], 420)
    yield Figure(
        "T6",
        "capture file to flows, 100,000 flows",
        "million packets/s",
        samples["file_100000"],
        6,
        more_is_better=True,
        load="pcap in memory, 60-byte TCP frames; peers are not compared here",
    )
    for flows, some, all_ms in zip(SIZES, (5, 25), (250, 2500), strict=True):
        yield Figure(
            "T7",
            f"filter, sort, limit 100 of {flows:,} flows, table alone",
            "ms",
            samples[f"search_{flows}_filter_sort_limit_100"],
            some,
        )
        found = samples[f"search_{flows}_all"]
        as_json = samples[f"search_{flows}_all_json"]
        yield Figure(
            "T7",
            f"all of {flows:,} flows as JSON, table alone",
            "ms",
            [a + b for a, b in zip(found, as_json, strict=True)],
            all_ms,
        )
    yield Figure(
        "T8",
        "update tick over 100,000 changed flows and their protobuf",
        "ms",
        samples["tcp_100000_tick"],
        36,
        load="the target is that of the tick (6 ms) and of handing over (0.3 µs a flow) together",
    )


def measured() -> dict[str, list[float]]:
    """Samples by name, as the example prints them."""
    command = (
        ". ../tools/rust-path; cargo run --quiet --release -p skydive-core --example table_bench"
    )
    printed = subprocess.run(
        ["bash", "-c", command], cwd=DATAPLANE, check=True, capture_output=True, text=True
    ).stdout
    rows = (json.loads(line) for line in printed.splitlines())
    return {row["name"]: row["samples"] for row in rows}
