"""Acknowledged batches of flows between agents and analyzers of ours (docs/api/websocket.md).

The agent names its stream in the handshake, the analyzer answers with the last batch of it that it
has. Originals ignore the header and answer without it, and are then spoken to as one of them would.
"""

from __future__ import annotations

import struct

from skydiver.base.errors import ProtocolError

HEADER = "X-Skydiver-Flows"
PATH = "/ws/agent/flow"

MOST_FLOWS = 10
"""Flows of a WebSocket message to an original (flows.md §8.1)."""
LARGEST_DATAGRAM = 41_460
"""Octets for which an original has room (flows.md §8.2)."""

_NUMBER = struct.Struct("!Q")
_LONGEST_NAME = 64


def pack(sequence: int, message: bytes | memoryview) -> bytes:
    """A batch: its number in the stream, then a `flow.Message`."""
    return b"".join((_NUMBER.pack(sequence), message))


def unpack(frame: bytes) -> tuple[int, bytes]:
    """Number and `flow.Message` of a batch."""
    if len(frame) < _NUMBER.size:
        raise ProtocolError(f"batch of flows of {len(frame)} bytes, expected a number of 8 first")
    return _NUMBER.unpack_from(frame)[0], frame[_NUMBER.size :]


def pack_acknowledgement(sequence: int) -> bytes:
    """All batches up to `sequence` were taken."""
    return _NUMBER.pack(sequence)


def unpack_acknowledgement(frame: bytes) -> int:
    if len(frame) != _NUMBER.size:
        raise ProtocolError(f"acknowledgement of {len(frame)} bytes, expected 8")
    number: int = _NUMBER.unpack(frame)[0]
    return number


def stream_name(value: str | None) -> str | None:
    """The name of a stream as an agent gave it; None for an agent that knows of no streams."""
    if value is None or not 0 < len(value) <= _LONGEST_NAME or not value.isalnum():
        return None
    return value


def position(value: str | None) -> int | None:
    """The last batch that an analyzer says it has; None for one that knows of no streams."""
    if value is None or not value.isdecimal() or len(value) > 20:
        return None
    return int(value)
