"""AF_PACKET capture: packets of an interface, through a ring shared with the kernel.

Also serves captures that ask for ``pcap``: on Linux libpcap reads the same rings.

The filter runs in the kernel, compiled by libpcap for what the packets of the interface begin
with. What the agent itself exchanges with its analyzers is left out (flows.md §6.3): a capture of
that would feed itself.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from skydiver.base.errors import ConfigError, Unavailable
from skydiver.base.settings import Settings
from skydiver.broker.client import NetnsRef
from skydiver.captures.capture import Capture, CaptureTarget, Counters, Stopped
from skydiver.captures.tables import table_counters, table_options
from skydiver.filters.bpf import (
    LINK_ETHERNET,
    LINK_IPV4,
    LINK_IPV6,
    LINK_RAW_IP,
    Instruction,
    compile_bpf,
)
from skydiver.native import CaptureEngine
from skydiver.objects.capture import Capture as Request

Result = TypeVar("Result")

DEFAULT_HEADER_SIZE = 256
MESSAGE_HEADER_SIZE = 1514
"""A whole frame of Ethernet: a message that is looked into goes on behind the headers."""
_MOST_WAITING = 64
_KEPT_WAITING = 2
_REST_S = 3.0
_LINK_TYPES = {
    "none": LINK_RAW_IP,
    "gre": LINK_RAW_IP,
    "sit": LINK_IPV4,
    "ipip": LINK_IPV4,
    "tunnel6": LINK_IPV6,
    "gre6": LINK_IPV6,
}


class PacketSockets(Protocol):
    """What opens packet sockets: the broker."""

    @property
    def missing(self) -> Sequence[str]:
        """What it lacks, in words that begin with the name of the privilege."""
        ...

    async def packet_socket(self, netns: NetnsRef | None) -> socket.socket:
        """An unbound AF_PACKET socket of type SOCK_RAW and protocol 0; None = the host."""
        ...


class AFPacket(Capture):
    """All AF_PACKET captures of the agent, on one engine."""

    names = ("afpacket", "pcap")

    def __init__(self, sockets: PacketSockets, settings: Settings) -> None:
        self._sockets = sockets
        self._flow = settings.flow
        self._excluded = tuple((at.host, at.port) for at in settings.analyzers)
        self._ring_budget_bytes = settings.agent.capture.ring_budget_mib * 1024 * 1024
        self._engine = CaptureEngine(
            threads=settings.agent.capture.threads, ring_budget_bytes=self._ring_budget_bytes
        )
        self._ring_bytes = 0
        # Starting and stopping wait for the kernel, up to 40 ms each; many wait together here, and
        # nobody else's work waits behind them.
        self._threads = BriefThreads(_MOST_WAITING)

    async def start(self, target: CaptureTarget, request: Request) -> int:
        _refuse_what_is_missing(request)
        header_size = request.header_size or (
            MESSAGE_HEADER_SIZE if request.extra_layers else DEFAULT_HEADER_SIZE
        )
        # In a thread, since a name in the filter is looked up.
        program = await self._run(self._program, request, target.encap, header_size)
        opened = await self._socket(target.netns)
        start = partial(
            self._engine.start,
            opened.detach(),
            ifindex=target.ifindex,
            bpf=program,
            bpf_on_wire=names_vlan(request.bpf_filter),
            header_size=header_size,
            **table_options(self._flow, target, request),
        )
        starting = self._run(start)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread goes on, and nobody else would know what it started.
            starting.add_done_callback(self._discard)
            raise
        except OSError as error:
            # On which interface is said by whoever tells of it: a thousand of them may fail alike.
            raise Unavailable(error.strerror or str(error)) from error
        except ValueError as error:
            raise ConfigError(str(error)) from error

    async def _socket(self, netns: NetnsRef | None) -> socket.socket:
        try:
            return await self._sockets.packet_socket(netns)
        except Unavailable as error:
            needed = ("CAP_NET_RAW",) if netns is None else ("CAP_NET_RAW", "CAP_SYS_ADMIN")
            lacking = [words for words in self._sockets.missing if words.startswith(needed)]
            if lacking:
                # "Operation not permitted" tells nobody what to permit.
                raise Unavailable(f"the agent lacks {'; '.join(lacking)}") from error
            raise

    def _discard(self, starting: asyncio.Future[int]) -> None:
        if not starting.cancelled() and starting.exception() is None:
            self._engine.stop(starting.result(), 0)

    def _program(self, request: Request, encap: str, header_size: int) -> tuple[Instruction, ...]:
        link_type = _LINK_TYPES.get(encap, LINK_ETHERNET)
        text = normalized(request.bpf_filter, resolved(self._excluded))
        if not text:
            return ()
        # The user's words alone first: an error is about them, and parentheses are balanced.
        compile_bpf(request.bpf_filter, link_type, header_size)
        return compile_bpf(text, link_type, header_size)

    async def stop(self, number: int, *, now_ms: int) -> Stopped:
        flows, stats = await self._run(self._engine.stop, number, now_ms)
        return Stopped(flows, _counters(stats))

    async def counters(self) -> Mapping[int, Counters]:
        stats = await self._run(self._engine.stats)
        self._ring_bytes = sum(entry["ring_bytes"] for entry in stats)
        return {entry["handle"]: _counters(entry) for entry in stats}

    async def query(self, search: bytes) -> list[bytes]:
        return await self._run(self._engine.query, search)

    async def update(self, now_ms: int) -> bytes:
        return await self._run(self._engine.update, now_ms)

    async def expire(self, now_ms: int) -> bytes:
        return await self._run(self._engine.expire, now_ms)

    def status(self) -> dict[str, int]:
        return {
            "Threads": self._engine.threads(),
            "RingBytes": self._ring_bytes,
            "RingBudgetBytes": self._ring_budget_bytes,
        }

    async def close(self) -> None:
        # The pool may be closed already, and this is the end.
        self._engine.close()
        self._threads.close()

    def _run(self, work: Callable[..., Result], *arguments: Any) -> asyncio.Future[Result]:
        return self._threads.run(partial(work, *arguments))


class BriefThreads:
    """Threads for work that waits: many in a burst of it, which end soon after."""

    def __init__(self, most: int, *, rest_s: float = _REST_S) -> None:
        self._most = most
        self._rest_s = rest_s
        self._pool = self._new_pool()
        self._closed = False
        self._busy = 0
        self._busiest = 0
        """Since the pool was made, so at least the number of its threads."""
        self._resting: asyncio.TimerHandle | None = None

    def run(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        self._busy += 1
        self._busiest = max(self._busiest, self._busy)
        running.add_done_callback(self._done)
        return running

    def close(self) -> None:
        self._closed = True
        if self._resting is not None:
            self._resting.cancel()
        self._pool.shutdown(wait=False)

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._most, thread_name_prefix="afpacket")

    def _done(self, running: asyncio.Future[Any]) -> None:
        self._busy -= 1
        if self._busiest > _KEPT_WAITING and self._resting is None and not self._closed:
            self._resting = running.get_loop().call_later(self._rest_s, self._rest)

    def _rest(self) -> None:
        """Let the threads go; those that still work finish first."""
        self._resting = None
        old, self._pool = self._pool, self._new_pool()
        self._busiest = self._busy
        old.shutdown(wait=False)


def normalized(text: str, excluded: Iterable[tuple[str, int]]) -> str:
    """The filter `text`, without the traffic of the addresses and ports in `excluded`."""
    parts = [f"not (host {address} and port {port})" for address, port in excluded]
    if text.strip():
        parts.insert(0, f"({text})")
    return " and ".join(parts)


def names_vlan(text: str) -> bool:
    """Whether a filter looks at VLAN tags, which the kernel takes away before its filters run."""
    return re.search(r"\bvlan\b", text) is not None


def resolved(hosts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Addresses of `hosts`, each once; a name that is not known (now) is left out."""
    found: dict[tuple[str, int], None] = {}
    for host, port in hosts:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            continue
        found.update(dict.fromkeys((str(address[4][0]), port) for address in answers))
    return list(found)


def _refuse_what_is_missing(request: Request) -> None:
    """No option is ignored in silence."""
    if request.target_type not in ("", "local"):
        raise ConfigError(f"capture target type {request.target_type!r}: 'local' expected")
    if request.target:
        raise ConfigError("capture option Target is not available in this version")


def _counters(stats: Mapping[str, Any]) -> Counters:
    return replace(
        table_counters(stats),
        received=stats["packets"],
        dropped=stats["dropped"],
        error=stats["error"] or "",
    )
