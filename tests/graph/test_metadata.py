"""Metadata trees: normal form, equality, paths."""

from __future__ import annotations

import copy
from enum import StrEnum
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.graph import Op, OpKind
from skydiver.graph.metadata import (
    MAX_DEPTH,
    applied,
    delete_path,
    differences,
    effective,
    exploded,
    normalised,
    overlaid,
    same,
    set_path,
)

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=12,
)
METADATA = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), TREES, max_size=4)
PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(".".join)
OPS = st.lists(
    st.builds(Op, st.just(OpKind.SET), PATHS, TREES) | st.builds(Op, st.just(OpKind.DELETE), PATHS),
    max_size=5,
)


class Kind(StrEnum):
    VETH = "veth"


@pytest.mark.parametrize(
    ("value", "normal"),
    [
        (Kind.VETH, "veth"),
        (1500.0, 1500),
        (1.5, 1.5),
        (("a", 2.0), ["a", 2]),
        ({"x": {"y": 3.0}}, {"x": {"y": 3}}),
        (True, True),
        (1e300, 1e300),
        (2**64 - 1, 2**64 - 1),
        ("caf\u00e9", "caf\u00e9"),
        ("bad \udcff name", "bad ? name"),
    ],
)
def test_metadata_becomes_plain_json(value: Any, normal: Any) -> None:
    """What a probe states must read the same here and at whoever gets it as JSON."""
    result = normalised({"K": value})["K"]
    assert same(result, normal)
    assert orjson.loads(orjson.dumps(result)) == normal


@pytest.mark.parametrize("value", [b"bytes", {1: "x"}, {"s"}, object(), 2**64, -(2**63) - 1])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    """Found where it is stated, not later where the whole graph is encoded."""
    with pytest.raises((TypeError, ValueError)):
        normalised({"K": value})


def test_too_deep_metadata_is_refused() -> None:
    """A peer could otherwise exhaust the stack of whoever walks or encodes it."""
    value: Any = "leaf"
    for _ in range(MAX_DEPTH + 1):
        value = [value]
    with pytest.raises(ValueError, match="deeper than 100"):
        normalised({"K": value})


def test_too_deep_paths_change_nothing() -> None:
    """A short message could otherwise make metadata of any depth."""
    assert set_path({}, ".".join("a" * 5_000), 1) is None
    assert delete_path({"a": 1}, ".".join("a" * 5_000)) is None


def test_a_statement_is_copied() -> None:
    """A probe that goes on using its own dictionary must not change the graph."""
    mine: dict[str, Any] = {"a": {"b": [1]}}
    stated = normalised(mine)
    mine["a"]["b"].append(2)
    assert stated == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), (0, False), ([1], [True]), ({"a": {"b": 1}}, {"a": {"b": True}})],
)
def test_true_is_not_one(one: Any, other: Any) -> None:
    """Python takes them for equal; as JSON they differ, so the change must be told."""
    assert not same(one, other)


@given(TREES)
def test_a_value_is_the_same_as_its_copy(value: Any) -> None:
    """No-op updates are told by this."""
    assert same(value, copy.deepcopy(value))


@pytest.mark.parametrize(
    ("tree", "path", "result"),
    [
        ({}, "a", {"a": 1}),
        ({}, "a.b.c", {"a": {"b": {"c": 1}}}),
        ({"a": {"x": 0}}, "a.b", {"a": {"x": 0, "b": 1}}),
        ({"a": "text"}, "a.b", None),
        ({"a": None}, "a.b", None),
        ({"a": [{}]}, "a.b", None),
    ],
)
def test_setting_a_path(tree: Any, path: str, result: Any) -> None:
    """Objects are made on the way; through anything else a set fails (api.md §1.3)."""
    assert set_path(tree, path, 1) == result


@pytest.mark.parametrize(
    ("tree", "path", "result"),
    [
        ({"a": 1, "b": 2}, "a", {"b": 2}),
        ({"a": {"b": {"c": 1}}}, "a.b.c", {}),
        ({"a": {"b": {"c": 1}, "d": 2}}, "a.b.c", {"a": {"d": 2}}),
        ({"a": 1}, "b", None),
        ({"a": 1}, "a.b", None),
        ({"a": {"b": 1}}, "a.c", None),
    ],
)
def test_deleting_a_path(tree: Any, path: str, result: Any) -> None:
    """Parents that become empty go too (api.md §1.3)."""
    assert delete_path(tree, path) == result


@given(METADATA, OPS)
def test_operations_leave_what_they_started_from(tree: dict[str, Any], ops: list[Op]) -> None:
    """Revisions share what they have in common, so nothing may be changed in place."""
    before = copy.deepcopy(tree)
    applied(tree, ops)
    effective(tree, ops)
    assert same(tree, before)


@given(METADATA, OPS)
def test_effective_operations_do_what_all_did(tree: dict[str, Any], ops: list[Op]) -> None:
    """Receivers get only the effective ones and must end with the same."""
    after, done = effective(tree, ops)
    assert same(dict(after), applied(tree, ops))
    assert same(dict(after), applied(tree, done))


@given(METADATA, METADATA)
def test_differences_lead_from_one_to_the_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    """What travels as a partial update must give the same metadata as a full one."""
    ops = differences(before, after)
    assert ops is not None
    assert same(applied(before, ops), after)
    assert (ops == ()) == same(before, after)


def test_keys_with_dots_have_no_operations() -> None:
    """No path leads to them: the whole element has to be told."""
    assert differences({}, {"a.b": 1}) is None


def test_labels_with_dots_become_levels() -> None:
    """So that ``Labels.app.kubernetes.io/name`` finds them (topology-probes.md §2.2)."""
    assert exploded({"app.kubernetes.io/name": "x", "n": None, "m": {"a.b": 1}}) == {
        "app": {"kubernetes": {"io/name": "x"}},
        "n": "",
        "m": {"a": {"b": 1}},
    }


def test_the_first_tree_is_heard() -> None:
    """On what both speak about; objects are put together."""
    assert overlaid([{"a": 1, "o": {"x": 1}}, {"a": 2, "b": 3, "o": {"x": 9, "y": 2}}]) == {
        "a": 1,
        "b": 3,
        "o": {"x": 1, "y": 2},
    }
    assert overlaid([]) == {}


def test_large_sets_of_flags_are_kept_once() -> None:
    """Ten thousand interfaces have the same features; 1 and true are not the same."""
    features = {f"feature-{number}": number % 3 == 0 for number in range(60)}
    one = normalised({"Features": dict(features)})["Features"]
    other = normalised({"Features": dict(features)})["Features"]
    assert one == features
    assert one is other
    numbers = {name: int(value) for name, value in features.items()}
    assert orjson.dumps(normalised(numbers)) == orjson.dumps(numbers)
