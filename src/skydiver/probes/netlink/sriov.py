"""Virtual functions of network cards (SR-IOV).

The kernel announces neither that a card got virtual functions, nor that their settings changed. So
the few interfaces that are real devices are looked at in sysfs now and then, and asked for the
settings if they have any. The two ends find each other by PCI address, so the edge is also made to
a function that a virtual machine has, if another probe tells its `BusInfo`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skydiver.base.errors import Unavailable
from skydiver.native import decode_netlink
from skydiver.probes.netlink.attributes import attribute, message
from skydiver.probes.netlink.follower import Follower
from skydiver.probes.netlink.links import HOST, Link, Space
from skydiver.probes.probe import Context

log = logging.getLogger(__name__)

_EVERY_S = 5.0
_ADDRESS = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
_MOST_FUNCTIONS = 1 << 16
_GET_LINK = 18
_EXT_MASK, _WITH_FUNCTIONS = 29, 1
_INFO = struct.Struct("=BxHiII")
_ANSWER = 1 << 18
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Functions:
    """What sysfs says of a card that can have virtual functions."""

    count: int
    offset: int
    stride: int


def neighbour_address(address: str, distance: int) -> str:
    """The PCI address that is so many functions further; `ValueError` if there is none."""
    return _text(_number(address) + distance)


def functions_of(sysfs: Path, address: str) -> Functions | None:
    """None when this card has no virtual functions, and cannot have any."""
    device = _device(sysfs, address)
    count = None if device is None else _read(device / "sriov_numvfs")
    if device is None or count is None or not 0 <= count < _MOST_FUNCTIONS:
        return None
    offset, stride = _read(device / "sriov_offset"), _read(device / "sriov_stride")
    return Functions(count, offset or 0, stride or 0)


def function_number(sysfs: Path, address: str) -> int | None:
    """Which virtual function of its card this is; None when it is none."""
    device = _device(sysfs, address)
    if device is None:
        return None
    try:
        card = (device / "physfn").readlink().name
        functions = functions_of(sysfs, card)
        distance = _number(address) - _number(card)
    except (OSError, ValueError):
        return None
    if functions is None:
        return None
    distance -= functions.offset
    # Without a stride there is only one.
    number, rest = divmod(distance, functions.stride) if functions.stride else (0, distance)
    return None if rest or number < 0 else number


def with_addresses(
    settings: Sequence[Mapping[str, Any]], address: str, functions: Functions
) -> list[dict[str, Any]]:
    """Members of `Vfs`: what the kernel says, and where each function is."""
    told = []
    for one in settings:
        distance = functions.offset + one.get("ID", 0) * functions.stride
        try:
            told.append({**one, "BusInfo": neighbour_address(address, distance)})
        except ValueError:
            told.append(dict(one))
    return told


class SriovFollower:
    """Keeps `Vfs` and `VfID`, from one start to its end."""

    def __init__(
        self, ctx: Context, follower: Follower, *, sysfs: Path = Path("/sys"), every_s: float = 0
    ) -> None:
        self._ctx = ctx
        self._follower = follower
        self._sysfs = sysfs
        self._every_s = every_s or _EVERY_S

    async def follow(self) -> None:
        """Look at all real devices now and then, for ever."""
        while True:
            found = [
                (space, link)
                for space in self._follower.links.spaces()
                for link in space.links.values()
                if link.bus_info
            ]
            for space, link in found:
                try:
                    await self._look(space, link)
                except (Unavailable, OSError) as error:
                    name = link.message["name"]
                    log.debug("virtual functions of %s: %s", name, error)
            if found:
                self._follower.turn_soon()
            await asyncio.sleep(self._every_s)

    async def _look(self, space: Space, link: Link) -> None:
        address = link.bus_info or ""
        functions = functions_of(self._sysfs, address)
        told = None
        if functions is not None and functions.count:
            settings = await self._ask(space, link)
            if settings is None:
                return
            told = with_addresses(settings, address, functions)
        facts = {"Vfs": told or None, "VfID": function_number(self._sysfs, address)}
        if space.links.get(link.key[1]) is link:  # still there after the question
            for name, value in facts.items():
                self._follower.links.set_fact(*link.key, name, value)

    async def _ask(self, space: Space, link: Link) -> Sequence[Mapping[str, Any]] | None:
        """Settings of the functions; None when the interface is gone."""
        namespace = self._ctx.namespaces.by_nsid(space.nsid)
        if space.nsid != HOST and namespace is None:
            return None
        with await self._ctx.broker.netlink_socket(
            None if namespace is None else namespace.ref, groups=0
        ) as opened:
            mask = attribute(_EXT_MASK, struct.pack("=I", _WITH_FUNCTIONS))
            body = _INFO.pack(0, 0, link.key[1], 0, 0) + mask
            opened.send(message(_GET_LINK, body, flags=1, sequence=1))
            # The kernel has answered before `send` returns.
            for told in decode_netlink(opened.recv(_ANSWER)):
                if told["kind"] == "newlink":
                    settings: Sequence[Mapping[str, Any]] = told.get("vfs", ())
                    return settings
        return None


def _number(address: str) -> int:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(f"{address!r:.40} is not a PCI address")
    domain, bus, slot, function = (int(part, 16) for part in found.groups())
    if slot > 0x1F:
        raise ValueError(f"{address}: there is no slot {slot:x}")
    return domain << 16 | bus << 8 | slot << 3 | function


def _text(number: int) -> str:
    if not 0 <= number < 1 << 48:
        raise ValueError(f"{number} is not a PCI address")
    return f"{number >> 16:04x}:{number >> 8 & 0xFF:02x}:{number >> 3 & 0x1F:02x}.{number & 7}"


def _device(sysfs: Path, address: str) -> Path | None:
    # Other buses have addresses of other forms; only this form is safe in a path.
    return sysfs / "bus/pci/devices" / address if _ADDRESS.fullmatch(address) else None


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
