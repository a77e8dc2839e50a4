"""Keeping some of what there is."""

from __future__ import annotations

import json

import pytest

from skydiver.filters import Eq
from skydiver.gremlin import Environment, parse
from skydiver.gremlin.offers import Condition, Distinct, Order, Window
from skydiver.gremlin.selection import Selection

PAIR = Condition((("a", "b"),))


def test_one_condition_and_one_window_are_absorbed_in_either_order() -> None:
    """`V().Limit(2).Has(…)` is `V().Has(…).Limit(2)` (§15, Q4)."""
    first = Selection().absorb(PAIR)
    assert first is not None
    both = first.absorb(Window(0, 2))
    assert both is not None
    assert (both.where, both.window) == (Eq("a", "b"), Window(0, 2))
    assert both.absorb(PAIR) is None
    assert both.absorb(Window(0, 1)) is None


@pytest.mark.parametrize("offer", [Order(""), Distinct(()), Condition((("a", "b"),), either=True)])
def test_nothing_else_is_absorbed(offer: Order | Distinct | Condition) -> None:
    """Order and distinctness need all there is."""
    assert Selection().absorb(offer) is None


def test_a_scan_wants_pairs() -> None:
    """Existence of a key is no reason to ask an index."""
    assert Selection(least_arguments=2).absorb(Condition(key="a")) is None


async def test_only_objects_in_a_list_of_values_can_pass(environment: Environment) -> None:
    """A text has no keys."""
    query = "G.V().Values('RoutingTables').Dedup().Has('x')"
    assert (await parse(query).run(environment)).to_json() == b"null"
    query = "G.V().ValueMap('Name','MTU').Has('MTU', Gt(0)).Limit(2)"
    assert len(json.loads((await parse(query).run(environment)).to_json())) == 2


async def test_series_whose_sockets_are_all_dropped_are_gone(environment: Environment) -> None:
    """A host without a matching socket is not in the answer."""
    query = "G.V().Sockets().HasEither('State','LISTEN','RemotePort',443)"
    assert (await parse(query).run(environment)).to_json() == b"[]"
