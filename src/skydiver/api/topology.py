"""``/api/topology``: the graph, and what Gremlin finds in it (api.md §3.11, gremlin.md §1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import orjson
from aiohttp import web

from skydiver import gremlin
from skydiver.api.answers import JSON, body_answer, failure, text_answer
from skydiver.api.bodies import json_document, raw_body
from skydiver.api.models import Elements, TopologyQuery
from skydiver.api.routes import Answer, Route
from skydiver.base.errors import ProtocolError, QueryError
from skydiver.flow import FlowSource
from skydiver.graph import GraphView
from skydiver.graph.wire import edge_json, node_json

DOT = "text/vnd.graphviz"
PCAP = "application/vnd.tcpdump.pcap"
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
                        ("application/json", DOT),
                    ),
                    204: Answer("The query is empty"),
                    406: Answer("The result cannot be written in the format of Accept"),
                },
                permission=("topology", "read"),
                body=TopologyQuery,
                headers={"Accept": f"application/json, or {DOT} for a graph"},
            ),
        )

    def environment(self) -> gremlin.Environment:
        """What a query reads now."""
        return gremlin.Environment(self._view(), self._flows)

    async def _whole(self, request: web.Request) -> web.Response:
        view = self._view()
        elements = {
            "Nodes": [node_json(node) for node in view.nodes()],
            "Edges": [edge_json(edge) for edge in view.edges()],
        }
        return body_answer(orjson.dumps(elements, option=orjson.OPT_APPEND_NEWLINE), JSON)

    async def _query(self, request: web.Request) -> web.Response:
        text = query_text(await raw_body(request))
        if not text:
            return web.Response(status=204)
        result = await self.parse(text).run(self.environment())
        accept = request.headers.get("Accept", "")
        if accept == DOT:
            try:
                answer = body_answer(result.to_dot().encode(), f"{DOT}; charset=UTF-8")
            except QueryError as error:
                return text_answer(406, f"Error while encoding response: {error}")
        elif accept == PCAP:
            raise failure(
                406,
                "Error while encoding response: "
                "Only RawPackets step result can be outputted as pcap",
            )
        else:
            # The type asked for is repeated, as clients expect, but only if it is JSON: a browser
            # that asks for HTML must not get names from a network as a page.
            content_type = accept if _JSON_TYPE.fullmatch(accept) else "application/json"
            answer = body_answer(result.to_json() + b"\n", f"{content_type}; charset=UTF-8")
        if result.missing:
            answer.headers["X-Skydive-Missing"] = ", ".join(result.missing)
        return answer

    def _parse(self, text: str) -> gremlin.Query:
        return gremlin.parse(text, self._vocabulary)


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
