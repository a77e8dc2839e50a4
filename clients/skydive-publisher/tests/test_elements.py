from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import skydive_publisher
from skydive_publisher import Invalid, Publisher
from skydive_publisher.elements import NODE, changed, checked, edge_id, envelope

from skydiver.base.ids import NodeID
from skydiver.topology import relation_edge_id


def test_an_edge_has_the_identifier_that_skydive_gives_it() -> None:
    """So that the same edge, stated by a probe, is the same edge."""
    assert edge_id("p", "c", "layer2") == relation_edge_id(NodeID("p"), NodeID("c"), "layer2")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"Name": "n"}, "expected a text as Type, got None"),
        ({"Type": "t", "Name": ""}, "expected a text as Name, got ''"),
        ({"Type": "netns", "Name": "n"}, "expected a text as Path"),
        ({"Type": "ovsport", "Name": "n"}, "expected a text as UUID"),
        ({"Type": ["t"], "Name": "n"}, "expected a text as Type"),
        ({"Type": "t", "Name": "n", "X": object()}, "what JSON can say: .*object"),
        ({"Type": "t", "Name": "n", "X": float("nan")}, "what JSON can say"),
        ({"Type": "t", "Name": "\ud800"}, "is no Unicode text"),
        ({"Type": "t", "Name": "n", "X": {"\udfff": 1}}, "is no Unicode text"),
        ({"Type": "t", "Name": "n", "X": 2**63}, "more than 64 bits"),
        ([("Type", "t")], "expected a mapping"),
    ],
)
def test_what_a_server_would_drop_without_a_word_is_refused(metadata: Any, said: str) -> None:
    """The caller can be told here, and only here."""
    with pytest.raises(Invalid, match=said) as raised:
        checked(metadata, NODE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("depth", [101, 100_000])
def test_deep_metadata_is_refused(depth: int) -> None:
    """A server refuses the whole message, which may be everything there is."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    with pytest.raises(Invalid, match="what JSON can say"):
        checked({"Type": "t", "Name": "n", "X": value}, NODE)
    while isinstance(value, list):  # or the interpreter recurses to free it
        value = value.pop()


def test_what_was_stated_does_not_change_with_the_callers_object() -> None:
    """Services keep their dictionaries and go on with them."""
    metadata = {"Type": "t", "Name": "n", "List": [1]}
    copy, size = checked(metadata, NODE)
    metadata["List"].append(2)  # type: ignore[attr-defined]
    assert copy == {"Type": "t", "Name": "n", "List": [1]}
    assert size == len('{"Type":"t","Name":"n","List":[1]}')


def test_a_part_is_changed_by_its_path() -> None:
    """Dots lead into objects, as everywhere in Skydive; what is not there is not missed."""
    metadata = {"Type": "t", "A": {"B": 1, "C": 2}}
    assert changed(metadata, {"A.B": 3, "D.E": 4}, ("A.C", "A.X", "Y.Z")) == {
        "Type": "t", "A": {"B": 3}, "D": {"E": 4},
    }  # fmt: skip
    assert metadata == {"Type": "t", "A": {"B": 1, "C": 2}}
    with pytest.raises(Invalid, match="Type is a value"):
        changed(metadata, {"Type.X": 1}, ())


@pytest.mark.parametrize("id_", ["", None, 7, "\ud800"])
def test_an_identifier_is_a_text(id_: Any) -> None:
    """For nodes and for both ends of edges."""
    publisher = Publisher("127.0.0.1:1", origin="a.b")
    with pytest.raises(Invalid, match="expected a text"):
        publisher.upsert_node(id_, {"Type": "t", "Name": "n"})
    with pytest.raises(Invalid, match="expected a text"):
        publisher.link("x", id_, "layer2")
    with pytest.raises(Invalid, match="is no node of this publisher"):
        publisher.update("x", {})
    publisher.upsert_node("x", {"Type": "t", "Name": "n"})
    with pytest.raises(Invalid, match="key: expected a text"):
        publisher.update("x", {id_: 1})
    with pytest.raises(Invalid, match="metadata: expected a mapping, got 5"):
        publisher.link("x", "y", "layer2", 5)  # type: ignore[arg-type]


def test_a_message_has_the_members_that_every_server_expects() -> None:
    """Those of the original refuse a message without status."""
    message = json.loads(envelope("NodeAdded", {"ID": "n"}))
    assert message.pop("UUID")
    assert message == {
        "Namespace": "Graph", "Type": "NodeAdded", "Status": 200, "Obj": {"ID": "n"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "path", sorted(Path(skydive_publisher.__file__).parent.glob("*.py")), ids=lambda path: path.name
)
def test_it_is_written_for_python_3_9(path: Path) -> None:
    """Services are slow to move on."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]
