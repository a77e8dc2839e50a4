from __future__ import annotations

import struct

import pytest

from skydiver.probes.netlink.attributes import attribute, attributes, message, messages


def test_what_is_put_together_comes_apart_again() -> None:
    """Contents of any length are padded to four bytes, and the padding is not theirs."""
    contents = [(n + 1, bytes(range(n))) for n in range(9)]
    packed = b"".join(attribute(*content) for content in contents)
    assert attributes(b"head" + packed, 4) == contents
    packed = b"".join(message(*content) for content in contents)
    assert list(messages(packed)) == contents


def test_flag_bits_are_not_part_of_the_type() -> None:
    """NLA_F_NESTED is set by some kernels and not by others."""
    assert attributes(attribute(0x8000 | 5, b"")) == [(5, b"")]


@pytest.mark.parametrize("length", [0, 3, 21, 0xFFFF])
def test_a_length_that_does_not_fit_is_an_error(length: int) -> None:
    """Nothing is read beyond the end, and no loop stands still."""
    with pytest.raises(ValueError, match="bytes in the last 20"):
        list(messages(struct.pack("=IHHII", length, 1, 0, 0, 0) + bytes(4)))
    with pytest.raises(ValueError, match="bytes in the last 20"):
        attributes(struct.pack("=HH", length, 1) + bytes(16))
