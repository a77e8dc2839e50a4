"""Conditions and windows that steps hand over to one another."""

from __future__ import annotations

from typing import Any

import pytest

from skydiver.filters import And, Eq, Filter, IPv4Range, Not, Or, Regex, exists
from skydiver.gremlin import parse
from skydiver.gremlin.offers import Window, both


def flow_filter(arguments: str) -> Filter:
    step: Any = parse(f"G.Flows().Has({arguments})").plan[0].step
    found: Filter = step.search.where
    return found


def either(test: Any) -> Or:
    return Or((test("Transport.A"), test("Transport.B")))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("'Network', 'x'", Or((Eq("Network.A", "x"), Eq("Network.B", "x")))),
        ("'Transport', 80", either(lambda key: Eq(key, 80))),
        # Old documentation writes ports as texts.
        ("'Transport', '80'", either(lambda key: Eq(key, 80))),
        ("'Transport.B', '80'", Eq("Transport.B", 80)),
        ("'Transport.B', Within('80', '443')", Or((Eq("Transport.B", 80), Eq("Transport.B", 443)))),
        ("'Transport.B', Nee('80')", Not((Eq("Transport.B", 80),))),
        ("'Transport.B', Regex('80')", Regex("Transport.B", "^(?:80)$")),
        # Selects flows that have a transport layer.
        ("'Transport', Ne('')", either(lambda key: And((exists(key), Not((Eq(key, ""),)))))),
        ("'Transport.Protocol', '80'", Eq("Transport.Protocol", "80")),
        ("'Network.A', Ipv4Range('10.0.0.0/8')", IPv4Range("Network.A", "10.0.0.0/8")),
        (
            "'Application', 'DNS', 'Link', 'x'",
            And((Eq("Application", "DNS"), Or((Eq("Link.A", "x"), Eq("Link.B", "x"))))),
        ),
    ],
)
def test_a_condition_on_flows_knows_sides_and_ports(arguments: str, expected: Filter) -> None:
    """`Network`, `Link` and `Transport` stand for either side (§5.4)."""
    assert flow_filter(arguments) == expected


def test_joining_keeps_conjunctions_flat() -> None:
    """However many filters are chained, evaluating them does not nest."""
    where: Filter | None = None
    for _ in range(3):
        where = both(where, And((Eq("a", 1), Eq("b", 2))))
    assert where == And((Eq("a", 1), Eq("b", 2)) * 3)
    assert both(Or(()), None) == Or(())


def test_a_window_looks_at_nothing_beyond_it() -> None:
    """A limit ends a scan."""
    looked_at = []

    def items() -> Any:
        for number in range(100):
            looked_at.append(number)
            yield number

    assert list(Window(1, 3).of(items())) == [1, 2]
    assert looked_at == [0, 1, 2]
    assert list(Window(3, 1).of([0, 1, 2, 3])) == []
