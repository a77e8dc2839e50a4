"""G1: one hop over HTTP; G4: a whole graph over HTTP; at 10,000 nodes."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import time
from collections.abc import Iterator

from benches.figure import Figure
from benches.peers import publish, ring
from skydiver.lab.running import Running

NODES = 10_000
HOPS = 500
RUNS = 5


def figures() -> Iterator[Figure]:
    with Running() as running:
        running.seconds_until(lambda r: bool(r.query("G.V().Has('Type', 'host')")))
        publish(running.port, list(ring(NODES)))
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        plain = socket.create_connection(("127.0.0.1", running.port), 30)
        hop_p50, hop_p99, by_id = [], [], []
        for run in range(RUNS):
            times = [
                ask_plainly(plain, f"G.V().Has('Name', 'n{(run * HOPS + i) * 7 % NODES}').Out()")
                for i in range(HOPS)
            ]
            hop_p50.append(statistics.median(times))
            hop_p99.append(statistics.quantiles(times, n=100)[98])
            by_id.append(
                statistics.median(
                    ask_plainly(plain, f"G.V('bench-node-{i * 13 % NODES}')") for i in range(HOPS)
                )
            )
        whole = [ask(connection, "G.V()") for _ in range(RUNS + 2)]
        connection.close()
        plain.close()
    load = f"{NODES} nodes in a ring, one keep-alive connection, {HOPS} queries a run"
    yield Figure(
        "G1", "Has('Name', x).Out() over HTTP, 10 k nodes, p50", "ms", hop_p50, 0.4, load=load
    )
    yield Figure("G1", "the same, p99", "ms", hop_p99, 1.5, load=load)
    yield Figure("G1", "G.V('<id>') over HTTP, p50", "ms", by_id, 0.2, load=load)
    yield Figure(
        "G4",
        "G.V() over HTTP, 10 k nodes",
        "ms",
        whole,
        25,
        load=f"{NODES} nodes, {RUNS + 2} times",
    )


def ask_plainly(connection: socket.socket, gremlin: str) -> float:
    """Milliseconds until a small answer is here; a client library would cost as much again."""
    body = json.dumps({"GremlinQuery": gremlin})
    head = f"POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    request = f"{head}{body}".encode()
    before = time.perf_counter()
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65_536)
    said, _, data = answer.partition(b"\r\n\r\n")
    length = int(said.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(data) < length:
        data += connection.recv(65_536)
    spent = (time.perf_counter() - before) * 1e3
    if b" 200 " not in said.split(b"\r\n")[0] or length < 10:
        raise ValueError(f"{gremlin}: {said!r} {data[:200]!r}")
    return spent


def ask(connection: http.client.HTTPConnection, gremlin: str) -> float:
    """Milliseconds until the whole answer is here."""
    body = json.dumps({"GremlinQuery": gremlin})
    before = time.perf_counter()
    connection.request("POST", "/api/topology", body)
    answer = connection.getresponse()
    data = answer.read()
    spent = (time.perf_counter() - before) * 1e3
    if answer.status != 200 or len(data) < 10:
        raise ValueError(f"{gremlin}: HTTP {answer.status} {data[:200]!r}")
    return spent
