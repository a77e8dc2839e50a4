"""``Flows(key, value, …)``: flows of all nodes, or those captured on some nodes or paths.

Everything that follows and can travel with the search does: it is answered by the flow tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from skydiver.base.errors import QueryError
from skydiver.flow import FlowSearch, SortOrder
from skydiver.flow.fields import flow_field
from skydiver.graph import Node
from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import FlowList, GraphResult, NodeList, PathList
from skydiver.gremlin.offers import Condition, Distinct, Offer, Order, Window, both
from skydiver.gremlin.registry import Step, step
from skydiver.topology import CAPTURABLE_TYPES


@step("Flows", vocabulary="full")
@dataclass(frozen=True, slots=True)
class Flows(Step):
    search: FlowSearch

    @classmethod
    def parse(cls, args: Args) -> Self:
        condition = Condition.parse(args)
        if condition.key is not None:
            raise args.error("pairs of key and value", at=args.items[0])
        return cls(FlowSearch(where=condition.on_flows() if args.items else None))

    def absorb(self, offer: Offer) -> Self | None:
        search = self.search
        match offer:
            case Condition():
                search = replace(search, where=both(search.where, offer.on_flows()))
            case Distinct(by=()):
                search = replace(search, dedup=True)
            case Distinct(by=(first, *_)):
                search = replace(search, dedup=True, dedup_by=_field(first))
            case Order():
                order = SortOrder.DESCENDING if offer.descending else SortOrder.ASCENDING
                by = _field(offer.by) if offer.by else ""
                search = replace(search, sort=True, sort_by=by, order=order)
            case Window() if search.last is None:
                search = replace(search, first=offer.first, last=offer.last)
            case _:
                return None
        return replace(self, search=search)

    async def run(self, source: GraphResult | NodeList | PathList) -> FlowList:
        scope, search = source.scope, self.search
        if scope.period is not None:
            raise QueryError("flows of the past are not kept by this analyzer")
        flows = scope.environment.flows
        if flows is None:
            raise QueryError("flows cannot be asked for here")
        tids = None if isinstance(source, GraphResult) else _tids_by_host(source.nodes())
        nothing = search.last is not None and search.last <= search.first
        if nothing or (tids is not None and not tids):
            return FlowList(scope, ())
        answer = await flows.search(search, tids_by_host=tids)
        scope = replace(scope.lacking(answer.missing), packets=answer.packets)
        return FlowList(scope, answer.flows)


def _field(key: str) -> str:
    if flow_field(key) is None:
        raise QueryError(f"flows have no field '{key}'")
    return key


def _tids_by_host(nodes: Iterable[Node]) -> dict[str, list[str]]:
    """TIDs of the nodes that can be captured on, by the host that would have captured them."""
    found: dict[str, dict[str, None]] = {}
    for node in nodes:
        tid, type_ = node.metadata.get("TID"), node.metadata.get("Type")
        if not isinstance(tid, str) or not isinstance(type_, str):
            continue
        if tid and type_ in CAPTURABLE_TYPES:
            found.setdefault(node.host, {})[tid] = None
    return {host: list(tids) for host, tids in found.items()}
