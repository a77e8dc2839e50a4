"""Regular expressions as RE2 understands them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.errors import QueryError
from skydiver.filters import check_pattern
from skydiver.filters.automaton import Automaton
from skydiver.filters.pattern_syntax import parse, to_python
from skydiver.filters.patterns import compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^eth.*$", "eth0", True),
        ("^eth$", "eth\n", False),
        ("^(?:a|b)$", "b", True),
        ("th0", "eth0", True),
        ("(?i)ETH0", "eth0", True),
        ("a(?i)b", "aB", True),
        ("a(?i)b", "AB", False),
        ("(?i:a)b", "AB", False),
        ("(?i)a(?-i)b", "AB", False),
        ("(?i)a|b", "B", True),
        ("(?i)k", "\u212a", True),
        (".", "\n", False),
        ("(?s).", "\n", True),
        (r"\d", "\u0661", False),
        (r"\w", "\u00e9", False),
        (r"\s", "\v", False),
        (r"[[:space:]]", "\v", True),
        (r"[^[:alpha:]]", "a", False),
        (r"[[:^alpha:]]", "1", True),
        (r"\bb", "a b", True),
        (r"\bb", "ab", False),
        (r"\Bb", "ab", True),
        ("(?m)^b$", "a\nb\nc", True),
        ("^b$", "a\nb\nc", False),
        (r"\Ab\z", "b", True),
        (r"\x41\x{42}\103", "ABC", True),
        (r"[]a]", "]", True),
        (r"[a\-z]", "b", False),
        (r"[a-]", "-", True),
        ("[^a]", "\n", True),
        ("a{,5}", "a{,5}", True),
        ("^a{2,3}$", "aaaa", False),
        ("^a{2,}$", "aaaa", True),
        ("(?U)^a*$", "aaa", True),
        ("", "", True),
        ("()", "x", True),
        ("a||b", "", True),
        ("^*a", "ba", True),
    ],
)
def test_what_patterns_find(pattern: str, text: str, found: bool) -> None:
    """Both ways of running them agree with RE2."""
    assert bool(compile_pattern(pattern)(text)) is found
    assert Automaton(parse(pattern)).search(text) is found


def test_a_bad_pattern_is_refused_when_it_is_checked() -> None:
    """Queries check their patterns when they are parsed."""
    check_pattern("^eth")
    with pytest.raises(QueryError, match=r"a '\(' without its '\)'"):
        check_pattern("(eth")


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a|aa)*$", "(a?){40}a{40}$", ".*.*.*.*.*x$"])
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    """`re` would take years for each; the test's own limit of time would end it."""
    search = compile_pattern(pattern)
    assert not search("a" * 38 + "b" * 500 + "c")


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "^", "$", r"\b", r"\B", "(?i)B", r"\w", ""])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=5,
)


@given(PATTERNS, st.text("ab \nB", max_size=4))
def test_both_ways_of_running_a_pattern_agree(pattern: str, text: str) -> None:
    """Which one runs is decided by the pattern and must not change the answer."""
    tree = parse(pattern)
    assert Automaton(tree).search(text) is bool(re.compile(to_python(tree)).search(text))
