"""Small programs that make or take traffic inside a namespace: echo requests, HTTP, UDP, TCP.

Run as a file by the lab, so this imports the standard library only. Senders keep to a rate and
a count. With ``--with-owner`` a program ends when its standard input does: the pipe is held by
the lab's process, so traffic never goes on after a lab was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import select
import socket
import socketserver
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


def main() -> int:
    """Run the program that the command line names."""
    options = _parser().parse_args()
    if options.with_owner:
        threading.Thread(target=_end_with_owner, daemon=True).start()
    try:
        return int(options.program(options))
    except OSError as error:
        # One line on standard output is what the lab reads; it becomes the error's text.
        print(f"{error.strerror or error}", flush=True)
        return 1


def ping(options: argparse.Namespace) -> int:
    """Send echo requests; prints how many were answered."""
    answered = sent = 0
    while not options.count or sent < options.count:
        started = time.monotonic()
        sent += 1
        answered += _echo(options.address, sent, options.timeout)
        if not options.count or sent < options.count:
            time.sleep(max(0.0, options.every - (time.monotonic() - started)))
    print(answered)
    return 0


def _echo(address: str, sequence: int, timeout_s: float) -> bool:
    """One echo request and its reply (RFC 792, RFC 4443)."""
    v6 = ":" in address
    family = socket.AF_INET6 if v6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    request, reply = (128, 129) if v6 else (8, 0)
    identifier = os.getpid() & 0xFFFF
    body = struct.pack("!BBHHH", request, 0, 0, identifier, sequence & 0xFFFF) + b"skydive lab" * 5
    if not v6:  # the kernel fills in the checksum of ICMPv6
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        try:
            sock.sendto(body, (address, 0))
        except OSError:
            return False  # no route yet: as unanswered as a lost one
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([sock], [], [], left)[0]:
                return False
            packet = sock.recv(65535)
            header = packet if v6 else packet[(packet[0] & 15) * 4 :]
            kind, _, _, number, order = struct.unpack("!BBHHH", header[:8])
            if (kind, number, order) == (reply, identifier, sequence & 0xFFFF):
                return True
    return False


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def http_server(options: argparse.Namespace) -> int:
    """Answer every GET with a page of the asked size."""
    page = (b"skydive lab\n" * (options.size // 12 + 1))[: options.size]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        address_family = _family(options.address)
        daemon_threads = True

        def server_bind(self) -> None:
            # The parent class looks up a host name, for which a namespace has no server.
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = options.address, options.port

    with Server((options.address, options.port), Handler) as server:
        print("listening", flush=True)
        server.serve_forever()
    return 0


def http_client(options: argparse.Namespace) -> int:
    """Fetch a page, each time on a new connection; a single fetch prints the body."""
    url = urlsplit(options.url)
    done = 0
    while not options.count or done < options.count:
        started = time.monotonic()
        connection = http.client.HTTPConnection(
            url.hostname or "", url.port or 80, timeout=options.timeout
        )
        try:
            connection.request("GET", url.path or "/")
            body = connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            if options.count == 1:
                print(error, file=sys.stderr)
                return 1
            body = b""
        finally:
            connection.close()
        done += 1
        if options.count == 1:
            sys.stdout.buffer.write(body)
        else:
            time.sleep(max(0.0, options.every - (time.monotonic() - started)))
    return 0


def sink(options: argparse.Namespace) -> int:
    """Take and drop datagrams, or the bytes of any number of connections."""
    with socket.socket(_family(options.address), options.type) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((options.address, options.port))
        if options.type == socket.SOCK_STREAM:
            sock.listen()
        print("listening", flush=True)
        open_: set[socket.socket] = {sock}
        while True:
            for ready in select.select(list(open_), [], [])[0]:
                if ready is sock and options.type == socket.SOCK_STREAM:
                    open_.add(sock.accept()[0])
                    continue
                with contextlib.suppress(ConnectionError):
                    if ready.recv(65536) or ready is sock:
                        continue
                open_.discard(ready)
                ready.close()


def send(options: argparse.Namespace) -> int:
    """Send messages in bursts of at most 10 ms worth of the rate."""
    message = b"x" * options.size
    with socket.socket(_family(options.address), options.type) as sock:
        sock.connect((options.address, options.port))
        started = time.monotonic()
        for number in range(options.count):
            due = started + number / options.rate
            if (early := due - time.monotonic()) > 0.01:
                time.sleep(early)
            # A refused datagram shows up at a later send; the receiver may come and go.
            with contextlib.suppress(ConnectionRefusedError):
                sock.sendall(message)
    return 0


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _end_with_owner() -> None:
    # Not through sys.stdin: the interpreter aborts when it ends while a thread holds its lock.
    while os.read(0, 4096):
        pass
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    programs = parser.add_subparsers(required=True)

    def program(
        name: str, run: Any, *positional: str, **defaults: float
    ) -> argparse.ArgumentParser:
        one = programs.add_parser(name)
        for argument in positional:
            one.add_argument(argument, type=int if argument == "port" else str)
        for option, default in defaults.items():
            one.add_argument(f"--{option}", type=type(default), default=default)
        one.add_argument("--with-owner", action="store_true")
        one.set_defaults(program=run)
        return one

    program("ping", ping, "address", count=1, every=1.0, timeout=1.0)
    program("http-server", http_server, "address", "port", size=512)
    program("http-client", http_client, "url", count=1, every=1.0, timeout=5.0)
    for kind, type_ in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
        program(f"{kind}-sink", sink, "address", "port").set_defaults(type=type_)
        program(
            f"{kind}-send", send, "address", "port", count=1, size=64, rate=1000.0
        ).set_defaults(type=type_)
    return parser


if __name__ == "__main__":
    sys.exit(main())
