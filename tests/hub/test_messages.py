"""The envelope: both encodings, and refusing what is not one."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.errors import ProtocolError
from skydiver.hub import envelope_pb2
from skydiver.hub.messages import MAX_DEPTH, Format, Message, Protocol, decode, encode, event

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@pytest.mark.parametrize("protocol", Protocol)
@given(obj=JSON_VALUES, status=st.sampled_from([0, 200, 404]), uuid=st.text())
def test_a_message_survives_both_encodings(
    protocol: Protocol, obj: Any, status: int, uuid: str
) -> None:
    """A peer of either kind must see the same message."""
    message = Message("Graph", "NodeAdded", obj, uuid, status)
    assert decode(encode(message, protocol), protocol) == message


def test_json_carries_the_content_inline_and_leaves_out_what_is_empty() -> None:
    """Original programs read Obj as a value, and Go writes no empty members (api.md §2.4)."""
    message = Message("Graph", "SyncRequest", None, status=0)
    assert orjson.loads(encode(message, Protocol.JSON)) == {
        "Namespace": "Graph",
        "Type": "SyncRequest",
        "Obj": None,
    }


def test_the_protobuf_envelope_has_the_published_field_numbers() -> None:
    """The numbers are the contract with original agents: 1 to 6, JSON bytes in 6."""
    data = encode(Message("A", "B", {}, "C", 5), Protocol.PROTOBUF)
    assert data == b"\x0a\x01A\x12\x01B\x1a\x01C\x20\x05\x32\x02{}"


def test_protobuf_content_stays_bytes() -> None:
    """Table queries travel as protobuf inside protobuf; nobody here reads them as JSON."""
    message = Message("Flow", "TableQuery", b"\x01\xff", "u", format=Format.PROTOBUF)
    assert decode(encode(message, Protocol.PROTOBUF), Protocol.PROTOBUF) == message


def test_content_written_before_is_copied_as_it_is() -> None:
    """One change to many subscribers is turned into JSON once."""
    message = event("Graph", "NodeAdded", orjson.Fragment(b'{"ID":"n"}'))
    for protocol in Protocol:
        assert decode(encode(message, protocol), protocol).obj == {"ID": "n"}


def test_a_reply_has_the_identifier_of_the_request() -> None:
    """Requests are matched with answers by nothing else."""
    request = event("OnDemandCapture", "Start", {})
    reply = request.reply("StartReply", None, status=404)
    assert (reply.uuid, reply.namespace) == (request.uuid, request.namespace)
    assert (reply.type, reply.status) == ("StartReply", 404)


def test_a_request_of_a_browser_needs_neither_identifier_nor_status() -> None:
    """The original's web UI sends neither, or null."""
    data = b'{"Namespace":"Graph","Type":"SyncRequest","UUID":null,"Obj":{"Time":0}}'
    assert decode(data, Protocol.JSON) == Message("Graph", "SyncRequest", {"Time": 0}, "", 0)


@pytest.mark.parametrize(
    ("protocol", "data", "says"),
    [
        (Protocol.JSON, b"", "not JSON"),
        (Protocol.JSON, b"\xff\xfe\x00garbage", "not JSON"),
        (Protocol.JSON, b"[1]", "not a JSON object"),
        (Protocol.JSON, b'{"Namespace":1}', "needs strings"),
        (Protocol.JSON, b'{"Status":"200"}', "a number as Status"),
        (Protocol.JSON, b'{"Obj":"\\ud800"}', "not JSON"),
        (Protocol.JSON, b"[" * 100_000, "not JSON"),
        (Protocol.PROTOBUF, b"\xff\xff\xff", "not a protobuf envelope"),
        (Protocol.PROTOBUF, b"\x0a\x02\xff\xfe", "not a protobuf envelope"),
        (Protocol.PROTOBUF, b"\x28\x07", "format 7"),
        (Protocol.PROTOBUF, b"\x32\x01{", "not JSON"),
    ],
)
def test_garbage_is_refused_with_one_line(protocol: Protocol, data: bytes, says: str) -> None:
    """The line goes into a log that an operator reads, whatever the peer sent."""
    with pytest.raises(ProtocolError, match=says) as raised:
        decode(data, protocol)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400


def test_a_document_too_deep_to_be_written_again_is_refused() -> None:
    """Once in the graph it would make every answer that contains it fail."""

    def nested(depth: int) -> bytes:
        return b'{"Obj":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert decode(nested(MAX_DEPTH), Protocol.JSON)
    with pytest.raises(ProtocolError, match="nested more than"):
        decode(nested(MAX_DEPTH + 1), Protocol.JSON)
    deep = envelope_pb2.Envelope(Obj=b"[" * 300 + b"]" * 300).SerializeToString()
    with pytest.raises(ProtocolError, match="nested more than"):
        decode(deep, Protocol.PROTOBUF)


def test_many_brackets_side_by_side_are_no_depth() -> None:
    """A synchronisation of a large host has hundreds of thousands of them."""
    wide: dict[str, Any] = {"Obj": {"Nodes": [{"Metadata": {}} for _ in range(1_000)]}}
    assert decode(orjson.dumps(wide), Protocol.JSON).obj == wide["Obj"]
