"""Request bodies in YAML."""

from __future__ import annotations

from typing import Any

import pytest

from skydiver.api.yaml_body import yaml_document
from skydiver.base.errors import ProtocolError


def test_yaml_says_the_same_as_json() -> None:
    """The UI of the original uploads files as they are."""
    assert yaml_document(b"GremlinQuery: G.V()\nPort: 3\n") == {"GremlinQuery": "G.V()", "Port": 3}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"a: [1\n", "bad YAML: did not find expected ',' or ']' (line 2, column 1)"),
        (b"\xff", "bad YAML: invalid start byte"),
        (b"a: \x00", "bad YAML: control characters are not allowed"),
        (b"[" * 60_000, "bad YAML: nested more than 64 levels deep (line 1, column 65)"),
        (b"a: !!python/object:os.system x",
         "bad YAML: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/object:os.system' (line 1, column 4)"),
        (b"a" * 70_000, "YAML of 70000 bytes, expected at most 65536"),
        (b"a: 2024-99-99", None),
    ],
)  # fmt: skip
def test_bad_yaml_is_one_line(body: bytes, message: str | None) -> None:
    """The reader in C crashes on brackets, and tags could run code: neither gets so far."""
    with pytest.raises(ProtocolError) as raised:
        yaml_document(body)
    if message is not None:
        assert str(raised.value) == message


def test_aliases_do_not_multiply() -> None:
    """A few hundred bytes that stand for a billion strings are read as references."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    document: Any = yaml_document("\n".join(lines).encode())
    assert document["a39"][0] is document["a39"][1]
