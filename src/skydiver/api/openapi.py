"""``/api/openapi.json``: the API described by the routes that serve it and the types they use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from skydiver import __version__
from skydiver.api.answers import json_answer
from skydiver.api.routes import Answer, Route

_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_TEXT_ERROR = {"content": {"text/plain": {"schema": {"type": "string"}}}}


class Description:
    """The document, made once for a set of routes."""

    def __init__(self, service: str, routes: Iterable[Route]) -> None:
        own = self.routes()
        self._document = describe(service, [*routes, *own])

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "GET",
                "/api/openapi.json",
                self._answer,
                "This document",
                {200: Answer("OpenAPI 3.1", Any)},
            ),
        )

    async def _answer(self, request: web.Request) -> web.Response:
        return json_answer(self._document)


def describe(service: str, routes: Sequence[Route]) -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    types = [t for route in routes for t in _types(route)]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Skydive {service}",
            "version": __version__,
            "description": "Errors are one line of plain text.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "authtoken"},
            },
        },
        "security": [{}, {"basic": []}, {"token": []}, {"cookie": []}],
    }


def _types(route: Route) -> list[Any]:
    answers = [answer.type for answer in route.answers.values()]
    return [t for t in (route.body, *answers) if t is not None]


def _operation(route: Route, schemas: dict[int, Any]) -> dict[str, Any]:
    parameters = (
        [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(route.path)
        ]
        + [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
            for name, text in route.query.items()
        ]
        + [
            {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
            for name, text in route.headers.items()
        ]
    )
    operation: dict[str, Any] = {
        "summary": route.summary,
        "responses": {
            str(status): _answer(answer, schemas) for status, answer in route.answers.items()
        },
    }
    for status, condition in (
        (400, route.body is not None or bool(route.form)),
        (401, not route.public or bool(route.form)),
        (403, route.permission is not None and route.permission[1] == "write"),
        (405, route.permission is not None),
        (413, route.body is not None or bool(route.upload)),
        (503, route.permission is not None),
    ):
        if condition and status not in route.answers:
            operation["responses"][str(status)] = {
                "description": HTTPStatus(status).phrase,
                **_TEXT_ERROR,
            }
    if parameters:
        operation["parameters"] = parameters
    if route.public:
        operation["security"] = []
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[id(route.body)]}},
        }
    elif route.upload:
        file = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {
            "required": True,
            "content": dict.fromkeys(route.upload, file),
        }
    elif route.form:
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "properties": {name: {"type": "string"} for name in route.form},
                        "required": list(route.form),
                    }
                }
            },
        }
    return operation


def _answer(answer: Answer, schemas: dict[int, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {"description": answer.description}
    if answer.type is not None:
        document["content"] = {
            media: {"schema": schemas[id(answer.type)] if "json" in media else {"type": "string"}}
            for media in answer.media_types
        }
    elif answer.media_types != ("application/json",):
        document["content"] = {
            media: {"schema": {"type": "string"}} for media in answer.media_types
        }
    return document
