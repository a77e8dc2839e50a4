"""A graph in the language of Graphviz (gremlin.md §13.11)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from skydiver.base.ids import NodeID
from skydiver.graph.elements import Edge, Node
from skydiver.graph.relations import LAYER2, relation_of

_SHOWN = ("Type", "IfIndex", "State", "TID", "IPV4", "IPV6")
"""Metadata that the label of a node shows."""


def dot(nodes: Iterable[Node], edges: Iterable[Edge]) -> str:
    """`nodes` and those `edges` whose ends are among them."""
    names: dict[NodeID, str] = {}
    lines = ["digraph g {"]
    for node in nodes:
        name = names[node.id] = f"{node.metadata.get('Name', '')}-{node.id[:8]}"
        facts = [f"{key} = {_text(node.metadata[key])}" for key in _SHOWN if key in node.metadata]
        lines.append(f"  {_quoted(name)} [label={_quoted(*(name, *facts))}]")
    for edge in edges:
        parent, child = names.get(edge.parent), names.get(edge.child)
        if parent is None or child is None:
            continue
        relation = relation_of(edge.metadata)
        attributes = ""
        if relation:
            direction = "both" if relation == LAYER2 else "forward"
            attributes = f" [label={_quoted(relation)},dir={direction}]"
        lines.append(f"  {_quoted(parent)} -> {_quoted(child)}{attributes}")
    return "\n".join([*lines, "}", ""])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _quoted(*lines: str) -> str:
    """`lines` as one text of the language."""
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(line.replace("\n", "\\n") for line in escaped) + '"'
