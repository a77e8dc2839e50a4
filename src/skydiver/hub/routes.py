"""The question of an analyzer for the routing tables of a node, which its agent answers.

A message of our own: agents of the original ignore its namespace, so that asking them ends with
`Unavailable` after the usual time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skydiver.base.errors import ProtocolError, Unavailable
from skydiver.hub.messages import OK, Message

ROUTES = ("RoutingTable", "Routes")
"""Namespace and type; the type of the answer is ``RoutesReply``."""
_BAD_REQUEST = 400


def read_answer(message: Message) -> Mapping[str, Any]:
    """``{"Total": …, "Routes": […]}``; `ProtocolError` for a wrong question, `Unavailable` when
    there is no answer to it."""
    if not isinstance(message.obj, Mapping):
        raise Unavailable(f"the agent answers with status {message.status} and no object")
    if message.status == OK:
        return message.obj
    reason = str(message.obj.get("Error") or f"status {message.status}")
    raise (ProtocolError if message.status == _BAD_REQUEST else Unavailable)(reason)
