"""A search as it travels to flow tables: the protobuf ``filters.SearchQuery`` (flows.md §1.8)."""

from __future__ import annotations

from skydiver.filters import filters_pb2
from skydiver.filters.wire import to_wire
from skydiver.flow.search import FlowSearch, SortOrder

_NO_LIMIT = 2**63 - 1

_ORDERS = {
    SortOrder.NONE: filters_pb2.NoOrder,
    SortOrder.ASCENDING: filters_pb2.Ascending,
    SortOrder.DESCENDING: filters_pb2.Descending,
}


def search_to_wire(search: FlowSearch) -> bytes:
    """`search` serialized, its range as it is.

    Whoever asks several tables sends each the range from 0 and applies the lower bound to the
    merged answer (gremlin.md §11.2).
    """
    query = filters_pb2.SearchQuery(
        Sort=search.sort,
        SortBy=search.sort_by,
        SortOrder=_ORDERS[search.order],
        Dedup=search.dedup,
        DedupBy=search.dedup_by,
    )
    if search.where is not None:
        query.Filter.CopyFrom(to_wire(search.where))
    if search.first or search.last is not None:
        # Set even when both ends are 0, which is a range of nothing and not the lack of one.
        query.PaginationRange.SetInParent()
        query.PaginationRange.From = search.first
        query.PaginationRange.To = _NO_LIMIT if search.last is None else search.last
    return query.SerializeToString()
