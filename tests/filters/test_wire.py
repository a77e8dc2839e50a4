"""Predicate trees as protobuf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.errors import ProtocolError, QueryError
from skydiver.filters import (
    And,
    Eq,
    Filter,
    Gt,
    Gte,
    IPv4Range,
    Lt,
    Lte,
    Missing,
    Not,
    Or,
    Regex,
    filters_pb2,
)
from skydiver.filters.wire import from_wire, to_wire

KEYS = st.text(max_size=4)
BOUNDS = st.integers(-(2**63), 2**63 - 1)
LEAVES: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Eq, KEYS, st.text(max_size=3) | BOUNDS | st.booleans()),
    *(st.builds(kind, KEYS, BOUNDS) for kind in (Gt, Gte, Lt, Lte)),
    st.builds(Regex, KEYS, KEYS),
    st.builds(Missing, KEYS),
    st.builds(IPv4Range, KEYS, KEYS),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3).flatmap(
        lambda parts: st.sampled_from([And(tuple(parts)), Or(tuple(parts)), Not(tuple(parts))])
    ),
    max_leaves=10,
)


@given(TREES)
def test_a_tree_comes_back_as_it_went(where: Filter) -> None:
    """Through the bytes; true does not come back as 1."""
    data = to_wire(where).SerializeToString()
    received = from_wire(filters_pb2.Filter.FromString(data))
    assert repr(received) == repr(where)


def test_field_numbers_are_those_of_the_original() -> None:
    """Agents of either kind must understand it (flows.md §1.8)."""
    where = And((Eq("A", "b"), Not((Missing("C"),))))
    assert (
        to_wire(where).SerializeToString()
        == bytes.fromhex(
            "4219" + "0801"  # BoolFilter: And
            "1208" + "0a060a0141120162"  # TermStringFilter: A, b
            "120b" + "4209" + "0802" + "1205" + "52030a0143"  # BoolFilter: Not, NullFilter: C
        )
    )


@pytest.mark.parametrize(
    "message",
    [
        filters_pb2.Filter(),
        filters_pb2.Filter(
            NullFilter=filters_pb2.NullFilter(Key="a"),
            RegexFilter=filters_pb2.RegexFilter(Key="b"),
        ),
        filters_pb2.Filter(BoolFilter=filters_pb2.BoolFilter(Filters=[filters_pb2.Filter()])),
    ],
)
def test_a_message_that_is_no_filter_is_refused(message: filters_pb2.Filter) -> None:
    """Exactly one kind is set in each."""
    with pytest.raises(ProtocolError, match="kinds set, expected one"):
        from_wire(message)


def test_an_unknown_combination_is_refused() -> None:
    """A later peer may know more; guessing would give wrong answers."""
    message = filters_pb2.Filter()
    message.MergeFromString(bytes.fromhex("42020805"))
    with pytest.raises(ProtocolError, match="unknown kind 5"):
        from_wire(message)


def test_what_is_too_deep_is_refused() -> None:
    """A few hundred bytes must not exhaust the stack; what we send must be readable."""
    where: Filter = Missing("a")
    for _ in range(44):
        where = Not((where,))
    assert from_wire(to_wire(where)) == where
    with pytest.raises(QueryError, match="nested deeper than 45"):
        to_wire(Not((where,)))
    message = filters_pb2.Filter(BoolFilter=filters_pb2.BoolFilter(Filters=[to_wire(where)]))
    with pytest.raises(ProtocolError, match="nested deeper than 45"):
        from_wire(message)
