"""What elements from publishers and users of the API must look like (api.md §1.10).

Agents and other analyzers are trusted and not checked. The words and their order are those of the
JSON schema library of the original, which clients have been seen to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from skydiver.base.errors import ProtocolError

_MORE = {"netns": "Path", "ovsport": "UUID"}
"""Metadata that nodes of some types need besides ``Type`` and ``Name``."""


def check_node(document: Mapping[str, Any]) -> None:
    """`ProtocolError` unless the JSON object says a node that may be published."""
    violations = [*_common(document)]
    metadata = list(_node_metadata(document))
    if metadata:
        violations += [
            "(root): Must validate at least one schema (anyOf)",
            *metadata,
            "Metadata: Must validate all the schemas (allOf)",
        ]
    _refuse(violations)


def check_edge(document: Mapping[str, Any]) -> None:
    """`ProtocolError` unless the JSON object says an edge that may be published."""
    violations = [*_common(document)]
    for key in ("Parent", "Child"):
        violations += _filled(document, key, "(root)")
    metadata = document.get("Metadata")
    if isinstance(metadata, Mapping):
        violations += _filled(metadata, "RelationType", "Metadata")
    else:
        violations += _text(document, "Metadata", "(root)")
    _refuse(violations)


def _refuse(violations: list[str]) -> None:
    if violations:
        lines = [*violations, "(root): Must validate all the schemas (allOf)"]
        raise ProtocolError("invalid schema: " + "\n".join(reversed(lines)))


def _common(document: Mapping[str, Any]) -> Iterator[str]:
    yield from _filled(document, "ID", "(root)")
    for key in ("Host", "Origin"):
        value = document.get(key)
        if value is not None and not isinstance(value, str):
            yield f"{key}: Invalid type. Expected: string/null, given: {_kind(value)}"
    for key in ("CreatedAt", "UpdatedAt"):
        value = document.get(key)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not is_integer:
            yield f"{key}: Invalid type. Expected: integer/null, given: {_kind(value)}"


def _node_metadata(document: Mapping[str, Any]) -> Iterator[str]:
    metadata = document.get("Metadata")
    if not isinstance(metadata, Mapping):
        if metadata is None and "Metadata" not in document:
            yield "(root): Metadata is required"
        else:
            yield f"Metadata: Invalid type. Expected: object, given: {_kind(metadata)}"
        return
    yield from _filled(metadata, "Type", "Metadata")
    type_ = metadata.get("Type")
    more = _MORE.get(type_) if isinstance(type_, str) else None
    if more is not None:
        yield from _text(metadata, more, "Metadata")
    yield from _filled(metadata, "Name", "Metadata")


def _text(document: Mapping[str, Any], key: str, at: str) -> Iterator[str]:
    if key not in document:
        yield f"{at}: {key} is required"
        return
    value = document[key]
    if not isinstance(value, str):
        expected = "object" if key == "Metadata" else "string"
        yield f"{_path(at, key)}: Invalid type. Expected: {expected}, given: {_kind(value)}"


def _filled(document: Mapping[str, Any], key: str, at: str) -> Iterator[str]:
    yield from _text(document, key, at)
    if document.get(key) == "":
        yield f"{_path(at, key)}: String length must be greater than or equal to 1"


def _path(at: str, key: str) -> str:
    return key if at == "(root)" else f"{at}.{key}"


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
