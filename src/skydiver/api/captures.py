"""``/api/capture``: which captures there are, and making and ending them (api.md §3.5-3.6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from aiohttp import web

from skydiver.api.answers import failure, json_answer, text_answer
from skydiver.api.bodies import document, duration_s
from skydiver.api.models import Captures as CaptureMap
from skydiver.api.routes import Answer, Permission, Route
from skydiver.api.topology import Topology
from skydiver.base.errors import ProtocolError, QueryError, Unavailable
from skydiver.filters.bpf import compile_bpf
from skydiver.graph import Node
from skydiver.objects import Capture, CaptureChecks, ObjectStore, new_capture

log = logging.getLogger(__name__)

_filters = ThreadPoolExecutor(1, "filters")
"""One at a time, since older versions of libpcap share their parser between threads, and apart from
others' threads, since a host name in a filter is looked up."""
_READ: Permission = ("capture", "read")
_WRITE: Permission = ("capture", "write")
_TTL = {
    "X-Resource-TTL": "How long it lasts, as a Go duration like 5m or 90s; without it, for ever"
}


class Captures:
    """The captures in a store, counted over the graph."""

    def __init__(self, store: ObjectStore, topology: Topology, layer_key_mode: str) -> None:
        """`layer_key_mode` is for requests that do not say theirs."""
        self._store = store
        self._topology = topology
        self._layer_key_mode = layer_key_mode
        self._checks = CaptureChecks(self._nodes, check_bpf)

    def routes(self) -> Sequence[Route]:
        one = "/api/capture/{id:(?s:.+)}"
        unknown = Answer("There is no such capture")
        return (
            Route(
                "GET",
                "/api/capture",
                self._list,
                "All captures by identifier",
                {200: Answer("Captures by UUID", CaptureMap)},
                permission=_READ,
            ),
            Route(
                "POST",
                "/api/capture",
                self._create,
                "Capture on all nodes that a query selects, now and later",
                {201: Answer("The capture as stored", Capture), 409: Answer("It exists already")},
                permission=_WRITE,
                body=Capture,
                headers=_TTL,
            ),
            Route(
                "GET",
                one,
                self._get,
                "One capture",
                {200: Answer("The capture", Capture), 404: unknown},
                permission=_READ,
            ),
            Route(
                "PATCH",
                one,
                self._patch,
                "Refused: captures cannot be changed",
                {404: unknown},
                permission=_WRITE,
            ),
            Route(
                "DELETE",
                one,
                self._delete,
                "End a capture",
                {200: Answer("It is gone"), 404: unknown},
                permission=_WRITE,
            ),
        )

    async def _list(self, request: web.Request) -> web.Response:
        shown = {}
        for id_, capture in (await self._store.list(Capture)).items():
            shown[id_] = await self._shown(capture)
            await asyncio.sleep(0)  # each takes a query
        return json_answer(shown)

    async def _get(self, request: web.Request) -> web.Response:
        capture = await self._store.get(Capture, request.match_info["id"])
        if capture is None:
            raise _unknown(request)
        return json_answer(await self._shown(capture))

    async def _create(self, request: web.Request) -> web.Response:
        capture = await new_capture(
            await document(request), self._checks, layer_key_mode=self._layer_key_mode
        )
        await self._store.create(capture, ttl_s=_ttl_s(request))
        return json_answer(capture.to_json(), 201, newline=False)

    async def _patch(self, request: web.Request) -> web.Response:
        patch = await document(request)
        if await self._store.get(Capture, request.match_info["id"]) is None:
            raise failure(404)
        if not isinstance(patch, list):
            raise failure(400, "incorrect JSON patch: expected a list of operations")
        raise failure(400, "updating resource with patched version: resource not updatable")

    async def _delete(self, request: web.Request) -> web.Response:
        if await self._store.delete(Capture, request.match_info["id"]) is None:
            raise _unknown(request)
        return text_answer(200)

    async def _shown(self, capture: Capture) -> dict[str, Any]:
        count = await self._active(capture)
        return msgspec.structs.replace(capture, count=count).to_json()

    async def _nodes(self, text: str) -> Sequence[Node]:
        """The nodes that a query selects now; `QueryError` when it never gives nodes."""
        # As captures are evaluated: over the topology alone (gremlin.md §1.2).
        result = await self._topology.parse(text).run(self._topology.environment(flows=False))
        return result.nodes()

    async def _active(self, capture: Capture) -> int:
        """On how many nodes that the query selects now this capture is active."""
        try:
            nodes = await self._nodes(capture.gremlin_query)
        except QueryError:
            return 0  # it selects nothing that can be captured
        return sum(_is_active(node, capture.uuid) for node in {n.id: n for n in nodes}.values())


async def check_bpf(text: str) -> None:
    """Raise `QueryError` when libpcap does not take `text`."""
    try:
        await asyncio.get_running_loop().run_in_executor(_filters, compile_bpf, text)
    except Unavailable as error:
        # The agents compile it in any case.
        log.warning("packet filter of a new capture is not checked here: %s", error)


def _is_active(node: Node, uuid: str) -> bool:
    captures = node.metadata.get("Captures")
    return isinstance(captures, list) and any(
        isinstance(each, Mapping) and each.get("ID") == uuid and each.get("State") == "active"
        for each in captures
    )


def _ttl_s(request: web.Request) -> float | None:
    text = request.headers.get("X-Resource-TTL")
    if text is None:
        return None
    try:
        ttl_s = duration_s(text)
    except ProtocolError as error:
        raise ProtocolError(f"invalid ttl: {error}") from error
    if ttl_s < 0:
        raise ProtocolError(f"invalid ttl: {text!r}, expected a duration that is not negative")
    return ttl_s or None


def _unknown(request: web.Request) -> web.HTTPException:
    return failure(404, f"{Capture.title()} '{request.match_info['id'][:100]}' not found")
