"""Searches as they travel to flow tables."""

from __future__ import annotations

from skydiver.filters import Eq, filters_pb2
from skydiver.flow import FlowSearch, SortOrder
from skydiver.flow.wire import search_to_wire


def decoded(search: FlowSearch) -> filters_pb2.SearchQuery:
    return filters_pb2.SearchQuery.FromString(search_to_wire(search))


def test_a_search_for_everything_is_empty() -> None:
    """Absent filter and range are how the original says "all"."""
    assert search_to_wire(FlowSearch()) == b""


def test_every_part_of_a_search_travels() -> None:
    """What is not pushed down would have to be fetched."""
    query = decoded(
        FlowSearch(
            Eq("Transport.B", 80),
            sort=True,
            sort_by="Metric.ABBytes",
            order=SortOrder.DESCENDING,
            dedup=True,
            dedup_by="NodeTID",
            first=2,
            last=5,
        )
    )
    assert (query.Filter.TermInt64Filter.Key, query.Filter.TermInt64Filter.Value) == (
        "Transport.B",
        80,
    )
    assert (query.Sort, query.SortBy, query.SortOrder) == (True, "Metric.ABBytes", 2)
    assert (query.Dedup, query.DedupBy) == (True, "NodeTID")
    assert (query.PaginationRange.From, query.PaginationRange.To) == (2, 5)


def test_a_range_of_nothing_differs_from_no_range() -> None:
    """`Limit(0)` must not bring every flow of the network."""
    assert decoded(FlowSearch(last=0)).HasField("PaginationRange")
    assert not decoded(FlowSearch()).HasField("PaginationRange")


def test_a_range_without_end_ends_where_numbers_do() -> None:
    """The wire has no other word for it."""
    query = decoded(FlowSearch(first=3))
    assert (query.PaginationRange.From, query.PaginationRange.To) == (3, 2**63 - 1)
