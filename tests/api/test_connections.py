"""Bytes that are no HTTP request get one line that repeats nothing of them."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.api.conftest import Api, Start

from skydiver.base.losses import LossReason

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))


async def answer_to(port: int, data: bytes) -> bytes:
    """What the server says to somebody who first sends everything and then reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            writer.write(data)
            await writer.drain()
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"garbage\r\n\r\n", "not HTTP: invalid method encountered"),
        (bytes(range(1, 256)) * 4, "not HTTP: invalid method encountered"),
        (b"\x00" * 1_000, "not HTTP: invalid method encountered"),
        (HELLO, "this port does not speak TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "this port does not speak HTTP/2"),
        (
            b"GET /<script> HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
            "the request line or a header is longer than 8190 bytes",
        ),
        (
            b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
            "the request line or a header is longer than 8190 bytes",
        ),
        (
            b"GET /api HTTP/1.1\r\nno colon <b>\r\n\r\n",
            "not HTTP: invalid header token",
        ),
    ],
)
async def test_what_is_no_request_gets_one_line(
    api: Api, data: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Scanners and wrong clients are everyday; what they send stands neither in answer nor log."""
    caplog.set_level(logging.INFO)
    head, _, body = (await answer_to(api.port, data)).partition(b"\r\n\r\n")
    assert body.decode() == f"{words}; expected an HTTP/1.1 request\n"
    assert head.split(b" ")[1] == b"400"
    assert b"Content-Type: text/plain; charset=utf-8" in head
    assert api.losses.counts() == {("api", LossReason.DECODE): 1}
    assert caplog.records == []


async def test_garbage_after_a_request_is_answered_too(api: Api) -> None:
    """The request before it gets its answer first."""
    request = b"GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = await answer_to(api.port, request + b"garbage\r\n\r\n")
    assert answers.count(b"HTTP/1.") == 2
    assert answers.endswith(b"; expected an HTTP/1.1 request\n")


async def test_one_that_goes_on_sending_is_cut_off(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading on is a courtesy, not a duty."""
    monkeypatch.setattr("skydiver.api.connections.LINGER_S", 0.05)
    async with start() as api:
        _reader, writer = await asyncio.open_connection("127.0.0.1", api.port)

        async def send_on() -> None:
            while True:
                writer.write(b"garbage\r\n" * 1_000)
                await writer.drain()

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(send_on(), 30)
        writer.close()
