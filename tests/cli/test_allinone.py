"""Analyzer and agent under one parent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import authority

from skydiver.base.errors import ConfigError
from skydiver.cli import allinone
from skydiver.client.rest import Access, Client
from skydiver.lab.running import free_port

NOBODY = 65534


def started(configuration: str, *options: str, **how: Any) -> subprocess.Popen[str]:
    """Both parts, configured by standard input."""
    process = subprocess.Popen(
        [sys.executable, "-m", "skydiver.cli", "-c", "-", "allinone", *options],
        env={k: v for k, v in os.environ.items() if not k.startswith("SKYDIVE_")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )
    assert process.stdin is not None
    process.stdin.write(configuration)
    process.stdin.close()
    process.stdin = None
    return process


def until(found: Callable[[], Any]) -> Any:
    """What `found` gives as soon as it is something."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if result := found():
                return result
        except OSError:
            pass
        time.sleep(0.05)
    pytest.fail("it did not happen within 30 s")


def children(pid: int) -> dict[str, int]:
    """The parts of an allinone by name."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        words = Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8").split("\0")
        # Neither dead nor still a copy of its parent.
        found.update({name: int(child) for name in ("agent", "analyzer") if words[5:6] == [name]})
    return found


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


def test_two_parts_at_one_port_are_refused_before_anything_starts() -> None:
    """Each alone could have it."""
    port = free_port()
    with pytest.raises(ConfigError, match="need different ports"):
        allinone.refuse_taken_ports({"analyzer": ("127.0.0.1", port), "agent": ("0.0.0.0", port)})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("agent.topology.probes: [nosuch]", "agent.topology.probes: unknown probe 'nosuch'"),
        ("agent.auth.api.backend: nope", "agent.auth.api.backend: no section auth.nope"),
        ("analyzer.startup.capture_gremlin: G.X()", "analyzer.startup: unknown step 'X'"),
        ("tls: {server_cert: /x, server_key: /y}", "TLS certificate /x: no such file"),
        ("agnt: 1", "standard input, line 4: unknown key agnt"),
    ],
)
def test_an_error_of_either_part_is_one_line_before_anything_starts(
    tmp_path: Path, line: str, said: str
) -> None:
    """An agent that cannot start must not leave a lonely analyzer behind it, nor the reverse."""
    configuration = (
        f"data_dir: {tmp_path}\nanalyzer.listen: 127.0.0.1:{free_port()}\n"
        f"agent.listen: 127.0.0.1:{free_port()}\n{line}\n"
    )
    uid = ["--analyzer-uid", str(NOBODY)] if os.geteuid() == 0 else []
    process = started(configuration, *uid)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == ""
    assert err.splitlines() == [err.strip()]
    assert err.startswith(f"skydive: {said}")


@pytest.mark.root
def test_a_configuration_by_standard_input_outlives_a_restart_of_a_part(tmp_path: Path) -> None:
    """Two processes read it, and a third when one of them has died."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    analyzer, agent = free_port(), free_port()
    process = started(
        f"data_dir: {tmp_path}/data\nhost_id: piped\nanalyzer.listen: 127.0.0.1:{analyzer}\n"
        f"agent.listen: 127.0.0.1:{agent}\n",
        *("--analyzer-uid", str(NOBODY)),
    )

    def host(port: int) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5) as answer:
            return json.load(answer)["Host"]

    try:
        assert until(lambda: host(analyzer)) == until(lambda: host(agent)) == "piped"
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        assert "CapEff:\t0000000000000020" in status  # to end a part of another user
        before = children(process.pid)
        os.kill(before["agent"], signal.SIGKILL)
        after = until(lambda: children(process.pid).get("agent") not in {None, before["agent"]})
        assert after
        assert until(lambda: host(agent)) == "piped"
        broker = until(
            lambda: Path(
                f"/proc/{(pid := children(process.pid)['agent'])}/task/{pid}/children"
            ).read_text()
        )
        capabilities = Path(f"/proc/{broker.split()[0]}/status").read_text(encoding="utf-8")
        assert "CapEff:\t0000000000000000" not in capabilities
    finally:
        parts = children(process.pid).values()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=15)
    # The parts end with their parent, also that of another user.
    until(lambda: not any(map(_alive, parts)))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.root
def test_both_parts_talk_by_tls(tmp_path: Path) -> None:
    """Agent to analyzer, client to analyzer, and the parent that announces them."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    ca = authority(tmp_path / "ca")
    cert, key = ca.issue("host")
    Path(key).chmod(0o600)  # for root only: it is read before the analyzer becomes somebody else
    analyzer, agent = free_port(), free_port()
    configuration = (
        f"data_dir: {tmp_path}/data\nhost_id: safe\nanalyzer.listen: 127.0.0.1:{analyzer}\n"
        f"agent.listen: 127.0.0.1:{agent}\n"
        f"tls: {{ca_cert: {ca.cert}, server_cert: {cert}, server_key: {key}, client_cert: {cert}, "
        f"client_key: {key}, require_client_cert: true}}\n"
    )
    process = started(configuration, "--analyzer-uid", str(NOBODY))
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first == f"Skydive is running: https://127.0.0.1:{analyzer}\n"
        said = [process.stdout.readline() for _ in range(5)]
        assert f" --cacert {ca.cert} " in said[2]
        for port in (analyzer, agent):
            access = Access(port=port, cacert=ca.cert, cert=cert, key=key, tls=True)
            with Client(access) as client:
                assert "safe" in client.lookup("G.V().Has('Type', 'host').Values('Name')")
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in log
