"""``ValueMap(keys…)``: for each node, the fields it has of these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from skydiver.filters import MISSING
from skydiver.graph.fields import node_access
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import NodeList, Value
from skydiver.gremlin.registry import Step, step
from skydiver.gremlin.values import shown


@step("ValueMap")
@dataclass(frozen=True, slots=True)
class ValueMap(Step):
    keys: tuple[str, ...]

    @classmethod
    def parse(cls, args: Args) -> Self:
        return cls(args.texts(minimum=1))

    def run(self, source: NodeList) -> Value:
        return Value.listing(source.scope, self._maps(source))

    def _maps(self, source: NodeList) -> Iterator[dict[str, Any]]:
        readers = [(key, node_access(key)) for key in self.keys]
        for node in source.items:
            found = {key: shown(v) for key, read in readers if (v := read(node)) is not MISSING}
            if found:
                yield found
