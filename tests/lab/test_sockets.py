"""A test can speak from inside a namespace without being in it."""

from __future__ import annotations

import socket

import pytest

from skydiver.lab import Lab
from skydiver.lab.sockets import open_socket


@pytest.mark.root
def test_a_socket_sees_the_interfaces_of_its_namespace_and_not_ours() -> None:
    """Everything that sends or captures in a lab depends on being in the right place."""
    with Lab("sock") as lab:
        a, b = lab.netns("a"), lab.netns("b")
        lab.veth((a, "only-here"), (b, "peer"))
        with open_socket(a, socket.AF_PACKET, socket.SOCK_RAW) as inside:
            inside.bind(("only-here", 0))
            assert inside.getsockname()[0] == "only-here"
        with (
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as outside,
            pytest.raises(OSError, match="No such device"),
        ):
            outside.bind(("only-here", 0))
