"""Counters over time: kinds of metrics, their sums, and their distribution over buckets (§12)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from skydiver.base.errors import QueryError
from skydiver.graph.fields import COUNTERS

Metric: TypeAlias = Mapping[str, int]
"""Counters, ``Start`` and ``Last`` of one stretch of time, in milliseconds. Absent is zero."""

MAX_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class MetricKind:
    """Which counters a metric has."""

    counters: tuple[str, ...]
    """What is added up; without ``Start``, ``Last`` and ``RTT``."""
    gauges: tuple[str, ...] = ()
    """What means nothing when added up, and is left out when it is zero."""
    shows_zeros: bool = False
    """Zero counters appear in JSON."""
    exact_cut: bool = False
    """Cutting in two, too, loses no unit to rounding."""

    @property
    def fields(self) -> tuple[str, ...]:
        """All members."""
        return (*self.counters, "Start", "Last", *self.gauges)

    def document(self, metric: Metric) -> dict[str, int]:
        """The metric as JSON."""
        shown = self.shows_zeros
        document = {
            name: metric.get(name, 0)
            for name in (*self.counters, "Start", "Last")
            if shown or metric.get(name, 0)
        }
        document.update((name, metric[name]) for name in self.gauges if metric.get(name))
        return document

    def read(self, value: Any, what: str) -> Metric:
        """`value` as a metric of this kind; `what` names it in the error."""
        if not isinstance(value, Mapping):
            raise QueryError(f"{what} is not a metric")
        metric = {name: value[name] for name in self.fields if name in value}
        if any(isinstance(n, bool) or not isinstance(n, int) for n in metric.values()):
            raise QueryError(f"{what} is not a metric: its members must be whole numbers")
        return metric

    def is_zero(self, metric: Metric) -> bool:
        """No counter has counted."""
        return not any(metric.get(name) for name in self.counters)

    def add(self, first: Metric, second: Metric) -> Metric:
        """Counters added; `Start` and `Last` are those of `first`."""
        total = {name: first.get(name, 0) + second.get(name, 0) for name in self.counters}
        return {**total, "Start": first.get("Start", 0), "Last": first.get("Last", 0)}

    def total(self, metrics: Iterable[Metric]) -> Metric | None:
        """Counters added over all; `Start` is the smallest, `Last` the largest. None of none."""
        total: Metric | None = None
        for metric in metrics:
            if total is None:
                total = metric
                continue
            start = min(total.get("Start", 0), metric.get("Start", 0))
            last = max(total.get("Last", 0), metric.get("Last", 0))
            total = {**self.add(total, metric), "Start": start, "Last": last}
        return total

    def cut(
        self, metric: Metric, at_ms: int, *, exact: bool = False
    ) -> tuple[Metric | None, Metric | None]:
        """What lies before and after `at_ms`, the counters shared out in proportion to time.

        `exact`: what rounding takes from the first part is in the second.
        """
        start, last = metric.get("Start", 0), metric.get("Last", 0)
        if at_ms <= start:
            return None, metric
        if at_ms >= last or start == last:
            return metric, None
        left: dict[str, int] = {"Start": start, "Last": at_ms}
        right: dict[str, int] = {"Start": at_ms, "Last": last}
        for name in self.counters:
            value = metric.get(name, 0)
            left[name] = value * (at_ms - start) // (last - start)
            right[name] = (
                value - left[name]
                if exact or self.exact_cut
                else value * (last - at_ms) // (last - start)
            )
        return left, right


def _counters(path: str) -> tuple[str, ...]:
    """What the metadata under `path` counts."""
    return tuple(name for name in COUNTERS[path] if name not in ("Start", "Last"))


FLOW = MetricKind(
    ("ABPackets", "ABBytes", "BAPackets", "BABytes"),
    gauges=("RTT",),
    shows_zeros=True,
    exact_cut=True,
)

INTERFACE = MetricKind(_counters("LastUpdateMetric"))
SFLOW = MetricKind(_counters("SFlow.LastUpdateMetric"))


def aggregate(
    kind: MetricKind,
    series: Iterable[Sequence[Metric]],
    *,
    bucket_ms: int,
    window: tuple[int, int] | None = None,
) -> list[Metric]:
    """All series shared out over buckets of `bucket_ms` each; empty buckets are left out.

    `window` bounds the buckets; None = from the first start to the last end of all metrics.
    """
    series = list(series)
    start, end = window or _extent(metric for metrics in series for metric in metrics)
    count = -(-(end - start) // bucket_ms)
    if count > MAX_BUCKETS:
        raise QueryError(f"Aggregates would need {count} buckets; at most {MAX_BUCKETS} are made")
    bounds = [
        (at, min(at + bucket_ms, end)) for at in range(start, start + count * bucket_ms, bucket_ms)
    ]
    buckets: list[Metric | None] = [None] * len(bounds)
    for metrics in series:
        _distribute(kind, metrics, bounds, buckets)
    return [bucket for bucket in buckets if bucket is not None]


def _extent(metrics: Iterable[Metric]) -> tuple[int, int]:
    start = end = 0
    for metric in metrics:
        at = metric.get("Start", 0)
        start = at if start == 0 else min(start, at)
        end = max(end, metric.get("Last", 0))
    return start, end


def _distribute(
    kind: MetricKind,
    metrics: Sequence[Metric],
    bounds: Sequence[tuple[int, int]],
    buckets: list[Metric | None],
) -> None:
    """Walk the metrics of one series and the buckets side by side (§12.5).

    Unlike upstream, a metric that ended before the bucket, or counted nothing, does not keep the
    metrics behind it from being shared out; and a metric cut more than once loses nothing: where
    each cut rounded both sides down, one packet a minute was none in buckets of seconds.
    """
    edges = [start for start, _ in bounds] + [bounds[-1][1]] if bounds else []
    waiting = [(metric, _cuts(metric, edges) > 1) for metric in reversed(metrics)]
    index = 0
    while waiting and index < len(bounds):
        metric, exact = waiting.pop()
        start, end = bounds[index]
        _, inside = kind.cut(metric, start, exact=exact)
        if inside is None or kind.is_zero(inside):
            continue
        share, remainder = kind.cut(inside, end, exact=exact)
        if share is None:
            waiting.append((metric, exact))
            index += 1
            continue
        if kind.is_zero(share) and start <= metric.get("Start", 0) < end:
            # Rounded away, yet it began here: this bucket gets all of it.
            share, remainder = metric, None
        buckets[index] = kind.add(buckets[index] or {"Start": start, "Last": end}, share)
        if remainder is not None and not kind.is_zero(remainder):
            waiting.append((remainder, exact))


def _cuts(metric: Metric, edges: Sequence[int]) -> int:
    """How many of these moments lie within a metric."""
    first, last = metric.get("Start", 0), metric.get("Last", 0)
    return bisect_left(edges, last) - bisect_right(edges, first)
