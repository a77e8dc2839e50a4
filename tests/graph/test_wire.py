"""Elements and events as JSON."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.errors import ProtocolError
from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.graph import Edge, EventKind, GraphEvent, Node, Op, OpKind
from skydiver.graph.wire import (
    GraphMessage,
    PartialUpdate,
    edge_from_json,
    edge_json,
    element_from_json,
    element_json,
    elements_from_json,
    elements_json,
    event_message,
    node_from_json,
    node_json,
    partial_from_json,
)

NODE = Node(NodeID("n"), {"Name": "eth0"}, "h1", Origin("agent.h1"), 1, 2, 3)
EDGE = Edge(
    EdgeID("e"), NodeID("n"), NodeID("m"), {"RelationType": "layer2"}, "h1", Origin("a.h1"), 1, 2, 3
)
NODE_DOCUMENT = {
    "ID": "n",
    "Metadata": {"Name": "eth0"},
    "Host": "h1",
    "Origin": "agent.h1",
    "CreatedAt": 1,
    "UpdatedAt": 2,
    "DeletedAt": None,
    "Revision": 3,
}
OPS = (Op(OpKind.SET, "Name", "eth1"), Op(OpKind.DELETE, "State"))


def updated(element: Node | Edge, ops: tuple[Op, ...] | None) -> GraphEvent:
    return GraphEvent(EventKind.UPDATED, element, element, ops)


def test_a_node_has_all_its_members_in_order() -> None:
    """Also those that are null (gremlin.md §13.1)."""
    assert list(node_json(NODE).items()) == list(NODE_DOCUMENT.items())


def test_an_edge_has_its_ends_last() -> None:
    """As the original writes it (api.md §1.5)."""
    document = edge_json(EDGE)
    assert list(document)[-2:] == ["Parent", "Child"]
    assert (document["Parent"], document["Child"]) == ("n", "m")


@pytest.mark.parametrize("element", [NODE, EDGE])
def test_elements_come_back_as_they_went(element: Node | Edge) -> None:
    """Through the bytes that travel."""
    received = orjson.loads(orjson.dumps(element_json(element)))
    kind: Any = "node" if isinstance(element, Node) else "edge"
    assert element_from_json(received, kind=kind, now_ms=99) == element


def test_a_graph_of_nothing_has_empty_lists() -> None:
    """One of the original's user interfaces stumbles over null (api.md §1.5)."""
    assert elements_json([], []) == {"Nodes": [], "Edges": []}
    assert elements_from_json(elements_json([NODE], [EDGE]), now_ms=9) == ([NODE], [EDGE])


@pytest.mark.parametrize(
    "document", [{"Nodes": None, "Edges": None}, {}, {"Nodes": [], "Other": 1}]
)
def test_lists_may_be_null_or_absent(document: dict[str, Any]) -> None:
    """The original writes null for an empty list."""
    assert elements_from_json(document, now_ms=9) == ([], [])


def test_missing_times_are_now_and_zero_is_a_time() -> None:
    """Zero is the epoch, not the lack of a time (api.md §1.2)."""
    found = node_from_json({"ID": "n", "Metadata": {}, "CreatedAt": 0, "UpdatedAt": None}, now_ms=9)
    assert (found.created_at_ms, found.updated_at_ms, found.deleted_at_ms) == (0, 9, None)
    assert (found.host, found.origin, found.revision) == ("", "", 1)


def test_whole_decimals_become_integers() -> None:
    """At any depth, in full elements and in operations (api.md §1.3)."""
    document = {**NODE_DOCUMENT, "Metadata": {"MTU": 1500.0, "L": [{"x": 1.0}, 1.5]}}
    found = node_from_json(document, now_ms=9)
    assert orjson.dumps(found.metadata) == b'{"MTU":1500,"L":[{"x":1},1.5]}'
    update = partial_from_json(
        {"ID": "n", "Ops": [{"Type": 1, "Key": "MTU", "Value": 1500.0}]}, now_ms=9
    )
    assert orjson.dumps(update.ops[0].value) == b"1500"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ID": ""}, "node without ID"),
        ({"ID": 7}, "node without ID"),
        ({"Host": 7}, "Host: expected a text, not a number"),
        ({"Origin": []}, "Origin: expected a text, not a list"),
        ({"Metadata": []}, "Metadata of node: expected an object, not a list"),
        ({"CreatedAt": "2020-01-01"}, "CreatedAt: expected milliseconds, not a text"),
        ({"UpdatedAt": 1.5}, "UpdatedAt: expected milliseconds, not a number"),
        ({"DeletedAt": True}, "DeletedAt: expected milliseconds, not a boolean"),
        ({"UpdatedAt": 2**70}, "UpdatedAt: expected milliseconds, not a number"),
        ({"Revision": "3"}, "Revision: expected an integer, not a text"),
        ({"Metadata": {"K": 2**70}}, "metadata cannot hold an integer"),
    ],
)
def test_a_malformed_node_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    """Whoever reads the log must see what to mend."""
    with pytest.raises(ProtocolError) as caught:
        node_from_json({**NODE_DOCUMENT, **change}, now_ms=9)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"ID": "e", "Child": "m"}, "parent ID wrong format"),
        ({"ID": "e", "Parent": "", "Child": "m"}, "parent ID wrong format"),
        ({"ID": "e", "Parent": "n", "Child": 7}, "child ID wrong format"),
        ({"Parent": "n", "Child": "m"}, "edge without ID"),
        ([], "edge: expected an object, not a list"),
        (None, "edge: expected an object, not null"),
    ],
)
def test_a_malformed_edge_is_refused(document: Any, message: str) -> None:
    """The words of the original, which tests of clients compare (api.md §1.5)."""
    with pytest.raises(ProtocolError) as caught:
        edge_from_json(document, now_ms=9)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (EventKind.ADDED, GraphMessage.NODE_ADDED),
        (EventKind.UPDATED, GraphMessage.NODE_UPDATED),
        (EventKind.DELETED, GraphMessage.NODE_DELETED),
    ],
)
def test_the_full_policy_tells_whole_elements(kind: EventKind, message: GraphMessage) -> None:
    """For subscribers that did not ask for less."""
    assert event_message(GraphEvent(kind, NODE, NODE, OPS)) == (message, NODE_DOCUMENT)
    edge_message = GraphMessage(message.replace("Node", "Edge"))
    assert event_message(GraphEvent(kind, EDGE, EDGE, OPS)) == (edge_message, edge_json(EDGE))


@pytest.mark.parametrize("element", [NODE, EDGE])
def test_the_partial_policy_tells_operations(element: Node | Edge) -> None:
    """Agents send nothing else for updates (api.md §2.11)."""
    kind, document = event_message(updated(element, OPS), policy="partial")
    assert kind == ("NodePartiallyUpdated" if isinstance(element, Node) else "EdgePartiallyUpdated")
    assert document == {
        "ID": element.id,
        "UpdatedAt": 2,
        "Revision": 3,
        "Ops": [
            {"Type": 1, "Key": "Name", "Value": "eth1"},
            {"Type": 2, "Key": "State", "Value": None},
        ],
    }
    assert partial_from_json(orjson.loads(orjson.dumps(document)), now_ms=9) == PartialUpdate(
        element.id, 3, 2, OPS
    )


@pytest.mark.parametrize("ops", [None, ()])
def test_without_operations_everything_is_told(ops: tuple[Op, ...] | None) -> None:
    """The receiver would learn the revision without the content, and ignore the content when it
    came later (api.md §2.7)."""
    assert event_message(updated(NODE, ops), policy="partial") == ("NodeUpdated", NODE_DOCUMENT)
    assert event_message(updated(EDGE, ops), policy="partial") == ("EdgeUpdated", edge_json(EDGE))


def test_what_many_elements_have_is_kept_once() -> None:
    """Hosts, origins and relations, of which there are few, make up half of a small element."""
    one, other = (
        edge_from_json(orjson.loads(orjson.dumps(edge_json(EDGE))), now_ms=9) for _ in range(2)
    )
    assert one.origin is other.origin
    assert one.host is other.host
    assert one.metadata is other.metadata


def test_operations_may_be_null() -> None:
    """The original sends that often; revision and time go on (api.md §2.7)."""
    document = {"ID": "n", "UpdatedAt": 5, "Revision": 4, "Ops": None}
    assert partial_from_json(document, now_ms=9) == PartialUpdate("n", 4, 5, ())


@pytest.mark.parametrize(
    ("op", "message"),
    [
        ({"Type": 3, "Key": "K", "Value": 1}, "operation whose Type is neither 1 nor 2"),
        ({"Type": True, "Key": "K", "Value": 1}, "operation whose Type is neither 1 nor 2"),
        ({"Type": 1, "Key": "K"}, "operation that sets 'K' without Value"),
        ({"Type": 1, "Value": 1}, "operation without Key"),
        ({"Type": 1, "Key": "a\nb"}, r"operation that sets 'a\nb' without Value"),
        ("x", "operation: expected an object, not a text"),
    ],
)
def test_a_malformed_operation_spoils_the_message(op: Any, message: str) -> None:
    """Half of an update is no revision (api.md §2.7)."""
    with pytest.raises(ProtocolError) as caught:
        partial_from_json({"ID": "n", "Ops": [{"Type": 2, "Key": "A"}, op]}, now_ms=9)
    assert str(caught.value) == message


def test_a_value_of_null_is_a_value() -> None:
    """It is its absence that is refused."""
    update = partial_from_json(
        {"ID": "n", "Ops": [{"Type": 1, "Key": "K", "Value": None}]}, now_ms=9
    )
    assert update.ops == (Op(OpKind.SET, "K", None),)


def test_an_endless_update_is_refused() -> None:
    """A peer's message must not keep the graph busy for long."""
    ops = [{"Type": 2, "Key": "K"}] * 10_001
    with pytest.raises(ProtocolError, match="10001 operations, at most 10000"):
        partial_from_json({"ID": "n", "Ops": ops}, now_ms=9)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["ID", "Metadata", "Host", "Ops", "Type", "Key", "Value", "Nodes", "Parent"]
            ),
            inner,
            max_size=5,
        )
    ),
)


@given(JSON)
def test_any_document_is_decoded_or_refused(document: Any) -> None:
    """Peers are not trusted to send what they should."""
    for decode in (node_from_json, edge_from_json, partial_from_json, elements_from_json):
        with suppress(ProtocolError):
            decode(document, now_ms=9)
