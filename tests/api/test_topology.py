"""``/api/topology`` as clients of the original use it (api.md §3.11, gremlin.md §1)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.api.conftest import Api, Start

from skydiver.api.topology import query_text
from skydiver.base.errors import ProtocolError
from skydiver.base.ids import NodeID
from skydiver.flow import FlowAnswer, FlowSearch, RawPacket
from skydiver.graph import NodeSpec


class SilentAgent:
    """Flows of one host, and another that did not answer."""

    async def search(
        self, search: FlowSearch, *, tids_by_host: Mapping[str, Sequence[str]] | None = None
    ) -> FlowAnswer:
        return FlowAnswer([{"UUID": "f1"}], missing=("h2", "h3"))


async def test_the_whole_graph_is_one_object(api: Api) -> None:
    """Not wrapped in a list, unlike the query `G`."""
    answer = await api.ask("GET", "/api/topology")
    assert answer.status == 200
    assert answer.header("Content-Type") == "application/json; charset=UTF-8"
    assert sorted(node["ID"] for node in answer.json["Nodes"]) == ["eth0", "eth1", "host", "vm1"]
    assert len(answer.json["Edges"]) == 4
    assert (await api.query("G")).json == [answer.json]


async def test_a_query_answers_with_elements(api: Api) -> None:
    """Eight members, live ones with DeletedAt null, times in milliseconds (api.md §0)."""
    answer = await api.query("G.V().Has('Name', 'eth0')")
    assert answer.status == 200
    (node,) = answer.json
    assert node["Metadata"]["Type"] == "veth"
    assert node["DeletedAt"] is None
    assert node["CreatedAt"] == 1_700_000_000_000
    assert set(node) == {
        "ID", "Metadata", "Host", "Origin", "CreatedAt", "UpdatedAt", "DeletedAt", "Revision",
    }  # fmt: skip
    assert answer.body.endswith(b"\n")
    assert (await api.query("G.V().Count()")).json == 4
    assert (await api.query("G.V().Has('Name', 'no such')")).json == []


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/json; charset=UTF-8"),
        ("application/vnd.x+json", "application/vnd.x+json; charset=UTF-8"),
        ("*/*", "application/json; charset=UTF-8"),
        ("text/html,application/xhtml+xml", "application/json; charset=UTF-8"),
        ("application/json, text/javascript, */*; q=0.01", "application/json; charset=UTF-8"),
    ],
)
async def test_the_type_asked_for_is_repeated_when_it_is_json(
    api: Api, accept: str, content_type: str
) -> None:
    """The Python client decodes nothing else; a browser must not get names as a page."""
    answer = await api.query("G.V()", Accept=accept)
    assert answer.header("Content-Type") == content_type
    assert answer.header("X-Content-Type-Options") == "nosniff"


async def test_a_graph_can_be_had_for_graphviz(api: Api) -> None:
    """`skydive client query --format dot`."""
    answer = await api.query("G", Accept="text/vnd.graphviz")
    assert answer.status == 200
    assert answer.header("Content-Type") == "text/vnd.graphviz; charset=UTF-8"
    assert answer.text.startswith("digraph")
    assert "eth0-eth0" in answer.text


@pytest.mark.parametrize(
    ("accept", "words"),
    [
        ("text/vnd.graphviz", "Only graph can be outputted as dot"),
        (
            "application/vnd.tcpdump.pcap",
            "Only RawPackets step result can be outputted as pcap",
        ),
        ("application/x-pcapng", "Only RawPackets step result can be outputted as pcap"),
    ],
)
async def test_what_cannot_be_written_so_is_not_acceptable(
    api: Api, accept: str, words: str
) -> None:
    """406 and not 400: the query was right."""
    answer = await api.query("G.V()", Accept=accept)
    assert answer.status == 406
    assert answer.text == f"Error while encoding response: {words}\n"
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "body", [b"", b"  \n", b"null", b"{}", b'{"GremlinQuery": ""}', b'{"GremlinQuery": null}']
)
async def test_no_query_is_no_content(api: Api, body: bytes) -> None:
    """204 without a body, as in the original."""
    answer = await api.ask("POST", "/api/topology", data=body)
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"{", "bad JSON: "),
        (b"\xff\xfe", "bad JSON: "),
        (b"[1]", "bad request: expected a JSON object"),
        (b'{"GremlinQuery": 3}', "GremlinQuery: expected a text, got int"),
        (b'{"GremlinQuery": "G.Foo()"}', ""),
        (b'{"GremlinQuery": "G.V("}', ""),
        (b"{\"GremlinQuery\": \"G.V().Has('Name', Regex('('))\"}", ""),
        (b'{"GremlinQuery": "G.V(\'no such id\')"}', ""),
        (b'{"GremlinQuery": "' + b"G" * 70_000 + b'"}', "query of 70000 characters"),
        (b'{"GremlinQuery": "G.V().Count().Out()"}', ""),
    ],
)
async def test_a_bad_query_is_one_line_and_400(api: Api, body: bytes, line: str) -> None:
    """The words are free, the form is not."""
    answer = await api.ask("POST", "/api/topology", data=body)
    assert answer.status == 400
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.text.startswith(line)
    assert answer.text.count("\n") == 1
    assert len(answer.text) > 5
    assert (await api.query("G.V().Count()")).json == 4


def test_the_member_is_found_in_any_case() -> None:
    """The original's decoder does not mind."""
    assert query_text(b'{"gremlinquery": "G"}') == "G"
    assert query_text(b'{"GREMLINQUERY": "x", "GremlinQuery": "G"}') == "G"
    with pytest.raises(ProtocolError):
        query_text(b'"G"')


async def test_hosts_that_did_not_answer_are_named(start: Start) -> None:
    """An answer that lacks something says so (principle 1)."""
    async with start(flows=SilentAgent()) as api:
        answer = await api.query("G.Flows()")
        assert answer.json == [{"UUID": "f1"}]
        assert answer.header("X-Skydive-Missing") == "h2, h3"
        assert (await api.query("G.V()")).header("X-Skydive-Missing") is None


async def test_agents_speak_the_core_of_the_language(start: Start) -> None:
    """Flows are asked of analyzers (gremlin.md §1.2)."""
    async with start(service="agent", flows=SilentAgent()) as api:
        assert (await api.query("G.V().Count()")).json == 4
        assert (await api.query("G.Flows()")).status == 400


async def test_a_large_answer_is_the_same_as_many_small_ones(api: Api) -> None:
    """Large ones are written in pieces, with others' requests in between."""
    source = api.graph.owned_by("many")
    for number in range(3_000):
        source.upsert(NodeSpec(NodeID(f"n{number}"), {"Name": f"n{number}", "Type": "device"}))
    everything, count = await asyncio.gather(api.query("G.V()"), api.query("G.V().Count()"))
    assert count.json == 3_004
    assert [node["ID"] for node in everything.json][-2:] == ["n2998", "n2999"]
    assert len(everything.json) == 3_004
    graph: list[dict[str, Any]] = (await api.query("G")).json
    assert graph[0]["Nodes"] == everything.json
    assert (await api.ask("GET", "/api/topology")).json == graph[0]


def enlarge(api: Api, count: int = 3_000) -> None:
    """Make answers that leave in several blocks."""
    source = api.graph.owned_by("large")
    for number in range(count):
        metadata = {"Name": f"n{number}", "Type": "device", "Note": "x" * 500}
        source.upsert(NodeSpec(NodeID(f"n{number}"), metadata))


@pytest.mark.parametrize(("encoding", "bits"), [("gzip", 31), ("deflate", 15)])
async def test_a_large_answer_is_compressed_on_its_way(api: Api, encoding: str, bits: int) -> None:
    """With all the headers of a small one, also for pages of other origins."""
    enlarge(api)
    plain = await api.query("G.V()")
    packed = await api.query(
        "G.V()", **{"Accept-Encoding": encoding, "Origin": "http://ui.example"}
    )
    assert packed.header("Content-Encoding") == encoding
    assert packed.header("Content-Type") == "application/json; charset=UTF-8"
    assert packed.header("Access-Control-Allow-Origin") == "*"
    assert zlib.decompress(packed.body, bits) == plain.body


async def test_a_client_of_http_1_0_gets_large_answers_too(api: Api) -> None:
    """It knows no chunks: the end of the connection is the end of the answer."""
    enlarge(api)
    expected = (await api.query("G.V()")).body
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    body = b'{"GremlinQuery": "G.V()"}'
    writer.write(b"POST /api/topology HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert content == expected
    writer.close()


async def test_a_client_that_stops_reading_a_large_answer_harms_nobody(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither while it is slow nor when it goes away in the middle."""
    enlarge(api, 20_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=1)
    body = b'{"GremlinQuery": "G.V()"}'
    writer.write(
        b"POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
        % (len(body), body)
    )
    await reader.readexactly(1)
    assert (await api.query("G.V().Count()")).json == 20_004
    writer.transport.abort()
    assert (await api.query("G.V().Count()")).json == 20_004
    assert [record for record in caplog.records if record.exc_info] == []


class Kept:
    """Two flows, one of Ethernet and one of a tunnel, each with a packet."""

    async def search(
        self, search: FlowSearch, *, tids_by_host: Mapping[str, Sequence[str]] | None = None
    ) -> FlowAnswer:
        flows = [{"UUID": "f1", "NodeTID": "t0"}, {"UUID": "f2", "NodeTID": "t1"}]
        frame = bytes(12) + b"\x08\x00\x45" + bytes(19)
        packets = {"f1": [RawPacket(2000, 1, frame, 1)], "f2": [RawPacket(1000, 1, b"\x45", 228)]}
        return FlowAnswer(flows, packets=lambda: packets)


async def test_packets_can_be_had_as_capture_files(start: Start) -> None:
    """`skydive client query --format pcap`; what has no place there is counted, not hidden."""
    query = "G.Flows().RawPackets()"
    async with start(flows=Kept()) as api:
        api.graph.owned_by("test").upsert(NodeSpec(NodeID("tap"), {"Name": "tap7", "TID": "t0"}))
        answer = await api.query(query, Accept="application/vnd.tcpdump.pcap")
        assert answer.header("Content-Type") == "application/vnd.tcpdump.pcap"
        assert answer.header("X-Skydive-Left-Out") == "1"
        assert (answer.body[:4], len(answer.body)) == (b"\xd4\xc3\xb2\xa1", 24 + 16 + 34)
        answer = await api.query(query, Accept="application/x-pcapng")
        assert answer.header("Content-Type") == "application/x-pcapng"
        assert answer.body.startswith(b"\x0a\x0d\x0d\x0a")
        # Interfaces by node, named after it; packets in order of time.
        assert b"tap7" in answer.body
        assert b"TID t0, host h1" in answer.body
        assert answer.body.index(b"flow f2") < answer.body.index(b"flow f1")
        answer = await api.query(f"{query}.BPF('ip')")
        assert list(answer.json[0]) == ["f1", "f2"]
        assert answer.json[0]["f2"] == [
            {"Timestamp": 1000, "Index": 1, "Data": "RQ==", "LinkType": 228}
        ]


async def test_no_packets_are_an_empty_file(start: Start) -> None:
    """As in the original, with status 200."""

    class Nothing:
        async def search(
            self, search: FlowSearch, *, tids_by_host: Mapping[str, Sequence[str]] | None = None
        ) -> FlowAnswer:
            return FlowAnswer([{"UUID": "f1"}])

    async with start(flows=Nothing()) as api:
        answer = await api.query("G.Flows().RawPackets()", Accept="application/vnd.tcpdump.pcap")
        assert (answer.status, answer.body) == (200, b"")
