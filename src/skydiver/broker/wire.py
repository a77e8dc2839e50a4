"""What agent and broker say to each other: JSON and descriptors over one SOCK_SEQPACKET pair.

A request is one packet with a JSON object: ``id``, ``verb``, and the arguments of the verb. The
reply is one packet too: ``id``, then ``result`` or ``error`` (and ``refused``: the request itself
was wrong). A ``result`` too long for a packet travels in a memory file, and so do dumps: bulk is
neither copied through the channel nor limited by its buffer.

What the broker's process imports is kept small on purpose (no `typing`, no `dataclasses`): its
memory is part of the agent's.
"""

from __future__ import annotations

import array
import json
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:  # these modules would cost the broker a megabyte
    from collections.abc import Iterable
    from typing import Any

LARGEST_REQUEST = 65_536
LARGEST_REPLY = 65_536
MOST_DESCRIPTORS = 4


class Reply:
    """An answer on its way to the agent; the descriptors are closed after sending."""

    __slots__ = ("descriptors", "error", "id", "refused", "result")

    def __init__(self) -> None:
        self.id = 0
        self.result: Any = None
        self.error = ""
        self.refused = False
        """The request was wrong, as opposed to impossible now."""
        self.descriptors: list[int] = []


def encode(message: dict[str, Any]) -> bytes:
    """Compact JSON."""
    return json.dumps(message, separators=(",", ":")).encode()


def memory_file(name: str, content: bytes) -> int:
    """A descriptor of an anonymous file with `content`."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        write_all(descriptor, content)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def write_all(descriptor: int, content: bytes) -> None:
    """Write `content` to the end."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def send_reply(channel: socket.socket, reply: Reply) -> None:
    """Send `reply`; waits until there is room for it."""
    if reply.error:
        message = {"id": reply.id, "error": reply.error, "refused": reply.refused}
    else:
        message = {"id": reply.id, "result": reply.result}
    packet = encode(message)
    if len(packet) > LARGEST_REPLY:
        # The memory file comes last, and `long` tells the client to look there.
        reply.descriptors.append(memory_file("reply", packet))
        packet = encode({"id": reply.id, "long": True})
    ancillary = []
    if reply.descriptors:
        descriptors = array.array("i", reply.descriptors)
        ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors))
    channel.sendmsg([packet], ancillary)


def receive_reply(channel: socket.socket) -> tuple[bytes, list[int]]:
    """The next packet and its descriptors; an empty packet when the broker has ended."""
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
    packet, ancillary, flags, _ = channel.recvmsg(
        LARGEST_REPLY, room, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
    )
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(descriptors)
        raise OSError(f"a reply of the broker does not fit into {LARGEST_REPLY} bytes")
    return packet, list(descriptors)


def read_file(descriptor: int) -> bytes:
    """The whole content of a memory file; closes it."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


def close_all(descriptors: Iterable[int]) -> None:
    """Close each of them."""
    for descriptor in descriptors:
        os.close(descriptor)
