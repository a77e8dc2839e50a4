"""``At(point, length)``, also called ``Context``: the graph as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.base.errors import QueryError
from skydiver.gremlin.arguments import Args, Argument, Keyword
from skydiver.gremlin.kinds import GraphResult
from skydiver.gremlin.registry import Step, step
from skydiver.gremlin.scope import Period
from skydiver.gremlin.times import NOW, Moment, duration, moment_of_number, moment_of_text

POINT = "a point in time: a number, a date as 'Sun, 06 Nov 2016 08:49:37 GMT', '-5m' or NOW"
LENGTH = "a length of time: seconds, a duration as '1h30m' or FOREVER"


@step("At", "Context")
@dataclass(frozen=True, slots=True)
class At(Step):
    point: Moment
    length_ms: int | Keyword | None = None
    """Of the period that ends at the point; FOREVER since the Unix epoch, None = the point only."""

    @classmethod
    def parse(cls, args: Args) -> Self:
        args.at_most(2)
        if not args.items:
            raise args.error(POINT)
        point = _point(args, args.items[0])
        return cls(point, _length(args, args.items[1]) if len(args) > 1 else None)

    async def run(self, source: GraphResult) -> GraphResult:
        environment = source.scope.environment
        if environment.history is None:
            raise QueryError("this analyzer keeps no history")
        now_ms = environment.clock_ms()
        last_ms = self.point.resolve(now_ms)
        match self.length_ms:
            case None:
                period = Period(last_ms, last_ms, is_point=True)
            case int() as length_ms:
                period = Period(last_ms - length_ms, last_ms, is_point=False)
            case _:
                period = Period(last_ms - now_ms, last_ms, is_point=False)
        view = await environment.history(period)
        return GraphResult(source.scope.on(view, period))


def _point(args: Args, item: Argument) -> Moment:
    point: Moment | None = None
    match item.value:
        case bool():
            pass
        case int() as number if number >= 0:
            point = moment_of_number(number)
        case str() as text:
            point = moment_of_text(text)
        case Keyword.NOW:
            point = NOW
    if point is None:
        raise args.error(POINT, at=item)
    return point


def _length(args: Args, item: Argument) -> int | Keyword:
    length: int | None = None
    match item.value:
        case bool():
            pass
        case int() as seconds:
            length = seconds * 1000
        case str() as text:
            length = duration(text)
        case Keyword.FOREVER:
            return Keyword.FOREVER
    if length is None or length < 0:
        raise args.error(LENGTH, at=item)
    return length
