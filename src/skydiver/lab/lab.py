"""A small network of namespaces, built in a few lines and gone at the end whatever happens.

    with Lab("shop") as lab:
        web, user, switch = lab.netns("web"), lab.netns("user"), lab.netns("switch")
        with lab.batch():
            lab.veth((web, "eth0"), (switch, "tap-web"))
            lab.veth((user, "eth0"), (switch, "tap-user"))
            lab.bridge(switch, "br0", "tap-web", "tap-user")
            lab.address(web, "eth0", "10.0.0.18/24")
            lab.address(user, "eth0", "10.0.0.17/24")
        lab.http_server(web, "10.0.0.18")
        lab.http_get(user, "http://10.0.0.18/")

The namespace `web` is ``shop-web`` for `ip netns`; names of devices inside namespaces are as
given, and they are up. Everything happens inside the lab's own namespaces, except for devices
put on `lab.host`, whose names get the lab's prefix.

Cleaning up does not depend on a clean end: see `skydiver.lab.record`. SIGTERM ends a lab like
an exception would, unless the program has a handler of its own.

Calls take effect at once; inside ``with lab.batch():`` they are collected and done with one
`ip -batch` for the host side (namespaces and the links between them) and one for each
namespace, which is what makes large labs quick.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, NoReturn, TypeVar

from skydiver.base.errors import Unavailable
from skydiver.lab import traffic
from skydiver.lab.record import (
    NAMESPACES,
    RECORDS,
    Record,
    claim,
    device_index,
    namespace_inode,
    process_start,
    release,
    stop_processes,
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A place for devices and processes."""

    name: str
    """As given by the builder; ``host`` for the namespace that the lab was started in."""
    full: str
    """As `ip netns` knows it; empty for the host."""

    @property
    def path(self) -> Path:
        """File to open for `setns`."""
        return NAMESPACES / self.full if self.full else Path("/proc/self/ns/net")


End = tuple[Namespace, str]
"""Where one end of a link goes, and its name there."""


@dataclass(frozen=True, slots=True)
class Process:
    """A background process of the lab."""

    popen: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        """The process itself: `ip netns exec` replaces itself by the command."""
        return self.popen.pid

    def running(self) -> bool:
        """False once it has ended."""
        return self.popen.poll() is None

    def stop(self) -> None:
        """End it and wait until it is gone."""
        # Once waited for, the number may belong to another process.
        if self.running():
            stop_processes({self.pid: process_start(self.pid) or 0})
            self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # what it has not read is of no use any more
                    stream.close()


class Lab:
    """Namespaces, links and traffic with one owner."""

    def __init__(self, name: str = "lab", *, records: Path = RECORDS) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,7}", name):
            raise ValueError(f"lab name {name!r}: expected up to 8 lower-case letters and digits")
        self._name = name
        self._records = records
        self._record: Record | None = None
        self._processes: list[Process] = []
        self._waiting: dict[Namespace, list[str]] | None = None
        self._terminated: Callable[[int, FrameType | None], None] | None = None
        self.host = Namespace("host", "")
        """The namespace that the lab was started in."""

    # -- life ---------------------------------------------------------------------------

    def __enter__(self) -> Lab:
        if shutil.which("ip") is None:
            raise Unavailable("the command ip is not installed (package iproute2)")
        if os.geteuid() != 0:
            raise Unavailable("a lab of network namespaces needs root; try again with sudo")
        self._record = claim(self._name, self._records)
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        ):
            self._terminated = _terminated
            signal.signal(signal.SIGTERM, _terminated)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the processes and remove the devices and namespaces. May be called twice."""
        record, self._record = self._record, None
        if record is None:
            return
        if self._terminated is not None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # already ending
        stop_processes(record.processes)
        for process in self._processes:
            process.stop()
        record.remove()
        release(record, self._records)
        if self._terminated is not None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    @property
    def prefix(self) -> str:
        """Begins the name of everything that this lab makes on the host."""
        return self._owned().prefix

    def _owned(self) -> Record:
        if self._record is None:
            raise RuntimeError("this lab is not open: use it as 'with Lab(...) as lab:'")
        return self._record

    # -- building -----------------------------------------------------------------------

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Collect the calls of the block and do them together at its end."""
        if self._waiting is not None:
            yield
            return
        self._waiting = {self.host: []}
        try:
            yield
            waiting = self._waiting
        finally:
            self._waiting = None
        for namespace, lines in waiting.items():
            self._batch(namespace, lines)

    def netns(self, name: str) -> Namespace:
        """Make a namespace with its loopback device up."""
        namespace = Namespace(name, f"{self.prefix}-{name}")
        if namespace_inode(namespace.full):
            raise ValueError(f"namespace {namespace.full} exists already")
        self._owned().namespaces[namespace.full] = 0
        self.ip(self.host, "netns add", namespace.full)
        self.ip(namespace, "link set dev lo up")
        return namespace

    def delete_netns(self, namespace: Namespace) -> None:
        """Remove a namespace's name; the kernel removes the rest once no process is left inside."""
        self.ip(self.host, "netns del", namespace.full)
        if self._waiting is None:
            self._owned().namespaces.pop(namespace.full, None)

    def veth(
        self, a: End, b: End, *, mac_a: str = "", mac_b: str = "", mtu: int = 0
    ) -> tuple[str, str]:
        """Link two places by a pair of devices, both up; returns their names there."""
        names = self._device(a), self._device(b)
        ends = [
            f"{name} netns {_kernel_name(end[0])}"
            + (f" address {mac}" if mac else "")
            + (f" mtu {mtu}" if mtu else "")
            for name, end, mac in zip(names, (a, b), (mac_a, mac_b), strict=True)
        ]
        self.ip(self.host, "link add", ends[0], "type veth peer name", ends[1])
        self.up(a[0], names[0])
        self.up(b[0], names[1])
        return names

    def bridge(self, place: Namespace, name: str, *ports: str) -> str:
        """Make a bridge without spanning tree, with these devices as its ports."""
        real = self._add(place, name, "type bridge stp_state 0 forward_delay 0")
        for port in ports:
            self.ip(place, "link set dev", port, "master", real)
        return real

    def vxlan(
        self,
        place: Namespace,
        name: str,
        vni: int,
        *,
        local: str,
        remote: str,
        port: int = 4789,
    ) -> str:
        """Make one end of a point to point VXLAN tunnel."""
        return self._add(
            place, name, f"type vxlan id {vni} local {local} remote {remote} dstport {port}"
        )

    def macvlan(self, place: Namespace, name: str, parent: str, *, mode: str = "bridge") -> str:
        """Make a second identity on top of `parent`."""
        return self._add(place, name, f"link {parent} type macvlan mode {mode}")

    def ifb(self, place: Namespace, name: str) -> str:
        """Make an intermediate functional block device."""
        return self._add(place, name, "type ifb")

    def tap(self, place: Namespace, name: str) -> str:
        """Make a persistent tap device that no program has open."""
        real = self._device((place, name))
        self.ip(place, "tuntap add dev", real, "mode tap")
        self.up(place, real)
        return real

    def address(self, place: Namespace, device: str, *addresses: str) -> None:
        """Give a device these addresses with their prefix lengths, usable at once."""
        for address in addresses:
            # Duplicate address detection would keep an IPv6 address unusable for a second.
            self.ip(place, "addr add", address, "dev", device, "nodad" if ":" in address else "")

    def route(self, place: Namespace, destination: str, *, via: str = "", device: str = "") -> None:
        """Add a route; `destination` may be ``default``."""
        words = [f"via {via}" if via else "", f"dev {device}" if device else ""]
        family = "-6" if ":" in destination + via else ""
        self.ip(place, family, "route add", destination, *words)

    def up(self, place: Namespace, device: str) -> None:
        """Bring a device up."""
        self.ip(place, "link set dev", device, "up")

    def down(self, place: Namespace, device: str) -> None:
        """Take a device down."""
        self.ip(place, "link set dev", device, "down")

    def delete(self, place: Namespace, device: str) -> None:
        """Delete a device."""
        self.ip(place, "link del dev", device)

    def forward(self, place: Namespace) -> None:
        """Make a namespace a router."""
        self._flush(place)
        self.run(
            place,
            [
                "sh",
                "-c",
                "echo 1 | tee /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding",
            ],
        )

    def masquerade(self, place: Namespace, out: str) -> None:
        """Translate the source addresses of what leaves by the device `out` (NAT)."""
        self._flush(place)
        if shutil.which("iptables"):
            commands = [
                ["iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-o", out, "-j", "MASQUERADE"]
            ]
        elif shutil.which("nft"):
            chain = "{ type nat hook postrouting priority 100; }"
            commands = [
                ["nft", "add table ip lab"],
                ["nft", f"add chain ip lab out {chain}"],
                ["nft", f"add rule ip lab out oifname {out} masquerade"],
            ]
        else:
            raise Unavailable("neither iptables nor nft is installed; one is needed for NAT")
        for command in commands:
            self.run(place, command)

    def ip(self, place: Namespace, *words: str) -> None:
        """Run any `ip` command in a place, for what has no method here."""
        line = " ".join(word for word in words if word)
        if "\n" in line:
            raise ValueError(f"a line break in {line!r}")
        if self._waiting is not None:
            self._waiting.setdefault(place, []).append(line)
        else:
            self._batch(place, [line])

    def _add(self, place: Namespace, name: str, kind: str) -> str:
        real = self._device((place, name))
        self.ip(place, "link add", real, kind)
        self.up(place, real)
        return real

    def _device(self, end: End) -> str:
        """The name that a device gets; on the host it is prefixed and written down first."""
        place, name = end
        if place.full:
            return name
        real = f"{self.prefix}-{name}"
        if len(real) > 15:
            raise ValueError(f"device name {real!r} on the host is over 15 characters")
        if device_index(real):
            raise ValueError(f"device {real} exists already on the host")
        self._owned().devices[real] = 0
        return real

    def _flush(self, place: Namespace) -> None:
        """Do what waits for the host side and for `place`, before a command needs it."""
        if self._waiting is None:
            return
        for key in dict.fromkeys((self.host, place)):
            self._batch(key, self._waiting.get(key, []))
            self._waiting[key] = []

    def _batch(self, place: Namespace, lines: Sequence[str]) -> None:
        if not lines:
            return
        record = self._owned()
        on_host = not place.full
        if on_host:
            record.save(self._records)
        where = ["-n", place.full] if place.full else []
        done = subprocess.run(
            ["ip", *where, "-batch", "-"],
            input="\n".join(lines) + "\n",
            text=True,
            capture_output=True,
            check=False,
            start_new_session=True,
        )
        if on_host:
            record.namespaces = _present(record.namespaces, namespace_inode)
            record.devices = _present(record.devices, device_index)
            record.save(self._records)
        if done.returncode:
            raise Unavailable(_failure(place, lines, done.stderr))

    # -- running ------------------------------------------------------------------------

    def command(self, place: Namespace, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in a place."""
        return ["ip", "netns", "exec", place.full, *argv] if place.full else list(argv)

    def run(
        self, place: Namespace, argv: Sequence[str], *, check: bool = True, timeout_s: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a place and wait for it; a failure raises unless `check` is False."""
        self._flush(place)
        done = subprocess.run(
            self.command(place, argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )
        if check and done.returncode:
            said = " ".join((done.stderr or done.stdout).split()) or "nothing said"
            raise Unavailable(f"{argv[0]} in {place.name}: status {done.returncode}: {said}")
        return done

    def spawn(
        self,
        place: Namespace,
        argv: Sequence[str],
        *,
        output: int | IO[Any] = subprocess.DEVNULL,
        errors: int | IO[Any] = subprocess.DEVNULL,
    ) -> Process:
        """Start a command in a place; it ends with the lab at the latest."""
        self._flush(place)
        popen = subprocess.Popen(
            self.command(place, argv),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        process = Process(popen)
        self._processes.append(process)
        record = self._owned()
        record.processes[popen.pid] = process_start(popen.pid) or 0
        record.save(self._records)
        return process

    # -- traffic ------------------------------------------------------------------------

    def ping(
        self, place: Namespace, address: str, *, count: int = 1, timeout_s: float = 1.0
    ) -> int:
        """Send echo requests one after the other; returns how many were answered in time."""
        argv = _traffic("ping", address, f"--count={count}", f"--timeout={timeout_s}")
        return int(self.run(place, argv, timeout_s=count * timeout_s + 10).stdout)

    def pings(self, place: Namespace, address: str, *, every_s: float = 1.0) -> Process:
        """Send an echo request every `every_s` until the lab ends."""
        return self._traffic(place, "ping", address, "--count=0", f"--every={every_s}")

    def http_server(
        self, place: Namespace, address: str, port: int = 80, *, size: int = 512
    ) -> Process:
        """Serve a page of `size` bytes; returns when it accepts connections."""
        return self._listening(place, "http-server", address, str(port), f"--size={size}")

    def http_get(self, place: Namespace, url: str, *, timeout_s: float = 5.0) -> bytes:
        """Fetch a page once."""
        argv = _traffic("http-client", url, "--count=1", f"--timeout={timeout_s}")
        return self.run(place, argv, timeout_s=timeout_s + 10).stdout.encode()

    def http_gets(self, place: Namespace, url: str, *, every_s: float = 1.0) -> Process:
        """Fetch a page every `every_s`, each time on a new connection, until the lab ends."""
        return self._traffic(place, "http-client", url, "--count=0", f"--every={every_s}")

    def sink(self, place: Namespace, kind: str, address: str, port: int) -> Process:
        """Take and drop what arrives at a port; `kind` is ``udp`` or ``tcp``."""
        return self._listening(place, f"{kind}-sink", address, str(port))

    def send(
        self,
        place: Namespace,
        kind: str,
        address: str,
        port: int,
        *,
        count: int,
        size: int = 64,
        rate: float = 1000.0,
    ) -> Process:
        """Send `count` messages of `size` bytes, at most `rate` a second, over ``udp`` or ``tcp``.

        The process ends when all are sent.
        """
        return self._traffic(
            place, f"{kind}-send", address, str(port),
            f"--count={count}", f"--size={size}", f"--rate={rate}",
        )  # fmt: skip

    def _traffic(self, place: Namespace, *words: str) -> Process:
        return self.spawn(place, [*_traffic(*words), "--with-owner"])

    def _listening(self, place: Namespace, *words: str) -> Process:
        argv = [*_traffic(*words), "--with-owner"]
        process = self.spawn(place, argv, output=subprocess.PIPE)
        assert process.popen.stdout is not None
        # The program says one line: "listening", or why it cannot.
        said = process.popen.stdout.readline().strip()
        if said != "listening":
            process.stop()
            raise Unavailable(f"{words[0]} in {place.name}: {said or 'ended at once'}")
        return process


def wait_until(
    condition: Callable[[], Result], what: str, *, timeout_s: float = 5.0, every_s: float = 0.02
) -> Result:
    """Poll until `condition` returns something true, and return that; TimeoutError names `what`."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(every_s)
    return result


def _present(names: Iterable[str], identity: Callable[[str], int]) -> dict[str, int]:
    return {name: found for name in names if (found := identity(name))}


def _traffic(*words: str) -> list[str]:
    # The file and not the module: it needs the standard library only, and starts faster so.
    return [sys.executable, "-I", str(Path(traffic.__file__)), *words]


def _kernel_name(place: Namespace) -> str:
    return place.full or str(os.getpid())


def _failure(place: Namespace, lines: Sequence[str], stderr: str) -> str:
    """Name the command that failed: `ip` says ``Command failed -:3`` for the third line."""
    found = re.search(r"Command failed -:(\d+)", stderr)
    line = lines[int(found[1]) - 1] if found else lines[0]
    reason = " ".join(re.sub(r"Command failed -:\d+", "", stderr).split())
    return f"ip {line} (in {place.name}): {reason or 'failed'}"


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
