"""Web pages of other origins: reading as in the original, changing only from this machine."""

from __future__ import annotations

import socket

import pytest
from tests.api.conftest import Api, Start


async def test_any_page_may_read(api: Api) -> None:
    """User interfaces are served from elsewhere."""
    for answer in (
        await api.query("G.V()", Origin="http://ui.example"),
        await api.ask("GET", "/api/capture", headers={"Origin": "http://ui.example"}),
        await api.ask("GET", "/nope", headers={"Origin": "http://ui.example"}),
    ):
        assert answer.header("Access-Control-Allow-Origin") == "*"
        assert answer.header("Access-Control-Allow-Credentials") is None
    assert (await api.query("G.V()")).header("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 201),
        ("http://localhost:3000", 201),
        ("http://127.0.0.1:9999", 201),
        ("http://[::1]:1", 201),
        ("http://evil.example", 403),
        ("https://localhost.evil.example", 403),
        ("http://127.evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://[", 403),
        ("http://10.1.2.3", 403),
    ],
)
async def test_only_pages_of_this_machine_may_change_anything(
    api: Api, origin: str | None, status: int
) -> None:
    """Or any page that somebody opens could start captures here."""
    headers = {} if origin is None else {"Origin": origin}
    answer = await api.ask("POST", "/api/capture", json={"GremlinQuery": "G.V()"}, headers=headers)
    assert answer.status == status
    if status == 403:
        assert "http.rest.allowed_origins" in answer.text
        assert (await api.ask("DELETE", "/api/capture/x", headers=headers)).status == 403
        assert (await api.ask("GET", "/api/capture")).json == {}


async def test_a_name_that_was_made_to_point_here_does_not_help(api: Api) -> None:
    """DNS rebinding: the browser takes the page for one of ours."""
    headers = {"Origin": "http://evil.example", "Host": "evil.example"}
    answer = await api.ask("POST", "/api/capture", json={"GremlinQuery": "G.V()"}, headers=headers)
    assert answer.status == 403


@pytest.mark.parametrize(
    "browser",
    [
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Accept-Language": "en"},
        {"Referer": "http://evil.example/"},
        {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"},
    ],
)
async def test_a_browser_must_ask_for_this_machine(api: Api, browser: dict[str, str]) -> None:
    """DNS rebinding again: a GET of the same origin tells nothing but the name that was asked."""
    for method, path in (("GET", "/api/status"), ("POST", "/api/topology"), ("POST", "/login")):
        answer = await api.ask(method, path, headers={"Host": "evil.example:8082", **browser})
        assert answer.status == 403
        assert answer.text.startswith("this is not evil.example:8082: expected an address")


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8082",
        "LOCALHOST.",
        "ui.localhost",
        "127.0.0.1",
        "[::1]:8082",
        "192.0.2.1:8082",
        socket.gethostname(),
    ],
)
async def test_a_browser_may_ask_by_address_and_by_our_names(api: Api, host: str) -> None:
    """An address cannot be made to point elsewhere, and nobody else makes these names."""
    headers = {"Host": host, "Accept-Language": "en"}
    assert (await api.ask("GET", "/api/status", headers=headers)).status == 200


async def test_programs_may_use_any_name(api: Api) -> None:
    """Through a tunnel that listens on another machine, or a proxy that keeps the name."""
    for host in ("gateway.lan:9000", ""):
        assert (await api.ask("GET", "/api/status", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "settings",
    [
        {"http.rest.allowed_origins": ["http://ui.lan"]},
        {"http.rest.allowed_origins": ["*"]},
        {"analyzer.listen": "0.0.0.0:0", "analyzer.auth.allow_unauthenticated": True},
        {
            "analyzer.auth.api.backend": "basic",
            "auth.basic.type": "basic",
            "auth.basic.users": {"a": "b"},
        },
    ],
)
async def test_other_names_are_allowed_by_settings_and_where_rebinding_gains_nothing(
    start: Start, settings: dict[str, object]
) -> None:
    """Behind a proxy with a name, on a network on purpose, or with credentials to ask for."""
    headers = {"Host": "ui.lan", "Accept-Language": "en", "Authorization": "Basic YTpi"}
    async with start(settings) as api:
        assert (await api.ask("GET", "/api/status", headers=headers)).status == 200


@pytest.mark.parametrize("allowed", [["http://ui.example"], ["*"]])
async def test_settings_can_allow_other_pages(start: Start, allowed: list[str]) -> None:
    """A user interface on another host, on purpose."""
    async with start({"http.rest.allowed_origins": allowed}) as api:
        answer = await api.ask(
            "POST",
            "/api/capture",
            json={"GremlinQuery": "G.V()"},
            headers={"Origin": "http://ui.example"},
        )
        assert answer.status == 201


async def test_pages_of_our_own_may_change_things_when_we_listen_elsewhere(start: Start) -> None:
    """Somebody chose to serve a network without authentication; its own pages work there."""
    async with start(
        {"analyzer.listen": "0.0.0.0:0", "analyzer.auth.allow_unauthenticated": True}
    ) as api:
        for host, status in (("monitor.lan", 201), ("other.lan", 403)):
            answer = await api.ask(
                "POST",
                "/api/capture",
                json={"GremlinQuery": "G.V()"},
                headers={"Origin": "http://monitor.lan", "Host": f"{host}:8082"},
            )
            assert answer.status == status


@pytest.mark.parametrize(
    ("method", "headers", "status", "methods"),
    [
        ("POST", "Content-Type, X-Auth-Token", 200, None),
        ("DELETE", "", 200, "DELETE"),
        ("PATCH", "x-resource-ttl", 200, "PATCH"),
        ("TRACE", "", 405, None),
        ("POST", "X-Other", 403, None),
        ("", "", 400, None),
    ],
)
async def test_browsers_ask_before_they_send(
    api: Api, method: str, headers: str, status: int, methods: str | None
) -> None:
    """api.md §3.1, with PATCH and X-Resource-TTL, which the original forgot (defect 23)."""
    asked = {"Origin": "http://ui.example"}
    if method:
        asked["Access-Control-Request-Method"] = method
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    answer = await api.ask("OPTIONS", "/api/capture", headers=asked)
    assert answer.status == status
    assert answer.header("Access-Control-Allow-Methods") == methods
    if status == 200:
        assert answer.header("Access-Control-Allow-Origin") == "*"
        assert answer.header("Access-Control-Allow-Headers") == (headers or None)
