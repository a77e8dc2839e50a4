"""The privileged half of the agent: its verbs, and the client that asks them.

The agent is two processes. The *broker* is forked before anything else is imported, keeps the few
capabilities that observing needs, and answers a handful of verbs with data or with descriptors.
Everything that parses what strangers wrote runs in the other one, which has none.

This module imports next to nothing, so that the fork comes early: the broker stays small, and its
own imports overlap with those of the agent.
"""

from __future__ import annotations

import os
import socket
import sys

from skydiver.broker.capabilities import drop_capabilities, effective, missing_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from skydiver.broker.client import Broker

__all__ = ["drop_capabilities", "fork_broker"]


def fork_broker() -> Broker:
    """Fork the broker and return the client that talks to it.

    To be called first in the program of the agent, before threads exist. The caller then gives up
    its own privileges by `drop_capabilities`. The broker ends with its parent.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    missing = missing_words(effective())
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_the_broker(theirs, parent)
    theirs.close()
    from skydiver.broker.client import Broker  # after the fork: it imports asyncio

    return Broker(ours, pid=pid, missing=missing)


def _be_the_broker(channel: socket.socket, parent: int) -> None:
    status = 1
    try:
        from skydiver.broker.process import serve

        serve(channel, parent)
        status = 0
    except BaseException as error:  # noqa: BLE001 - nothing may return into the agent's stack
        sys.stderr.write(f"broker: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)
