"""The grammar of RE2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.errors import QueryError
from skydiver.filters.pattern_syntax import backtracks_badly, parse, to_python


@pytest.mark.parametrize(
    "pattern",
    [
        *("(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?>a)", "(?(1)a)", "(?#a)", "(?P=n)", "(?P>n)"),
        *(r"(a)\1", r"\8", r"(?P<n>a)\k<n>", "a**", "a*+", "a{2}{3}", "a*{2}", "*a", "+", "|*"),
        *(
            "(?i)*",
            "(?i",
            "(?)",
            "(?z)",
            "(",
            ")",
            "(a",
            "a)",
            "[",
            "[]",
            "[a",
            "[z-a]",
            "[[:no:]]",
        ),
        *(r"\pL", r"\p{Greek}", r"\C", r"\Z", r"\q", "\\", r"\x{110000}", r"\xg", r"[\b]", r"[\A]"),
        *("a{1001}", "a{2,1}", "(a{100}){100}", "x" * 5_000, "(" * 200 + ")" * 200),
    ],
)
def test_what_re2_refuses_is_refused_in_one_line(pattern: str) -> None:
    """Look-around and back-references would make matching exponential; the rest is a mistake."""
    with pytest.raises(QueryError) as caught:
        parse(pattern)
    assert str(caught.value).startswith("pattern")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "python"),
    [
        ("^a$", r"\Aa\Z"),
        ("(?m)^a$", r"(?m:^)a(?m:$)"),
        ("a|bc", "a|bc"),
        ("a|b", r"[\U00000061-\U00000062]"),
        ("(?s).", "(?s:.)"),
        ("a{,5}", r"a\{,5\}"),
        ("a{2,5}?", "(?:a){2,5}"),
        ("(?P<name>a)(b)(?:c)", "abc"),
        (r"\Qa.b\E+", r"a\.(?:b){1,}"),
        ("x(a|bc)", "x(?:a|bc)"),
        (r"[\d]", r"[\U00000030-\U00000039]"),
    ],
)
def test_patterns_are_written_anew_for_re(pattern: str, python: str) -> None:
    """What `re` takes otherwise than RE2 is said in words that it takes the same way."""
    assert to_python(parse(pattern)) == python


@pytest.mark.parametrize(
    ("pattern", "badly"),
    [
        *(("^eth[0-9]+$", False), ("^(?:eth|veth).*$", False), ("^.*foo.*$", False)),
        *((r"^\d+\.\d+$", False), ("(ab)*", False), ("(a+)+", True), ("(a|ab)*", True)),
        *(("(a*)*", True), ("(a?){30}", True), (".*a.*b.*c", True), ("a?" * 20 + "a", True)),
    ],
)
def test_patterns_that_backtrack_badly_are_known(pattern: str, badly: bool) -> None:
    """Ordinary ones must not be taken for them: they are run more slowly."""
    assert backtracks_badly(parse(pattern)) is badly


@given(st.text("ab(){}[]|*+?^$.-\\,0123:?iPdwx<>Q", max_size=14))
def test_any_text_is_parsed_or_refused(pattern: str) -> None:
    """Patterns come from users and peers."""
    try:
        tree = parse(pattern)
    except QueryError:
        return
    to_python(tree)
