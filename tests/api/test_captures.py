"""``/api/capture`` as clients of the original use it (api.md §§3.5-3.6, 8.1)."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.api.conftest import Api, Start

from skydiver.base.ids import NodeID
from skydiver.graph import Op, OpKind
from skydiver.objects import Capture


async def test_a_capture_is_created_listed_read_and_deleted(api: Api) -> None:
    """The life of a capture, with the statuses that clients insist on."""
    created = await api.capture(Name="mine")
    assert created.status == 201
    assert created.header("Content-Type") == "application/json; charset=UTF-8"
    assert created.json["LayerKeyMode"] == "L2"
    uuid = created.json["UUID"]
    assert (await api.ask("GET", "/api/capture")).json == {uuid: created.json}
    assert (await api.ask("GET", f"/api/capture/{uuid}")).json == created.json
    deleted = await api.ask("DELETE", f"/api/capture/{uuid}")
    assert (deleted.status, deleted.body) == (200, b"")
    assert (deleted.header("Content-Type") or "").startswith("text/plain")
    assert (await api.ask("GET", "/api/capture")).json == {}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("id_", ["nope", "a/b", "%00", "x%0Ay"])
async def test_an_unknown_capture_is_named(api: Api, method: str, id_: str) -> None:
    """Everything after the path is the identifier, slashes included."""
    answer = await api.ask(method, f"/api/capture/{id_}")
    assert answer.status == 404
    assert answer.text.startswith("Capture '")
    assert answer.text.endswith("' not found\n")
    assert answer.text.count("\n") == 1


async def test_the_request_of_the_python_client_is_understood(api: Api) -> None:
    """skydive-client 0.10.0, as OpenStack and Ansible use it."""
    answer = await api.ask(
        "POST",
        "/api/capture",
        json={
            "GremlinQuery": "G.V().Has('Name', 'eth0')",
            "LayerKeyMode": "L2",
            "PollingInterval": 10,
            "SamplingRate": 1,
            "ExtraTCPMetric": True,
        },
        headers={"Accept": "application/json"},
    )
    assert answer.status == 201
    assert answer.json["PollingInterval"] == 10


async def test_yaml_is_read_when_the_request_says_so(api: Api) -> None:
    """Exactly this type; anything else is JSON."""
    answer = await api.ask(
        "POST",
        "/api/capture",
        data=b"GremlinQuery: G.V()\nName: from a file\n",
        headers={"Content-Type": "application/yaml"},
    )
    assert answer.status == 201
    assert answer.json["Name"] == "from a file"


async def test_a_duplicate_conflicts(api: Api) -> None:
    """409, and the first one stays."""
    first = await api.capture()
    second = await api.capture(Name="other")
    assert second.status == 409
    assert second.text == "duplicated resource\n"
    assert list((await api.ask("GET", "/api/capture")).json) == [first.json["UUID"]]
    assert (await api.capture(BPFFilter="tcp")).status == 201


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"GremlinQuery": ""}, "GremlinQuery: expected a query, got none"),
        ({"GremlinQuery": "G.Nope()"}, "column"),
        ({"GremlinQuery": "G.V().Count()"}, "the query must end in nodes or paths, not in"),
        ({"GremlinQuery": "G"}, "the query must end in nodes or paths, not in a graph"),
        ({"GremlinQuery": "G.V().Values('Name')"}, "the query must end in nodes or paths, not in"),
        ({"ExtraLayers": 256}, "ExtraLayers: expected int <= 255"),
        ({"GremlinQuery": 3}, "GremlinQuery: expected str, got int"),
        ({"BPFFilter": "not a filter"}, "packet filter 'not a filter'"),
        ({"BPFFilter": "tcp\u0000"}, "packet filter holds a NUL character"),
        ({"Type": "magic"}, "Type: expected one of"),
        ({"Type": "ebpf", "BPFFilter": "tcp"}, "ebpf capture doesn't support BPF filtering"),
        ({"RawPacketLimit": -1}, "RawPacketLimit: expected int >= 0"),
        ({"HeaderSize": 5}, "HeaderSize: expected 0 or 14 to 4096, got 5"),
    ],
)
async def test_a_bad_capture_is_one_line_and_400(
    api: Api, members: dict[str, Any], words: str
) -> None:
    """Nothing of it is stored."""
    answer = await api.capture(**members)
    assert answer.status == 400
    assert words in answer.text
    assert answer.text.count("\n") == 1
    assert (await api.ask("GET", "/api/capture")).json == {}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b'"x"', b"\xff", b"[" * 9_999, b'{"Name": "\\ud800"}']
)
async def test_what_is_no_capture_at_all_is_400(api: Api, body: bytes) -> None:
    """Including texts that no answer could carry."""
    answer = await api.ask("POST", "/api/capture", data=body)
    assert answer.status == 400
    assert answer.text.count("\n") == 1


@pytest.mark.parametrize("ttl", ["5", "soon", "-1s", ""])
async def test_a_bad_time_to_live_is_named(api: Api, ttl: str) -> None:
    """A number without a unit is refused, as by the original."""
    answer = await api.ask(
        "POST",
        "/api/capture",
        json={"GremlinQuery": "G.V()"},
        headers={"X-Resource-TTL": ttl},
    )
    assert answer.status == 400
    assert answer.text.startswith("invalid ttl: ")


async def test_a_capture_with_a_time_to_live_goes_by_itself(api: Api) -> None:
    """`skydive client capture create --ttl 5000`."""
    answer = await api.ask(
        "POST",
        "/api/capture",
        json={"GremlinQuery": "G.V()"},
        headers={"X-Resource-TTL": "0h0m0.001s"},
    )
    assert answer.status == 201
    async with asyncio.timeout(10):
        while (await api.ask("GET", "/api/capture")).json:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("id_", "patch", "status", "line"),
    [
        ("", [], 400, "updating resource with patched version: resource not updatable\n"),
        ("", {}, 400, "incorrect JSON patch: expected a list of operations\n"),
        ("x", [], 404, ""),
    ],
)
async def test_a_capture_cannot_be_changed(
    api: Api, id_: str, patch: Any, status: int, line: str
) -> None:
    """The original's answers, in its order of checks."""
    uuid = (await api.capture()).json["UUID"]
    answer = await api.ask("PATCH", f"/api/capture/{id_ or uuid}", data=orjson.dumps(patch))
    assert (answer.status, answer.text) == (status, line)


async def test_count_is_the_active_captures_on_the_nodes_now(api: Api) -> None:
    """Of this capture only; the original counted every capture of these nodes (defect 18)."""
    uuid = (await api.capture(GremlinQuery="G.V().Has('Type', 'veth')")).json["UUID"]
    other = (await api.capture(GremlinQuery="G.V().Has('Name', 'eth0')")).json["UUID"]
    assert (await api.ask("GET", f"/api/capture/{uuid}")).json["Count"] == 0
    states = {"eth0": [(uuid, "active"), (other, "active")], "eth1": [(uuid, "error")]}
    for name, captures in states.items():
        value = [{"ID": id_, "State": state} for id_, state in captures]
        api.graph.owned_by("captures").patch(NodeID(name), [Op(OpKind.SET, "Captures", value)])
    listed = (await api.ask("GET", "/api/capture")).json
    assert (listed[uuid]["Count"], listed[other]["Count"]) == (1, 1)
    api.graph.owned_by("captures").patch(NodeID("eth1"), [Op(OpKind.SET, "Captures", value)])
    states_active = [{"ID": uuid, "State": "active"}]
    api.graph.owned_by("captures").patch(
        NodeID("eth1"), [Op(OpKind.SET, "Captures", states_active)]
    )
    assert (await api.ask("GET", f"/api/capture/{uuid}")).json["Count"] == 2


async def test_a_capture_whose_query_selects_no_nodes_can_still_be_read(api: Api) -> None:
    """Another version may have stored it."""
    await api.store.create(Capture(uuid="old", gremlin_query="G.V().Count()"))
    assert (await api.ask("GET", "/api/capture/old")).json["Count"] == 0


async def test_the_default_mode_is_that_of_the_settings(start: Start) -> None:
    """`flow.default_layer_key_mode` is for requests that say nothing."""
    async with start({"flow.default_layer_key_mode": "l3"}) as api:
        assert (await api.capture()).json["LayerKeyMode"] == "L3"
        assert (await api.capture(BPFFilter="tcp", LayerKeyMode="L2")).json["LayerKeyMode"] == "L2"


async def test_watchers_of_the_store_hear_of_what_the_api_did(api: Api) -> None:
    """Captures start and stop by this, on every node."""
    heard: list[str] = []
    api.store.watch(Capture, lambda change: heard.append(change.kind.value))
    uuid = (await api.capture()).json["UUID"]
    await api.ask("DELETE", f"/api/capture/{uuid}")
    assert heard == ["created", "deleted"]


async def test_agents_have_no_captures_of_their_own(start: Start) -> None:
    """They are told by analyzers."""
    async with start(service="agent") as api:
        assert (await api.ask("GET", "/api/capture")).status == 404
