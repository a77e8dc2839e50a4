"""Changes as messages."""

import pytest

from skydiver.base.ids import NodeID, Origin
from skydiver.graph import EventKind, GraphEvent, Node, Op, OpKind
from skydiver.hub.graph_messages import change_message
from skydiver.hub.messages import Protocol, decode, encode

NODE = Node(NodeID("n"), {"MTU": 1}, "h1", Origin("agent.h1"), 1, 2, revision=3)
UPDATE = GraphEvent(EventKind.UPDATED, NODE, NODE, (Op(OpKind.SET, "MTU", 1),))


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize(
    ("partial", "type_"), [(True, "NodePartiallyUpdated"), (False, "NodeUpdated")]
)
def test_one_message_is_good_for_both_encodings(
    protocol: Protocol, partial: bool, type_: str
) -> None:
    """Its content is written once, with an identifier and the status that receivers insist on."""
    message = change_message(UPDATE, partial=partial)
    received = decode(encode(message, protocol), protocol)
    assert (received.namespace, received.type, received.status) == ("Graph", type_, 200)
    assert received.uuid
    assert received.obj["Revision"] == 3
    assert ("Ops" in received.obj) is partial
