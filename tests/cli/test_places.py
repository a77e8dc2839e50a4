"""Names beside identifiers: found with a few queries, left out rather than wrong."""

from typing import Any

import pytest

from skydiver.base.errors import ConfigError, QueryError
from skydiver.cli.places import LIMIT, Places, quoted
from skydiver.client.rest import Access, Client


class Answering(Client):
    """A client whose answers are set by the test; no server is needed to look at the queries."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(Access())
        self.answers = answers
        self.asked: list[str] = []

    def lookup(self, gremlin: str) -> Any:
        self.asked.append(gremlin)
        if gremlin not in self.answers:
            raise QueryError("no such step")
        return self.answers[gremlin]


def node(id_: str, name: str, tid: str = "") -> dict[str, Any]:
    return {"ID": id_, "Metadata": {"Name": name, "TID": tid}}


def test_a_capture_point_is_named_with_its_namespace() -> None:
    """Every namespace has an eth0."""
    client = Answering({
        "G.V().Has('TID',Within('t1'))": [node("n1", "eth0", "t1")],
        "G.V().Has('@ID',Within('n1')).InE('RelationType','ownership')": [
            {"ID": "e", "Parent": "ns", "Child": "n1", "Metadata": {}}
        ],
        "G.V().Has('@ID',Within('ns'))": [node("ns", "web")],
    })  # fmt: skip
    assert Places(client).capture_points(["t1", "t1", ""]) == {"t1": "web/eth0"}
    assert len(client.asked) == 3


def test_a_server_that_refuses_costs_the_names_only() -> None:
    """The result itself was answered; it must be shown."""
    assert Places(Answering({})).owners(["n1"]) == {}


def test_too_many_elements_are_not_asked_for() -> None:
    """A table of 10,000 nodes must not send a query of 400 kB."""
    client = Answering({})
    Places(client).names(str(number) for number in range(LIMIT + 1))
    Places(client).names([])
    assert client.asked == []


@pytest.mark.parametrize("text", ["a'b", 'a"b', "a\0b"])
def test_text_that_would_end_the_string_is_refused(text: str) -> None:
    """Gremlin has no escapes: such a text would become part of the query."""
    with pytest.raises(ConfigError, match="expected no quotes"):
        quoted(text)
    client = Answering({})
    assert Places(client).names([text]) == {}
    assert client.asked == []
