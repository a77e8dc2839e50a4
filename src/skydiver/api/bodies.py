"""Reading what a request brings; all of it is hostile until it is read."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson
from aiohttp import web

from skydiver.api.answers import failure
from skydiver.base.errors import ProtocolError

BODY_S = 30.0
"""How long a body may take to arrive."""
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]{0,18})(?:\.([0-9]{0,18}))?(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_NS = 2**63 - 1


async def raw_body(request: web.Request) -> bytes:
    """The bytes of the body: no more than the application allows (413), and in time (408)."""
    if "Content-Encoding" in request.headers:
        raise failure(415, "compressed request bodies are not accepted")
    if declares_too_much(request):
        raise web.HTTPRequestEntityTooLarge(request.client_max_size)
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise failure(408, f"the body did not arrive within {BODY_S:g} s") from None


def declares_too_much(request: web.Request) -> bool:
    """True when the body need not even begin to arrive."""
    return (request.content_length or 0) > request.client_max_size


def json_document(body: bytes) -> Any:
    """The JSON value of `body`; `ProtocolError` says where it breaks."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"bad JSON: {error}") from error


async def document(request: web.Request) -> Any:
    """The body as JSON, or as YAML when it says so itself."""
    body = await raw_body(request)
    if request.headers.get("Content-Type") == "application/yaml":
        from skydiver.api.yaml_body import yaml_document  # rarely needed, and slow to load

        return yaml_document(body)
    return json_document(body)


def duration_s(text: str) -> float:
    """Seconds of a duration of Go: ``5000ms``, ``1m0s``, ``2h45m``; `ProtocolError` otherwise."""
    rest = text[1:] if text[:1] in "+-" else text
    if rest == "0":
        return 0.0
    total_ns, place = 0, 0
    while place < len(rest):
        part = _PART.match(rest, place)
        if part is None or not (part[1] or part[2]):
            break
        whole, fraction, unit_ns = part[1] or "0", part[2] or "", _UNITS_NS[part[3]]
        total_ns += int(whole) * unit_ns
        if fraction:
            total_ns += int(fraction) * unit_ns // 10 ** len(fraction)
        place = part.end()
    if not rest or place < len(rest) or total_ns > _LONGEST_NS:
        raise ProtocolError(f"{text[:40]!r}, expected a duration like 5000ms, 1m30s or 2h")
    return (-total_ns if text[0] == "-" else total_ns) / 1e9
