"""The description of the API is made from what serves it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from tests.api.conftest import Api, Start

from skydiver.api import models
from skydiver.objects import Capture


async def described(api: Api) -> dict[str, Any]:
    answer = await api.ask("GET", "/api/openapi.json")
    assert answer.status == 200
    document: dict[str, Any] = answer.json
    return document


async def test_every_route_is_described_and_every_description_is_a_route(api: Api) -> None:
    """Neither can drift: one is made from the other."""
    document = await described(api)
    assert document["openapi"].startswith("3.")
    assert set(document["paths"]) == {
        "/api",
        "/api/topology",
        "/api/capture",
        "/api/capture/{id}",
        "/api/status",
        "/api/config/{key}",
        "/api/openapi.json",
        "/login",
        "/metrics",
    }
    for path, operations in document["paths"].items():
        for method in operations:
            concrete = re.sub(r"\{\w+\}", "x", path)
            answer = await api.ask(method.upper(), concrete)
            assert answer.text != "404 page not found\n"
            assert "expected" not in answer.text or answer.status != 405


async def test_agents_describe_what_agents_serve(start: Start) -> None:
    """A generated client must not offer what is not there."""
    async with start(service="agent") as api:
        document = await described(api)
        assert "/api/capture" not in document["paths"]
        status = document["paths"]["/api/status"]["get"]["responses"]["200"]
        assert status["content"]["application/json"]["schema"] == {
            "$ref": "#/components/schemas/AgentStatus"
        }


async def test_every_reference_leads_somewhere(api: Api) -> None:
    """Generators stop at the first that does not."""
    document = await described(api)
    schemas = document["components"]["schemas"]

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [
                *([value["$ref"]] if isinstance(value.get("$ref"), str) else []),
                *(found for item in value.values() for found in references(item)),
            ]
        if isinstance(value, list):
            return [found for item in value for found in references(item)]
        return []

    found = references(document)
    assert "#/components/schemas/Capture" in found
    assert {reference.rpartition("/")[2] for reference in found} <= set(schemas)


async def test_the_schema_of_a_capture_says_what_is_checked(api: Api) -> None:
    """Whoever generates a form from it gets the limits and the choices."""
    schema = (await described(api))["components"]["schemas"]["Capture"]["properties"]
    assert schema["RawPacketLimit"]["maximum"] == 10
    assert "afpacket" in schema["Type"]["enum"]
    assert schema["LayerKeyMode"]["enum"] == ["", "L2", "L3"]


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("/api", models.Info),
        ("/api/topology", models.Elements),
        ("/api/capture", models.Captures),
    ],
)
async def test_answers_are_what_the_schema_promises(api: Api, path: str, type_: Any) -> None:
    """Strictly: unknown members would be accepted by msgspec, wrong types not."""
    await api.capture(Name="x")
    answer = await api.ask("GET", path)
    msgspec.json.decode(answer.body, type=type_)
    if type_ is models.Captures:
        (document,) = answer.json.values()
        assert Capture.from_json(document).name == "x"
