"""The few rtnetlink requests that need privilege: namespace ids, and dumps of other namespaces.

A dump with IFLA_TARGET_NETNSID is asked of the *host's* socket, so no socket is ever opened inside
the other namespace and nothing keeps it alive. As a gift, the kernel then numbers the namespaces
of peers (IFLA_LINK_NETNSID) as the host does, and gives an id to those that had none
(net/core/rtnetlink.c, rtnl_fill_link_netnsid).

Answers are handed on as the datagrams that they are. Only message headers are read here, to see
where a dump ends; decoding is the business of the unprivileged side.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:  # see `wire`
    from collections.abc import Iterator

_HEADER = struct.Struct("=IHHII")
_INT = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_GETLINK, RTM_GETADDR = 18, 22
RTM_NEWNSID, RTM_GETNSID = 88, 90
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLM_F_DUMP_INTR = 0x10

IFLA_TARGET_NETNSID = 46
IFA_TARGET_NETNSID = 10
NETNSA_NSID, NETNSA_FD, NETNSA_TARGET_NSID, NETNSA_CURRENT_NSID = 1, 3, 4, 5

SOL_NETLINK = 270
NETLINK_GET_STRICT_CHK = 12

_DATAGRAM = 1 << 18
_PATIENCE = struct.pack("@ll", 10, 0)
"""struct timeval: the kernel answers at once, unless somebody holds its lock for very long."""


class Interrupted(Exception):
    """What was dumped changed meanwhile, so the dump may lack something."""


class RtNetlink:
    """A request socket in the broker's own namespace, which is the host's."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        # Without strict checking the kernel ignores the target namespace of an address dump.
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def links(self, nsid: int | None) -> list[bytes]:
        """The datagrams of a dump of all interfaces of a namespace; None = the host's."""
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
        if nsid is not None:
            body += _attribute(IFLA_TARGET_NETNSID, nsid)
        return self._dump(RTM_GETLINK, body)

    def addresses(self, nsid: int | None) -> list[bytes]:
        """The same for all addresses."""
        body = struct.pack("=BBBBI", 0, 0, 0, 0, 0)
        if nsid is not None:
            body += _attribute(IFA_TARGET_NETNSID, nsid)
        return self._dump(RTM_GETADDR, body)

    def numbering(self, nsid: int) -> list[tuple[int, int]]:
        """How namespace `nsid` numbers others: pairs of its number and the host's (-1 = none)."""
        pairs = []
        for datagram in self._dump(RTM_GETNSID, bytes(4) + _attribute(NETNSA_TARGET_NSID, nsid)):
            for kind, _, _, body in _messages(datagram):
                if kind == RTM_NEWNSID:
                    numbers = _integers(body[4:])
                    pairs.append(
                        (numbers.get(NETNSA_NSID, -1), numbers.get(NETNSA_CURRENT_NSID, -1))
                    )
        return pairs

    def nsid_of(self, *, descriptor: int) -> int:
        """The host's number for a namespace, giving it one when it has none."""
        which = _attribute(NETNSA_FD, descriptor)
        number = self._get_nsid(which)
        if number < 0:
            body = bytes(4) + which + _attribute(NETNSA_NSID, -1)
            with suppress(FileExistsError):  # the kernel itself has just given it one
                self._one(RTM_NEWNSID, NLM_F_ACK, body)
            number = self._get_nsid(which)
        return number

    def is_alive(self, nsid: int) -> bool:
        """Whether the host's number still belongs to a namespace."""
        try:
            self._one(RTM_GETNSID, 0, bytes(4) + _attribute(NETNSA_NSID, nsid))
        except FileNotFoundError:
            return False
        return True

    def _get_nsid(self, which: bytes) -> int:
        return _integers(self._one(RTM_GETNSID, 0, bytes(4) + which)[4:]).get(NETNSA_NSID, -1)

    def _one(self, kind: int, flags: int, body: bytes) -> bytes:
        """Send a request that has one answer, and return the body of it."""
        sequence = self._send(kind, flags, body)
        while True:
            for kind_answered, _, answered, content in _messages(self._socket.recv(_DATAGRAM)):
                if answered == sequence:
                    if kind_answered == NLMSG_ERROR:
                        _raise(content)
                    return content

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        for _ in range(_DUMP_ATTEMPTS):
            try:
                return self._dump_once(kind, body)
            except Interrupted:
                continue
        raise OSError(errno.EAGAIN, f"changed during each of {_DUMP_ATTEMPTS} dumps")

    def _dump_once(self, kind: int, body: bytes) -> list[bytes]:
        sequence = self._send(kind, NLM_F_DUMP, body)
        datagrams = []
        interrupted = False
        while True:
            datagram = self._socket.recv(_DATAGRAM)
            for number, flags, answered, content in _messages(datagram):
                if answered != sequence:
                    break  # left over from a request that was given up
                interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                if number == NLMSG_ERROR or (number == NLMSG_DONE and len(content) >= _INT.size):
                    _raise(content)
                if number == NLMSG_DONE:
                    if interrupted:
                        raise Interrupted
                    datagrams.append(datagram)
                    return datagrams
            else:
                datagrams.append(datagram)

    def _send(self, kind: int, flags: int, body: bytes) -> int:
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        length = _HEADER.size + len(body)
        header = _HEADER.pack(length, kind, NLM_F_REQUEST | flags, self._sequence, 0)
        self._socket.send(header + body)
        return self._sequence

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


_DUMP_ATTEMPTS = 10


def _attribute(kind: int, value: int) -> bytes:
    return _ATTRIBUTE.pack(8, kind) + _INT.pack(value)


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of each message."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _integers(attributes: bytes) -> dict[int, int]:
    found = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, offset)
        if length < _ATTRIBUTE.size:
            break
        if length == _ATTRIBUTE.size + _INT.size:
            found[kind] = _INT.unpack_from(attributes, offset + _ATTRIBUTE.size)[0]
        offset += (length + 3) & ~3
    return found


def _raise(content: bytes) -> None:
    number = -_INT.unpack_from(content)[0]
    if number:
        raise OSError(number, os.strerror(number))
