"""``Values(key)``: the values of one field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from skydiver.base.errors import QueryError
from skydiver.filters import MISSING
from skydiver.flow import Flow
from skydiver.flow.fields import EXTRA_LAYERS, LAYERS, flow_field
from skydiver.graph.fields import node_access
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import FlowList, NodeList, SocketSeries, Value
from skydiver.gremlin.registry import Step, step
from skydiver.gremlin.values import shown


@step("Values")
@dataclass(frozen=True, slots=True)
class Values(Step):
    key: str

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(args.one_text())

    def run(self, source: NodeList | FlowList | SocketSeries) -> Value:
        match source:
            case FlowList():
                values = self._of_flows(source)
            case SocketSeries():
                values = self._of_sockets(source)
            case _:
                values = self._of_nodes(source)
        return Value.listing(source.scope, values)

    def _of_nodes(self, source: NodeList) -> Iterator[Any]:
        """Nodes without the field, or with an empty map or list, are skipped."""
        read = node_access(self.key)
        for node in source.items:
            value = read(node)
            if value is not MISSING and value != {} and value != []:
                yield shown(value)

    def _of_flows(self, source: FlowList) -> Iterator[Any]:
        """Flows that lack the layer are skipped; a layer shown whole is then null."""
        for flow in source.items:
            value = self._of_flow(flow)
            if value is not MISSING:
                yield value

    def _of_flow(self, flow: Flow) -> Any:
        if self.key in LAYERS:
            return flow.get(self.key)
        if self.key in EXTRA_LAYERS:
            return flow.get(self.key, MISSING)
        field = flow_field(self.key)
        if field is None:
            raise QueryError(f"flows have no field '{self.key}'")
        return field.read(flow)

    def _of_sockets(self, source: SocketSeries) -> Iterator[Any]:
        for sockets in source.series.values():
            for socket in sockets:
                if self.key not in socket:
                    raise QueryError(f"sockets have no field '{self.key}'")
                yield socket[self.key]
