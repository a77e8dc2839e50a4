from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import orjson
import pytest

from skydiver.broker.wire import (
    LARGEST_REPLY,
    Reply,
    close_all,
    read_file,
    receive_reply,
    send_reply,
)

Channel = tuple[socket.socket, socket.socket]


@pytest.fixture
def channel() -> Iterator[Channel]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_a_result_arrives_with_its_descriptors(channel: Channel) -> None:
    """Descriptors are the point of the broker."""
    reply = Reply()
    reply.id, reply.result, reply.descriptors = 7, ["x"], list(os.pipe())
    send_reply(channel[1], reply)
    packet, (reader, writer) = receive_reply(channel[0])
    close_all(reply.descriptors)
    os.write(writer, b"through")
    assert os.read(reader, 10) == b"through"
    assert not os.get_inheritable(reader)
    assert orjson.loads(packet) == {"id": 7, "result": ["x"]}
    close_all((reader, writer))


def test_an_error_says_whether_the_request_was_wrong(channel: Channel) -> None:
    """A wrong request is a bug of ours; an impossible one is tried again."""
    reply = Reply()
    reply.error, reply.refused = "no such verb", True
    send_reply(channel[1], reply)
    packet, _ = receive_reply(channel[0])
    assert orjson.loads(packet) == {"id": 0, "error": "no such verb", "refused": True}


def test_a_long_result_travels_in_a_memory_file(channel: Channel) -> None:
    """The buffer of a socket holds some 200 KB; a host may have tens of thousands of processes."""
    reply = Reply()
    reply.id, reply.result = 3, "x" * (2 * LARGEST_REPLY)
    send_reply(channel[1], reply)
    packet, descriptors = receive_reply(channel[0])
    close_all(reply.descriptors)
    assert orjson.loads(packet) == {"id": 3, "long": True}
    assert orjson.loads(read_file(descriptors.pop())) == {"id": 3, "result": reply.result}


def test_the_end_of_the_other_side_is_an_empty_packet(channel: Channel) -> None:
    """This is how the agent learns that the broker died."""
    channel[1].close()
    assert receive_reply(channel[0]) == (b"", [])
