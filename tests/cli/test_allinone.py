"""Analyzer and agent under one parent."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from skydiver.base.errors import ConfigError
from skydiver.cli import allinone


def test_a_taken_port_is_said_before_anything_starts() -> None:
    """Two copies at once is the most common mistake of all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=f"the analyzer cannot listen on 127.0.0.1:{port}"):
            allinone.run(
                global_options=[],
                analyzer_address=("127.0.0.1", port),
                agent_address=("127.0.0.1", port),
                analyzer_uid=None,
            )


def test_a_part_that_ends_is_started_again_after_a_growing_pause(tmp_path: Path) -> None:
    """A part that crashes at once must not make the host busy starting it."""
    part = allinone.Part("part", ["version"], {"PATH": os.environ["PATH"]})
    part.start()
    pauses: list[float] = []
    deadline = time.monotonic() + 30
    while len(pauses) < 2 and time.monotonic() < deadline:
        if part.supervise() is not None:
            pauses.append(part.pause_s)
        time.sleep(0.01)
    part.stop()
    assert pauses == [2 * allinone.FIRST_PAUSE_S, 4 * allinone.FIRST_PAUSE_S]
