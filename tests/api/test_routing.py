"""``/api/routes``: what is asked of agents, and what comes of their answers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.conftest import Start

from skydiver.base.errors import Unavailable
from skydiver.hub.messages import Message, event

ROUTE = {
    "Protocol": 4,
    "Prefix": "10.0.0.0/8",
    "Table": 254,
    "NextHops": [{"Priority": 0, "IfIndex": 2}],
}


class Asked:
    """Notes what an agent is asked, and answers what a test sets."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, Any]] = []
        self.status = 200
        self.answer: Any = {"Total": 1, "Routes": [ROUTE]}

    async def __call__(self, host: str, namespace: str, type_: str, obj: Any) -> Message:
        self.questions.append((host, obj))
        if host != "h1":
            raise Unavailable(f"no agent {host!r} is connected")
        return event(namespace, type_, obj).reply("RoutesReply", self.answer, status=self.status)


async def test_the_agent_of_the_node_is_asked(start: Start) -> None:
    """By ID or TID, with whatever the address says of the routes."""
    asked = Asked()
    async with start(ask=asked) as api:
        answer = await api.ask("GET", "/api/routes/vm1")
        assert (answer.status, answer.json) == (200, {"Total": 1, "Routes": [ROUTE]})
        path = "/api/routes/eth0?table=7&prefix=10.0.0.0/8&lookup=10.1.1.1&limit=5&offset=2"
        assert (await api.ask("GET", path)).status == 200
    assert asked.questions == [
        ("h1", {"NodeID": "vm1", "Limit": 100}),
        (
            "h1",
            {
                **{"NodeID": "eth0", "Limit": 5, "Offset": 2},
                **{"Table": 7, "Prefix": "10.0.0.0/8", "Lookup": "10.1.1.1"},
            },
        ),
    ]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/routes/nobody", 404, "no node has the ID or TID 'nobody'"),
        ("/api/routes/vm1?table=x", 400, "table: 'x' is no number"),
        ("/api/routes/vm1?limit=-1", 400, "limit: '-1' is no number"),
        ("/api/routes/vm1?tabel=1", 400, "parameter 'tabel'"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    start: Start, path: str, status: int, words: str
) -> None:
    """In one line, without troubling an agent."""
    asked = Asked()
    async with start(ask=asked) as api:
        answer = await api.ask("GET", path)
    assert (answer.status, answer.text.startswith(words)) == (status, True), answer.text
    assert asked.questions == []


async def test_the_reason_of_the_agent_is_told(start: Start) -> None:
    """It knows best."""
    asked = Asked()
    asked.status, asked.answer = 400, {"Error": "Lookup: no address"}
    async with start(ask=asked) as api:
        answer = await api.ask("GET", "/api/routes/vm1?lookup=x")
        assert (answer.status, answer.text) == (400, "Lookup: no address\n")
        asked.status = 404
        assert (await api.ask("GET", "/api/routes/vm1")).status == 503
        description = (await api.ask("GET", "/api/openapi.json")).json
        described = description["paths"]["/api/routes/{id}"]["get"]["parameters"]
        assert [one["name"] for one in described if one["in"] == "query"] == [
            *("table", "prefix", "lookup", "limit", "offset")
        ]
