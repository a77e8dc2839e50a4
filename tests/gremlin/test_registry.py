"""Which steps there are, and what each applies to (gremlin.md §10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from skydiver.gremlin import steps as shelf
from skydiver.gremlin.registry import UNAVAILABLE, Step, step, steps

MATRIX = {
    "a graph": "At Context E Flows V",
    "nodes": (
        "As Ascendants Both BothE Count Dedup Descendants Flows G Has HasEither HasKey HasNot In"
        " InE Keys Limit Metrics Neighbors NextHop Out OutE Range Select ShortestPathTo Sockets"
        " Sort SubGraph Sum ValueMap Values"
    ),
    "edges": ("BothV Count Dedup G Has HasEither HasKey HasNot InV Limit OutV Range SubGraph"),
    "paths": "Dedup Flows SubGraph",
    "a value": "Dedup Has",
    # Has, HasEither, Dedup, Sort, Range and Limit are absorbed by Flows.
    "flows": (
        "Both CaptureNode Count Group Hops In Keys Metrics Node Nodes Out RawPackets Sockets Sum"
        " Values"
    ),
    "metrics": "Aggregates Count Keys Sum",
    "raw packets": "BPF",
    "sockets": "Has HasEither Values",
    "groups": "MoreThan",
}


@pytest.mark.parametrize("kind", MATRIX)
def test_a_step_applies_to_what_the_language_says(kind: str) -> None:
    """What a step does not apply to is an error, not an empty answer."""
    found = {r.name for r in steps().values() if kind in {k.kind for k in r.accepts}}
    assert found == set(MATRIX[kind].split())


def test_every_module_of_the_shelf_is_loaded() -> None:
    """A forgotten name would be an unknown word."""
    modules = {path.stem for path in Path(shelf.__file__).parent.glob("*.py")}
    assert modules - {"__init__"} == set(shelf.BUILTIN)
    assert list(shelf.BUILTIN) == sorted(shelf.BUILTIN)


def test_every_word_of_the_language_is_known() -> None:
    """Those that cannot be answered say so."""
    words = (
        "G V E At Context Has HasKey HasNot HasEither Out In Both OutV InV BothV OutE InE BothE"
        " Dedup ShortestPathTo SubGraph Count Range Limit Sort Values ValueMap Keys Sum As Select"
        " Flows Hops Nodes Node CaptureNode Aggregates BPF Group MoreThan Metrics Sockets"
        " RawPackets Descendants Ascendants Neighbors NextHop Workflow"
    )
    assert set(words.upper().split()) == set(steps()) | set(UNAVAILABLE)


def test_two_steps_cannot_share_a_name() -> None:
    """The one loaded last would win, depending on the order of imports."""

    class Again(Step):
        def run(self, source: int) -> int:
            return source

    with pytest.raises(ValueError, match="two steps are called has"):
        step("has")(Again)
