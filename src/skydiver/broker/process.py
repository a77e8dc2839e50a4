"""The broker's process: gets ready, then answers one request after the other until its end.

One thread, no event loop, few imports: it is the part to be trusted, so it should be read in one
sitting. It ends when the agent does, whichever way that happens: the channel reports the end of
the agent, and the kernel kills the broker should it be busy.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket

from skydiver.broker.capabilities import NEEDED, keep_only
from skydiver.broker.verbs import Session, answer
from skydiver.broker.wire import LARGEST_REQUEST, close_all, send_reply

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def serve(channel: socket.socket, parent: int) -> None:
    """Answer requests on `channel` until the other end is closed."""
    _let_go_of_everything_but(channel.fileno())
    keep_only(sum(1 << capability for capability in NEEDED))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, b"skydive-broker", 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return  # the agent ended before the kernel was told
    session = Session()
    while True:
        try:
            request = channel.recv(LARGEST_REQUEST + 1)
        except ConnectionResetError:
            return
        if not request:
            return
        reply = answer(session, request)
        try:
            send_reply(channel, reply)
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            close_all(reply.descriptors)


def _let_go_of_everything_but(descriptor: int) -> None:
    """Keep standard error and the channel; undo what the agent's process had set up."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # Ctrl-C and a stop of the whole service reach both processes. The agent decides when it
        # ends, the broker follows it.
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    low = 3
    if descriptor > low:
        os.closerange(low, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")
