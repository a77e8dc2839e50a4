"""Testing many elements against one filter."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.ids import NodeID, Origin
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
    compile_for,
)
from skydiver.graph import Node
from skydiver.graph.fields import node_access
from skydiver.graph.scan import scan

SCALARS = st.sampled_from(["eth0", "5", "10.0.0.1/24", 4, 5, 6, True, False, None, 5.5])
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.just({"b": 5})
KEYS = st.sampled_from(["a", "Metadata.a", "a.b", "Parent", "@ID", "nope"])
TESTS: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Eq, KEYS, st.sampled_from(["eth0", "5", 5, True, False, 1])),
    st.sampled_from([Gt, Gte, Lt, Lte]).flatmap(lambda kind: st.builds(kind, KEYS, st.just(5))),
    st.builds(Regex, KEYS, st.sampled_from(["^eth", "^n1$"])),
    st.builds(IPv4Range, KEYS, st.just("10.0.0.0/8")),
    st.builds(Missing, KEYS),
)
FILTERS = st.recursive(
    TESTS,
    lambda inner: st.lists(inner, max_size=3).flatmap(
        lambda parts: st.sampled_from([And(tuple(parts)), Or(tuple(parts)), Not(tuple(parts))])
    ),
    max_leaves=5,
)


@given(FILTERS, st.lists(st.dictionaries(st.sampled_from(["a", "Parent"]), VALUES), max_size=6))
def test_a_scan_finds_what_the_filter_matches(
    where: Filter, metadata: list[dict[str, Any]]
) -> None:
    """The loops written out are for speed and must not have a meaning of their own."""
    nodes = [
        Node(NodeID(f"n{i}"), fields, "h", Origin("o"), 1, 1) for i, fields in enumerate(metadata)
    ]
    matches = compile_for(where, node_access)
    assert list(scan(where, nodes, node_access)) == [node for node in nodes if matches(node)]
