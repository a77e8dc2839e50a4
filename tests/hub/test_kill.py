"""Both ends are killed at any moment, as processes, and their graphs are equal again in time."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession

from skydiver.hub.messages import Protocol, decode, encode, event

SCRIPT = Path(__file__).parent / "peer_process.py"
ROUNDS = int(os.environ.get("SKYDIVER_KILL_ROUNDS", "2"))
"""More, to look for what happens rarely."""
WITHIN_S = 10.0
"""Of coming back."""

Elements = dict[str, Any]


class Process:
    """One end."""

    def __init__(self, role: str) -> None:
        self.role = role
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: object) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, SCRIPT, self.role, str(self.port), *map(str, arguments)
        )

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    async def elements(self, session: ClientSession, members: tuple[str, ...]) -> Elements | None:
        """The elements of the agent in the graph of this end; None while it cannot be asked."""
        url = f"ws://127.0.0.1:{self.port}/ws/subscriber"
        try:
            async with session.ws_connect(
                url, headers={"X-Client-Type": "test"}, max_msg_size=0
            ) as peer:
                request = encode(event("Graph", "SyncRequest", None), Protocol.JSON)
                await peer.send_str(request.decode())
                while True:
                    data = await peer.receive_str(timeout=5)
                    message = decode(data.encode(), Protocol.JSON)
                    if message.type == "SyncReply":
                        break
        except (ClientError, OSError, TypeError):
            return None
        found = [*message.obj["Nodes"], *message.obj["Edges"]]
        return {
            element["ID"]: {member: element.get(member) for member in members}
            for element in found
            if element["Origin"] == "agent.h1"
        }


CONTENT = ("Metadata", "Host", "Parent", "Child")
EVERYTHING = (*CONTENT, "Revision", "CreatedAt", "UpdatedAt", "DeletedAt")


async def equal(
    session: ClientSession, agent: Process, analyzer: Process, members: tuple[str, ...]
) -> None:
    """Wait until both ends have the same elements, and something at all."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WITHIN_S
    while True:
        here = await agent.elements(session, members)
        there = await analyzer.elements(session, members)
        if here and here == there:
            return
        if loop.time() > deadline:
            assert there == here
            raise AssertionError("one end cannot be asked")
        await asyncio.sleep(0.1)


async def test_graphs_are_equal_again_after_either_side_was_killed() -> None:
    """While the agent's graph changes as fast as it can.

    After an agent that was restarted in time its elements go on under the revisions and times that
    they had here; otherwise the two are equal to the last member.
    """
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    print("seed", seed)
    agent, analyzer = Process("agent"), Process("analyzer")
    try:
        await analyzer.start()
        await agent.start(analyzer.port, 0.5)
        async with ClientSession() as session:
            await equal(session, agent, analyzer, EVERYTHING)
            for round_ in range(ROUNDS):
                await agent.kill()
                await agent.start(analyzer.port, 1.5)
                # Long enough to have begun, short enough to be in the middle of it.
                await asyncio.sleep(chance.uniform(0.3, 1.5))
                if round_ % 2 == 0:
                    await analyzer.kill()
                    await asyncio.sleep(chance.uniform(0.0, 0.5))
                    await analyzer.start()
                    exact = True
                else:
                    exact = False
                await equal(session, agent, analyzer, EVERYTHING if exact else CONTENT)
    finally:
        await agent.kill()
        await analyzer.kill()
