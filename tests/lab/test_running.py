"""Ports and processes of a running copy."""

import os
import socket

from skydiver.lab.running import descendants, free_port


def test_a_free_port_can_be_taken() -> None:
    """Tests run side by side, so none may insist on a port."""
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 0


def test_a_process_without_children_has_no_descendants() -> None:
    """Memory of a part is the sum over these processes; a stranger's would spoil it."""
    assert os.getpid() not in descendants(os.getpid())
