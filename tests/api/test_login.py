"""``/login``: what user interfaces and the Python client do first."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from tests.api.conftest import Api, Start
from tests.api.test_auth import BASIC, token


def cookies(answer: Any) -> dict[str, str]:
    found = {}
    for value in answer.headers.getall("Set-Cookie", []):
        pair, _, attributes = value.partition(";")
        name, _, content = pair.partition("=")
        assert "Path=/" in attributes
        found[name] = content
    return found


async def test_without_authentication_everybody_is_let_in(api: Api) -> None:
    """No token and no cookie for it; the Python client then sends nothing."""
    answer = await api.ask("POST", "/login", data={"username": "x", "password": "y"})
    assert answer.status == 200
    assert answer.json["Token"] == ""
    assert set(cookies(answer)) == {"permissions"}


async def test_a_login_gives_a_token_that_works(start: Start) -> None:
    """As a cookie, unquoted: what comes back must be what was sent."""
    async with start(BASIC) as api:
        answer = await api.ask("POST", "/login", data={"username": "admin", "password": "secret"})
        assert answer.status == 200
        assert answer.json["Token"] == token("admin", "secret")
        assert {"Object": "capture", "Action": "write", "Allowed": True} in answer.json[
            "Permissions"
        ]
        sent = cookies(answer)
        assert sent["authtoken"] == token("admin", "secret")
        assert orjson.loads(base64.b64decode(sent["permissions"])) == answer.json["Permissions"]
        headers = {"Cookie": f"authtoken={sent['authtoken']}; permissions={sent['permissions']}"}
        assert (await api.ask("GET", "/api/capture", headers=headers)).status == 200


async def test_a_page_of_another_origin_may_log_in(start: Start) -> None:
    """With credentials, which only this path allows."""
    async with start(BASIC) as api:
        answer = await api.ask(
            "POST",
            "/login",
            data={"username": "bob", "password": "b:o:b"},
            headers={"Origin": "http://ui.example"},
        )
        assert answer.header("Access-Control-Allow-Origin") == "http://ui.example"
        assert answer.header("Access-Control-Allow-Credentials") == "true"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"username": "admin", "password": "wrong"}, "Wrong credentials"),
        ({"username": "admin"}, "No credentials provided"),
        ({}, "No credentials provided"),
        (b"username=admin&password=secret", "No credentials provided"),
    ],
)
async def test_a_failed_login_is_401_and_one_line(start: Start, data: Any, line: str) -> None:
    """`login` of the Python client returns False by this."""
    async with start(BASIC) as api:
        answer = await api.ask("POST", "/login", data=data)
        assert (answer.status, answer.text) == (401, f"{line}\n")
        assert cookies(answer) == {}


async def test_a_hostile_form_is_refused(start: Start) -> None:
    """Bytes that are no text, and a thousand fields."""
    async with start(BASIC) as api:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        for body in (b"username=%ff&password=\xff", b"&".join(b"a%d=b" % n for n in range(1000))):
            answer = await api.ask("POST", "/login", data=body, headers=headers)
            assert answer.status == 400
            assert answer.text.count("\n") == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_any_other_method_goes_to_the_start_page(api: Api, method: str) -> None:
    """As in the original."""
    answer = await api.ask(method, "/login")
    assert (answer.status, answer.header("Location")) == (302, "/")
