"""What ethtool says of an interface, asked by ioctl on any socket of its namespace."""

from __future__ import annotations

import array
import socket
import struct
from fcntl import ioctl

_SIOCETHTOOL = 0x8946
_GET_DRIVER_INFO = 3
# struct ethtool_drvinfo of linux/ethtool.h: command, driver, version, firmware, bus, …
_DRIVER_INFO = struct.Struct("=I32s32s32s32s32s12s5I")
_REQUEST = struct.Struct("@16sP16x")


def driver_of(opened: socket.socket, name: str) -> tuple[str, str | None]:
    """Driver and bus address of the interface `name`; empty and None when it does not tell."""
    answer = array.array("B", _DRIVER_INFO.pack(_GET_DRIVER_INFO, *[b""] * 6, *[0] * 5))
    request = _REQUEST.pack(name.encode()[:15], answer.buffer_info()[0])
    try:
        ioctl(opened, _SIOCETHTOOL, request)
    except OSError:
        return "", None  # no such interface any more, or a driver without that answer
    _, driver, _, _, bus_info, *_ = _DRIVER_INFO.unpack(answer)
    return _text(driver), _text(bus_info)


def _text(content: bytes) -> str:
    return content.partition(b"\0")[0].decode(errors="replace")
