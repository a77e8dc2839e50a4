from __future__ import annotations

import pytest

from skydiver.base.errors import ProtocolError, SkydiverError, Unavailable
from skydiver.hub.messages import event
from skydiver.hub.routes import ROUTES, read_answer


def test_an_answer_is_told_as_it_came() -> None:
    """The routes are for people; nothing here looks at them."""
    answer = {"Total": 1, "Routes": [{"Prefix": "10.0.0.0/8"}]}
    assert read_answer(event(*ROUTES, None).reply("RoutesReply", answer)) == answer


@pytest.mark.parametrize(
    ("status", "content", "error", "words"),
    [
        (400, {"Error": "Lookup: 'x' is no address"}, ProtocolError, "Lookup: 'x' is no address"),
        (404, {"Error": "no routes"}, Unavailable, "no routes"),
        (500, {}, Unavailable, "status 500"),
        (200, None, Unavailable, "no object"),
        (400, {"NodeID": "n"}, ProtocolError, "status 400"),
    ],
)
def test_a_refusal_says_why(
    status: int, content: object, error: type[SkydiverError], words: str
) -> None:
    """A wrong question is the asker's fault, the rest is not."""
    message = event(*ROUTES, None).reply("RoutesReply", content, status=status)
    with pytest.raises(error, match=words):
        read_answer(message)
