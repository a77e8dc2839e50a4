"""``/login``: credentials for a token, and what may be done with it (api.md §3.2)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import parse_qs

import orjson
from aiohttp import web

from skydiver.api.answers import failure, json_answer
from skydiver.api.auth import Authenticator
from skydiver.api.bodies import raw_body
from skydiver.api.models import LoginAnswer
from skydiver.api.routes import Answer, Route

_MAX_FIELDS = 20


class Login:
    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "POST",
                "/login",
                self._login,
                "A token and the permissions of a user, also as cookies",
                {200: Answer("The user is known", LoginAnswer)},
                public=True,
                form=("username", "password"),
            ),
            *(
                Route(
                    method,
                    "/login",
                    self._elsewhere,
                    "Redirected to the start page",
                    {302: Answer("Go to /")},
                    public=True,
                )
                for method in ("GET", "PUT", "PATCH", "DELETE")
            ),
        )

    async def _login(self, request: web.Request) -> web.Response:
        fields = await _fields(request)
        if "username" not in fields or "password" not in fields:
            raise failure(401, "No credentials provided")
        user, token = await self._authenticator.login(fields["username"], fields["password"])
        permissions = [
            {"Object": what, "Action": action, "Allowed": allowed}
            for what, action, allowed in user.permissions()
        ]
        answer = json_answer({"Token": token, "Permissions": permissions})
        # Written by hand: the standard library would quote the padding of base64.
        if token:
            answer.headers.add("Set-Cookie", f"authtoken={token}; Path=/; SameSite=Lax")
        encoded = base64.b64encode(orjson.dumps(permissions)).decode()
        answer.headers.add("Set-Cookie", f"permissions={encoded}; Path=/; SameSite=Lax")
        origin = request.headers.get("Origin")
        if origin is not None and origin.isascii():
            answer.headers["Access-Control-Allow-Origin"] = origin
            answer.headers["Access-Control-Allow-Credentials"] = "true"
            answer.headers["Vary"] = "Origin"
        return answer

    async def _elsewhere(self, request: web.Request) -> web.Response:
        return web.Response(status=HTTPStatus.FOUND, headers={"Location": "/"})


async def _fields(request: web.Request) -> dict[str, str]:
    """Fields of a form in the body; those of the address stand in for what is missing."""
    fields = dict(request.query)
    if request.content_type == "application/x-www-form-urlencoded":
        body = await raw_body(request)
        try:
            form = parse_qs(
                body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"
            )
        except ValueError:
            raise failure(400, "bad form: expected username=…&password=… in UTF-8") from None
        fields.update({name: values[0] for name, values in form.items()})
    return fields
