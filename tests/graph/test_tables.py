"""Tables that can be frozen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skydiver.graph.tables import SetTable, Table, members


def test_frozen_rows_stay() -> None:
    """A long query sees one graph however much changes meanwhile."""
    table: Table[str, int] = Table()
    table.writable()["a"] = 1
    frozen = table.freeze()
    table.writable()["a"] = 2
    assert dict(frozen.rows) == {"a": 1}
    assert table.rows == {"a": 2}


def test_nothing_is_copied_for_those_that_are_gone() -> None:
    """Most queries begin and end between two writes; they must cost nothing."""
    table: Table[str, int] = Table()
    table.writable()["a"] = 1
    del_me = table.freeze()
    del del_me
    table.writable()["a"] = 2
    assert table.copies == 0


def test_freezing_twice_shares() -> None:
    """Many clients may ask between two writes."""
    table: Table[str, int] = Table()
    first = table.freeze()
    assert table.freeze() is first


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "discard", "remove", "freeze"]),
            st.sampled_from("kl"),
            st.integers(0, 14).map(str),
        ),
        max_size=120,
    )
)
def test_sets_behave_as_sets_and_frozen_ones_stay(steps: list[tuple[str, str, str]]) -> None:
    """All three ways in which a set is kept, and the changes between them."""
    table: SetTable[str] = SetTable()
    model: dict[str, dict[str, None]] = {}
    frozen = []
    for step, key, member in steps:
        match step:
            case "add":
                table.add(key, member)
                model.setdefault(key, {})[member] = None
            case "discard":
                table.discard(key, member)
                model.get(key, {}).pop(member, None)
            case "remove":
                table.remove(key)
                model.pop(key, None)
            case _:
                frozen.append((table.table.freeze(), {k: list(v) for k, v in model.items()}))
        frozen.append((table.table.freeze(), {k: list(v) for k, v in model.items()}))
        if len(frozen) > 5:
            frozen.pop(0)
    frozen.append((table.table.freeze(), {k: list(v) for k, v in model.items()}))
    for rows, expected in frozen:
        assert [list(members(rows.rows, key)) for key in "kl"] == [
            expected.get(key, []) for key in "kl"
        ]
