"""``skydive allinone``: analyzer and agent of one host as two supervised child processes."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skydiver.base.errors import ConfigError, Unavailable

DEFAULT_PORT = 8082
READY_S = 30.0
"""How long both parts may take until the API answers."""
STOP_S = 10.0
"""How long a part may take to end after SIGTERM."""
STEADY_S = 10.0
"""A part that ran this long was well; one that did not is started again after a longer pause."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Part:
    """One supervised process: ``analyzer`` or ``agent``."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    restart_at: float | None = None
    """Not None while it is down."""

    def start(self) -> None:
        self.started = time.monotonic()
        self.restart_at = None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "skydiver.cli", *self.arguments],
            env=dict(self.environment),
            # A group of its own: Ctrl-C reaches this parent, which ends the parts in order.
            process_group=0,
            preexec_fn=_die_with_parent,
        )

    def supervise(self) -> int | None:
        """Start it again when it has ended and the pause is over; its status when it just ended."""
        now = time.monotonic()
        if self.restart_at is not None:
            if now >= self.restart_at:
                self.start()
            return None
        status = self.process.poll() if self.process else None
        if status is not None:
            well = now - self.started > STEADY_S
            self.pause_s = FIRST_PAUSE_S if well else min(self.pause_s * 2, LONGEST_PAUSE_S)
            self.restart_at = now + self.pause_s
        return status

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run(
    *,
    global_options: Sequence[str],
    analyzer_address: tuple[str, int],
    agent_address: tuple[str, int],
    analyzer_uid: int | None,
) -> int:
    """Run both parts until a signal; the exit status.

    `global_options` (``--conf`` …) are passed on. A part that dies is started again; one that
    cannot start at all ends everything with its own error message.
    """
    for name, (host, port) in (("analyzer", analyzer_address), ("agent", agent_address)):
        _refuse_taken_port(name, host, port)
    analyzer_url = _url(analyzer_address)
    uid = [] if analyzer_uid is None else ["--analyzer-uid", str(analyzer_uid)]
    environment = os.environ | {"SKYDIVE_ANALYZERS": _authority(analyzer_address)}
    parts = [
        Part("analyzer", [*global_options, "analyzer", *uid], environment),
        Part("agent", [*global_options, "agent"], environment),
    ]
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        for part in parts:
            part.start()
        deadline = time.monotonic() + READY_S
        announced = False
        while not stopping:
            for part in parts:
                status = part.supervise()
                if status is None:
                    continue
                print(f"skydive: the {part.name} ended with {_outcome(status)}", file=sys.stderr)
                if not announced and status > 0:
                    return 1  # it has said what is wrong, and would say it again
            if not announced:
                announced = _announce(analyzer_address, analyzer_url)
                if not announced and time.monotonic() > deadline:
                    raise Unavailable(f"the analyzer at {analyzer_url} does not answer")
            time.sleep(0.25 if announced else 0.02)
    finally:
        # The agent first: its elements then leave the analyzer in order.
        for part in reversed(parts):
            part.stop()
    return 0


def _announce(address: tuple[str, int], url: str) -> bool:
    """Print where to look and what is seen; False when it is too early."""
    try:
        kinds = _query(address, "G.V().Values('Type')")
        interfaces = _query(address, "G.V().HasKey('IfIndex')")
    except PermissionError:
        print(f"Skydive is running: {url} (it asks for a user name and a password)")
    except (OSError, ValueError, http.client.HTTPException):
        return False
    else:
        if "host" not in kinds:
            return False
        # The agent sends the host as one message once it has seen it all.
        namespaces = _plural(kinds.count("netns"), "namespace")
        print(f"Skydive is running: {url}")
        print(f"It sees {namespaces}, {_plural(len(interfaces), 'interface')}.")
    print("Try, in a second terminal:")
    # Clients look at the default address unless they are told another.
    option = "" if address[1] == DEFAULT_PORT else f" --analyzer {_authority(address)}"
    print(f"  skydive client{option} query \"G.V().Has('Type', 'netns')\"")
    print(f"  skydive client{option} status")
    print("Ctrl-C stops everything.", flush=True)
    return True


def _query(address: tuple[str, int], gremlin: str) -> list[Any]:
    connection = http.client.HTTPConnection(*address, timeout=2)
    with contextlib.closing(connection):
        connection.request("POST", "/api/topology", json.dumps({"GremlinQuery": gremlin}))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status in {401, 405}:
            raise PermissionError("not without a password")
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}")
        result = json.loads(body) or []
        if not isinstance(result, list):
            raise ValueError("not a list")
        return result


def _refuse_taken_port(part: str, host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(
                f"the {part} cannot listen on {host}:{port}: {reason}; "
                f"is Skydive running already? ({part}.listen sets another address)"
            ) from error


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _outcome(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _authority(address: tuple[str, int]) -> str:
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(address: tuple[str, int]) -> str:
    return f"http://{_authority(address)}"
