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
from typing import TYPE_CHECKING, Any

from skydiver.base.errors import ConfigError, Unavailable
from skydiver.broker.capabilities import CAP_KILL, lower

if TYPE_CHECKING:
    import ssl

DEFAULT_PORT = 8082
READY_S = 30.0
"""How long both parts may take until the API answers."""
STOP_S = 10.0
"""How long a part may take to end after SIGTERM."""
STEADY_S = 10.0
"""A part that ran this long was well; one that did not is started again after a longer pause."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

STANDARD_INPUT = "/proc/self/fd/0"
MOST_INPUT = 1024 * 1024 + 1
"""Bytes of standard input that are kept; a configuration with more is refused."""

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Part:
    """One supervised process: ``analyzer`` or ``agent``."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    reads_input: bool = False
    """Whether the configuration comes by standard input."""
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    restart_at: float | None = None
    """Not None while it is down."""

    def start(self) -> None:
        self.started = time.monotonic()
        self.restart_at = None
        # Opened again, a kept standard input begins at its beginning.
        with open(STANDARD_INPUT if self.reads_input else os.devnull, "rb") as standard_input:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "skydiver.cli", *self.arguments],
                env=dict(self.environment),
                stdin=standard_input,
                # A group of its own: Ctrl-C reaches this parent, which ends the parts in order.
                process_group=0,
                preexec_fn=_before_program,
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


def keep_standard_input() -> None:
    """Let what comes by standard input be read by this process, by each part, and again."""
    kept = os.memfd_create("standard input")
    left = MOST_INPUT
    while left > 0 and (piece := os.read(0, left)):
        os.write(kept, piece)
        left -= len(piece)
    os.lseek(kept, 0, os.SEEK_SET)
    os.dup2(kept, 0)
    os.close(kept)


def run(
    *,
    global_options: Sequence[str],
    analyzer_address: tuple[str, int],
    agent_address: tuple[str, int],
    analyzer_uid: int | None,
    reads_input: bool = False,
    tls: ssl.SSLContext | None = None,
    cacert: str = "",
) -> int:
    """Run both parts until a signal; the exit status.

    `global_options` (``--conf`` …) are passed on, and standard input when it is read. `tls` is how
    the analyzer is asked, `cacert` what a client is told to trust. A part that dies is started
    again; one that cannot start at all ends everything with its own error message.
    """
    refuse_taken_ports({"analyzer": analyzer_address, "agent": agent_address})
    analyzer_url = _url(analyzer_address, tls)
    uid = [] if analyzer_uid is None else ["--analyzer-uid", str(analyzer_uid)]
    environment = os.environ | {"SKYDIVE_ANALYZERS": _authority(analyzer_address)}
    parts = [
        Part("analyzer", [*global_options, "analyzer", *uid], environment, reads_input),
        Part("agent", [*global_options, "agent"], environment, reads_input),
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
        give_up_privileges()
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
                announced = _announce(analyzer_address, analyzer_url, tls, cacert)
                if not announced and time.monotonic() > deadline:
                    raise Unavailable(f"the analyzer at {analyzer_url} does not answer")
            time.sleep(0.25 if announced else 0.02)
    finally:
        # The agent first: its elements then leave the analyzer in order.
        for part in reversed(parts):
            part.stop()
    return 0


def _announce(address: tuple[str, int], url: str, tls: ssl.SSLContext | None, cacert: str) -> bool:
    """Print where to look and what is seen; False when it is too early."""
    try:
        kinds = _query(address, "G.V().Values('Type')", tls)
        interfaces = _query(address, "G.V().HasKey('IfIndex')", tls)
    except PermissionError:
        print(f"Skydive is running: {url} (it asks for a user name and a password)")
    except (OSError, ValueError, http.client.HTTPException) as error:
        if tls is not None:
            _refuse_untrusted(error, url)
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
    option += f" --cacert {cacert}" if tls is not None and cacert else ""
    print(f"  skydive client{option} query \"G.V().Has('Type', 'netns')\"")
    print(f"  skydive client{option} status")
    print("Ctrl-C stops everything.", flush=True)
    return True


def _refuse_untrusted(error: Exception, url: str) -> None:
    """Raise what waiting does not mend; the agent would fail like this process."""
    from skydiver.client.tls import reason_of

    reason = reason_of(error)
    if "certificate" in reason:
        raise ConfigError(f"TLS to the analyzer at {url}: {reason}") from error


def _query(address: tuple[str, int], gremlin: str, tls: ssl.SSLContext | None) -> list[Any]:
    connection = (
        http.client.HTTPConnection(*address, timeout=2)
        if tls is None
        else http.client.HTTPSConnection(*address, timeout=2, context=tls)
    )
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


def refuse_taken_ports(addresses: Mapping[str, tuple[str, int]]) -> None:
    """Listen on the addresses of the parts for a moment, on all at once."""
    with contextlib.ExitStack() as probes:
        for part, (host, port) in addresses.items():
            if port == 0:
                raise ConfigError(f"{part}.listen: expected a port, got 0, which nobody could find")
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            probe = probes.enter_context(socket.socket(family))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                ports = [other for _, other in addresses.values()]
                hint = (
                    "analyzer.listen and agent.listen need different ports"
                    if ports.count(port) > 1
                    else f"is Skydive running already? ({part}.listen sets another address)"
                )
                raise ConfigError(
                    f"the {part} cannot listen on {where}: {reason}; {hint}"
                ) from error


def give_up_privileges() -> None:
    """Keep in effect only what ends a part of another user; the rest is for parts started again.

    Giving that up too would change nothing, since root gets it back with each program, but the
    kernel would forget that the parts are to end with this process.
    """
    lower(1 << CAP_KILL)


def _before_program() -> None:
    lower(-1)  # all that is permitted takes effect again
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _outcome(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _authority(address: tuple[str, int]) -> str:
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(address: tuple[str, int], tls: ssl.SSLContext | None) -> str:
    return f"http{'s' if tls else ''}://{_authority(address)}"
