"""What comes with a graph from step to step."""

from __future__ import annotations

from skydiver.gremlin import Environment, parse
from skydiver.gremlin.scope import Period, Scope


def test_a_new_graph_starts_without_marks(environment: Environment) -> None:
    """Marked nodes may not be in it."""
    scope = Scope(environment, environment.view).marked("a", ())
    assert scope.on(environment.view).marks == {}


def test_marking_leaves_other_results_alone(environment: Environment) -> None:
    """A scope is shared by the results made in it."""
    scope = Scope(environment, environment.view)
    assert scope.marked("a", ()).marked("b", ()).marks == {"a": (), "b": ()}
    assert scope.marks == {}


def test_what_is_missing_is_named_once(environment: Environment) -> None:
    """Two searches may have waited for the same host."""
    scope = Scope(environment, environment.view)
    assert scope.lacking(("h1",)).lacking(("h1", "h2")).missing == ("h1", "h2")


async def test_the_period_of_a_query_is_computed_when_it_runs(environment: Environment) -> None:
    """An alert on the last minute is about the last minute each time."""
    asked: list[Period] = []

    async def history(period: Period):  # type: ignore[no-untyped-def]
        asked.append(period)
        return environment.view

    past = Environment(environment.view, None, history, lambda: 100_000)
    for text in ("'-10s'", "NOW, 5", "'-10s', '1m'", "NOW, FOREVER", "7", "7, 0"):
        await parse(f"G.At({text})").run(past)
    assert asked == [
        Period(90_000, 90_000, is_point=True),
        Period(95_000, 100_000, is_point=False),
        Period(30_000, 90_000, is_point=False),
        Period(0, 100_000, is_point=False),
        Period(7_000, 7_000, is_point=True),
        Period(7_000, 7_000, is_point=False),
    ]
