"""The agent's side of the broker: its verbs as coroutines.

A caller that is cancelled leaves its request behind: the reply is still taken, and its descriptors
are closed.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import orjson

from skydiver.base.errors import ProtocolError, Unavailable
from skydiver.broker.wire import LARGEST_REQUEST, close_all, read_file, receive_reply

MOST_PROCESSES = 1024
"""In one `Broker.look`."""
_MOST_WAITING = 16


@dataclass(frozen=True, slots=True)
class NetnsRef:
    """Which network namespace is meant; the broker makes sure that it is still the same one."""

    path: str | None
    pid: int | None
    inode: int
    device: int

    def as_json(self) -> dict[str, Any]:
        """As the verbs take it."""
        where = {"pid": self.pid} if self.path is None else {"path": self.path}
        return {**where, "inode": self.inode, "device": self.device}


@dataclass(frozen=True, slots=True)
class Holders:
    """A network namespace that processes are in."""

    inode: int
    pids: tuple[int, ...]
    """The lowest few."""
    command: str
    """Name of the first process; empty when it may not be read."""
    container: str = ""
    """The container that the first process is in, as people call it; empty = none."""


@dataclass(frozen=True, slots=True)
class DumpPart:
    """What a dump says of one namespace."""

    nsid: int | None
    """The host's number for it; None = the host itself."""
    error: str
    """Why there is nothing; empty when there is."""
    numbering: dict[int, int]
    """Number of another namespace, as the namespace itself counts, to the host's number. One
    without a number on the host is left out."""
    _file: int
    _links: tuple[int, tuple[int, ...]]
    _addresses: tuple[int, tuple[int, ...]]

    def links(self) -> Iterator[bytes]:
        """RTM_NEWLINK datagrams; the numbers of peers' namespaces are the host's."""
        return self._datagrams(*self._links)

    def addresses(self) -> Iterator[bytes]:
        """RTM_NEWADDR datagrams."""
        return self._datagrams(*self._addresses)

    def _datagrams(self, offset: int, lengths: Sequence[int]) -> Iterator[bytes]:
        for length in lengths:
            yield os.pread(self._file, length, offset)
            offset += length


class Dump:
    """The answer to a dump; close it, or use it as a context manager, to release its memory."""

    def __init__(self, file: int, parts: list[dict[str, Any]]) -> None:
        self._file = file
        self.parts: list[DumpPart] = []
        offset = 0
        for part in parts:
            links, addresses = part.get("links", ()), part.get("addresses", ())
            start, offset = offset, offset + sum(links) + sum(addresses)
            self.parts.append(
                DumpPart(
                    nsid=part["nsid"],
                    error=part.get("error", ""),
                    numbering={own: host for own, host in part.get("numbering", ()) if host >= 0},
                    _file=file,
                    _links=(start, links),
                    _addresses=(start + sum(links), addresses),
                )
            )

    def close(self) -> None:
        """Release the memory."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Dump:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Broker:
    """Asks the broker. All methods raise `Unavailable` when it cannot or is gone."""

    def __init__(self, channel: socket.socket, *, pid: int, missing: tuple[str, ...]) -> None:
        self.pid = pid
        self.missing = missing
        """What the broker lacks, in words for the status; empty with all capabilities."""
        self._channel = channel
        self._channel.setblocking(False)
        self._waiting: dict[int, asyncio.Future[tuple[Any, list[int]]]] = {}
        self._slots = asyncio.Semaphore(_MOST_WAITING)
        self._sending = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gone: asyncio.Event = asyncio.Event()
        self._last_id = 0
        self._generation = 0
        self._holders: list[Holders] = []
        self._mounts: dict[int, str] = {}

    def lack(self, words: str) -> None:
        """Say in `missing` what turned out not to be possible."""
        if words not in self.missing:
            self.missing = (*self.missing, words)

    async def netlink_socket(
        self,
        netns: NetnsRef | None,
        *,
        groups: int,
        generic: bool = False,
        all_nsid: bool = False,
        receive_buffer: int = 0,
    ) -> socket.socket:
        """A non-blocking rtnetlink socket bound to multicast `groups` (bit n-1 = group n).

        `generic`: of generic netlink instead (ethtool, nl80211, …); its groups are joined later.

        A socket inside another namespace keeps that alive: hold it for the length of a dump.
        `all_nsid`: also what happens in the namespaces that have a number on the host.
        `receive_buffer` in bytes; 0 = the system's default.
        """
        _, (descriptor,) = await self._call(
            "netlink_socket",
            netns=_json(netns),
            groups=groups,
            generic=generic,
            all_nsid=all_nsid,
            receive_buffer=receive_buffer,
        )
        return socket.socket(fileno=descriptor)

    async def packet_socket(self, netns: NetnsRef | None) -> socket.socket:
        """An unbound AF_PACKET socket of type SOCK_RAW and protocol 0."""
        _, (descriptor,) = await self._call("packet_socket", netns=_json(netns))
        return socket.socket(fileno=descriptor)

    async def host(self, proc: str) -> tuple[int, int]:
        """Device and inode of the host's network namespace, where the first process of `proc` is.

        To be asked before anything else, if at all.
        """
        result, _ = await self._call("host", proc=proc)
        return result["device"], result["inode"]

    async def births(self, processor: int) -> tuple[list[int], dict[int, int]]:
        """Tracepoints on one processor, and by kind of record where the process is in it.

        They are disabled, and write into one ring if the reader says so.
        """
        result, descriptors = await self._call("births", processor=processor)
        return descriptors, dict(result)

    async def holders(self, *, everything: bool = False) -> list[Holders]:
        """The namespaces that processes are in, other than the host's.

        Young and some older processes are looked at, `everything`: all of them. The same list as
        before says that nothing changed, in `mounts` neither.
        """
        result, _ = await self._call("holders", known=self._generation, everything=everything)
        return self._take_holders(result)

    async def look(self, pids: Sequence[int]) -> list[Holders]:
        """The same after a look at these processes only; at most `MOST_PROCESSES`."""
        result, _ = await self._call("look", known=self._generation, pids=list(pids))
        return self._take_holders(result)

    @property
    def mounts(self) -> dict[int, str]:
        """Inodes of namespaces that are mounted in other mount namespaces, and paths to them."""
        return self._mounts

    def _take_holders(self, result: dict[str, Any]) -> list[Holders]:
        if "namespaces" in result:
            self._generation = result["generation"]
            self._holders = [
                Holders(inode, tuple(pids), command, container)
                for inode, pids, command, container in result["namespaces"]
            ]
            self._mounts = dict(result["mounts"])
        return self._holders

    async def identify(self, references: Sequence[NetnsRef]) -> list[int | str]:
        """The host's number (nsid) of each namespace, or in words why it is not there.

        -1 = it is there, but has no number, and the broker may not give it one.
        """
        if not references:
            return []
        result, _ = await self._call(
            "identify", namespaces=[reference.as_json() for reference in references]
        )
        numbers: list[int | str] = result
        return numbers

    async def alive(self, nsids: Sequence[int]) -> list[bool]:
        """Whether the host's numbers still belong to namespaces."""
        result, _ = await self._call("alive", nsids=list(nsids))
        answers: list[bool] = result
        return answers

    async def own_nsid(self) -> int:
        """The host's number for itself; events of the host may carry it."""
        result, _ = await self._call("identify", namespaces=[])
        return int(result[0])

    async def dump(self, nsids: Sequence[int | None], *, links_only: bool = False) -> Dump:
        """Interfaces and addresses of the namespaces that have these numbers; None = the host."""
        result, (file,) = await self._call("dump", nsids=list(nsids), links_only=links_only)
        return Dump(file, result)

    async def gone(self) -> None:
        """Return when the broker has ended."""
        if not self._gone.is_set():
            self._attach()
        await self._gone.wait()

    def close(self) -> None:
        """End the broker and wait for its end. Safe to repeat."""
        if self._channel.fileno() < 0:
            return
        self._fail("it was stopped")
        self._channel.close()
        os.waitpid(self.pid, 0)

    async def _call(self, verb: str, **arguments: Any) -> tuple[Any, list[int]]:
        async with self._slots:
            loop = self._attach()
            self._last_id += 1
            number = self._last_id
            request = orjson.dumps({"id": number, "verb": verb, **arguments})
            if len(request) > LARGEST_REQUEST:
                raise ValueError(f"request {verb} has {len(request)} bytes, not {LARGEST_REQUEST}")
            answer: asyncio.Future[tuple[Any, list[int]]] = loop.create_future()
            self._waiting[number] = answer
            try:
                async with self._sending:
                    await loop.sock_sendall(self._channel, request)
                return await answer
            except asyncio.CancelledError:
                if answer.done() and not answer.cancelled() and answer.exception() is None:
                    close_all(answer.result()[1])
                raise
            except OSError as error:
                raise Unavailable(f"the broker does not take {verb}: {error.strerror}") from error
            finally:
                self._waiting.pop(number, None)

    def _attach(self) -> asyncio.AbstractEventLoop:
        if self._gone.is_set():
            raise Unavailable("the broker is gone")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._channel.fileno(), self._on_readable)
        return self._loop

    def _on_readable(self) -> None:
        while not self._gone.is_set():
            try:
                packet, descriptors = receive_reply(self._channel)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(f"its channel is broken: {error}")
                return
            if not packet:
                self._fail("it has ended")
                return
            self._deliver(orjson.loads(packet), descriptors)

    def _deliver(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if message.get("long"):
            message = orjson.loads(read_file(descriptors.pop()))
        answer = self._waiting.get(message["id"])
        if answer is None or answer.done():  # the caller was cancelled
            close_all(descriptors)
        elif "result" in message:
            answer.set_result((message["result"], descriptors))
        else:
            close_all(descriptors)
            kind = ProtocolError if message["refused"] else Unavailable
            answer.set_exception(kind(f"broker: {message['error']}"))

    def _fail(self, why: str) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._channel.fileno())
        self._gone.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable(f"the broker is gone: {why}"))


def _json(netns: NetnsRef | None) -> dict[str, Any] | None:
    return None if netns is None else netns.as_json()
