"""Predicates as filters (gremlin.md §§4, 6)."""

from __future__ import annotations

import pytest

from skydiver.base.errors import QueryError
from skydiver.filters import (
    And,
    Eq,
    Filter,
    Gt,
    Gte,
    IPv4Range,
    Lt,
    Lte,
    Not,
    Or,
    Regex,
    compile_filter,
    exists,
)
from skydiver.gremlin.predicates import parse_predicate


@pytest.mark.parametrize(
    ("name", "operands", "expected"),
    [
        ("within", [], Or(())),
        (
            "Within",
            [1, "9000", 1.9, True],
            Or((Eq("k", 1), Eq("k", "9000"), Eq("k", 1), Eq("k", 1))),
        ),
        ("Without", [1], And((Not((Eq("k", 1),)),))),
        ("Ne", ["x"], And((exists("k"), Not((Eq("k", "x"),))))),
        ("Ne", [True], Eq("k", False)),
        ("Nee", ["x"], Not((Eq("k", "x"),))),
        ("Nee", [False], Eq("k", True)),
        ("Lt", ["1500"], Lt("k", 1500)),
        ("Gt", [0x10], Gt("k", 16)),
        ("Gt", ["0x10"], Gt("k", 16)),
        ("Lte", [1.9], Lte("k", 1)),
        ("Gte", [True], Gte("k", 1)),
        ("Inside", [1, 4], And((Gt("k", 1), Lt("k", 4)))),
        ("Between", [1, 4], And((Gte("k", 1), Lt("k", 4)))),
        ("Outside", [1, 4], Or((Lt("k", 1), Gt("k", 4)))),
        ("Regex", ["tap.*"], Regex("k", "^(?:tap.*)$")),
        ("Ipv4Range", ["192.168.0.77/26"], IPv4Range("k", "192.168.0.64/26")),
    ],
)
def test_a_predicate_becomes_a_filter(name: str, operands: list[object], expected: Filter) -> None:
    """One tree serves the graph, the flow tables and the stores."""
    assert parse_predicate(name, [(o, 1) for o in operands], column=1).on("k") == expected


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("eth", "eth0", False),
        ("eth.*", "eth0", True),
        ("^tap.*", "tap0", True),
        ("^tap.*$", "tap0", True),
        # The whole value matches one side of an alternation, not its start or its end.
        ("br0|eth", "eth0", False),
        ("br0|eth0", "eth0", True),
        ("(?i)ETH0|br0", "BR0", True),
        ("", "", True),
    ],
)
def test_a_pattern_matches_the_whole_value(pattern: str, value: str, matches: bool) -> None:
    """Written with or without the anchors (§15, Q31)."""
    predicate = parse_predicate("Regex", [(pattern, 1)], column=1)
    assert compile_filter(predicate.on("k"))(lambda _: value) is matches


@pytest.mark.parametrize("operand", [1e300, "1" * 30, float("nan"), "0" + "9" * 30])
def test_numbers_beyond_64_bits_are_refused(operand: object) -> None:
    """They do not fit into what travels to the agents."""
    with pytest.raises(QueryError):
        parse_predicate("Gt", [(operand, 1)], column=1)
