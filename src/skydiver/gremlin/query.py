"""A parsed query: its plan, and running it.

The plan is made once, when the query is parsed: each step is offered the ones that follow until it
refuses one (gremlin.md §8). Steps are immutable, so a query can be run any number of times, and
in several places at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from skydiver.base.errors import QueryError
from skydiver.gremlin.kinds import GraphResult, Result
from skydiver.gremlin.registry import Registration, Step
from skydiver.gremlin.scope import Environment, Scope


@dataclass(frozen=True, slots=True)
class Placed:
    """A step at its place in the text."""

    step: Step
    registration: Registration
    column: int

    def error(self, message: str) -> QueryError:
        return QueryError(message, column=self.column)


@dataclass(frozen=True, slots=True)
class Query:
    """A query that can be run."""

    text: str
    plan: tuple[Placed, ...]
    """Steps that run, with what they absorbed."""

    async def run(self, environment: Environment) -> Result:
        """Run on `environment`; `QueryError` points at the step that failed."""
        result: Result = GraphResult(Scope(environment, environment.view))
        for placed in self.plan:
            registration = placed.registration
            if not isinstance(result, registration.accepts):
                raise placed.error(
                    f"{registration.name} does not apply to {result.kind}; "
                    f"it applies to {registration.applies_to()}"
                )
            try:
                outcome = placed.step.run(result)
                result = await outcome if registration.asynchronous else outcome
            except QueryError as error:
                if error.column is not None:
                    raise
                raise placed.error(f"{registration.name}: {error}") from error
        return result


def plan(steps: Sequence[Placed]) -> tuple[Placed, ...]:
    """The steps that will run: each with the offers of those that follow, as far as it takes."""
    planned: list[Placed] = []
    for placed in steps:
        offer = placed.step.offer()
        if planned and offer is not None:
            before = planned[-1]
            try:
                absorbed = before.step.absorb(offer)
            except QueryError as error:
                raise placed.error(str(error)) from error
            if absorbed is not None:
                planned[-1] = Placed(absorbed, before.registration, before.column)
                continue
        planned.append(placed)
    return tuple(planned)
