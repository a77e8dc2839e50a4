"""Running predicate trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from skydiver.base.errors import QueryError
from skydiver.filters import (
    MISSING,
    And,
    Eq,
    FieldReader,
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
    compile_filter,
    compile_for,
    exists,
    field_test,
)


def reader(fields: Mapping[str, Any]) -> FieldReader:
    return lambda key: fields.get(key, MISSING)


@pytest.mark.parametrize(
    ("where", "value", "matches"),
    [
        (Eq("k", "a"), "a", True),
        (Eq("k", "a"), "b", False),
        (Eq("k", "1500"), 1500, False),
        (Eq("k", "1"), True, False),
        (Eq("k", 1500), 1500, True),
        (Eq("k", 456), "456", True),
        (Eq("k", 1), True, True),
        (Eq("k", 0), False, True),
        (Eq("k", 0), None, True),
        (Eq("k", 1), 1.9, True),
        (Eq("k", 0), {}, False),
        (Eq("k", True), True, True),
        (Eq("k", True), 1, False),
        (Eq("k", True), "true", False),
        (Eq("k", False), None, False),
        (Eq("k", "a"), ["b", "a"], True),
        (Eq("k", "a"), ["b", 7], False),
        (Eq("k", 7), ["b", "7"], True),
        (Eq("k", True), ["b", True], True),
        (Eq("k", "a"), [["b"], [["a"]]], True),
        (Eq("k", "a"), [], False),
        (Gt("k", 7), 8, True),
        (Gt("k", 7), 7, False),
        (Gt("k", 7), "8", True),
        (Gt("k", 7), "x", False),
        (Gt("k", 7), [1, 9], True),
        (Gte("k", 7), 7, True),
        (Gte("k", 7), 6, False),
        (Lt("k", 7), 6, True),
        (Lt("k", 7), 7, False),
        (Lt("k", 7), None, True),
        (Lte("k", 7), 7, True),
        (Lte("k", 7), 8, False),
        (Regex("k", "^eth"), "eth0", True),
        (Regex("k", "^eth"), "veth0", False),
        (Regex("k", "15"), 1500, False),
        (Regex("k", "^b$"), ["a", "b"], True),
        (IPv4Range("k", "10.0.1.0/24"), "10.0.1.7", True),
        (IPv4Range("k", "10.0.1.0/24"), "10.0.1.7/16", True),
        (IPv4Range("k", "10.0.1.99/24"), "10.0.1.7", True),
        (IPv4Range("k", "10.0.1.0/24"), "10.0.2.7", False),
        (IPv4Range("k", "10.0.1.0/24"), ["fd00::1/64", "10.0.1.1/24"], True),
        (IPv4Range("k", "0.0.0.0/0"), "10.0.0.256", False),
        (IPv4Range("k", "0.0.0.0/0"), "10.0.0.01", False),
        (IPv4Range("k", "0.0.0.0/0"), "10.0.0.1/245", False),
        (IPv4Range("k", "0.0.0.0/0"), "10.0.0.1\n", False),
        (IPv4Range("k", "0.0.0.0/0"), 167772161, False),
        (IPv4Range("k", "10.0.0.1/32"), "10.0.0.1", True),
        (Missing("k"), None, False),
        (exists("k"), None, True),
    ],
)
def test_tests_of_a_value(where: Filter, value: Any, matches: bool) -> None:
    """Types as gremlin.md §§4, 6 says; of a list any member counts."""
    assert compile_filter(where)(reader({"k": value})) is matches


@pytest.mark.parametrize(
    "where",
    [
        *(Eq("k", "a"), Eq("k", 0), Eq("k", False), Gt("k", -1), Gte("k", -1), Lt("k", 1)),
        *(Lte("k", 1), Regex("k", ""), IPv4Range("k", "0.0.0.0/0"), exists("k")),
    ],
)
def test_a_missing_field_fails_every_test(where: Filter) -> None:
    """And so passes every negated one (gremlin.md §7)."""
    assert not compile_filter(where)(reader({}))
    assert compile_filter(Not((where,)))(reader({}))


YES, NO = Eq("k", 1), Eq("k", 2)


@pytest.mark.parametrize(
    ("where", "matches"),
    [
        (And(()), True),
        (Or(()), True),
        (Not(()), True),
        (And((YES,)), True),
        (And((YES, NO)), False),
        (And((YES, YES, YES)), True),
        (And((YES, YES, NO)), False),
        (Or((NO,)), False),
        (Or((NO, YES)), True),
        (Or((NO, NO)), False),
        (Not((YES,)), False),
        (Not((NO,)), True),
        (Not((YES, NO)), True),
        (Not((YES, YES)), False),
        (Not((Or((NO, And((YES, Not((NO,)))))),)), False),
    ],
)
def test_trees(where: Filter, matches: bool) -> None:
    """Empty ones are true; a negation of several is true when any is false."""
    assert compile_filter(where)(reader({"k": 1})) is matches


@pytest.mark.parametrize("cidr", ["10.0.0.0/33", "fd00::/8", "x", ""])
def test_a_network_that_is_none_is_refused(cidr: str) -> None:
    """An IPv6 network made the original crash (gremlin.md §15, Q24)."""
    with pytest.raises(QueryError, match="is not an IPv4 network such as"):
        compile_filter(IPv4Range("k", cidr))


def test_a_tree_too_deep_is_refused() -> None:
    """Trees come from peers too, and would exhaust the stack."""
    where: Filter = YES
    for _ in range(300):
        where = Not((where,))
    with pytest.raises(QueryError, match="nested deeper than 200"):
        compile_filter(where)


def test_names_are_resolved_once() -> None:
    """What the graph relies on to test many elements quickly."""
    resolved: list[str] = []

    def access(key: str) -> Any:
        resolved.append(key)
        return lambda element: element[key]

    matches = compile_for(And((Eq("a", 1), Eq("b", 2))), access)
    assert [matches({"a": 1, "b": b}) for b in (1, 2, 3)] == [False, True, False]
    assert resolved == ["a", "b"]


def test_a_field_test_takes_what_a_reader_returned() -> None:
    """Missing values and lists included."""
    holds = field_test(Eq("k", 7))
    assert [holds(value) for value in (7, "7", [1, 7], MISSING, None)] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_missing_is_false_and_says_its_name() -> None:
    """It shows up in failed assertions of tests."""
    assert not MISSING
    assert repr(MISSING) == "MISSING"
