"""Which steps run, and what they took over from those behind them (gremlin.md §8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from skydiver.base.errors import QueryError
from skydiver.filters import And, Eq, exists
from skydiver.flow import FlowAnswer, FlowSearch, SortOrder
from skydiver.gremlin import Environment, parse


def running(text: str) -> list[str]:
    return [placed.registration.name for placed in parse(text).plan]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("G.V().Limit(2).Has('a','b')", ["V"]),
        ("G.V().Has('a','b').Limit(2)", ["V"]),
        ("G.V().Has('a')", ["V", "Has"]),
        ("G.V().Has('a','b').Has('c','d').Limit(1)", ["V", "Has"]),
        ("G.V().HasEither('a','b','c','d').Limit(1)", ["V", "HasEither"]),
        ("G.V('id').Limit(1).Has('a','b')", ["V", "Has"]),
        ("G.V().Limit(1).Limit(1)", ["V", "Limit"]),
        ("G.V().Out().Has()", ["V", "Out"]),
        ("G.V().Out().Limit(1).Has('a')", ["V", "Out"]),
        ("G.V().Out('a','b').Limit(1).Has('c','d')", ["V", "Out", "Has"]),
        ("G.V().OutE().Has('a','b').OutV().Range(1,2)", ["V", "OutE", "OutV"]),
        ("G.V().HasKey('a').Limit(1)", ["V", "HasKey"]),
        ("G.V().Dedup().Limit(1)", ["V", "Dedup"]),
        ("G.V().As('x').Limit(1).Select('x').Limit(1)", ["V", "As", "Select"]),
        ("G.V().Sort().Limit(1)", ["V", "Sort", "Limit"]),
        ("G.Flows().Limit(1).Sort().Has('UUID','x').Dedup().HasEither('UUID','y')", ["Flows"]),
        ("G.Flows().Limit(1).Limit(1)", ["Flows", "Limit"]),
        ("G.Flows().Count()", ["Flows", "Count"]),
        ("G.Flows().Hops().Has('a').Has('b','c').Limit(1)", ["Flows", "Hops", "Limit"]),
        ("G.V().Descendants().Limit(1)", ["V", "Descendants", "Limit"]),
    ],
)
def test_a_step_absorbs_what_it_can_do_better(text: str, steps: list[str]) -> None:
    """Filters and limits reach indexes and flow tables; and results depend on it."""
    assert running(text) == steps


def search(text: str) -> FlowSearch:
    (flows,) = parse(text).plan
    found: Any = flows.step
    assert isinstance(found.search, FlowSearch)
    return found.search


def test_a_search_of_flows_travels_whole() -> None:
    """Tables filter, sort and cut; nothing is fetched to be thrown away."""
    text = (
        "G.Flows('Application','DNS').Has('Transport.B', 53).Dedup('NodeTID').Dedup()"
        ".Sort('Start').Sort(DESC, 'Metric.ABBytes').Range(5, 10)"
    )
    assert search(text) == FlowSearch(
        And((Eq("Application", "DNS"), Eq("Transport.B", 53))),
        sort=True,
        sort_by="Metric.ABBytes",
        order=SortOrder.DESCENDING,
        dedup=True,
        dedup_by="NodeTID",
        first=5,
        last=10,
    )


def test_every_has_behind_hops_counts() -> None:
    """The original kept only the last (§15, Q7)."""
    hops: Any = parse("G.Flows().Hops('a','b').Has('c')").plan[1].step
    assert hops.where == And((Eq("a", "b"), exists("c")))


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("G.V().Values('Name').Count()", 22, "Count does not apply to a value; it applies to"),
        ("G.Flows().Limit(1).Limit(1)", 20, "Limit does not apply to flows"),
        ("G.V().At(1)", 7, "At does not apply to nodes"),
        ("G.V('zz').Keys()", 3, "V: no node 'zz'"),
        ("G.V().Has()", 7, "Has: a key is needed"),
        ("G.V().Select('x')", 7, "nothing was marked as 'x'"),
        ("G.V().Sum('Name')", 7, "is not a number"),
        ("G.V().Sum('Name.foo')", 7, "is not a number"),
    ],
)
async def test_an_error_while_running_points_at_the_step(
    text: str, column: int, message: str, environment: Environment
) -> None:
    """It is as easy to find as one of grammar."""
    with pytest.raises(QueryError, match=message) as caught:
        await parse(text).run(environment)
    assert caught.value.column == column


async def test_without_history_the_past_is_refused(environment: Environment) -> None:
    """An answer about now must not be taken for one about then."""
    now = Environment(environment.view, environment.flows)
    with pytest.raises(QueryError, match="keeps no history"):
        await parse("G.At('-1m').V()").run(now)
    with pytest.raises(QueryError, match="flows of the past are not kept"):
        await parse("G.At('-1m').Flows()").run(environment)


async def test_without_flows_they_cannot_be_asked_for(environment: Environment) -> None:
    """An empty list would say that there are none."""
    with pytest.raises(QueryError, match="cannot be asked for here"):
        await parse("G.Flows()").run(Environment(environment.view))


class Silent:
    """Flow tables of which two hosts do not answer."""

    async def search(
        self, search: FlowSearch, *, tids_by_host: Mapping[str, Sequence[str]] | None = None
    ) -> FlowAnswer:
        return FlowAnswer((), missing=("h2", "h3"))


async def test_hosts_that_did_not_answer_are_named_with_the_result(
    environment: Environment,
) -> None:
    """A count over two of four hosts is not the count."""
    silent = Environment(environment.view, Silent())
    result = await parse("G.Flows().Count()").run(silent)
    assert result.missing == ("h2", "h3")
    result = await parse("G.V().Count()").run(silent)
    assert result.missing == ()


async def test_nodes_without_captures_are_answered_without_asking(
    environment: Environment,
) -> None:
    """A host is no interface: no agent has to be troubled."""
    result = await parse("G.V('H').Flows()").run(Environment(environment.view, Silent()))
    assert (result.to_json(), result.missing) == (b"[]", ())
