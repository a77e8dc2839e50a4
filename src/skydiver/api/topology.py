"""``/api/topology``: the graph, and what Gremlin finds in it (api.md §3.11, gremlin.md §1)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from aiohttp import web

from skydiver import gremlin
from skydiver.api.answers import JSON, answer_in_pieces, failure, typed
from skydiver.api.bodies import json_document, raw_body
from skydiver.api.models import Elements, TopologyQuery
from skydiver.api.routes import Answer, Route
from skydiver.base.errors import ProtocolError, QueryError
from skydiver.flow import FlowSource
from skydiver.graph import GraphView
from skydiver.gremlin.kinds import graph_pieces

DOT = "text/vnd.graphviz"
PCAP = "application/vnd.tcpdump.pcap"
PCAPNG = "application/x-pcapng"
LEFT_OUT = "X-Skydive-Left-Out"
"""Number of packets that have no place in a pcap file, which knows one link type only."""
MAX_QUERY = 65_536

_JSON_TYPE = re.compile(r"application/([A-Za-z0-9.-]+\+)?json")
_REMEMBERED_QUERIES = 512


class Topology:
    """Answers queries over one graph."""

    def __init__(
        self,
        view: Callable[[], GraphView],
        flows: FlowSource | None,
        vocabulary: gremlin.Vocabulary,
    ) -> None:
        self._view = view
        self._flows = flows
        self._vocabulary = vocabulary
        # People and dashboards ask the same again and again.
        self.parse = lru_cache(_REMEMBERED_QUERIES)(self._parse)

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "GET",
                "/api/topology",
                self._whole,
                "The whole graph as it is now",
                {200: Answer("Every node and edge", Elements)},
                permission=("topology", "read"),
            ),
            Route(
                "POST",
                "/api/topology",
                self._query,
                "The answer to a Gremlin query",
                {
                    200: Answer(
                        "What the last step of the query gives",
                        Any,
                        ("application/json", DOT, PCAP, PCAPNG),
                    ),
                    204: Answer("The query is empty"),
                    406: Answer("The result cannot be written in the format of Accept"),
                },
                permission=("topology", "read"),
                body=TopologyQuery,
                headers={
                    "Accept": f"application/json, {DOT} for a graph, {PCAP} or {PCAPNG} for packets"
                },
            ),
        )

    def environment(self, *, flows: bool = True) -> gremlin.Environment:
        """What a query reads now."""
        return gremlin.Environment(self._view(), self._flows if flows else None)

    async def _whole(self, request: web.Request) -> web.StreamResponse:
        result = await self.parse("G").run(self.environment())
        nodes, edges = result.graph()
        return await answer_in_pieces(request, graph_pieces(nodes, edges), typed(JSON))

    async def _query(self, request: web.Request) -> web.StreamResponse:
        text = query_text(await raw_body(request))
        if not text:
            return web.Response(status=204)
        result = await self.parse(text).run(self.environment())
        accept = request.headers.get("Accept", "")
        missing = {"X-Skydive-Missing": ", ".join(result.missing)} if result.missing else {}
        try:
            if accept in (PCAP, PCAPNG):
                return await _packets(request, result, accept, missing)
            dot = result.to_dot().encode() if accept == DOT else None
        except QueryError as error:
            raise _not_acceptable(str(error)) from error
        if dot is not None:
            pieces, content_type = iter((dot,)), DOT
        else:
            pieces = result.json_pieces()
            # The type asked for is repeated, as clients expect, but only if it is JSON: a browser
            # that asks for HTML must not get names from a network as a page.
            content_type = accept if _JSON_TYPE.fullmatch(accept) else "application/json"
        headers = {**typed(f"{content_type}; charset=UTF-8"), **missing}
        return await answer_in_pieces(request, chain(pieces, (b"\n",)), headers)

    def _parse(self, text: str) -> gremlin.Query:
        return gremlin.parse(text, self._vocabulary)


async def _packets(
    request: web.Request, result: gremlin.Result, accept: str, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Packets as a capture file; `QueryError` for what are no packets."""
    told = {**typed(accept), **headers}
    if accept == PCAPNG:
        content = await asyncio.to_thread(result.to_pcapng)
    else:
        content, left_out = await asyncio.to_thread(result.to_pcap)
        if left_out:
            told[LEFT_OUT] = str(left_out)
    return await answer_in_pieces(request, iter((content,)), told)


def _not_acceptable(reason: str) -> web.HTTPException:
    return failure(406, f"Error while encoding response: {reason}")


def query_text(body: bytes) -> str:
    """The query in a request; empty when there is none. `ProtocolError` for what is no request."""
    if not body.strip():
        return ""
    document = json_document(body)
    if document is None:
        return ""
    if not isinstance(document, dict):
        raise ProtocolError('bad request: expected a JSON object like {"GremlinQuery": "G.V()"}')
    query = document.get("GremlinQuery")
    if query is None:
        for name, value in document.items():
            if name.lower() == "gremlinquery" and value is not None:
                query = value
    if query is None:
        return ""
    if not isinstance(query, str):
        raise ProtocolError(f"GremlinQuery: expected a text, got {type(query).__name__}")
    if len(query) > MAX_QUERY:
        raise QueryError(f"query of {len(query)} characters, expected at most {MAX_QUERY}")
    return query
