"""What the broker does for the agent, and how it checks what it is asked.

The agent parses what strangers wrote, so it may be taken; then these few functions are all that
the attacker can have done with privilege. They observe: nothing here changes the host, sends a
packet, reads a file or starts a program. A namespace is named by a path or a process, opened
without side effects (O_PATH), and used only if it is the very namespace that the request says.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import time
from contextlib import contextmanager, suppress
from fcntl import ioctl

from skydiver.broker.processes import Processes
from skydiver.broker.rtnetlink import RtNetlink
from skydiver.broker.tracepoints import Tracepoints
from skydiver.broker.wire import Reply, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:  # see `wire`
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_SOL_NETLINK = 270
_NETLINK_LISTEN_ALL_NSID = 8
_NETLINK_GENERIC = 16
_SO_RCVBUFFORCE = 33

LARGEST_RECEIVE_BUFFER = 256 << 20
MOST_NAMESPACES = 256
"""In one request, so that the broker is soon free again."""
MOST_PROCESSES = 1024
_MOST_PROCESSORS = 8192
_LONGEST_PATH = 4096
_PATIENCE_S, _REST_S = 0.2, 30.0
"""For one file system that does not answer, and until the next one is tried."""
_MOST_ABANDONED = 4


class Refused(Exception):
    """The request itself is wrong; the message is one line for the log of the agent."""


class Session:
    """What the broker remembers between requests: nothing that keeps a namespace alive."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.device = os.fstat(self.home).st_dev
        self.proc = "/proc"
        self.netlink = RtNetlink()
        self.processes = Processes()
        self.tracepoints = Tracepoints(self.libc)
        self.elsewhere_s = 0.0
        """When paths below the roots of other processes are tried again, monotonic."""
        self.abandoned: list[int] = []
        """Processes of ours that hang in a file system of a stranger."""

    def move(self, proc: str) -> None:
        """Be at home where the first process below `proc` is."""
        home = _first_namespace(proc)
        try:
            if os.fstat(home).st_dev != self.device or ioctl(home, _NS_GET_NSTYPE) != CLONE_NEWNET:
                raise Refused(f"{proc:.200}: is no /proc")
            if os.fstat(home).st_ino != os.fstat(self.home).st_ino:
                self._enter(home)
        except OSError:
            os.close(home)
            raise
        os.close(self.home)
        self.home, self.proc = home, proc
        self.netlink.close()
        self.netlink = RtNetlink()
        self.processes = Processes(proc, own=os.fstat(home).st_ino)

    @contextmanager
    def inside(self, descriptor: int) -> Iterator[None]:
        """Run the body in another network namespace."""
        self._enter(descriptor)
        try:
            yield
        finally:
            try:
                self._enter(self.home)
            except OSError as error:
                # In the wrong namespace every later answer would be wrong: end.
                raise SystemExit(f"cannot return to the host's namespace: {error}") from error

    def _enter(self, descriptor: int) -> None:
        if self.libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter the network namespace: {os.strerror(number)}")


def _first_namespace(proc: str) -> int:
    try:
        return os.open(f"{proc}/1/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        # Some hosts let nobody look at their first process; the kernel's own threads are where
        # it began.
        with open(f"{proc}/2/comm", "rb") as file:
            if file.read() != b"kthreadd\n":
                raise
        return os.open(f"{proc}/2/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Arguments:
    """The arguments of a request; each is taken once, by type and range, and none may be left."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def integer(self, name: str, low: int, high: int, *, default: int | None = None) -> int:
        value = self._values.pop(name, default)
        if type(value) is not int or not low <= value <= high:
            raise Refused(f"{name}: {value!r:.40} is not a number from {low} to {high}")
        return value

    def boolean(self, name: str) -> bool:
        value = self._values.pop(name, False)
        if type(value) is not bool:
            raise Refused(f"{name}: {value!r:.40} is neither true nor false")
        return value

    def several(self, name: str, most: int = MOST_NAMESPACES) -> list[Any]:
        value = self._values.pop(name, None)
        if type(value) is not list or len(value) > most:
            raise Refused(f"{name}: expected a list of at most {most}")
        return value

    def numbers(self, name: str, most: int, *, low: int = 0) -> list[int]:
        values = self.several(name, most)
        if not all(type(value) is int and low <= value < 2**31 for value in values):
            raise Refused(f"{name}: expected numbers from {low}")
        return values

    def path(self, name: str) -> str:
        value = self._values.pop(name, None)
        if type(value) is not str or not _is_path(value):
            raise Refused(f"{name}: expected an absolute path")
        return value

    def netns(self) -> dict[str, Any] | None:
        """A reference to a namespace; None = the host's own."""
        value = self._values.pop("netns", None)
        if value is None:
            return None
        if type(value) is not dict:
            raise Refused("netns: expected an object")
        return value

    def end(self) -> None:
        if self._values:
            raise Refused(f"unknown argument {next(iter(self._values))!r:.40}")


def _is_path(value: str) -> bool:
    return value.startswith("/") and "\0" not in value and len(value) <= _LONGEST_PATH


@contextmanager
def opened(session: Session, reference: dict[str, Any]) -> Iterator[int]:
    """A descriptor of the namespace that `reference` names, after making sure that it is it."""
    arguments = Arguments(dict(reference))
    inode = arguments.integer("inode", 1, 2**64 - 1)
    device = arguments.integer("device", 0, 2**64 - 1)
    path, pid = reference.get("path"), reference.get("pid")
    if path is None and type(pid) is int and 0 < pid < 2**31:
        path = f"{session.proc}/{pid}/ns/net"
    elif type(path) is not str or not _is_path(path):
        raise Refused("netns: expected an absolute path or the number of a process")
    elsewhere = path.startswith(f"{session.proc}/") and not path.endswith("/ns/net")
    handle = _path_elsewhere(session, path) if elsewhere else _path(path)
    try:
        found = os.fstat(handle)
        if device != session.device:
            raise Refused(f"{path:.200}: not a namespace")
        if found.st_dev != session.device:
            # The mount has just gone, its file has not yet.
            raise FileNotFoundError(f"{path:.200}: not a namespace any more")
        if (found.st_ino, found.st_dev) != (inode, device):
            raise FileNotFoundError(f"{path:.200}: is another namespace now")
        descriptor = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(handle)
    try:
        if ioctl(descriptor, _NS_GET_NSTYPE) != CLONE_NEWNET:
            raise Refused(f"{path:.200}: not a network namespace")
        yield descriptor
    finally:
        os.close(descriptor)


def _path(path: str) -> int:
    # O_PATH neither blocks on a FIFO nor wakes a device: a path can lead anywhere.
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _path_elsewhere(session: Session, path: str) -> int:
    """The same below the root of another process, which may be a file system that never answers:
    a process of its own tries it, and is given up after a while."""
    session.abandoned = [pid for pid in session.abandoned if os.waitpid(pid, os.WNOHANG)[0] == 0]
    if time.monotonic() < session.elsewhere_s or len(session.abandoned) >= _MOST_ABANDONED:
        raise OSError(errno.EBUSY, "another file system did not answer", path)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        child = os.fork()
        if child == 0:
            _send_path(theirs, path)
        theirs.close()
        ours.settimeout(_PATIENCE_S)
        try:
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        except TimeoutError as error:
            os.kill(child, signal.SIGKILL)
            session.abandoned.append(child)
            session.elsewhere_s = time.monotonic() + _REST_S
            raise OSError(errno.ETIMEDOUT, "its file system does not answer", path) from error
    os.waitpid(child, 0)
    if not descriptors:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def _send_path(channel: socket.socket, path: str) -> NoReturn:
    try:
        # Should it hang for ever, it holds nothing that others wait for the end of.
        os.closerange(3, channel.fileno())
        os.closerange(channel.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        socket.send_fds(channel, [b"."], [_path(path)])
    finally:
        os._exit(0)


def _socket_inside(
    session: Session, reference: dict[str, Any] | None, open_socket: Callable[[], socket.socket]
) -> socket.socket:
    if reference is None:
        return open_socket()
    with opened(session, reference) as descriptor, session.inside(descriptor):
        return open_socket()


def netlink_socket(session: Session, arguments: Arguments, reply: Reply) -> None:
    """A bound socket of rtnetlink, or with `generic` of generic netlink. It cannot change
    anything once the agent has no capabilities: the kernel asks for those of the sender too."""
    reference = arguments.netns()
    protocol = _NETLINK_GENERIC if arguments.boolean("generic") else socket.NETLINK_ROUTE
    groups = arguments.integer("groups", 0, 2**32 - 1)
    all_nsid = arguments.boolean("all_nsid")
    buffer = arguments.integer("receive_buffer", 0, LARGEST_RECEIVE_BUFFER, default=0)
    arguments.end()
    opened_socket = _socket_inside(session, reference, lambda: _open_netlink(protocol))
    try:
        if all_nsid:
            # Without CAP_NET_BROADCAST it hears of the host alone; `missing` says so.
            with suppress(PermissionError):
                opened_socket.setsockopt(_SOL_NETLINK, _NETLINK_LISTEN_ALL_NSID, 1)
        if buffer:
            _set_receive_buffer(opened_socket, buffer)
        opened_socket.bind((0, groups))
    except OSError:
        opened_socket.close()
        raise
    reply.descriptors.append(opened_socket.detach())
    reply.result = {}


def _open_netlink(protocol: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    return socket.socket(socket.AF_NETLINK, kind, protocol)


def _set_receive_buffer(opened_socket: socket.socket, size: int) -> None:
    try:
        opened_socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        # Without CAP_NET_ADMIN up to net.core.rmem_max.
        opened_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def packet_socket(session: Session, arguments: Arguments, reply: Reply) -> None:
    """An unbound packet socket of protocol 0: it receives nothing until it is bound."""
    reference = arguments.netns()
    arguments.end()
    reply.descriptors.append(_socket_inside(session, reference, _open_packet).detach())
    reply.result = {}


def _open_packet() -> socket.socket:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)


def host(session: Session, arguments: Arguments, reply: Reply) -> None:
    """Which namespace is the host's: that of the first process below `proc`, for a broker in a
    container that sees the host's processes there. To be asked first, as all other verbs follow."""
    proc = arguments.path("proc")
    arguments.end()
    if proc != session.proc:
        session.move(proc)
    found = os.fstat(session.home)
    reply.result = {"inode": found.st_ino, "device": found.st_dev}


def births(session: Session, arguments: Arguments, reply: Reply) -> None:
    """Tracepoints on one processor that tell of processes which may be in a new namespace; where
    in their records, by kind, the number of the process is."""
    processor = arguments.integer("processor", 0, _MOST_PROCESSORS)
    arguments.end()
    reply.descriptors += session.tracepoints.open(processor)
    reply.result = [[one.number, one.pid_offset] for one in session.tracepoints.formats()]


def holders(session: Session, arguments: Arguments, reply: Reply) -> None:
    """Which network namespaces processes are in, other than the host's, and which are mounted in
    other mount namespaces."""
    known = arguments.integer("known", 0, 2**63)
    everything = arguments.boolean("everything")
    arguments.end()
    session.processes.scan(everything=everything)
    _tell_holders(session, known, reply)


def look(session: Session, arguments: Arguments, reply: Reply) -> None:
    """The same, after a look at only these processes."""
    known = arguments.integer("known", 0, 2**63)
    pids = arguments.numbers("pids", MOST_PROCESSES, low=1)
    arguments.end()
    session.processes.look(pids)
    _tell_holders(session, known, reply)


def _tell_holders(session: Session, known: int, reply: Reply) -> None:
    processes = session.processes
    reply.result = {"generation": processes.generation}
    if processes.generation != known:
        reply.result["namespaces"] = processes.namespaces()
        reply.result["mounts"] = processes.mounts()


def identify(session: Session, arguments: Arguments, reply: Reply) -> None:
    """The host's numbers for namespaces, giving one to each that has none; -1 where that is not
    permitted, words where the namespace is not there. The number is what makes the kernel report
    events from there. An empty list asks for the host's own number."""
    references = arguments.several("namespaces")
    arguments.end()
    if not references:
        reply.result = [_number(session, session.home)]
        return
    numbers: list[int | str] = []
    for reference in references:
        if type(reference) is not dict:
            raise Refused("namespaces: expected objects")
        try:
            with opened(session, reference) as descriptor:
                numbers.append(_number(session, descriptor))
        except (OSError, Refused) as error:
            numbers.append(_one_line(error))
    reply.result = numbers


def alive(session: Session, arguments: Arguments, reply: Reply) -> None:
    """Which of these numbers of the host still belong to a namespace."""
    nsids = arguments.numbers("nsids", MOST_NAMESPACES)
    arguments.end()
    reply.result = [session.netlink.is_alive(nsid) for nsid in nsids]


def _number(session: Session, descriptor: int) -> int:
    try:
        return session.netlink.nsid_of(descriptor=descriptor)
    except PermissionError:
        return -1  # it is there, but without CAP_NET_ADMIN nobody can give it a number


def dump(session: Session, arguments: Arguments, reply: Reply) -> None:
    """Interfaces and addresses of namespaces, by the host's numbers (null = the host itself),
    as netlink datagrams in a memory file, and how each namespace numbers the others. With
    `links_only` only the interfaces, for their counters."""
    nsids = arguments.several("nsids")
    links_only = arguments.boolean("links_only")
    arguments.end()
    if not all(nsid is None or (type(nsid) is int and 0 <= nsid < 2**31) for nsid in nsids):
        raise Refused("nsids: expected numbers from 0, or null")
    file = os.memfd_create("dump", os.MFD_CLOEXEC)
    reply.descriptors.append(file)
    parts = []
    for nsid in nsids:
        try:
            links = session.netlink.links(nsid)
            addresses = [] if links_only else session.netlink.addresses(nsid)
            only_links = links_only or nsid is None
            numbering = [] if only_links else session.netlink.numbering(nsid)
        except OSError as error:
            parts.append({"nsid": nsid, "error": _one_line(error)})
            continue
        for datagram in (*links, *addresses):
            write_all(file, datagram)
        parts.append(
            {
                "nsid": nsid,
                "links": [len(datagram) for datagram in links],
                "addresses": [len(datagram) for datagram in addresses],
                "numbering": numbering,
            }
        )
    reply.result = parts


VERBS: dict[str, Callable[[Session, Arguments, Reply], None]] = {
    "netlink_socket": netlink_socket,
    "packet_socket": packet_socket,
    "host": host,
    "births": births,
    "holders": holders,
    "look": look,
    "identify": identify,
    "alive": alive,
    "dump": dump,
}


def answer(session: Session, packet: bytes) -> Reply:
    """Do what one request asks; whatever is wrong with it becomes one line."""
    reply = Reply()
    try:
        try:
            request = json.loads(packet)
        except ValueError as error:
            raise Refused(f"request is not JSON: {error}") from error
        if type(request) is not dict:
            raise Refused("request is not an object")
        arguments = Arguments(request)
        reply.id = arguments.integer("id", 0, 2**53)
        verb = VERBS.get(str(request.pop("verb", "")))
        if verb is None:
            raise Refused(f"unknown verb, expected one of {', '.join(VERBS)}")
        verb(session, arguments, reply)
    except Refused as error:
        reply.error, reply.refused = str(error), True
    except (OSError, RecursionError, struct.error) as error:
        reply.error = _one_line(error)
    return reply


def _one_line(error: BaseException) -> str:
    words = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        words = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(words.split())
