"""WebSocket peers for benchmarks: a publisher of many elements, and a subscriber."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import orjson


def node(number: int) -> dict[str, Any]:
    """A node of about 330 bytes of JSON, as interfaces are."""
    return {
        "ID": f"bench-node-{number}",
        "Host": f"host-{number % 100}",
        "Metadata": {
            "Name": f"n{number}",
            "Type": "veth",
            "TID": f"00000000-0000-5000-8000-{number:012x}",
            "MAC": f"02:00:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}"
            f":{number >> 8 & 255:02x}:{number & 255:02x}",
            "IfIndex": number + 1,
            "MTU": 1500,
            "State": "UP",
            "IPV4": [f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/8"],
        },
    }


def edge(parent: int, child: int) -> dict[str, Any]:
    return {
        "ID": f"bench-edge-{parent}-{child}",
        "Parent": f"bench-node-{parent}",
        "Child": f"bench-node-{child}",
        "Host": "",
        "Metadata": {"RelationType": "layer2"},
    }


def message(type_: str, obj: dict[str, Any]) -> bytes:
    return orjson.dumps(
        {"Namespace": "Graph", "Type": type_, "UUID": "b", "Status": 200, "Obj": obj}
    )


def ring(count: int) -> Iterator[bytes]:
    """`count` nodes, and edges that make a ring of them."""
    for number in range(count):
        yield message("NodeAdded", node(number))
    for number in range(count):
        yield message("EdgeAdded", edge(number, (number + 1) % count))


def updates(count: int, nodes: int) -> Iterator[bytes]:
    """`count` partial updates spread over `nodes` nodes, each a newer revision."""
    for number in range(count):
        yield message(
            "NodePartiallyUpdated",
            {
                "ID": f"bench-node-{number % nodes}",
                "UpdatedAt": time.time_ns() // 1_000_000,
                "Revision": 1_000 + number // nodes,
                "Ops": [{"Type": 1, "Key": "MTU", "Value": 1_501 + number // nodes}],
            },
        )


def publish(port: int, messages: list[bytes]) -> None:
    """Send the messages as one publisher, and wait until the server has read them all."""
    asyncio.run(_publish(port, messages))


async def _publish(port: int, messages: list[bytes]) -> None:
    headers = {"X-Host-ID": "bench", "X-Client-Type": "bench"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"http://127.0.0.1:{port}/ws/publisher", headers=headers, max_msg_size=0, compress=0
        ) as socket,
    ):
        for text in messages:
            await socket.send_frame(text, aiohttp.WSMsgType.TEXT)
        # The reply comes when everything before it has been taken.
        await socket.send_str(
            json.dumps({"Namespace": "Graph", "Type": "SyncRequest", "UUID": "end", "Obj": {}})
        )
        async for answer in socket:
            if answer.data and "end" in str(answer.data[:200]):
                return
    raise ConnectionError("the analyzer closed the connection before it had taken everything")
