"""Takes netlink datagrams apart, for tables of which Python looks at single messages.

The bytes come from the kernel, yet nothing here trusts a length: `ValueError` when one does not
fit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each message."""
    offset, end = 0, len(datagram)
    while offset + _HEADER.size <= end:
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size or offset + length > end:
            raise ValueError(f"a message of {length} bytes in the last {end - offset}")
        yield kind, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(content: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """Type and content of each attribute after `offset`."""
    found = []
    end = len(content)
    while offset + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(content, offset)
        if length < _ATTRIBUTE.size or offset + length > end:
            raise ValueError(f"an attribute of {length} bytes in the last {end - offset}")
        found.append((kind & _TYPE, content[offset + _ATTRIBUTE.size : offset + length]))
        offset += (length + 3) & ~3
    return found


def attribute(kind: int, content: bytes) -> bytes:
    """One attribute, padded."""
    return (
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content + bytes(-len(content) % 4)
    )


def message(kind: int, content: bytes, *, flags: int = 0, sequence: int = 0) -> bytes:
    """One message, padded."""
    header = _HEADER.pack(_HEADER.size + len(content), kind, flags, sequence, 0)
    return header + content + bytes(-len(content) % 4)
