"""``Group(field)``: flows by the value of a field, by the traffic they saw when none is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skydiver.base.errors import QueryError
from skydiver.filters import MISSING
from skydiver.flow import Flow
from skydiver.flow.fields import flow_field
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import FlowGroups, FlowList
from skydiver.gremlin.registry import Step, step


@step("Group", vocabulary="full")
@dataclass(frozen=True, slots=True)
class Group(Step):
    by: str = "TrackingID"

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(args.one_text()) if args.items else cls()

    def run(self, source: FlowList) -> FlowGroups:
        """Flows without the field are a group of their own, under the empty name."""
        field = flow_field(self.by)
        if field is None:
            raise QueryError(f"flows have no field '{self.by}'")
        groups: dict[str, list[Flow]] = {}
        for flow in source.items:
            value = field.read(flow)
            groups.setdefault("" if value is MISSING else str(value), []).append(flow)
        return FlowGroups(source.scope, groups)
