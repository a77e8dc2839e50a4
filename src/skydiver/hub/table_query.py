"""Questions to flow tables and their answers, inside `Flow` messages (api.md §2.15).

We send protobuf. The development revision of the original sends JSON, so both are read.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError

from skydiver.base.errors import ProtocolError
from skydiver.filters import filters_pb2
from skydiver.flow import tables_pb2
from skydiver.hub.messages import OK, Format, Message, event

NAMESPACE = "Flow"
QUERY = "TableQuery"
RESULT = "TableResult"

_SEARCH = "SearchQuery"


def query_message(search: bytes) -> Message:
    """Ask for what a serialized `filters.SearchQuery` describes."""
    query = tables_pb2.TableQuery(Type=_SEARCH, query=filters_pb2.SearchQuery.FromString(search))
    question = event(NAMESPACE, QUERY, query.SerializeToString())
    return Message(NAMESPACE, QUERY, question.obj, question.uuid, format=Format.PROTOBUF)


def read_query(message: Message) -> bytes:
    """The serialized `filters.SearchQuery` that is asked."""
    try:
        if message.format is Format.PROTOBUF:
            query = tables_pb2.TableQuery.FromString(message.obj)
        else:
            query = ParseDict(message.obj, tables_pb2.TableQuery(), ignore_unknown_fields=True)
    except (DecodeError, ParseError, AttributeError, TypeError) as error:
        raise ProtocolError(f"{NAMESPACE}/{QUERY} holds no query: {_line(error)}") from None
    if query.Type != _SEARCH:
        raise ProtocolError(f"{NAMESPACE}/{QUERY} of type {query.Type!r}, expected {_SEARCH!r}")
    return query.query.SerializeToString()


def result_message(question: Message, flow_sets: Sequence[bytes]) -> Message:
    """Answer with one serialized `flow.FlowSet` per table."""
    reply = tables_pb2.TableReply(Status=OK, FlowSetBytes=flow_sets)
    return question.reply(RESULT, reply.SerializeToString(), format_=Format.PROTOBUF)


def read_result(message: Message) -> list[bytes]:
    """The serialized flow sets of an answer; `ProtocolError` when it is an error or garbage."""
    if message.status != OK:
        raise ProtocolError(f"{NAMESPACE}/{message.type} with status {message.status}")
    try:
        if message.format is Format.PROTOBUF:
            reply = tables_pb2.TableReply.FromString(message.obj)
            status, flow_sets = reply.Status, list(reply.FlowSetBytes)
        else:
            status, flow_sets = _read_json_result(message.obj)
    except (DecodeError, binascii.Error, AttributeError, TypeError, ValueError) as error:
        raise ProtocolError(f"{NAMESPACE}/{message.type} holds no flows: {_line(error)}") from None
    if status not in (0, OK):
        raise ProtocolError(f"{NAMESPACE}/{message.type} with status {status} inside")
    return flow_sets


def _read_json_result(value: Any) -> tuple[int, list[bytes]]:
    encoded = value.get("FlowSetBytes") or []
    return int(value.get("Status") or 0), [b64decode(text, validate=True) for text in encoded]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
