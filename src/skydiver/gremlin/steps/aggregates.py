"""``Aggregates(seconds)``: all series shared out over equal stretches of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import MetricSeries
from skydiver.gremlin.metrics import aggregate
from skydiver.gremlin.registry import Step, step


@step("Aggregates", vocabulary="full")
@dataclass(frozen=True, slots=True)
class Aggregates(Step):
    bucket_s: int

    @classmethod
    def parse(cls, args: Args) -> Self:
        bucket_s = args.optional_count(default=30)
        if bucket_s == 0:
            raise args.error("at least one second", at=args.items[0])
        return cls(bucket_s)

    def run(self, source: MetricSeries) -> MetricSeries:
        period = source.scope.period
        window = None if period is None else (period.start_ms, period.last_ms)
        kind = source.metric_kind
        buckets = aggregate(
            kind, source.series.values(), bucket_ms=self.bucket_s * 1000, window=window
        )
        return MetricSeries(source.scope, kind, {"Aggregated": buckets})
