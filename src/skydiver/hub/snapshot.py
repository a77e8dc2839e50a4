"""A whole graph as the content of a message, written piecemeal so that others get their turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

import orjson

from skydiver.graph import Edge, Node
from skydiver.graph.wire import edge_json, node_json
from skydiver.hub.turns import Turns

_PIECE = 200
"""Elements written at a time; a millisecond or so."""

_Element = TypeVar("_Element")


async def graph_json(nodes: Iterable[Node], edges: Iterable[Edge]) -> orjson.Fragment:
    """``{"Nodes":[…],"Edges":[…]}``.

    Both must come from a snapshot: the live graph may change while this is written.
    """
    turns = Turns()
    parts = [b'{"Nodes":[']
    await _write(nodes, node_json, parts, turns)
    parts.append(b'],"Edges":[')
    await _write(edges, edge_json, parts, turns)
    parts.append(b"]}")
    return orjson.Fragment(b"".join(parts))


async def _write(
    elements: Iterable[_Element],
    to_json: Callable[[_Element], dict[str, Any]],
    parts: list[bytes],
    turns: Turns,
) -> None:
    rest = iter(elements)
    separator = b""
    while piece := [to_json(element) for element in islice(rest, _PIECE)]:
        parts += (separator, orjson.dumps(piece)[1:-1])
        separator = b","
        await turns.pause_if_due()
