"""Probes as an agent runs them, and namespaces of their own to look at."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from skydiver.base.ids import Origin
from skydiver.base.losses import Losses
from skydiver.broker import fork_broker
from skydiver.broker.client import Broker
from skydiver.broker.namespaces import Namespaces
from skydiver.graph import Graph, Node
from skydiver.lab.vm import inside
from skydiver.probes.probe import Probe
from skydiver.probes.supervisor import ProbeSet


class Running:
    """Probes at work, and what one asks of their graph."""

    def __init__(self, broker: Broker, probes: Sequence[Probe[Any]]) -> None:
        self.graph = Graph(host="h1", origin=Origin("agent.h1"))
        self.broker = broker
        self.losses = Losses()
        self.namespaces = Namespaces(broker, run_paths=())
        self.probes = ProbeSet(
            probes,
            graph=self.graph,
            broker=broker,
            namespaces=self.namespaces,
            losses=self.losses,
        )

    def named(self, name: str) -> dict[str, Any]:
        """Metadata of the node of this name; empty when there is none, or more than one."""
        found = [node for node in self.graph.nodes() if node.metadata.get("Name") == name]
        return dict(found[0].metadata) if len(found) == 1 else {}

    def children(self, name: str) -> set[str]:
        """Names of what the node of this name owns."""
        return {child for parent, child, kind in self.edges() if (parent, kind) == (name, "own")}

    def edges(self) -> set[tuple[str, str, str]]:
        """Names of both ends; ``own`` for ownership, else the type or ``layer2``."""
        found = set()
        for edge in self.graph.edges():
            parent, child = self.graph.node(edge.parent), self.graph.node(edge.child)
            assert parent is not None
            assert child is not None
            owns = edge.metadata["RelationType"] == "ownership"
            kind = "own" if owns else edge.metadata.get("Type", edge.metadata["RelationType"])
            found.add((parent.metadata["Name"], child.metadata["Name"], kind))
        return found

    def linked(self, one: str, other: str) -> bool:
        """Whether there is an edge between the two other than ownership."""
        return any({a, b} == {one, other} and kind != "own" for a, b, kind in self.edges())

    def homeless(self) -> list[str]:
        """Names of nodes that nothing owns, other than the host."""
        owned = {e.child for e in self.graph.edges() if e.metadata["RelationType"] == "ownership"}
        return [
            str(node.metadata.get("Name"))
            for node in self.graph.nodes()
            if node.id not in owned and node.metadata.get("Type") != "host"
        ]

    def nodes(self, prefix: str) -> list[Node]:
        """The nodes whose name begins like this."""
        return [n for n in self.graph.nodes() if str(n.metadata.get("Name")).startswith(prefix)]

    async def until(self, true: Callable[[], bool], *, within_s: float = 20) -> None:
        """Wait for something to become true."""
        # Emulation is slow, and no time is asserted.
        async with asyncio.timeout(within_s * 6 if inside() else within_s):
            while not true():
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Running]:
        """Run the probes for the length of the block."""
        async with asyncio.TaskGroup() as tasks:
            started = [
                tasks.create_task(self.namespaces.run(), name="namespaces"),
                tasks.create_task(self.probes.run(), name="probes"),
            ]
            try:
                await self.namespaces.listed()
                yield self
            finally:
                for task in started:
                    task.cancel()


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker with whatever this process may do."""
    client = fork_broker()
    yield client
    client.close()


@pytest.fixture
def prefix() -> Iterator[str]:
    """Begins the names of namespaces and interfaces, which are deleted afterwards."""
    prefix = f"q{os.getpid() % 100_000}"
    yield prefix
    for path in Path("/run/netns").glob(f"{prefix}*"):
        subprocess.run(["ip", "netns", "del", path.name], check=False)
    for path in Path("/sys/class/net").glob(f"{prefix}*"):
        subprocess.run(["ip", "link", "del", path.name], check=False, capture_output=True)


def ip(*commands: str) -> None:
    """Run ip commands."""
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
