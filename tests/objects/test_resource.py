"""What all API objects do with JSON; tried on captures, the first of them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.errors import ProtocolError
from skydiver.objects import Capture


def test_names_match_in_any_case_and_unknown_members_are_ignored() -> None:
    """The original's decoder does both, and clients have come to rely on it."""
    capture = Capture.from_json({"gremlinquery": "G.V()", "BPFFILTER": "udp", "Increment": 3})
    assert capture.gremlin_query == "G.V()"
    assert capture.bpf_filter == "udp"


def test_null_is_the_same_as_absent() -> None:
    """Clients in Go write null for what is not set."""
    assert Capture.from_json({"GremlinQuery": "G.V()", "Port": None}).port == 0


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "capture: expected a JSON object, got []"),
        ("x" * 99, "capture: expected a JSON object, got 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."),
        ({"GremlinQuery": 3}, "GremlinQuery: expected str, got int"),
        ({"GremlinQuery": "G.V()", "Port": "1"}, "Port: expected int, got str"),
        ({"GremlinQuery": "G.V()", "IPDefrag": 1}, "IPDefrag: expected bool, got int"),
        ({"GremlinQuery": "G.V()", "SamplingRate": -1}, "SamplingRate: expected int >= 0"),
        (
            {"GremlinQuery": "G.V()", "SamplingRate": 2**32},
            "SamplingRate: expected int <= 4294967295",
        ),
        ({"GremlinQuery": "G.V()", "Port": 2**80}, "Port: expected int <= 65535"),
        ({"GremlinQuery": "G.V()", "Port": 1.5}, "Port: expected int, got float"),
    ],
)
def test_a_wrong_member_is_named(document: object, message: str) -> None:
    """The line goes to the person who wrote the request."""
    with pytest.raises(ProtocolError) as raised:
        Capture.from_json(document)
    assert str(raised.value) == message


def test_the_identifier_is_always_shown() -> None:
    """Clients read it from every answer."""
    assert "UUID" in Capture(gremlin_query="G.V()").to_json()
    assert Capture.title() == "Capture"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
MEMBERS = st.sampled_from([*Capture(gremlin_query="G").to_json(), "BPFFilter", "Type", "Target"])


@given(JSON | st.dictionaries(MEMBERS, JSON))
def test_any_json_is_a_capture_or_refused(document: object) -> None:
    """Whatever somebody posts, or a damaged store holds."""
    with suppress(ProtocolError):
        capture = Capture.from_json(document)
        assert Capture.from_json(capture.to_json()) == capture
