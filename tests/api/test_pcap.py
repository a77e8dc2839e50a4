"""Capture files over HTTP: streamed, bounded, and answered in one line when they are broken."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.api.conftest import Api, Start

from skydiver.base.losses import Losses
from skydiver.base.settings import load_settings
from skydiver.flow.imports import Imports
from skydiver.hub.flows import AgentFlows

Serve = Callable[..., AbstractAsyncContextManager[Api]]


def pcap(packets: int) -> bytes:
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)]
    for number in range(packets):
        udp = struct.pack(">HHHH", 1000 + number, 53, 8, 0)
        head = bytes.fromhex("4500001c0001000040110000") + bytes([10, 0, 0, 1, 10, 0, 0, 2])
        data = bytes.fromhex("020000000002020000000001") + b"\x08\x00" + head + udp
        out += [struct.pack("<IIII", 1_000_000_000 + number, 0, len(data), len(data)), data]
    return b"".join(out)


@pytest.fixture
def serve(start: Start) -> Serve:
    """Starts an analyzer's API that imports, and finds what it imported."""

    @asynccontextmanager
    async def serve(overrides: dict[str, Any] | None = None) -> AsyncIterator[Api]:
        losses = Losses()
        imports = Imports(load_settings([], {"host_id": "h1", **(overrides or {})}, {}), losses)
        flows = AgentFlows(
            dict, expected=lambda _: False, losses=losses, timeout_s=1.0, own=imports.query
        )
        async with start(overrides, flows=flows, imports=imports) as api:
            yield api
        imports.close()

    return serve


async def test_the_flows_of_a_file_are_found_at_once(serve: Serve) -> None:
    """By the identifier that the answer tells."""
    async with serve() as api:
        answer = await api.ask("POST", "/api/pcap", data=pcap(7))
        assert answer.status == 202
        told = answer.json
        assert {k: told[k] for k in told if k != "ID"} == {
            "Packets": 7,
            "Bytes": 7 * 42,
            "Flows": 7,
            "Evicted": 0,
            "DecodeErrors": 0,
        }
        found = await api.query(f"G.Flows().Has('CaptureID', '{told['ID']}').Count()")
        assert found.json == 7
        assert (await api.query("G.Flows().Has('CaptureID', 'other')")).json == []
        # No node has captured them.
        assert (await api.query("G.V().Flows()")).json == []


async def test_a_file_larger_than_other_bodies_is_taken(serve: Serve) -> None:
    """It is read as it comes; clients that ask before they send are told to go on."""
    async with serve({"http.rest.max_body_bytes": 1024}) as api:
        whole = pcap(500)
        answer = await api.ask("POST", "/api/pcap", data=whole, expect100=True)
        assert (answer.status, answer.json["Packets"]) == (202, 500)

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(whole), 999):
                yield whole[at : at + 999]

        answer = await api.ask("POST", "/api/pcap", data=pieces())
        assert (answer.status, answer.json["Packets"]) == (202, 500)


@pytest.mark.parametrize("declared", [True, False])
async def test_a_file_above_its_own_limit_is_refused(serve: Serve, declared: bool) -> None:
    """At once when its length is declared."""
    async with serve({"analyzer.pcap.max_body_bytes": 2048}) as api:
        whole = pcap(100)

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(whole), 1000):
                yield whole[at : at + 1000]
                await asyncio.sleep(0.01)

        answer = await api.ask("POST", "/api/pcap", data=whole if declared else pieces())
        assert answer.status == 413
        assert answer.text.startswith("capture file too large, expected at most 2048 bytes")
        assert ("packets are imported as" in answer.text) is not declared


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a pcap or pcapng file\n"),
        (b'{"GremlinQuery": "G"}', "not a pcap or pcapng file\n"),
        (pcap(0)[:-1], "not a pcap or pcapng file\n"),
        (
            pcap(3)[:-1],
            "the capture file ends in the middle, after 2 packets; "
            "the flows of 2 packets are imported as ",
        ),
    ],
)
async def test_a_broken_file_is_answered_in_one_line(serve: Serve, data: bytes, words: str) -> None:
    """With what was read of it."""
    async with serve() as api:
        answer = await api.ask("POST", "/api/pcap", data=data)
        assert answer.status == 400
        assert answer.text.startswith(words)
        assert answer.text.count("\n") == 1


async def test_compressed_files_are_refused(serve: Serve) -> None:
    """As compressed bodies are everywhere."""
    async with serve() as api:
        headers = {"Content-Encoding": "gzip"}
        answer = await api.ask("POST", "/api/pcap", data=pcap(1), headers=headers)
        assert answer.status == 415


async def test_importing_takes_a_permission(serve: Serve) -> None:
    """A guest may look, and not fill the tables."""
    settings = {
        "auth.basic.users": {"bob": "x"},
        "auth.basic.role": "guest",
        "analyzer.auth.api.backend": "basic",
    }
    async with serve(settings) as api:
        headers = {"Authorization": aiohttp.encode_basic_auth("bob", "x")}
        answer = await api.ask("POST", "/api/pcap", data=pcap(1), headers=headers)
        assert answer.status == 405
        assert answer.text == "'bob' has no 'write' permission on 'pcap'\n"


async def test_an_api_without_imports_has_no_such_route(start: Start) -> None:
    """Agents have none."""
    async with start(service="agent") as api:
        assert (await api.ask("POST", "/api/pcap", data=pcap(1))).status == 404
