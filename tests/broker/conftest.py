"""A broker per test, and network namespaces of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from skydiver.broker import fork_broker
from skydiver.broker.client import Broker, NetnsRef


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker with whatever this process may do."""
    client = fork_broker()
    yield client
    client.close()


@pytest.fixture
def netns() -> Iterator[NetnsRef]:
    """A named network namespace; needs root."""
    name = f"skt-broker-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    path = f"/run/netns/{name}"
    try:
        found = os.stat(path)
        yield NetnsRef(path=path, pid=None, inode=found.st_ino, device=found.st_dev)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
