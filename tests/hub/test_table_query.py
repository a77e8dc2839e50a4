"""Questions to flow tables in both forms, and answers that are none."""

import base64
from typing import Any

import pytest

from skydiver.base.errors import ProtocolError
from skydiver.filters import And, Eq, Gt, Regex
from skydiver.flow import tables_pb2
from skydiver.flow.search import FlowSearch, SortOrder
from skydiver.flow.wire import search_to_wire
from skydiver.hub.messages import Format, Message, Protocol, decode, encode, event
from skydiver.hub.table_query import query_message, read_query, read_result, result_message

SEARCH = search_to_wire(
    FlowSearch(
        where=And((Eq("NodeTID", "t"), Gt("Metric.ABBytes", 2**40), Regex("Application", "^D"))),
        sort=True,
        sort_by="Last",
        order=SortOrder.DESCENDING,
        dedup=True,
        last=10,
    )
)


def test_a_question_travels_as_protobuf_inside_protobuf() -> None:
    """Original agents read nothing else (§2.15)."""
    message = query_message(SEARCH)
    assert (message.namespace, message.type) == ("Flow", "TableQuery")
    assert message.format is Format.PROTOBUF
    assert tables_pb2.TableQuery.FromString(message.obj).Type == "SearchQuery"
    received = decode(encode(message, Protocol.PROTOBUF), Protocol.PROTOBUF)
    assert read_query(received) == SEARCH


def test_a_question_in_json_is_understood() -> None:
    """The development revision of the original sends it so, with numbers for enums."""
    query = {
        "Filter": {
            "BoolFilter": {
                "Op": 1,
                "Filters": [
                    {"TermStringFilter": {"Key": "NodeTID", "Value": "t"}},
                    {"GtInt64Filter": {"Key": "Metric.ABBytes", "Value": 2**40}},
                    {"RegexFilter": {"Key": "Application", "Value": "^D"}},
                ],
            }
        },
        "PaginationRange": {"To": 10},
        "Sort": True,
        "Dedup": True,
        "SortBy": "Last",
        "SortOrder": 2,
        "Newer": {"unknown": 1},
    }
    message = event("Flow", "TableQuery", {"Type": "SearchQuery", "query": query})
    assert read_query(message) == SEARCH


@pytest.mark.parametrize("format_", Format)
def test_an_answer_is_read_in_both_forms(format_: Format) -> None:
    """One serialized set of flows per table."""
    question = query_message(SEARCH)
    if format_ is Format.PROTOBUF:
        answer = result_message(question, [b"one", b"", b"three"])
    else:
        encoded = [base64.b64encode(part).decode() for part in (b"one", b"", b"three")]
        answer = question.reply("TableResult", {"Status": 200, "FlowSetBytes": encoded})
    assert answer.uuid == question.uuid
    assert read_result(answer) == [b"one", b"", b"three"]


def test_an_answer_without_tables_is_an_answer() -> None:
    """Nothing is captured on that host; Go writes null for an empty list."""
    question = query_message(SEARCH)
    assert read_result(result_message(question, [])) == []
    empty = question.reply("TableResult", {"Status": 200, "FlowSetBytes": None})
    assert read_result(empty) == []


@pytest.mark.parametrize(
    ("obj", "format_"),
    [
        (b"\xff\xff", Format.PROTOBUF),
        (b"\x0a\x05Other", Format.PROTOBUF),
        (b"", Format.PROTOBUF),
        (None, Format.JSON),
        ([1], Format.JSON),
        ("x", Format.JSON),
        ({"Type": "SearchQuery", "query": 7}, Format.JSON),
        ({"Type": "SearchQuery", "query": {"Sort": "maybe"}}, Format.JSON),
    ],
)
def test_a_question_that_is_none_is_refused(obj: Any, format_: Format) -> None:
    """With one line."""
    with pytest.raises(ProtocolError) as raised:
        read_query(Message("Flow", "TableQuery", obj, "u", format=format_))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("obj", "format_", "status"),
    [
        (b"\xff\xff", Format.PROTOBUF, 200),
        (b"\x08\xf4\x03", Format.PROTOBUF, 200),
        (b"", Format.PROTOBUF, 500),
        (None, Format.JSON, 200),
        ([1], Format.JSON, 200),
        ({"Status": 500}, Format.JSON, 200),
        ({"Status": "many"}, Format.JSON, 200),
        ({"Status": 200, "FlowSetBytes": ["no base64!"]}, Format.JSON, 200),
        ({"Status": 200, "FlowSetBytes": [7]}, Format.JSON, 200),
        ({"Status": 200, "FlowSetBytes": 7}, Format.JSON, 200),
    ],
)
def test_an_answer_that_is_none_is_refused(obj: Any, format_: Format, status: int) -> None:
    """The query goes on without that agent."""
    with pytest.raises(ProtocolError) as raised:
        read_result(Message("Flow", "TableResult", obj, "u", status, format_))
    assert "\n" not in str(raised.value)
