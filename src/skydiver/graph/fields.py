"""Fields of nodes and edges by name, as filters and Gremlin address them (gremlin.md §§5.1-5.3).

``@ID`` and the like are the element's own; ``Parent`` and ``Child`` an edge's ends; anything else,
with or without ``Metadata.`` before it, is a path in the metadata. A path descends objects and
applies to each object of a list. Counters whose zeros are left out read as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from skydiver.filters import MISSING, FieldReader
from skydiver.graph.elements import Edge, Element, Metadata, Node

NodeAccess: TypeAlias = Callable[[Node], Any]
EdgeAccess: TypeAlias = Callable[[Edge], Any]
ElementAccess: TypeAlias = Callable[[Element], Any]

_OWN: dict[str, ElementAccess] = {
    "@ID": lambda element: element.id,
    "@Host": lambda element: element.host,
    "@Origin": lambda element: element.origin,
    "@CreatedAt": lambda element: element.created_at_ms,
    "@UpdatedAt": lambda element: element.updated_at_ms,
    # Of a live element 0, and there all the same (gremlin.md §15, Q40).
    "@DeletedAt": lambda element: element.deleted_at_ms or 0,
    "@Revision": lambda element: element.revision,
}
OWN_KEYS: tuple[str, ...] = tuple(_OWN)
"""Fields that every element has."""

_INTERFACE_METRIC = (
    "Collisions Multicast RxBytes RxCompressed RxCrcErrors RxDropped RxErrors RxFifoErrors "
    "RxFrameErrors RxLengthErrors RxMissedErrors RxOverErrors RxPackets TxAbortedErrors TxBytes "
    "TxCarrierErrors TxCompressed TxDropped TxErrors TxFifoErrors TxHeartbeatErrors TxPackets "
    "TxWindowErrors Start Last"
)
_SFLOW_METRIC = (
    "IfInOctets IfInUcastPkts IfInMulticastPkts IfInBroadcastPkts IfInDiscards IfInErrors "
    "IfInUnknownProtos IfOutOctets IfOutUcastPkts IfOutMulticastPkts IfOutBroadcastPkts "
    "IfOutDiscards IfOutErrors OvsDpNHit OvsDpNMissed OvsDpNLost OvsDpNMaskHit OvsDpNFlows "
    "OvsDpNMasks OvsAppFdOpen OvsAppFdMax OvsAppConnOpen OvsAppConnMax OvsAppMemUsed OvsAppMemMax "
    "VlanOctets VlanUcastPkts VlanMulticastPkts VlanBroadcastPkts VlanDiscards EthAlignmentErrors "
    "EthFCSErrors EthSingleCollisionFrames EthMultipleCollisionFrames EthSQETestErrors "
    "EthDeferredTransmissions EthLateCollisions EthExcessiveCollisions "
    "EthInternalMacReceiveErrors EthInternalMacTransmitErrors EthCarrierSenseErrors "
    "EthFrameTooLongs EthSymbolErrors Start Last"
)
COUNTERS: dict[str, tuple[str, ...]] = {
    "Metric": tuple(_INTERFACE_METRIC.split()),
    "LastUpdateMetric": tuple(_INTERFACE_METRIC.split()),
    "Ovs.Metric": tuple(_INTERFACE_METRIC.split()),
    "Ovs.LastUpdateMetric": tuple(_INTERFACE_METRIC.split()),
    "SFlow.Metric": tuple(_SFLOW_METRIC.split()),
    "SFlow.LastUpdateMetric": tuple(_SFLOW_METRIC.split()),
}
"""Paths of objects of counters: those that an object leaves out are 0 (gremlin.md §§5.2, 12.1)."""
_IMPLIED = {f"{path}.{name}" for path, names in COUNTERS.items() for name in names}


def node_reader(node: Node) -> FieldReader:
    """Reads the fields of `node`; `MISSING` for what it has not."""
    return lambda key: node_access(key)(node)


def edge_reader(edge: Edge) -> FieldReader:
    """Reads the fields of `edge`; `MISSING` for what it has not."""
    return lambda key: edge_access(key)(edge)


@lru_cache(maxsize=4096)
def node_access(key: str) -> NodeAccess:
    """What reads the field `key` of any node."""
    return _OWN.get(key) or _metadata_access(key)


@lru_cache(maxsize=4096)
def edge_access(key: str) -> EdgeAccess:
    """What reads the field `key` of any edge."""
    if key == "Parent":
        return lambda edge: edge.parent
    if key == "Child":
        return lambda edge: edge.child
    return _OWN.get(key) or _metadata_access(key)


def metadata_path(key: str) -> str:
    """The path in the metadata that a field is called by: without ``Metadata.``."""
    return key.removeprefix("Metadata.")


def _metadata_access(key: str) -> ElementAccess:
    path = metadata_path(key)
    parts = path.split(".")
    match parts:
        case [name]:
            return lambda element: element.metadata.get(name, MISSING)
        case _ if path in _IMPLIED:
            return lambda element: _counter(element.metadata, parts)
        case _:
            return lambda element: _descend(element.metadata, parts, 0)


def get_path(metadata: Metadata, path: str) -> Any:
    """What `path` leads to; `MISSING` when it leads nowhere.

    Beyond a list, the list of what the rest of the path leads to in each object of it, which may
    be empty.
    """
    parts = path.split(".")
    return _counter(metadata, parts) if path in _IMPLIED else _descend(metadata, parts, 0)


def _descend(tree: Any, parts: Sequence[str], at: int) -> Any:
    for index in range(at, len(parts)):
        if isinstance(tree, list):
            found = [_descend(member, parts, index) for member in tree if isinstance(member, dict)]
            return [value for value in found if value is not MISSING]
        if not isinstance(tree, dict):
            return MISSING
        tree = tree.get(parts[index], MISSING)
    return tree


def _counter(metadata: Metadata, parts: Sequence[str]) -> Any:
    counters = _descend(metadata, parts[:-1], 0)
    return counters.get(parts[-1], 0) if isinstance(counters, dict) else MISSING


def node_keys(node: Node) -> Iterator[str]:
    """Every field that `node` has: its own, then the paths of its metadata, not below lists."""
    yield from OWN_KEYS
    yield from _paths(node.metadata, "")


def _paths(tree: Metadata, prefix: str) -> Iterator[str]:
    for key, value in tree.items():
        path = f"{prefix}{key}"
        yield path
        if isinstance(value, dict):
            yield from (f"{path}.{name}" for name in COUNTERS.get(path, ()) if name not in value)
            yield from _paths(value, f"{path}.")
