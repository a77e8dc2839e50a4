"""G2, G3, G7: the graph alone, without a server: scans, updates, snapshots, memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from benches.figure import Figure
from skydiver.base.ids import Origin
from skydiver.filters import Eq, Filter, Gt, Regex
from skydiver.graph import Graph, GraphEvent, Op, OpKind
from skydiver.graph.collector import Collector
from skydiver.graph.wire import edge_from_json, node_from_json

SIZES = (10_000, 100_000)
RUNS = 5
TARGET_SIZE = SIZES[-1]


def figures() -> Iterator[Figure]:
    for size in SIZES:
        graph = Graph(host="bench", origin=Origin("analyzer.bench"))
        collector = Collector(graph)
        fill(graph, size, large_node)
        yield from scans(graph, size)
        yield from updates(graph, size)
        yield from snapshots(graph, size)
        collector.close()
        del graph, collector
        gc.collect()
    for name, what, target in (
        ("large", "100 k nodes of 1.9 kB of JSON", 3.5),
        ("small", "100 k nodes of 330 B of JSON, with 200 k edges", 1.5),
    ):
        samples = [in_child("memory", name) for _ in range(3)]
        yield Figure(
            "G7",
            f"memory per node, {what}",
            "KB",
            samples,
            target,
            load="resident memory of a process before and after taking them in from JSON",
        )


def scans(graph: Graph, size: int) -> Iterator[Figure]:
    tests: tuple[tuple[str, Filter, float], ...] = (
        ("equality", Eq("Driver", "nope"), 6),
        ("number", Gt("Speed", 1 << 40), 6),
        ("regex", Regex("Alias", "^uplink .*-77$"), 16),
    )
    for name, where, target in tests:
        yield Figure(
            "G2",
            f"unindexed Has over {size:,} nodes: {name}",
            "ms",
            [spent_ms(partial(count, graph, where)) for _ in range(RUNS)],
            target * size / TARGET_SIZE,
            load="nodes of 32 keys, on the graph itself, no HTTP",
        )


def count(graph: Graph, where: Filter) -> int:
    return sum(1 for _ in graph.nodes(where))


def updates(graph: Graph, size: int) -> Iterator[Figure]:
    told = 0

    def listener(event: GraphEvent) -> None:
        nonlocal told
        told += 1

    forget = graph.subscribe(listener)
    ids = [node.id for node in graph.nodes()]
    rates: list[float] = []
    pauses: list[float] = []
    for run in range(RUNS):
        ops = (Op(OpKind.SET, "State", ("UP", "DOWN")[run % 2]),)
        revision = run + 2
        longest = 0.0
        began = time.perf_counter()
        for start in range(0, size, 100):
            before = time.perf_counter()
            for node_id in ids[start : start + 100]:
                graph.apply_ops(
                    node_id, kind="node", ops=ops, revision=revision, updated_at_ms=revision
                )
            longest = max(longest, time.perf_counter() - before)
        rates.append(size / (time.perf_counter() - began))
        pauses.append(longest * 1e3)
    forget()
    if told != RUNS * size:
        raise ValueError(f"{told} events for {RUNS * size} updates")
    load = f"{size:,} nodes of 32 keys, partial updates of one key, one listener"
    yield Figure(
        "G3", "metadata updates per second", "/s", rates, 300_000, more_is_better=True, load=load
    )
    yield Figure("G3", "longest time for 100 of them", "ms", pauses, 50, load=load)


def snapshots(graph: Graph, size: int) -> Iterator[Figure]:
    """A view held while the graph changes: the next change of each table copies it."""
    ids = [node.id for node in graph.nodes()]
    taken: list[float] = []
    first: list[float] = []
    for run in range(RUNS):
        revision = 1_000 + run
        ops = (Op(OpKind.SET, "State", "UP"),)

        change = partial(
            graph.apply_ops, ids[run], kind="node", ops=ops, revision=revision, updated_at_ms=1
        )
        began = time.perf_counter()
        view = graph.view()
        taken.append((time.perf_counter() - began) * 1e3)
        first.append(spent_ms(change))
        del view
    load = f"{size:,} nodes of 32 keys; a change of an unindexed key"
    yield Figure("G3", "taking a snapshot", "ms", taken, 1, load=load)
    yield Figure("G3", "the first change while one is held", "ms", first, 50, load=load)


def spent_ms(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1e3


def fill(graph: Graph, size: int, document: Callable[[int], bytes]) -> None:
    """Add `size` nodes as they come from peers."""
    for index in range(size):
        graph.add_node(node_from_json(orjson.loads(document(index)), now_ms=1))


def element(index: int, metadata: dict[str, Any], **more: Any) -> bytes:
    host = f"host-{index // 100}"
    return orjson.dumps(
        {
            "ID": f"{index:08x}-ade2-5afd-9969-4d690a305de0",
            "Metadata": metadata,
            "Host": host,
            "Origin": f"agent.{host}",
            "CreatedAt": 1_700_000_000_000 + index,
            "UpdatedAt": 1_700_000_000_000 + index,
            "DeletedAt": None,
            "Revision": 1,
            **more,
        }
    )


def large_node(index: int) -> bytes:
    """An interface with all that probes find: 32 keys, 1.9 kB."""
    mac = f"02:00:{index >> 24 & 255:02x}:{index >> 16 & 255:02x}:{index >> 8 & 255:02x}"
    address = f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}"
    counters = {"RxBytes": index * 1000, "TxBytes": index * 900, "RxPackets": index, "TxPackets": 9}
    times = {"Start": 1_700_000_000_000, "Last": 1_700_000_030_000 + index}
    metadata = {
        "Name": f"eth{index}",
        "Type": "veth",
        "TID": f"{index:08x}-896b-5afd-9969-4d690a305de0",
        "MAC": f"{mac}:{index & 255:02x}",
        "PeerIntfMAC": f"{mac}:{index >> 1 & 255:02x}",
        "IfIndex": index % 1000,
        "State": "UP",
        "Driver": "veth",
        "MTU": 1500,
        "EncapType": "ether",
        "Speed": 10_000,
        "Duplex": "full",
        "Alias": f"uplink to rack {index % 40}-{index % 100}",
        "IPV4": [f"{address}/24"],
        "IPV6": [f"fe80::{index:x}/64"],
        "LinkFlags": ["UP", "BROADCAST", "RUNNING", "MULTICAST", "LOWER_UP"],
        "Metric": {**counters, **times},
        "LastUpdateMetric": {**counters, **times},
        "Features": {f"feature-{i}": bool(i % 3) for i in range(20)},
        "Neighbors": [{"IP": address, "MAC": mac, "IfIndex": 2, "State": ["NUD_REACHABLE"]}],
        "RoutingTables": [
            {
                "ID": 254,
                "Src": address,
                "Routes": [
                    {"Prefix": "0.0.0.0/0", "NextHops": [{"IP": "10.0.0.254", "IfIndex": 2}]},
                    {"Prefix": f"{address}/24", "NextHops": [{"IfIndex": 2}]},
                ],
            }
        ],
        "Ovs": {"UUID": f"{index:08x}-896b-5afd", "Options": {"peer": f"patch{index}"}},
        **{f"Key{i}": index * i for i in range(10)},
    }
    return element(index, metadata)


def small_node(index: int) -> bytes:
    """A node with little to say: 330 B."""
    metadata = {"Name": f"n{index}", "Type": "device", "IfIndex": index % 1000, "State": "UP"}
    return element(index, {**metadata, "MTU": 1500, "Driver": "veth", "EncapType": "ether"})


def memory(kind: str) -> float:
    """Kilobytes per node."""
    document = large_node if kind == "large" else small_node
    graph = Graph(host="bench", origin=Origin("analyzer.bench"))
    fill(graph, 1, document)
    gc.collect()
    before = resident()
    fill(graph, TARGET_SIZE, document)
    if kind == "small":
        ids = [node.id for node in graph.nodes()]
        for index in range(2 * TARGET_SIZE):
            ends = {"Parent": ids[index % TARGET_SIZE], "Child": ids[(index * 7 + 1) % TARGET_SIZE]}
            edge = element(index, {"RelationType": "layer2"}, **ends)
            graph.add_edge(edge_from_json(orjson.loads(edge), now_ms=1))
        del ids
    gc.collect()
    return (resident() - before) / graph.node_count() / 1000


def resident() -> int:
    text = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * 4096


def in_child(*args: str) -> float:
    """A figure measured in a process of its own."""
    command = [sys.executable, "-m", "benches.graph", *args]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    print(memory(sys.argv[2]))
