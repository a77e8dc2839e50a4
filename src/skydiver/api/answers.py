"""Answers: one JSON value, or one line of text when something is wrong (api.md §3.1)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
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
MAX_LINE = 2_000
"""Characters of an error; a query that is quoted in it may be long."""

_NOSNIFF = {"X-Content-Type-Options": "nosniff"}
_BAD_REQUEST = (ConfigError, ProtocolError, QueryError)


def json_answer(value: Any, status: int = 200, *, newline: bool = True) -> web.Response:
    """One JSON value."""
    options = orjson.OPT_NON_STR_KEYS | (orjson.OPT_APPEND_NEWLINE if newline else 0)
    return body_answer(orjson.dumps(value, option=options), JSON, status)


def body_answer(body: bytes, content_type: str, status: int = 200) -> web.Response:
    """Bytes as they are. The type is not to be guessed: names in a topology may look like HTML."""
    return web.Response(
        body=body, status=status, headers={"Content-Type": content_type, **_NOSNIFF}
    )


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
    """Compress a large body if the client takes that; level 1, which a network does not notice."""
    body = answer.body
    if not isinstance(body, bytes) or len(body) <= COMPRESS_ABOVE:
        return
    accepted = request.headers.get("Accept-Encoding")
    encoding = encoding_for(accepted) if accepted else None
    if encoding is None:
        return
    if len(body) > IN_THREAD_ABOVE:
        # zlib lets the interpreter go while it works.
        answer.body = await asyncio.to_thread(_compressed, body, encoding)
    else:
        answer.body = _compressed(body, encoding)
    answer.headers["Content-Encoding"] = encoding
    answer.headers["Vary"] = "Accept-Encoding"


def _compressed(body: bytes, encoding: str) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    return packer.compress(body) + packer.flush()


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
    415: web.HTTPUnsupportedMediaType,
}
