"""Sums and distribution of counters over time (gremlin.md §12)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydiver.base.errors import QueryError
from skydiver.gremlin.metrics import FLOW, INTERFACE, Metric, aggregate

Shown = tuple[int, int, int]
"""Counters, start and end in seconds."""


def flow_metric(value: int, start_s: int, end_s: int) -> Metric:
    counters = dict.fromkeys(FLOW.counters, value)
    return {**counters, "Start": start_s * 1000, "Last": end_s * 1000}


def shown(metric: Metric) -> Shown:
    (value,) = {metric.get(name, 0) for name in FLOW.counters}
    return value, metric["Start"] // 1000, metric["Last"] // 1000


A: list[Shown] = [(6000, 0, 15), (6000, 15, 30)]


@pytest.mark.parametrize(
    ("series", "window", "expected"),
    [
        ([[(1000, 0, 10)]], (0, 10), [(1000, 0, 10)]),
        ([[(1000, 0, 20)]], (0, 10), [(500, 0, 10)]),
        ([[(1000, 0, 20)]], (10, 20), [(500, 10, 20)]),
        ([[(1000, 10, 20)]], (5, 15), [(500, 5, 15)]),
        ([[(1000, 10, 20)]], (15, 25), [(500, 15, 25)]),
        ([[(1000, 1, 5)]], (0, 10), [(1000, 0, 10)]),
        ([[(1, 0, 60)]], (0, 10), [(1, 0, 10)]),
        ([[(1, 0, 60)]], (10, 20), [(0, 10, 20)]),
        ([[(18000, 0, 30)]], (0, 30), [(6000, 0, 10), (6000, 10, 20), (6000, 20, 30)]),
        ([[(18000, 0, 30)]], (10, 30), [(6000, 10, 20), (6000, 20, 30)]),
        ([A], (10, 30), [(4000, 10, 20), (4000, 20, 30)]),
        (
            [A, [(6000, 5, 10), (6000, 10, 20)]],
            (5, 30),
            [(13000, 5, 15), (7000, 15, 25), (2000, 25, 30)],
        ),
        (
            [A, [(6000, 5, 10), (6000, 10, 20), (2000, 20, 30)]],
            (5, 30),
            [(13000, 5, 15), (8000, 15, 25), (3000, 25, 30)],
        ),
    ],
)
def test_counters_are_shared_out_in_proportion_to_time(
    series: list[list[Shown]], window: tuple[int, int], expected: list[Shown]
) -> None:
    """The vectors of the original (gremlin.md §12.5)."""
    metrics = [[flow_metric(*one) for one in ones] for ones in series]
    start, end = window
    buckets = aggregate(FLOW, metrics, bucket_ms=10_000, window=(start * 1000, end * 1000))
    assert [shown(bucket) for bucket in buckets] == expected


@pytest.mark.parametrize("value", [18000, 180, 5])
def test_the_sum_of_the_buckets_is_the_sum_of_the_metrics(value: int) -> None:
    """Nothing is lost to rounding (the original's check of small numbers)."""
    buckets = aggregate(FLOW, [[flow_metric(value, 0, 30)]], bucket_ms=10_000)
    total = FLOW.total(buckets)
    assert total is not None
    assert shown(total) == (value, 0, 30)


@pytest.mark.parametrize("bucket_s", [1, 3, 7, 14])
def test_a_packet_in_many_buckets_is_one_packet(bucket_s: int) -> None:
    """An interface that sends little must not look silent when it is looked at closely."""
    metric = {"RxPackets": 1, "RxBytes": 1500, "TxPackets": 29, "Start": 0, "Last": 30_000}
    buckets = aggregate(INTERFACE, [[metric]], bucket_ms=bucket_s * 1000)
    assert INTERFACE.total(buckets) == {**dict.fromkeys(INTERFACE.counters, 0), **metric}


def test_interface_counters_cut_in_two_lose_a_unit() -> None:
    """As upstream: each side is rounded on its own."""
    series: list[Metric] = [
        {"RxBytes": 10, "Start": 1000, "Last": 2000},
        {"RxBytes": 5, "Start": 1500, "Last": 2500},
    ]
    buckets = aggregate(INTERFACE, [[series[0]], [series[1]]], bucket_ms=1000)
    assert [INTERFACE.document(bucket) for bucket in buckets] == [
        {"RxBytes": 12, "Start": 1000, "Last": 2000},
        {"RxBytes": 2, "Start": 2000, "Last": 2500},
    ]


def test_what_ended_earlier_does_not_hide_what_follows() -> None:
    """In the original a metric before the window blocked its series."""
    series = [flow_metric(7, 0, 5), flow_metric(0, 5, 10), flow_metric(100, 10, 20)]
    buckets = aggregate(FLOW, [series], bucket_ms=10_000, window=(10_000, 20_000))
    assert [shown(bucket) for bucket in buckets] == [(100, 10, 20)]


def test_a_window_without_length_has_no_buckets() -> None:
    """A point in time has no rate."""
    assert aggregate(FLOW, [[flow_metric(7, 0, 5)]], bucket_ms=1000, window=(3000, 3000)) == []


def test_too_many_buckets_are_refused() -> None:
    """One query must not fill the memory."""
    with pytest.raises(QueryError, match="at most 10000"):
        aggregate(FLOW, [[flow_metric(7, 1, 20_000)]], bucket_ms=1000)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(1, 500), st.integers(0, 300)).map(
            lambda t: flow_metric(t[0], t[1], t[1] + t[2])
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 100),
)
def test_flow_counters_are_conserved_over_any_buckets(metrics: list[Metric], bucket: int) -> None:
    """Traffic is neither made nor lost by showing it over time."""
    metrics.sort(key=lambda metric: metric["Start"])
    total = FLOW.total(aggregate(FLOW, [[m] for m in metrics], bucket_ms=bucket * 1000))
    # A metric of no length at the very end lies in no bucket.
    end = max(metric["Last"] for metric in metrics)
    inside = [m for m in metrics if m["Start"] < end]
    expected = sum(metric["ABBytes"] for metric in inside)
    assert (0 if total is None else total["ABBytes"]) == expected


def test_a_total_spans_its_parts_and_has_no_round_trip() -> None:
    """Round trips of several flows do not add up."""
    parts = [{**flow_metric(1, 2, 3), "RTT": 9}, {**flow_metric(2, 1, 2), "RTT": 9}]
    total = FLOW.total(parts)
    assert total is not None
    assert FLOW.document(total) == flow_metric(3, 1, 3)
    one = FLOW.total(parts[:1])
    assert one is not None
    assert one["RTT"] == 9
    assert FLOW.total([]) is None


@pytest.mark.parametrize("value", [7, "x", [1], {"RxBytes": "7"}, {"RxBytes": True}])
def test_what_is_no_metric_is_refused(value: Any) -> None:
    """Metadata may hold anything under that name."""
    with pytest.raises(QueryError, match="the value is not a metric"):
        INTERFACE.read(value, "the value")
