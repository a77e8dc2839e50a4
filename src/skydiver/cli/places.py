"""Names for what results only identify: whose interface a node or a flow's capture point is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from skydiver.base.errors import ConfigError, SkydiverError
from skydiver.client.rest import Client

LIMIT = 1000
"""Names are a courtesy of tables: above this many elements they are left out."""


class Places:
    """Answers "where is this?" with a few queries, remembered."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def owners(self, ids: Iterable[str]) -> dict[str, str]:
        """Node ID to the name of its ownership parent: a namespace, or a host."""
        wanted = _distinct(ids)
        edges = self._ask(
            f"G.V().Has('@ID',{within(wanted)}).InE('RelationType','ownership')", wanted
        )
        parent = {str(edge.get("Child")): str(edge.get("Parent")) for edge in edges}
        names = self.names(parent.values())
        return {child: names[owner] for child, owner in parent.items() if owner in names}

    def names(self, ids: Iterable[str]) -> dict[str, str]:
        """Node ID to name."""
        wanted = _distinct(ids)
        nodes = self._ask(f"G.V().Has('@ID',{within(wanted)})", wanted)
        return {str(node.get("ID")): _name(node) for node in nodes}

    def capture_points(self, tids: Iterable[str]) -> dict[str, str]:
        """Node TID to ``owner/name``."""
        wanted = _distinct(tids)
        nodes = self._ask(f"G.V().Has('TID',{within(wanted)})", wanted)
        owners = self.owners(str(node.get("ID")) for node in nodes)
        found = {}
        for node in nodes:
            owner = owners.get(str(node.get("ID")))
            tid = str(_metadata(node).get("TID"))
            found[tid] = f"{owner}/{_name(node)}" if owner else _name(node)
        return found

    def _ask(self, gremlin: str, wanted: list[str]) -> list[Mapping[str, Any]]:
        """Elements found; none when there are too many to ask for, or the server refuses."""
        if not 0 < len(wanted) <= LIMIT:
            return []
        try:
            found = self._client.lookup(gremlin)
        except SkydiverError:
            return []  # the result itself was fine; it is shown without names
        return [item for item in found or [] if isinstance(item, Mapping)]


def _metadata(element: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = element.get("Metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _name(node: Mapping[str, Any]) -> str:
    return str(_metadata(node).get("Name") or node.get("ID"))


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value and quotable(value)))


def within(values: Iterable[str]) -> str:
    """A Gremlin predicate: one of these texts."""
    return f"Within({','.join(map(quoted, values))})"


def quotable(text: str) -> bool:
    """Whether a Gremlin string can hold a text: there are two quotes and no escapes."""
    return not {"'", '"', "\0"} & set(text)


def quoted(text: str) -> str:
    """A Gremlin string."""
    if not quotable(text):
        raise ConfigError(f"{text!r}: expected no quotes")
    return f"'{text}'"
