"""The grammar, and where errors point (gremlin.md §§3, 14)."""

from __future__ import annotations

import pytest

from skydiver.base.errors import QueryError
from skydiver.gremlin import Environment, parse


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "begins with G"),
        ("x.V()", 1, "begins with G"),
        ("G().V()", 2, "expected '.' or the end"),
        ("G.V();", 6, "unexpected character ';'"),
        ("G.", 3, "expected a step"),
        ("G.V", 4, r"expected '\(' after V"),
        ("G.V(", 5, r"closing '\)' is missing"),
        ("G.V().G()", 8, "expected '.' or the end"),
        ("G.V().Ouut()", 7, "unknown step 'Ouut'; did you mean Out"),
        ("G.V().Within(1)", 7, "unknown step 'Within'"),
        ("G.V().Has(foo, 'x')", 11, "'foo' is not a value"),
        ("G.V().Has('a' . 'b')", 15, "expected a value"),
        ("G.V().Has('a', NOW())", 19, "expected a value"),
        ("G.V().Has('MTU', Gt(1, 2))", 18, "Gt needs one argument, not 2"),
        ("G.V().Has('MTU', inside(1))", 18, "inside needs 2 arguments, not 1"),
        ("G.V().Has('MTU', Gt('abc'))", 21, "Gt needs a number, not 'abc'"),
        ("G.V().Has('Name', Regex(1))", 25, "Regex needs a text"),
        ("G.V().Has('Name', Regex('(br'))", 25, "pattern '"),
        ("G.V().Has('Name', Regex('a)|(?:b'))", 25, "pattern '"),
        ("G.V().Has('IPV4', Ipv4Range('10.0.0.1'))", 29, "IPv4 network"),
        ("G.V().Has('IPV4', Ipv4Range('fe80::/64'))", 29, "IPv4 network"),
        ("G.V().Has('IPV4', Ipv4Range('10.0.0.0/255.0.0.0'))", 29, "IPv4 network"),
        ("G.V().Has('MTU', 1, 'x')", 21, "'x' has no partner"),
        ("G.V().Has(1, 2)", 11, "a key that is a text, not 1"),
        ("G.V().Has('MTU', ASC)", 18, "not ASC"),
        ("G.V().Has('MTU', Metadata('a', 'b'))", 18, "not Metadata"),
        ("G.V().Has('MTU', Ne(Ne(1)))", 21, "Ne needs a number"),
        ("G.V(1)", 5, "a text, not 1"),
        ("G.V('a', 'b')", 10, "at most 1 argument"),
        ("G.V().Count(1)", 13, "takes no argument"),
        ("G.V().Limit()", 7, "a whole number"),
        ("G.V().Limit(-1)", 13, "a whole number, not -1"),
        ("G.V().Limit(true)", 13, "a whole number, not True"),
        ("G.V().Range(1)", 7, "two whole numbers"),
        ("G.V().Sort('a', DESC)", 12, "ASC or DESC before the key"),
        ("G.V().Sort(DESC)", 12, "a text, not DESC"),
        ("G.V().Sort(DESC, 1)", 18, "a key that is a text"),
        ("G.V().ShortestPathTo(Metadata('a'))", 22, "pairs of key and value"),
        ("G.V().ShortestPathTo(Metadata(1, 2))", 31, "a key that is a text"),
        ("G.V().ShortestPathTo('a')", 22, "Metadata"),
        ("G.V().Metrics('X')", 15, "LastUpdateMetric, SFlow"),
        ("G.V().NextHop('x')", 15, "an IP address"),
        ("G.V().Ascendants(1.5)", 18, "a whole number"),
        ("G.Flows('Application')", 9, "pairs of key and value"),
        ("G.Flows().Has('Application')", 11, "pairs of key and value"),
        ("G.Flows().Has()", 11, "pairs of key and value"),
        ("G.Flows().Sort('nope')", 11, "no field 'nope'"),
        ("G.At('now')", 6, "a point in time"),
        ("G.At(1, true)", 9, "a length of time"),
        ("G.At(1, '-5m')", 9, "a length of time"),
        ("G.Flows().RawPackets().BPF(1)", 28, "a text"),
        ("G.Workflow('x')", 3, "workflows are not run"),
        ("G.V(" + "Metadata(" * 500, 149, "too many parentheses"),
    ],
)
def test_an_error_points_at_the_column(text: str, column: int, message: str) -> None:
    """A query may be long; its author wants to see where it is wrong."""
    with pytest.raises(QueryError, match=message) as caught:
        parse(text)
    assert caught.value.column == column


@pytest.mark.parametrize("word", ["Flows", "Descendants", "Metrics", "Workflow", "Group", "BPF"])
def test_extended_words_are_unknown_to_the_core_vocabulary(word: str) -> None:
    """Agents answer the topology language only."""
    with pytest.raises(QueryError, match=f"unknown step '{word}'"):
        parse(f"G.{word}()", "core")


async def test_commas_are_decoration(environment: Environment) -> None:
    """They may be missing, doubled, leading or trailing (§15, Q3)."""
    for text in ("Has('a' 'b')", "Has(,'a',,'b',)", "Has('a','b')"):
        assert parse(f"G.V().{text}").plan == parse("G.V().Has('a', 'b')").plan


async def test_a_parsed_query_can_run_again(environment: Environment) -> None:
    """Alerts and captures keep theirs; the original rewrote it while running (§15, Q27)."""
    query = parse("G.At('-1m').V().Limit(3).Has('Type', 'veth').Limit(1)")
    first = await query.run(environment)
    assert first.to_json() == (await query.run(environment)).to_json()


def test_the_same_text_is_parsed_once() -> None:
    """Interfaces repeat the same few queries every second."""
    assert parse("G.V().Limit(17)") is parse("G.V().Limit(17)")
    assert parse("G.V().Limit(17)", "core") is not parse("G.V().Limit(17)", "full")


def test_long_texts_are_not_kept() -> None:
    """The memory for parsed queries is bounded by count, so also by length."""
    text = f"G.V().Has('Name', '{'x' * 5000}')"
    assert parse(text) is not parse(text)


def test_a_very_long_query_is_parsed() -> None:
    """Length is no nesting: ten thousand filters make one flat one."""
    query = parse("G.Flows()" + ".Has('UUID', 'x')" * 10_000)
    assert len(query.plan) == 1
