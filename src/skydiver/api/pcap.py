"""``/api/pcap``: capture files of people, as flows (api.md §7.7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
from aiohttp import web

from skydiver.api.answers import failure, json_answer, text_answer
from skydiver.api.bodies import BODY_S
from skydiver.api.models import ImportedFile
from skydiver.api.routes import Answer, Route
from skydiver.flow.imports import Imported, Imports


class Pcap:
    """Takes capture files in."""

    def __init__(self, imports: Imports, max_body_bytes: int) -> None:
        self._imports = imports
        self._max_body_bytes = max_body_bytes

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "POST",
                "/api/pcap",
                self._import,
                "Import a capture file: its flows can be asked for at once",
                {
                    202: Answer("What became of it", ImportedFile),
                    400: Answer("The file is broken; what came before that is imported"),
                },
                permission=("pcap", "write"),
                upload=("application/vnd.tcpdump.pcap", "application/x-pcapng"),
                max_body_bytes=self._max_body_bytes,
            ),
        )

    async def _import(self, request: web.Request) -> web.Response:
        if "Content-Encoding" in request.headers:
            raise failure(415, "compressed request bodies are not accepted")
        if (request.content_length or 0) > self._max_body_bytes:
            return self._too_large()
        pieces = _Pieces(request, self._max_body_bytes)
        done = await self._imports.take(pieces.read())
        if pieces.too_large:
            return self._too_large(done)
        if pieces.late:
            raise failure(408, _with_rest(f"nothing arrived for {BODY_S:g} s", done))
        if done.error:
            raise failure(400, _with_rest(done.error, done))
        shown = ImportedFile(
            id=done.id,
            packets=done.packets,
            bytes=done.bytes,
            flows=done.flows,
            evicted=done.evicted,
            decode_errors=done.undecoded,
        )
        return json_answer(msgspec.to_builtins(shown), 202)

    def _too_large(self, done: Imported | None = None) -> web.Response:
        words = f"capture file too large, expected at most {self._max_body_bytes} bytes"
        return text_answer(413, _with_rest(words, done) if done else words)


class _Pieces:
    """The body of a request as it comes, up to a limit."""

    def __init__(self, request: web.Request, most: int) -> None:
        self._content = request.content
        self._left = most
        self.too_large = False
        self.late = False

    async def read(self) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(BODY_S):
                    piece = await self._content.readany()
            except TimeoutError:
                self.late = True
                return
            if not piece:
                return
            self._left -= len(piece)
            if self._left < 0:
                self.too_large = True
                return
            yield piece


def _with_rest(words: str, done: Imported) -> str:
    if not done.packets:
        return words
    return f"{words}; the flows of {done.packets} packets are imported as {done.id}"
