"""What several sources say about one element."""

from __future__ import annotations

from typing import Any

from skydiver.graph import Op, OpKind
from skydiver.graph.facets import Facet, Facets


def put(key: str, value: Any) -> Op:
    return Op(OpKind.SET, key, value)


def drop(key: str) -> Op:
    return Op(OpKind.DELETE, key)


def test_a_new_statement_replaces_the_old_but_not_patches() -> None:
    """A probe restates an interface at each event of the kernel; its counters come by patches."""
    facet = Facet("netlink")
    facet.state({"Name": "a", "State": "DOWN"})
    facet.patch([put("Metric", {"RxBytes": 1})])
    facet.state({"Name": "b"})
    assert facet.tree == {"Name": "b", "Metric": {"RxBytes": 1}}


def test_a_patch_of_what_was_stated_lasts_until_the_next_statement() -> None:
    """The newer of the two is what the source means."""
    facet = Facet("netlink")
    facet.state({"State": "DOWN"})
    facet.patch([put("State", "UP")])
    assert facet.tree == {"State": "UP"}
    facet.state({"State": "DOWN"})
    assert facet.tree == {"State": "DOWN"}


def test_a_patch_that_deletes_ends_what_was_patched() -> None:
    """Below the path as well."""
    facet = Facet("netlink")
    facet.patch([put("A.b", 1), put("A.c", 2), put("B", 3)])
    facet.patch([drop("A")])
    facet.state({"Name": "x"})
    assert facet.tree == {"Name": "x", "B": 3}


def test_the_first_source_is_heard_until_it_withdraws() -> None:
    """Whoever speaks later adds and does not overwrite."""
    facets = Facets()
    facets.of("one").state({"Name": "a", "Ovs": {"UUID": "u"}})
    facets.of("two").state({"Name": "b", "Ovs": {"Type": "t"}})
    assert facets.visible() == {"Name": "a", "Ovs": {"UUID": "u", "Type": "t"}}
    assert facets.drop("one")
    assert facets.visible() == {"Name": "b", "Ovs": {"Type": "t"}}


def test_the_owner_elsewhere_is_heard_before_all() -> None:
    """It is its element."""
    facets = Facets({"Name": "theirs"}, 3)
    facets.of("rule").patch([put("Name", "ours"), put("Rack", 7)])
    assert facets.visible() == {"Name": "theirs", "Rack": 7}


def test_patches_do_not_hold_an_element() -> None:
    """A capture's counters must not keep an interface alive."""
    facets = Facets()
    facets.of("captures").patch([put("Captures", [])])
    assert not facets.is_held
    facets.of("netlink").state({})
    assert facets.is_held


def test_a_patch_tells_what_changed_of_what_is_shown() -> None:
    """What another source says hides it; then nothing changed."""
    facets = Facets()
    facets.of("one").state({"Name": "a"})
    shown = facets.visible()
    after, ops = facets.patch("two", [put("Name", "b"), put("X.y", 1)], shown)
    assert after == {"Name": "a", "X": {"y": 1}}
    assert ops == (put("X", {"y": 1}),)
    after, ops = facets.patch("two", [put("X.z", 2), put("X.y", 1)], after)
    assert after == {"Name": "a", "X": {"y": 1, "z": 2}}
    assert ops == (put("X.z", 2),) or ops == (put("X", {"y": 1, "z": 2}),)
