"""What a peer may say about itself."""

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from skydiver.base.errors import ProtocolError
from skydiver.hub.handshake import EVERYTHING, Handshake, read_handshake
from skydiver.hub.messages import Protocol


def read(headers: list[tuple[str, str]] | None = None, query: str = "") -> Handshake:
    """The handshake of a request, which here is plain text in aiohttp's own shape."""
    headers = [("X-Host-ID", "h1"), ("X-Client-Type", "agent"), *(headers or [])]
    return read_handshake(make_mocked_request("GET", f"/ws{query}", headers=CIMultiDict(headers)))


def test_what_is_not_said_has_the_values_of_the_original() -> None:
    """JSON, all namespaces, full updates, and elements that stay."""
    assert read() == Handshake("h1", "agent", namespaces=frozenset({EVERYTHING}))


@pytest.mark.parametrize(
    ("spoken", "protocol"),
    [("", Protocol.JSON), ("json", Protocol.JSON), ("protobuf", Protocol.PROTOBUF)],
)
def test_an_empty_protocol_is_json(spoken: str, protocol: Protocol) -> None:
    """Go clients that choose none send the header with nothing in it."""
    handshake = read([("X-Client-Protocol", spoken)])
    assert (handshake.protocol, handshake.spoken_protocol) == (protocol, spoken)


def test_a_header_wins_over_a_query_parameter() -> None:
    """Order of the original."""
    assert read([("X-Update-Policy", "full")], "?x-update-policy=partial").partial_updates is False


def test_namespaces_come_one_to_a_header_line() -> None:
    """A comma is part of a name."""
    handshake = read([("X-Websocket-Namespace", "a,b"), ("X-Websocket-Namespace", "c")])
    assert handshake.wants("a,b")
    assert handshake.wants("c")
    assert not handshake.wants("a")


@pytest.mark.parametrize(
    ("policy", "partial"), [("partial", True), ("Partial", False), ("FULL", False)]
)
def test_only_the_exact_word_gives_partial_updates(policy: str, partial: bool) -> None:
    """The original accepts any spelling and compares exactly."""
    assert read([("X-Update-Policy", policy)]).partial_updates is partial


def test_elements_go_with_the_peer_only_when_it_says_so_in_a_header() -> None:
    """A browser that could ask for it in an address could be made to."""
    assert read([("X-Persistence-Policy", "DeleteOnDisconnect")]).delete_on_disconnect
    assert not read(query="?x-persistence-policy=DeleteOnDisconnect").delete_on_disconnect


@pytest.mark.parametrize(
    "query",
    [
        "?x-client-protocol=xml",
        "?x-update-policy=sometimes",
    ],
)
def test_an_unknown_value_is_refused(query: str) -> None:
    """With the value and what was expected, since the peer itself is told nothing."""
    with pytest.raises(ProtocolError, match=r"is '\w+' in the handshake, expected \w+ or \w+"):
        read(query=query)


def test_control_characters_in_names_are_refused() -> None:
    """Names go into log lines and status."""
    with pytest.raises(ProtocolError, match="control characters"):
        read_handshake(make_mocked_request("GET", "/ws?x-client-type=a&x-host-id=h%0afake+line"))
    with pytest.raises(ProtocolError, match="5000 characters"):
        read_handshake(make_mocked_request("GET", "/ws?x-client-type=" + "a" * 5_000))
