"""``/api/routes/{node}``: the routing tables of a node, asked of the agent that has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from aiohttp import web

from skydiver.api.answers import failure, json_answer
from skydiver.api.models import Routes
from skydiver.api.routes import Answer, Route
from skydiver.base.errors import QueryError
from skydiver.base.ids import NodeID
from skydiver.graph import GraphView, Node
from skydiver.hub.messages import Message
from skydiver.hub.routes import ROUTES, read_answer
from skydiver.topology import Key

Ask: TypeAlias = Callable[[str, str, str, Any], Awaitable[Message]]
"""Host, namespace, type and object of a question."""

LIMIT = 100
_QUERY = {
    "table": "Number of the routing table; all of them if it is left out",
    "prefix": "Only routes to this network or a part of it, like 10.0.0.0/8",
    "lookup": "Only the route of each table that packets to this address take",
    "limit": f"How many routes, up to 1000; {LIMIT} if it is left out",
    "offset": "How many routes to leave out before",
}


class RoutingTables:
    """Passes questions on to agents."""

    def __init__(self, view: Callable[[], GraphView], ask: Ask) -> None:
        self._view = view
        self._ask = ask

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                "/api/routes/{id:.+}",
                self._routes,
                "Routes of a host or namespace, or through an interface, by its ID or TID",
                {
                    200: Answer("Some routes, and how many there are", Routes),
                    400: Answer("A parameter cannot be read"),
                    404: Answer("No such node"),
                },
                permission=("topology", "read"),
                query=_QUERY,
            ),
        )

    async def _routes(self, request: web.Request) -> web.StreamResponse:
        node = self._node(request.match_info["id"])
        unknown = request.query.keys() - _QUERY.keys()
        if unknown:
            raise QueryError(f"parameter {min(unknown)!r}: expected of {', '.join(_QUERY)}")
        question: dict[str, Any] = {"NodeID": node.id, "Limit": LIMIT}
        for name in ("table", "limit", "offset"):
            if name in request.query:
                question[name.capitalize()] = _number(name, request.query[name])
        for name in ("prefix", "lookup"):
            if name in request.query:
                question[name.capitalize()] = request.query[name]
        reply = await self._ask(node.host, *ROUTES, question)
        return json_answer(read_answer(reply))

    def _node(self, name: str) -> Node:
        view = self._view()
        node = view.node(NodeID(name)) or next(iter(view.lookup(Key.TID.value, name)), None)
        if node is None:
            raise failure(404, f"no node has the ID or TID {name!r:.80}")
        return node


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise QueryError(f"{name}: {text!r:.40} is no number")
    return int(text)
