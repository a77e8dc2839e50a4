"""Frames of acknowledged batches."""

from __future__ import annotations

import pytest

from skydiver.base.errors import ProtocolError
from skydiver.hub import flow_stream


def test_a_batch_is_read_as_it_was_written() -> None:
    """The number is what makes exactly once out of at least once."""
    assert flow_stream.unpack(flow_stream.pack(7, b"flows")) == (7, b"flows")
    assert flow_stream.unpack_acknowledgement(flow_stream.pack_acknowledgement(7)) == 7


def test_frames_that_are_too_short_are_refused() -> None:
    """They come from outside."""
    with pytest.raises(ProtocolError, match="3 bytes"):
        flow_stream.unpack(b"abc")
    with pytest.raises(ProtocolError, match="9 bytes"):
        flow_stream.unpack_acknowledgement(b"123456789")


@pytest.mark.parametrize("value", [None, "", "a b", "x" * 65, "a/b"])
def test_what_is_no_name_of_a_stream_is_that_of_an_original(value: str | None) -> None:
    """Names are kept, so they are short and plain."""
    assert flow_stream.stream_name(value) is None


@pytest.mark.parametrize("value", [None, "", "-1", "x", "9" * 30])
def test_what_is_no_position_is_that_of_an_original(value: str | None) -> None:
    """An original that reflects unknown headers must not be taken for one of ours."""
    assert flow_stream.position(value) is None
