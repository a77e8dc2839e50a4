"""The envelope of every structured message, as JSON or as protobuf (api.md §§2.3-2.4).

Which of the two a peer speaks is settled by its handshake, never by the WebSocket opcode: original
programs send JSON in binary frames. The content of most messages is JSON whatever the envelope is;
only questions to flow tables and their answers are protobuf inside.

Everything here is hostile until decoded. One thing needs more than the parser's own limits: the
JSON library reads documents nested 1,023 deep but writes only 254, so a deep document that got into
the graph would make every later answer that holds it fail. Such a document is refused on arrival.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any

import msgspec
import orjson
from google.protobuf.message import DecodeError

from skydiver.base.errors import ProtocolError
from skydiver.base.ids import random_id
from skydiver.hub import envelope_pb2

OK = 200

MAX_DEPTH = 150
"""Objects and lists inside each other in what a message carries."""

_WRITABLE_DEPTH = 254
_PERHAPS_DEEP = MAX_DEPTH


class Protocol(StrEnum):
    """Encoding of the envelope, as `X-Client-Protocol` names it."""

    JSON = "json"
    PROTOBUF = "protobuf"


class Format(IntEnum):
    """Encoding of the content; numbers as on the wire."""

    JSON = 0
    PROTOBUF = 1


_FORMATS: Mapping[int, Format] = {member.value: member for member in Format}


class Message(msgspec.Struct, frozen=True):
    """One message. A struct of msgspec because one is made for each of 40,000 nodes a second."""

    namespace: str
    type: str
    obj: Any = None
    """Content: JSON values, or `orjson.Fragment` of JSON already written, or bytes of a protobuf
    message when `format` says so."""
    uuid: str = ""
    """Empty only in requests of browsers."""
    status: int = OK
    format: Format = Format.JSON

    def reply(
        self, type_: str, obj: Any, *, status: int = OK, format_: Format = Format.JSON
    ) -> Message:
        """The answer to this message: same namespace and identifier."""
        return Message(self.namespace, type_, obj, self.uuid, status, format_)


def event(namespace: str, type_: str, obj: Any) -> Message:
    """A message that answers nothing, with an identifier of its own."""
    return Message(namespace, type_, obj, random_id())


def decode(data: bytes, protocol: Protocol) -> Message:
    """Read one message; `ProtocolError` with one line for anything that is not one."""
    if protocol is Protocol.PROTOBUF:
        return _decode_protobuf(data)
    value = load_json(data)
    if type(value) is not dict:
        raise ProtocolError(f"message is not a JSON object: {_excerpt(data)}")
    namespace = value.get("Namespace") or ""
    type_ = value.get("Type") or ""
    uuid = value.get("UUID") or ""
    status = value.get("Status") or 0
    if (
        type(namespace) is not str
        or type(type_) is not str
        or type(uuid) is not str
        or type(status) is not int
    ):
        raise ProtocolError(
            "message needs strings as Namespace, Type and UUID and a number as Status: "
            f"{_excerpt(data)}"
        )
    # A JSON envelope cannot carry protobuf, whatever its Format says.
    return Message(namespace, type_, value.get("Obj"), uuid, status)


def _decode_protobuf(data: bytes) -> Message:
    try:
        envelope = envelope_pb2.Envelope.FromString(data)
    except DecodeError:
        raise ProtocolError(f"message is not a protobuf envelope: {_excerpt(data)}") from None
    content: Any
    format_ = _FORMATS.get(envelope.Format)
    if format_ is None:
        raise ProtocolError(
            f"message has the format {envelope.Format}, expected 0 (JSON) or 1 (protobuf)"
        )
    if format_ is Format.PROTOBUF:
        content = envelope.Obj
    else:
        content = load_json(envelope.Obj) if envelope.Obj else None
    return Message(
        envelope.Namespace, envelope.Type, content, envelope.UUID, envelope.Status, format_
    )


def encode(message: Message, protocol: Protocol) -> bytes:
    """Write one message."""
    if protocol is Protocol.PROTOBUF:
        return envelope_pb2.Envelope(
            Namespace=message.namespace,
            Type=message.type,
            UUID=message.uuid,
            Status=message.status,
            Format=envelope_pb2.Protobuf if message.format else envelope_pb2.Json,
            Obj=message.obj if message.format else orjson.dumps(message.obj),
        ).SerializeToString()
    if message.format:
        raise ValueError(f"{message.namespace}/{message.type}: no protobuf inside JSON")
    envelope: dict[str, Any] = {}
    if message.namespace:
        envelope["Namespace"] = message.namespace
    if message.type:
        envelope["Type"] = message.type
    if message.uuid:
        envelope["UUID"] = message.uuid
    if message.status:
        envelope["Status"] = message.status
    envelope["Obj"] = message.obj
    return orjson.dumps(envelope)


def load_json(data: bytes) -> Any:
    """A JSON document that can also be written again; `ProtocolError` otherwise."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"message is not JSON ({error}): {_excerpt(data)}") from None
    # Counting brackets costs next to nothing; few documents have enough to be worth the real test.
    if data.count(b"[") + data.count(b"{") > _PERHAPS_DEEP and _too_deep(value):
        raise ProtocolError(f"message is nested more than {MAX_DEPTH} deep: {_excerpt(data)}")
    return value


def _too_deep(value: Any) -> bool:
    """True when `value` inside as many lists as are left of the writer's limit is too much."""
    for _ in range(_WRITABLE_DEPTH - MAX_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def _excerpt(data: bytes) -> str:
    """The beginning of a message for a log line, printable whatever it holds."""
    shown = data[:40]
    return ascii(shown)[1:] + (f"… ({len(data)} bytes)" if len(data) > len(shown) else "")
