"""Answers: one JSON value, or one line of text when something is wrong (api.md §3.1)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from skydiver.base.errors import (
    ConfigError,
    ProtocolError,
    QueryError,
    SkydiverError,
)
from skydiver.objects import Conflict

JSON = "application/json; charset=UTF-8"
TEXT = "text/plain; charset=utf-8"

COMPRESS_ABOVE = 1_400
"""Bytes; less fits one packet anyway."""
IN_THREAD_ABOVE = 64 * 1024
BLOCK = 128 * 1024
"""Bytes of a large answer that are written in one go."""
MAX_LINE = 2_000
"""Characters of an error; a query that is quoted in it may be long."""

_NOSNIFF = {"X-Content-Type-Options": "nosniff"}
_BAD_REQUEST = (ConfigError, ProtocolError, QueryError)


def json_answer(value: Any, status: int = 200, *, newline: bool = True) -> web.Response:
    """One JSON value."""
    options = orjson.OPT_NON_STR_KEYS | (orjson.OPT_APPEND_NEWLINE if newline else 0)
    return body_answer(orjson.dumps(value, option=options), JSON, status)


def body_answer(body: bytes, content_type: str, status: int = 200) -> web.Response:
    """Bytes as they are."""
    return web.Response(body=body, status=status, headers=typed(content_type))


def typed(content_type: str) -> dict[str, str]:
    """Headers that say what a body is. Not to be guessed: names in it may look like HTML."""
    return {"Content-Type": content_type, **_NOSNIFF}


def text_answer(
    status: int, text: str = "", headers: Mapping[str, str] | None = None
) -> web.Response:
    """One line, or nothing."""
    line = one_line(text)
    return web.Response(
        body=f"{line}\n".encode("utf-8", "replace") if line else b"",
        status=status,
        headers={"Content-Type": TEXT, **_NOSNIFF, **(headers or {})},
    )


def failure(status: int, text: str = "") -> web.HTTPException:
    """An error to raise; `text` becomes the one line of the body, empty when there is none."""
    return _EXCEPTIONS[status](text=one_line(text))


def error_answer(error: SkydiverError) -> web.Response:
    """What a user's mistake or an outage looks like over HTTP."""
    if isinstance(error, Conflict):
        status = HTTPStatus.CONFLICT
    elif isinstance(error, _BAD_REQUEST):
        status = HTTPStatus.BAD_REQUEST
    else:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    return text_answer(status, str(error))


def one_line(text: str) -> str:
    """`text` without line ends and control characters, and not without end."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 3] + "..."


def encoding_for(accept_encoding: str) -> str | None:
    """``gzip`` or ``deflate`` when the client takes it, gzip first."""
    offered = {}
    for part in accept_encoding.lower().split(","):
        name, _, parameters = part.partition(";")
        offered[name.strip()] = parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00"}
    for name in ("gzip", "deflate"):
        if offered.get(name, offered.get("*", False)):
            return name
    return None


async def compress(request: web.Request, answer: web.Response) -> None:
    """Compress a large body if the client takes that."""
    body = answer.body
    if not isinstance(body, bytes) or len(body) <= COMPRESS_ABOVE:
        return
    encoding = encoding_for(request.headers.get("Accept-Encoding", ""))
    if encoding is None:
        return
    packer = _packer(encoding)
    if len(body) > IN_THREAD_ABOVE:
        # zlib lets the interpreter go while it works.
        answer.body = await asyncio.to_thread(_packed, packer, body, last=True)
    else:
        answer.body = _packed(packer, body, last=True)
    _say_encoding(answer, encoding)


async def answer_in_pieces(
    request: web.Request, pieces: Iterator[bytes], headers: Mapping[str, str]
) -> web.StreamResponse:
    """An answer that may be large: it leaves while it is written.

    Others have their turn in between, and what a slow client has not read yet is not even written,
    so that a dump of the whole graph costs neither the loop nor memory.
    """
    blocks = _blocks(pieces)
    first = await anext(blocks, b"")
    second = await anext(blocks, b"")
    if not second:
        return web.Response(body=first, headers=headers)
    answer = web.StreamResponse(headers=headers)
    share(request, answer)
    encoding = encoding_for(request.headers.get("Accept-Encoding", ""))
    packer = None
    if encoding is not None:
        _say_encoding(answer, encoding)
        packer = _packer(encoding)
    with suppress(ConnectionError):  # it has left, and nobody needs to know
        await answer.prepare(request)
        for block in (first, second):
            await _write(answer, block, packer)
        async for block in blocks:
            await _write(answer, block, packer)
        if packer is not None:
            await answer.write(packer.flush())
        await answer.write_eof()
    return answer


def share(request: web.Request, answer: web.StreamResponse) -> None:
    """Let pages of other origins read an answer."""
    if "Origin" in request.headers and "Access-Control-Allow-Origin" not in answer.headers:
        answer.headers["Access-Control-Allow-Origin"] = "*"


async def _blocks(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces together in blocks of some size, the loop running in between."""
    block: list[bytes] = []
    size = 0
    for piece in pieces:
        block.append(piece)
        size += len(piece)
        if size >= BLOCK:
            yield b"".join(block)
            block, size = [], 0
            await asyncio.sleep(0)
    if block:
        yield b"".join(block)


async def _write(answer: web.StreamResponse, block: bytes, packer: zlib._Compress | None) -> None:
    if packer is not None:
        block = await asyncio.to_thread(_packed, packer, block)
    if block:
        await answer.write(block)


def _packer(encoding: str) -> zlib._Compress:
    """Level 1: the others save a network little and cost the caller much."""
    return zlib.compressobj(1, zlib.DEFLATED, 31 if encoding == "gzip" else 15)


def _packed(packer: zlib._Compress, data: bytes, *, last: bool = False) -> bytes:
    return packer.compress(data) + packer.flush() if last else packer.compress(data)


def _say_encoding(answer: web.StreamResponse, encoding: str) -> None:
    answer.headers["Content-Encoding"] = encoding
    answer.headers["Vary"] = "Accept-Encoding"


class NotPermitted(web.HTTPClientError):
    """The user's role does not allow it. User interfaces test for this status, not for 403."""

    status_code = 405


_EXCEPTIONS: Mapping[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    401: web.HTTPUnauthorized,
    403: web.HTTPForbidden,
    404: web.HTTPNotFound,
    405: NotPermitted,
    406: web.HTTPNotAcceptable,
    408: web.HTTPRequestTimeout,
    415: web.HTTPUnsupportedMediaType,
}
