"""An agent or an analyzer as a process of its own, to be killed at any moment.

    peer_process.py analyzer PORT
    peer_process.py agent PORT ANALYZER_PORT SECONDS

An agent changes its graph at random for so many seconds, as fast as it can, and then rests. Both
offer their graph on `/ws/subscriber` of their port.
"""

from __future__ import annotations

import asyncio
import random
import sys

from aiohttp import web

from skydiver.base.ids import NodeID, Origin
from skydiver.base.losses import Losses
from skydiver.graph import Edge, EdgeSpec, Graph, Node, NodeSpec, Op, OpKind
from skydiver.hub.pod import Pod
from skydiver.hub.server import Hub
from skydiver.objects.capture import Capture

NODES = 300


class NoCaptures:
    async def start(self, node_id: NodeID, request: Capture) -> int:
        return 404

    async def stop(self, node_id: NodeID, capture_id: str) -> int:
        return 404


async def no_gremlin(_text: str, _at_ms: int | None) -> tuple[list[Node], list[Edge]]:
    return [], []


async def serve(graph: Graph, port: int) -> Hub:
    hub = Hub(graph=graph, host_id=graph.host, losses=Losses(), gremlin=no_gremlin)
    app = web.Application()
    hub.add_routes(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    return hub


async def analyzer(port: int) -> None:
    graph = Graph(host="a1", origin=Origin("analyzer.a1"))
    await (await serve(graph, port)).run()


async def agent(port: int, analyzer_port: int, seconds: float) -> None:
    graph = Graph(host="h1", origin=Origin("agent.h1"))
    filled = asyncio.Event()
    pod = Pod(
        graph=graph,
        host_id="h1",
        analyzers=[f"127.0.0.1:{analyzer_port}"],
        captures=NoCaptures(),
        flows=lambda _search: [],
        losses=Losses(),
        ready=filled.wait,
    )
    hub = await serve(graph, port)
    async with asyncio.TaskGroup() as group:
        group.create_task(hub.run(), name="hub")
        group.create_task(pod.run(), name="pod")
        await change(graph, seconds, filled)


async def change(graph: Graph, seconds: float, filled: asyncio.Event) -> None:
    writer = graph.owned_by("random")
    chance = random.Random()
    for i in range(NODES):
        writer.upsert(spec(i, 0))
    filled.set()
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        for _ in range(20):
            one, other = NodeID(f"n{chance.randrange(NODES)}"), f"n{chance.randrange(NODES)}"
            match chance.randrange(10):
                case 0:
                    writer.delete(one)
                case 1 | 2:
                    writer.upsert(spec(int(one[1:]), chance.randrange(100)))
                case 3 | 4:
                    writer.link(EdgeSpec(one, NodeID(other), {"RelationType": "layer2"}))
                case 5:
                    writer.unlink(one, NodeID(other), "layer2")
                case _:
                    op = Op(OpKind.SET, "Metric.RxBytes", chance.randrange(1000))
                    writer.patch(one, [op, Op(OpKind.SET, "State", chance.choice(("UP", "DOWN")))])
        await asyncio.sleep(0)


def spec(number: int, mtu: int) -> NodeSpec:
    name = f"n{number}"
    return NodeSpec(NodeID(name), {"Type": "device", "Name": name, "MTU": mtu})


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "analyzer":
        asyncio.run(analyzer(int(arguments[0])))
    else:
        asyncio.run(agent(int(arguments[0]), int(arguments[1]), float(arguments[2])))
