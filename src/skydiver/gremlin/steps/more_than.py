"""``MoreThan(n)``: groups of more than n flows, of more than one when n is not given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import FlowGroups
from skydiver.gremlin.registry import Step, step


@step("MoreThan", vocabulary="full")
@dataclass(frozen=True, slots=True)
class MoreThan(Step):
    count: int

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(args.optional_count(default=1))

    def run(self, source: FlowGroups) -> FlowGroups:
        large = {key: flows for key, flows in source.groups.items() if len(flows) > self.count}
        return FlowGroups(source.scope, large)
