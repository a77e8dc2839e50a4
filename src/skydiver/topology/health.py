"""How an agent is: what it lost, lacks and runs, on the node of its host.

It travels with the graph, so every analyzer has it without asking, and Gremlin finds it:
``G.V().Has('Agent.Losses.Reason', 'kernel_ring')``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from skydiver.base.losses import Losses
from skydiver.graph import GraphView, Node
from skydiver.topology.vocabulary import NodeType

AGENT = "Agent"
"""Key of the host's node."""
CLOCK = "Clock"
"""Key of the host's node: how far its clock is off."""


def health_metadata(
    losses: Losses, missing: Sequence[str], probes: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """The value of `AGENT`; members of its losses are ``Part``, ``Reason`` and ``Count``."""
    errors = {name: status["Error"] for name, status in probes.items() if "Error" in status}
    return {
        "Losses": [
            {"Part": part, "Reason": reason.value, "Count": count}
            for (part, reason), count in sorted(losses.counts().items())
        ],
        "Missing": list(missing),
        "Probes": {name: status["Status"] for name, status in probes.items()},
        **({"ProbeErrors": errors} if errors else {}),
    }


def clock_metadata(
    offset_ms: float, error_ms: float, flagged: bool, analyzer: str
) -> dict[str, Any]:
    """The value of `CLOCK`: the host's clock ahead of the analyzer's."""
    return {
        "OffsetMs": round(offset_ms, 3),
        # Never less than it is.
        "ErrorMs": math.ceil(error_ms * 1000) / 1000,
        "Flagged": flagged,
        "Analyzer": analyzer,
    }


def lost_on(node: Node) -> Iterator[tuple[str, str, int]]:
    """Part, reason and count of what the agent of a host lost; anything else is passed over."""
    for entry in _list(_mapping(node.metadata.get(AGENT)).get("Losses")):
        match entry:
            case {"Part": str(part), "Reason": str(reason), "Count": int(count)}:
                yield part, reason, count


def hosts_status(view: GraphView) -> dict[str, dict[str, Any]]:
    """Per host ``Losses``, ``Missing``, ``Probes`` and its clock if known, for the status of an
    analyzer."""
    hosts: dict[str, dict[str, Any]] = {}
    for node in view.lookup("Type", NodeType.HOST.value):
        health = _mapping(node.metadata.get(AGENT))
        if not health:
            continue
        errors = _mapping(health.get("ProbeErrors"))
        losses: dict[str, dict[str, int]] = {}
        for part, reason, count in lost_on(node):
            losses.setdefault(part, {})[reason] = count
        hosts[node.host] = {
            **_clock_status(_mapping(node.metadata.get(CLOCK))),
            "Losses": losses,
            "Missing": [str(words) for words in _list(health.get("Missing"))],
            "Probes": {
                name: {"Status": str(status)}
                | ({"Error": str(errors[name])} if name in errors else {})
                for name, status in _mapping(health.get("Probes")).items()
            },
        }
    return hosts


def _clock_status(clock: Mapping[str, Any]) -> dict[str, Any]:
    match clock:
        case {"OffsetMs": int() | float() as offset_ms, "ErrorMs": int() | float() as error_ms}:
            return {
                "ClockOffsetMs": offset_ms,
                "ClockErrorMs": error_ms,
                "ClockFlagged": clock.get("Flagged") is True,
            }
    return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
