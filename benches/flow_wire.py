"""W3: flows from the wire to a sink that forgets them, at an analyzer of which the rest is idle."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import uvloop
from aiohttp import ClientSession, web

from benches.figure import Figure
from benches.startup import cpu_seconds
from skydiver.base.losses import Losses
from skydiver.base.settings_kinds import Address
from skydiver.flow.batch import FlowBatch
from skydiver.hub import flow_stream
from skydiver.hub.flow_server import FlowServer
from skydiver.lab.running import free_port
from skydiver.native import FlowTable, flow_message_pieces

FLOWS = 100_000
"""In one update of the tables of an agent."""
UPDATES = 5
DATAGRAMS = 20_000
BURST = 100
RUNS = 3


class Nowhere:
    """A store without a disk."""

    async def append(self, batch: FlowBatch) -> None:
        """Forget it."""


def figures() -> Iterator[Figure]:
    message = update()
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "benches.flow_wire", str(port)])
    try:
        await_port(port)
        batches = [asyncio.run(send_batches(port, message)) for _ in range(RUNS)]
        costs = []
        for _ in range(RUNS):
            before = cpu_seconds([server.pid])
            asyncio.run(send_batches(port, message))
            costs.append((cpu_seconds([server.pid]) - before) / (FLOWS * UPDATES) * 1e6)
        datagrams = [asyncio.run(send_datagrams(port, message, server.pid)) for _ in range(RUNS)]
    finally:
        server.terminate()
        server.wait(10)
    load = f"{UPDATES} updates of {FLOWS:,} flows in acknowledged batches over loopback, null store"
    yield Figure(
        "W3",
        "acknowledged batches to a null store",
        "k flows/s",
        batches,
        100,
        more_is_better=True,
        load=load,
    )
    yield Figure("W3", "CPU of the analyzer for a flow of it", "µs", costs, 10, load=load)
    yield Figure(
        "W3",
        "CPU of the analyzer for a flow by datagram",
        "µs",
        datagrams,
        10,
        load=f"{DATAGRAMS:,} datagrams of one flow in bursts of {BURST}, null store",
    )


def update() -> bytes:
    """The flows of many UDP conversations."""
    table = FlowTable(node_tid="0d53a7ba-2ad1-5b24-5b24-0d53a7ba2ad1", capture_id="capture-1")
    for number in range(FLOWS):
        addresses = struct.pack("!BBHBBBB", 10, 1, number >> 8, 10, 0, 0, 2)
        frame = bytes.fromhex("02000000000202000000000108004500002e0000000040110000") + addresses
        frame += struct.pack("!HHHH", 1024 + (number & 255), 9, 26, 0) + bytes(18)
        table.feed(frame, at_ns=1_000_000_000)
    return table.update(60_000)


async def send_batches(port: int, message: bytes) -> float:
    """Thousands of flows a second until all were acknowledged."""
    pieces = [message[a:b] for a, b, _ in flow_message_pieces(message, 1024, 256 * 1024)] * UPDATES
    headers = {"X-Client-Type": "agent", flow_stream.HEADER: f"s{time.monotonic_ns()}"}
    url = f"ws://127.0.0.1:{port}{flow_stream.PATH}"
    async with (
        ClientSession(headers=headers) as session,
        session.ws_connect(url) as web_socket,
        asyncio.TaskGroup() as group,
    ):
        began = time.perf_counter()

        async def send() -> None:
            for number, piece in enumerate(pieces, 1):
                await web_socket.send_bytes(flow_stream.pack(number, piece))

        group.create_task(send(), name="send")
        while True:
            received = await web_socket.receive_bytes()
            if flow_stream.unpack_acknowledgement(received) == len(pieces):
                return FLOWS * UPDATES / (time.perf_counter() - began) / 1e3


async def send_datagrams(port: int, message: bytes, pid: int) -> float:
    """Microseconds of CPU of the receiver for a flow."""
    pieces = [message[a:b] for a, b, _ in flow_message_pieces(message, 1, 1)][:DATAGRAMS]
    before = cpu_seconds([pid])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect(("127.0.0.1", port))
        for at in range(0, len(pieces), BURST):
            for piece in pieces[at : at + BURST]:
                datagrams.send(piece)
            await asyncio.sleep(0.003)
    await asyncio.sleep(0.5)
    return (cpu_seconds([pid]) - before) / DATAGRAMS * 1e6


def await_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


async def serve(port: int) -> None:
    server = FlowServer(host_id="a1", losses=Losses(), most_flows=100_000, sinks=[Nowhere()])
    app = web.Application()
    server.add_routes(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    server.listen(Address("127.0.0.1", port))
    await server.run()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as own:
        own.run(serve(int(sys.argv[1])))
