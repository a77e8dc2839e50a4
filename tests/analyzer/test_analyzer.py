"""The analyzer as a program: it starts unprivileged, keeps its objects, and says what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from skydiver.lab.running import free_port

NOBODY = 65534


@contextmanager
def analyzer(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    uid = ["--analyzer-uid", str(NOBODY)] if os.geteuid() == 0 else []
    settings = folder / "skydive.yml"
    settings.write_text(f"data_dir: {folder / 'data'}\nhost_id: a1\n", encoding="utf-8")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "skydiver.cli", "-c", str(settings)),
            *("analyzer", "--listen", f"127.0.0.1:{port}", *uid),
        ],
        env={k: v for k, v in os.environ.items() if not k.startswith("SKYDIVE_")},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                ask(port, "/api")
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=15)
        assert "Traceback" not in said
    assert process.returncode == 0


def ask(port: int, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def open_folder(tmp_path: Path) -> Path:
    """A folder that the user of the analyzer can enter; pytest's own are closed."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    return tmp_path


def test_captures_outlive_a_restart(tmp_path: Path) -> None:
    """What an operator asked for yesterday is still asked for after an upgrade."""
    folder, port = open_folder(tmp_path), free_port()
    with analyzer(folder, port) as process:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        uid = int(status.split("Uid:")[1].split()[0])
        assert uid != 0
        made = ask(port, "/api/capture", {"GremlinQuery": "G.V().Has('Name', 'eth0')"})
    with analyzer(folder, port):
        assert ask(port, "/api/capture")[made["UUID"]]["GremlinQuery"] == made["GremlinQuery"]


def test_a_wrong_query_is_one_line_with_its_column(tmp_path: Path) -> None:
    """The person at the other end sees this text and nothing else."""
    port = free_port()
    with analyzer(open_folder(tmp_path), port):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(port, "/api/topology", {"GremlinQuery": "G.V().Hass('Name', 'x')"})
        assert refused.value.code == 400
        text = refused.value.read().decode()
        assert text.count("\n") == 1
        assert "column" in text
