"""Packet sources offer capture types that exist, each from one source."""

from __future__ import annotations

from skydiver.captures.supervisor import BUILTIN
from skydiver.objects.capture import CAPTURE_TYPES


def test_each_source_serves_known_types_and_no_two_the_same() -> None:
    """A misspelt name would never be asked for; a second source of a name would hide the first."""
    names = [name for source in BUILTIN for name in source.names]
    assert set(names) <= CAPTURE_TYPES.keys()
    assert len(names) == len(set(names))
