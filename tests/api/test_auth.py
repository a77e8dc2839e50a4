"""Who asks: tokens from where clients put them, and what the wrong ones get."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.api.conftest import Start

from skydiver.api import authenticator, cluster_authenticator, websocket_guard
from skydiver.api.access import User
from skydiver.api.auth import BasicAuthentication
from skydiver.api.origins import allowed_origins
from skydiver.api.passwords import apr1
from skydiver.base.errors import ConfigError
from skydiver.base.settings import load_settings

BASIC: dict[str, Any] = {
    "analyzer.auth.api.backend": "people",
    "auth.people.type": "basic",
    "auth.people.users": {"admin": "secret", "Bob": "b:o:b"},
    "auth.people.role": "guest",
}


def token(name: str, password: str) -> str:
    return base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"Cookie": f"authtoken={token('admin', 'secret')}"}, ""),
        ({"Authorization": f"Basic {token('admin', 'secret')}"}, ""),
        ({"Authorization": token("admin", "secret")}, ""),
        ({"X-Auth-Token": token("admin", "secret")}, ""),
        ({}, f"?x-auth-token={token('admin', 'secret')}"),
        ({"Cookie": "other=1", "X-Auth-Token": token("admin", "secret")}, ""),
    ],
)
async def test_tokens_are_taken_from_where_clients_put_them(
    start: Start, headers: dict[str, str], query: str
) -> None:
    """Browsers, scripts, the Python client and WebSockets all differ."""
    async with start(BASIC) as api:
        for _ in range(2):  # the second time it is remembered
            assert (await api.ask("GET", f"/api{query}", headers=headers)).status == 200


@pytest.mark.parametrize(
    ("header", "line"),
    [
        (None, "No credentials provided"),
        (f"Basic {token('admin', 'wrong')}", "Wrong credentials"),
        (f"Basic {token('nobody', 'secret')}", "Wrong credentials"),
        (f"Basic {token('', '')}", "Wrong credentials"),
        ("Basic ???", "Wrong credentials"),
        ("Basic " + base64.b64encode(b"no colon").decode(), "Wrong credentials"),
        ("Basic " + base64.b64encode(b"\xff:\xff").decode(), "Wrong credentials"),
        ("Basic " + "A" * 7_000, "Wrong credentials"),
    ],
)
async def test_strangers_get_401_and_one_line(start: Start, header: str | None, line: str) -> None:
    """Without WWW-Authenticate: browsers would show their own dialogue over the user interface."""
    async with start(BASIC) as api:
        headers = {} if header is None else {"Authorization": header}
        for path in ("/api", "/api/topology", "/api/capture", "/metrics", "/api/openapi.json"):
            answer = await api.ask("GET", path, headers=headers)
            assert (answer.status, answer.text) == (401, f"{line}\n")
            assert answer.header("WWW-Authenticate") is None
        assert (await api.ask("POST", "/api/topology", data=b"{", headers=headers)).status == 401


async def test_guests_look_and_do_not_touch(start: Start) -> None:
    """405 and not 403: user interfaces of the original test for it. The role needs no login before
    (defect 7), and names in the settings do not mind case."""
    async with start(BASIC) as api:
        headers = {"Authorization": f"Basic {token('bob', 'b:o:b')}"}
        assert (await api.query("G.V().Count()", **headers)).json == 4
        assert (await api.ask("GET", "/api/status", headers=headers)).status == 200
        for method, path in (
            ("GET", "/api/capture"),
            ("POST", "/api/capture"),
            ("DELETE", "/api/capture/x"),
            ("GET", "/api/config/host_id"),
        ):
            answer = await api.ask(method, path, headers=headers)
            assert answer.status == 405
            assert answer.text.startswith("'bob' has no '")


async def test_credentials_are_enough_for_a_page_of_another_origin(start: Start) -> None:
    """Who knows the password needs no further proof."""
    async with start(BASIC) as api:
        answer = await api.ask(
            "POST",
            "/api/capture",
            json={"GremlinQuery": "G.V()"},
            headers={
                "Origin": "http://ui.example",
                "Authorization": f"Basic {token('admin', 'secret')}",
            },
        )
        assert answer.status == 201


async def test_a_password_file_is_followed(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Removing a line locks its owner out at once, remembered or not."""
    file = tmp_path / "htpasswd"
    file.write_text(f"ann:{apr1(b'pw', 'salt')}\n")
    async with start({"analyzer.auth.api.backend": "basic", "auth.basic.file": str(file)}) as api:
        headers = {"Authorization": f"Basic {token('ann', 'pw')}"}
        assert (await api.ask("GET", "/api", headers=headers)).status == 200
        file.write_text(f"bob:{apr1(b'pw', 'salt')}\n# changed\n")
        assert (await api.ask("GET", "/api", headers=headers)).status == 401
        headers = {"Authorization": f"Basic {token('bob', 'pw')}"}
        assert (await api.ask("GET", "/api", headers=headers)).status == 200
        file.write_text("broken")
        assert (await api.ask("GET", "/api", headers=headers)).status == 200
        assert "expected name:hash; users stay as they were" in caplog.text


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of tokens must not grow with the number of users who ever came."""
    from aiohttp.test_utils import make_mocked_request

    from skydiver.api import auth

    monkeypatch.setattr(auth, "REMEMBERED", 3)
    users = {f"u{n}": "pw" for n in range(10)}
    basic = BasicAuthentication(users, "", "admin")
    for name in users:
        request = make_mocked_request("GET", "/", headers={"Authorization": token(name, "pw")})
        assert (await basic.user(request)).name == name
    assert len(basic._known) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"analyzer.auth.api.backend": "nope"},
         "analyzer.auth.api.backend: no section auth.nope; "
         "expected one of basic, keystone, noauth"),
        ({"analyzer.auth.api.backend": "keystone"},
         "auth.keystone.type: expected noauth or basic, got 'keystone'"),
        ({"analyzer.auth.api.backend": "x", "auth.x.role": "admin"},
         "auth.x.type: expected noauth or basic, got 'nothing'"),
        ({"analyzer.auth.api.backend": "basic"},
         "auth.basic: expected users or the name of a password file under file"),
        ({"analyzer.auth.api.backend": "basic", "auth.basic.users": {"a": "b"},
          "auth.basic.role": "king"},
         "auth.basic.role: expected admin or guest, got 'king'"),
        ({"analyzer.auth.api.backend": "basic", "auth.basic.file": "/no/such"},
         "password file /no/such: no such file or directory"),
    ],
)  # fmt: skip
def test_a_wrong_set_up_is_said_at_the_start(overrides: dict[str, Any], message: str) -> None:
    """And not to the first user."""
    settings = load_settings([], overrides, {})
    with pytest.raises(ConfigError) as raised:
        authenticator(settings, settings.analyzer.auth.api.backend, "analyzer.auth.api.backend")
    assert str(raised.value) == message


async def test_peers_of_a_cluster_are_always_administrators() -> None:
    """An agent has one set of credentials and writes topology with it."""
    settings = load_settings(
        [],
        {"analyzer.auth.cluster.backend": "people", "auth.people.users": {"agent": "pw"},
         "auth.people.type": "basic", "auth.people.role": "guest"},
        {},
    )  # fmt: skip
    user, sent = await cluster_authenticator(settings).login("agent", "pw")
    assert user == User("agent", "admin")
    assert sent == token("agent", "pw")


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [
        ("/ws/subscriber", "bob", 200),
        ("/ws/publisher", "bob", 403),
        ("/ws/publisher", "admin", 200),
        ("/ws/subscriber", "nobody", 401),
    ],
)
async def test_websockets_answer_403_and_401(
    start: Start, path: str, name: str, status: int
) -> None:
    """Before the upgrade, in one line (api.md §0)."""
    settings = load_settings([], BASIC, {})
    guard = websocket_guard(
        authenticator(settings, "people", "x"), allowed_origins(settings, settings.analyzer.listen)
    )

    async def endpoint(request: web.Request) -> web.Response:
        await guard(request)
        return web.Response()

    async with start(BASIC, add_routes=lambda app: app.router.add_get(path, endpoint)) as api:
        password = "secret" if name == "admin" else "b:o:b"
        headers = {"Authorization": f"Basic {token(name, password)}"}
        answer = await api.ask("GET", path, headers=headers)
        assert answer.status == status


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/ws/publisher", "http://evil.example", 403),
        ("/ws/agent/topology", "http://evil.example", 403),
        ("/ws/subscriber", "http://evil.example", 200),
        ("/ws/publisher", "http://localhost:3000", 200),
        ("/ws/publisher", None, 200),
    ],
)
async def test_a_web_page_of_elsewhere_may_not_publish(
    start: Start, path: str, origin: str | None, status: int
) -> None:
    """A browser lets any page open a WebSocket to loopback; only the server can refuse."""
    settings = load_settings([], {}, {})
    guard = websocket_guard(
        authenticator(settings, "noauth", "x"), allowed_origins(settings, settings.analyzer.listen)
    )

    async def endpoint(request: web.Request) -> web.Response:
        await guard(request)
        return web.Response()

    async with start({}, add_routes=lambda app: app.router.add_get(path, endpoint)) as api:
        headers = {} if origin is None else {"Origin": origin}
        answer = await api.ask("GET", path, headers=headers)
        assert answer.status == status


@pytest.mark.parametrize(("host", "status"), [("evil.example", 403), ("localhost", 200)])
async def test_a_page_whose_name_was_made_to_point_here_may_not_follow_either(
    start: Start, host: str, status: int
) -> None:
    """Reading is for pages that say where they are from, not for those that claim to be ours."""
    settings = load_settings([], {}, {})
    guard = websocket_guard(
        authenticator(settings, "noauth", "x"), allowed_origins(settings, settings.analyzer.listen)
    )

    async def endpoint(request: web.Request) -> web.Response:
        await guard(request)
        return web.Response()

    async with start(
        {}, add_routes=lambda app: app.router.add_get("/ws/subscriber", endpoint)
    ) as api:
        headers = {"Origin": f"http://{host}:8082", "Host": f"{host}:8082"}
        assert (await api.ask("GET", "/ws/subscriber", headers=headers)).status == status
