"""Errors that a user meets are one line."""

from skydiver.base.errors import QueryError


def test_a_query_error_names_the_column() -> None:
    """Finding a missing quote in a long query needs its position."""
    assert str(QueryError("expected ')'", column=7)) == "expected ')' (column 7)"
    assert str(QueryError("no such step")) == "no such step"
