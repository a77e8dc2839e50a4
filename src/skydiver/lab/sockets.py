"""Sockets that belong to another network namespace, opened without leaving one's own."""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from skydiver.lab.lab import Namespace

_CLONE_NEWNET = 0x40000000


def open_socket(place: Namespace, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket inside `place`; it keeps the namespace alive until it is closed."""

    def enter_and_open() -> socket.socket:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(descriptor, _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"{place.full}: {os.strerror(number)}")
        finally:
            os.close(descriptor)
        return socket.socket(family, kind, protocol)

    # A namespace is entered by one thread, and this one ends with the call.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter_and_open).result()
