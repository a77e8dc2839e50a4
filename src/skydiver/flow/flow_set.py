"""Sets of flows in memory: filter, sort, dedup, cut and merge (flows.md §9).

What a flow table answers, and what whoever asked several tables makes of their answers. The data
plane does the same over its own records; here it is for flows that are JSON objects. Flows that a
sort takes for equal stay in the order in which they came, and descending is ascending backwards.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from skydiver.base.errors import QueryError
from skydiver.filters import MISSING, compile_filter
from skydiver.flow.fields import FlowField, flow_field, flow_reader
from skydiver.flow.search import Flow, FlowSearch, SortOrder

DEFAULT_SORT = "Last"
DEFAULT_DEDUP = "TrackingID"


def select(flows: Iterable[Flow], search: FlowSearch) -> list[Flow]:
    """What one table holding `flows` answers: filtered, sorted, de-duplicated, cut."""
    if search.where is not None:
        matches = compile_filter(search.where)
        flows = (flow for flow in flows if matches(flow_reader(flow)))
    found = list(flows)
    if search.sort:
        found = _sorted(found, search)
    if search.dedup:
        found = _distinct(found, search)
    return found[search.first : search.last]


def merge(parts: Sequence[Sequence[Flow]], search: FlowSearch) -> list[Flow]:
    """One answer of the answers of several tables, each asked from its first flow on.

    Sorted parts stay in order; of flows that are the same to `search.dedup_by` the first stays.
    """
    if search.sort:
        descending = _descending(search)
        key = _SortKey(search)
        # Equal flows keep the order of the parts, and have it reversed when descending.
        ordered = [list(reversed(part)) for part in parts] if descending else parts
        found = list(heapq.merge(*ordered, key=key))
        if descending:
            found.reverse()
    else:
        found = [flow for part in parts for flow in part]
    if search.dedup:
        found = _distinct(found, search)
    return found[search.first : search.last]


class _SortKey:
    """Flows without the field come first."""

    def __init__(self, search: FlowSearch) -> None:
        self._field = _field(search.sort_by or DEFAULT_SORT, "sort")

    def __call__(self, flow: Flow) -> tuple[bool, Any]:
        value = self._field.read(flow)
        return (False, 0) if value is MISSING else (True, value)


def _descending(search: FlowSearch) -> bool:
    """No order at all means descending on the wire (flows.md §9.3)."""
    return search.order is not SortOrder.ASCENDING


def _sorted(flows: list[Flow], search: FlowSearch) -> list[Flow]:
    found = sorted(flows, key=_SortKey(search))
    if _descending(search):
        found.reverse()
    return found


def _distinct(flows: Iterable[Flow], search: FlowSearch) -> list[Flow]:
    """The first flow of each value; flows without the field all stay."""
    field = _field(search.dedup_by or DEFAULT_DEDUP, "dedup")
    seen: set[Any] = set()
    found: list[Flow] = []
    for flow in flows:
        value = field.read(flow)
        if value is not MISSING:
            if value in seen:
                continue
            seen.add(value)
        found.append(flow)
    return found


def _field(key: str, purpose: str) -> FlowField:
    field = flow_field(key)
    if field is None or field.many:
        raise QueryError(f"flows have no field '{key}' to {purpose} by")
    return field
