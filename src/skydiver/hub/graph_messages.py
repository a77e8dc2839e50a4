"""Changes of the graph as messages (api.md §2.7)."""

from __future__ import annotations

import orjson

from skydiver.graph import GraphEvent
from skydiver.graph.wire import event_message
from skydiver.hub.messages import Message, event

NAMESPACE = "Graph"


def change_message(change: GraphEvent, *, partial: bool) -> Message:
    """One change, its content already written, so that it can be sent in both encodings.

    With `partial` an update travels as its operations, if they are known.
    """
    type_, content = event_message(change, policy="partial" if partial else "full")
    return event(NAMESPACE, type_, orjson.Fragment(orjson.dumps(content)))
