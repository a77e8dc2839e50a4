"""What published elements must look like."""

from __future__ import annotations

from typing import Any

import pytest

from skydiver.base.errors import ProtocolError
from skydiver.graph.schema import check_edge, check_node


@pytest.mark.parametrize(
    "metadata",
    [
        {"Type": "device", "Name": "eth0"},
        {"Type": "netns", "Name": "ns1", "Path": ""},
        {"Type": "ovsport", "Name": "p", "UUID": "u", "More": [1]},
    ],
)
def test_nodes_that_may_be_published(metadata: dict[str, Any]) -> None:
    """By type (api.md §1.10); host, origin and times may be null."""
    check_node({"ID": "n", "Metadata": metadata})
    check_node({"ID": "n", "Metadata": metadata, "Host": None, "CreatedAt": None, "Origin": "o"})


def test_the_refusal_reads_as_the_original() -> None:
    """A functional test of the original compares these very lines (api.md §1.10)."""
    with pytest.raises(ProtocolError) as caught:
        check_node({"ID": "n", "Metadata": {"Type": "device"}})
    assert str(caught.value).splitlines() == [
        "invalid schema: (root): Must validate all the schemas (allOf)",
        "Metadata: Must validate all the schemas (allOf)",
        "Metadata: Name is required",
        "(root): Must validate at least one schema (anyOf)",
    ]


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ({"Metadata": {"Type": "t", "Name": "n"}}, "(root): ID is required"),
        ({"ID": 7}, "ID: Invalid type. Expected: string, given: integer"),
        ({"ID": ""}, "ID: String length must be greater than or equal to 1"),
        ({"ID": "n"}, "(root): Metadata is required"),
        ({"ID": "n", "Metadata": None}, "Metadata: Invalid type. Expected: object, given: null"),
        ({"ID": "n", "Metadata": {"Name": "n"}}, "Metadata: Type is required"),
        ({"ID": "n", "Metadata": {"Type": 1, "Name": "n"}}, "Metadata.Type: Invalid type."),
        ({"ID": "n", "Metadata": {"Type": "netns", "Name": "n"}}, "Metadata: Path is required"),
        ({"ID": "n", "Metadata": {"Type": "ovsport", "Name": "n"}}, "Metadata: UUID is required"),
        ({"ID": "n", "Host": True}, "Host: Invalid type. Expected: string/null, given: boolean"),
        ({"ID": "n", "CreatedAt": 1.5}, "CreatedAt: Invalid type."),
        ({"ID": "n", "UpdatedAt": []}, "UpdatedAt: Invalid type."),
    ],
)
def test_nodes_that_may_not(document: dict[str, Any], line: str) -> None:
    """Each breach has its line."""
    with pytest.raises(ProtocolError) as caught:
        check_node(document)
    assert any(found.startswith(line) for found in str(caught.value).splitlines())


def test_edges() -> None:
    """Both ends and a relation are needed."""
    document = {"ID": "e", "Parent": "a", "Child": "b", "Metadata": {"RelationType": "layer2"}}
    check_edge(document)
    for missing in ("ID", "Parent", "Child", "Metadata"):
        with pytest.raises(ProtocolError, match=f"{missing} is required"):
            check_edge({key: value for key, value in document.items() if key != missing})
    with pytest.raises(ProtocolError, match="RelationType is required"):
        check_edge({**document, "Metadata": {}})
    with pytest.raises(ProtocolError, match="Parent: String length"):
        check_edge({**document, "Parent": ""})
