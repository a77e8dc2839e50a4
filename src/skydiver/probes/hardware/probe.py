"""The probe, and the small facts: instance, isolated processors, command line of the kernel."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from skydiver.base.settings import AgentSettings
from skydiver.probes.hardware.files import text_of
from skydiver.probes.hardware.processors import processors
from skydiver.probes.hardware.system import release
from skydiver.probes.hardware.virtualization import virtualization
from skydiver.probes.probe import Context, Probe
from skydiver.topology import host_node_id

log = logging.getLogger(__name__)

MASK = "********"
HIGHEST_CPU = 65_535
_LONGEST_ID = 256

_SECRET_KEY = re.compile(r"passw|secret|token", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(://|iscsi:)[^@/\s]+@")
"""``https://user:word@host``, ``iscsi:user:word@host``."""


@dataclass(frozen=True, slots=True)
class Config:
    """Nothing can be set."""


class HardwareProbe(Probe[Config]):
    name = "hardware"

    @classmethod
    def from_settings(cls, settings: AgentSettings) -> Self:
        return cls(Config())

    async def run(self, ctx: Context) -> None:
        ctx.graph.enrich(host_node_id(ctx.host_id), hardware(Path("/")))


def hardware(root: Path) -> dict[str, Any]:
    """All keys that are known of the machine whose files are below `root`."""
    facts: dict[str, Any] = {"OS": "linux", "KernelVersion": os.uname().release}
    for read in (release, virtualization, _cpus, _isolated, _instance, _command_line):
        facts.update(_tried(read, root))
    return {key: value for key, value in facts.items() if value not in ("", [], {})}


def _tried(read: Callable[[Path], Mapping[str, Any]], root: Path) -> Mapping[str, Any]:
    try:
        return read(root)
    except (OSError, ValueError) as error:
        log.warning("hardware of this host: %s", error)
        return {}


def _cpus(root: Path) -> Mapping[str, Any]:
    return {"CPU": processors(text_of(root / "proc/cpuinfo"), root / "sys/devices/system/cpu")}


def _isolated(root: Path) -> Mapping[str, Any]:
    path = root / "sys/devices/system/cpu/isolated"
    try:
        return {"IsolatedCPU": cpu_list(text_of(path))}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _instance(root: Path) -> Mapping[str, Any]:
    text = text_of(root / "var/lib/cloud/data/instance-id").strip()
    return {"InstanceID": text if len(text) <= _LONGEST_ID and text.isprintable() else ""}


def _command_line(root: Path) -> Mapping[str, Any]:
    return {"KernelCmdLine": command_line(text_of(root / "proc/cmdline"))}


def cpu_list(text: str) -> list[int]:
    """Numbers of a list like ``3,4,7-9``; `ValueError` says which part is wrong."""
    numbers: list[int] = []
    for part in text.strip().split(",") if text.strip() else []:
        first, dash, last = part.partition("-")
        low = _cpu_number(first, part)
        high = _cpu_number(last, part) if dash else low
        if high < low:
            raise ValueError(f"range of processors {part!r} descends")
        numbers.extend(range(low, high + 1))
    return numbers


def _cpu_number(text: str, part: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= HIGHEST_CPU):
        expected = f"a number from 0 to {HIGHEST_CPU} or a range such as 7-9"
        raise ValueError(f"expected {expected}, got {part[:40]!r}")
    return int(text)


def command_line(text: str) -> dict[str, str | bool]:
    """Parameters of the kernel; a bare word is true, the last of a name wins.

    The graph is read by more people than the host, so passwords are masked.
    """
    parameters: dict[str, str | bool] = {}
    for word in text.strip().split(" "):
        name, equals, value = word.partition("=")
        if not name:
            continue
        if not equals:
            parameters[name] = True
        elif _SECRET_KEY.search(name):
            parameters[name] = MASK
        else:
            parameters[name] = _CREDENTIALS.sub(rf"\1{MASK}@", value)
    return parameters
