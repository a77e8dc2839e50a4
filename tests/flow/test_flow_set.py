"""Filtering, sorting, de-duplicating, cutting and merging flows in memory (flows.md §9.3, B.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydiver.base.errors import QueryError
from skydiver.filters import Eq
from skydiver.flow import Flow, FlowSearch, SortOrder
from skydiver.flow.flow_set import merge, select


def flow(tracking: str = "", node: str = "", start: int = 0, **more: Any) -> Flow:
    return {"TrackingID": tracking, "NodeTID": node, "Start": start, "Last": start, **more}


def trackings(flows: Sequence[Flow]) -> list[str]:
    return [flow["TrackingID"] for flow in flows]


def test_dedup_keeps_the_first_of_each_traffic() -> None:
    """The same traffic is seen on every interface that it crosses."""
    found = select([flow("aaa"), flow("bbb"), flow("aaa")], FlowSearch(dedup=True))
    assert trackings(found) == ["aaa", "bbb"]


def test_dedup_by_a_field_keeps_the_first_of_each_value() -> None:
    """Asked for the first flow of each interface."""
    flows = [flow("aaa", "111"), flow("bbb", "111"), flow("aaa", "222")]
    assert select(flows, FlowSearch(dedup=True, dedup_by="NodeTID")) == [flows[0], flows[2]]


def test_flows_without_the_field_are_neither_lost_nor_the_same() -> None:
    """The original lost them when sorting and when de-duplicating (gremlin.md §15, Q13)."""
    flows = [flow("a"), flow("b", ICMP={"Type": "ECHO", "ID": 2}), flow("c")]
    assert trackings(select(flows, FlowSearch(dedup=True, dedup_by="ICMP.ID"))) == ["a", "b", "c"]
    ascending = FlowSearch(sort=True, sort_by="ICMP.ID", order=SortOrder.ASCENDING)
    assert trackings(select(flows, ascending)) == ["a", "c", "b"]


def test_no_order_means_descending() -> None:
    """So it is on the wire: peers of the original rely on it."""
    flows = [flow("a", start=1), flow("b", start=3), flow("c", start=2)]
    assert trackings(select(flows, FlowSearch(sort=True))) == ["b", "c", "a"]


def test_equal_flows_stay_as_they_came_and_descending_is_that_backwards() -> None:
    """So the original answers, and no page of an answer shows a flow that another shows, too."""
    flows = [flow("a", start=1), flow("b", start=1), flow("c", start=1)]
    for order, expected in (
        (SortOrder.ASCENDING, ["a", "b", "c"]),
        (SortOrder.DESCENDING, ["c", "b", "a"]),
    ):
        search = FlowSearch(sort=True, order=order)
        assert trackings(select(flows, search)) == expected
        parts = [select(part, search) for part in (flows[:1], flows[1:])]
        assert trackings(merge(parts, search)) == expected


def test_a_range_is_cut_after_sorting() -> None:
    """Top talkers are the first of all, not of the first few."""
    flows = [flow("a", start=1), flow("b", start=3), flow("c", start=2)]
    search = FlowSearch(sort=True, order=SortOrder.ASCENDING, first=1, last=2)
    assert trackings(select(flows, search)) == ["c"]
    assert select(flows, FlowSearch(first=5, last=9)) == []


def test_a_filter_comes_first() -> None:
    """A limit counts flows that match."""
    flows = [flow("a"), flow("b"), flow("b", "2")]
    assert trackings(select(flows, FlowSearch(Eq("TrackingID", "b"), last=1))) == ["b"]


def test_merging_deduplicated_sets_adds_what_is_new() -> None:
    """Two agents see the same traffic."""
    first = [flow("a", "111"), flow("b", "222")]
    second = [flow("c", "111"), flow("d", "333")]
    search = FlowSearch(dedup=True, dedup_by="NodeTID")
    assert trackings(merge([first, second], search)) == ["a", "b", "d"]


def test_merging_sorted_sets_drops_doubles_on_the_way() -> None:
    """In descending order the later flow of an interface stays."""
    first = [flow("e", "111", 4), flow("c", "222", 2), flow("a", "111", 0)]
    second = [flow("h", "333", 12), flow("g", "222", 10), flow("f", "111", 6)]
    search = FlowSearch(sort=True, sort_by="Start", dedup=True, dedup_by="NodeTID")
    assert trackings(merge([first, second], search)) == ["h", "g", "f"]


@pytest.mark.parametrize(
    "search", [FlowSearch(sort=True, sort_by="nope"), FlowSearch(dedup=True, dedup_by="nope")]
)
def test_an_unknown_field_is_an_error(search: FlowSearch) -> None:
    """An order that means nothing must not look like one."""
    with pytest.raises(QueryError, match="no field 'nope'"):
        select([flow("a")], search)


FLOWS = st.builds(flow, st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 3))
SEARCHES = st.builds(
    FlowSearch,
    sort=st.booleans(),
    sort_by=st.sampled_from(["", "Start", "NodeTID", "ICMP.ID"]),
    order=st.sampled_from([SortOrder.ASCENDING, SortOrder.DESCENDING]),
    dedup=st.booleans(),
    dedup_by=st.sampled_from(["", "NodeTID"]),
    first=st.integers(0, 3),
    last=st.none() | st.integers(0, 6),
)


@settings(deadline=None)
@given(st.lists(st.lists(FLOWS, max_size=5), max_size=4), SEARCHES)
def test_asking_tables_one_by_one_is_asking_them_as_one(
    tables: list[list[Flow]], search: FlowSearch
) -> None:
    """How captures are spread over tables and agents must not show in the answer."""
    whole = select([flow for table in tables for flow in table], search)
    parts = [select(table, replace(search, first=0)) for table in tables]
    assert merge(parts, search) == whole
