"""Reading the arguments of a step."""

from __future__ import annotations

import pytest

from skydiver.base.errors import QueryError
from skydiver.gremlin.arguments import Args, Argument, Keyword, MetadataPairs, Value
from skydiver.gremlin.predicates import Within


def args(*values: Value) -> Args:
    return Args("Step", tuple(Argument(v, 10 + i) for i, v in enumerate(values)), 3)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x", "'x'"),
        (7, "7"),
        (Keyword.NOW, "NOW"),
        (MetadataPairs(()), "Metadata(…)"),
        (Within(()), "a predicate"),
    ],
)
def test_an_error_says_what_was_found_instead(value: Value, shown: str) -> None:
    """The user sees both what is and what should be."""
    error = args().error("a fish", at=Argument(value, 7))
    assert str(error) == f"Step needs a fish, not {shown} (column 7)"


def test_an_argument_too_many_is_pointed_at() -> None:
    """Not the step: the first that does not belong."""
    with pytest.raises(QueryError, match=r"at most 1 argument \(column 11\)"):
        args("a", "b").at_most(1)


def test_a_missing_argument_is_reported_at_the_step() -> None:
    """There is nothing else to point at."""
    with pytest.raises(QueryError, match=r"Step needs one text \(column 3\)"):
        args().one_text()


@pytest.mark.parametrize("value", [True, -1, 1.0, "1", Keyword.ASC])
def test_counts_are_whole_numbers(value: Value) -> None:
    """A limit of true or of 1.5 is a mistake."""
    with pytest.raises(QueryError, match="a whole number"):
        args(value).count(0)
