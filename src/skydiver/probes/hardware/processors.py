"""Processors as /proc/cpuinfo tells them, on all architectures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skydiver.probes.hardware.files import text_of

_NAMES: Mapping[str, str] = {
    "vendor_id": "VendorID",
    "cpu family": "Family",
    "model": "Model",
    "model name": "ModelName",
    "stepping": "Stepping",
    "cpu mhz": "Mhz",
    "cache size": "CacheSize",
    "physical id": "PhysicalID",
    "core id": "CoreID",
    "microcode": "Microcode",
    # ARM
    "cpu implementer": "VendorID",
    "cpu part": "Model",
    "cpu revision": "Stepping",
    # POWER
    "cpu": "ModelName",
    "clock": "Mhz",
    "revision": "Stepping",
    # s390
    "cpu mhz dynamic": "Mhz",
    # RISC-V, LoongArch
    "uarch": "ModelName",
    "mvendorid": "VendorID",
}
"""Names of the kernel, in lower case, to names of the graph."""
_NUMBERS = frozenset({"Stepping", "Mhz", "CacheSize"})

_ARM_VENDORS: Mapping[int, str] = {
    0x41: "ARM",
    0x42: "Broadcom",
    0x43: "Cavium",
    0x44: "DEC",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4D: "Motorola/Freescale",
    0x4E: "NVIDIA",
    0x50: "APM",
    0x51: "Qualcomm",
    0x56: "Marvell",
    0x61: "Apple",
    0x69: "Intel",
    0xC0: "Ampere",
}


def processors(cpuinfo: str, sys_cpu: Path) -> list[dict[str, Any]]:
    """One object for each logical processor; what is unknown, zero or empty is left out."""
    return [_processor(values, sys_cpu) for values in _blocks(cpuinfo)]


def _blocks(cpuinfo: str) -> Iterator[dict[str, str]]:
    """Keys and values of each processor; other paragraphs describe the whole machine."""
    for paragraph in cpuinfo.split("\n\n"):
        block: dict[str, str] = {}
        for line in paragraph.splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if key == "processor" and value.isascii() and value.isdigit():
                block = {"processor": value}
            elif block:
                block.setdefault(key.lower(), value)
        if block:
            yield block


def _processor(values: Mapping[str, str], sys_cpu: Path) -> dict[str, Any]:
    number = int(values["processor"][:9])
    found: dict[str, Any] = {"CPU": number, "Cores": 1}
    for key, value in values.items():
        name = _NAMES.get(key)
        if name is not None and name not in found:
            found[name] = _number(value) if name in _NUMBERS else value
    if "cpu implementer" in values:
        found["VendorID"] = _arm_vendor(values["cpu implementer"])
    place = sys_cpu / f"cpu{number}"
    for name, file in (("PhysicalID", "physical_package_id"), ("CoreID", "core_id")):
        if name not in found:
            found[name] = text_of(place / "topology" / file).strip()
    # The frequency of this moment would differ at each start.
    khz = _number(text_of(place / "cpufreq/cpuinfo_max_freq"))
    if khz:
        found["Mhz"] = khz // 1000
    return {key: value for key, value in found.items() if value not in ("", 0)}


def _arm_vendor(code: str) -> str:
    try:
        return _ARM_VENDORS.get(int(code, 0), code)
    except ValueError:
        return code


def _number(text: str) -> int:
    """The number that a text begins with: ``1024 KB``, ``2596.148``, ``3000.0MHz``; else 0."""
    digits = ""
    for character in text.strip()[:15]:
        if character not in "0123456789":
            break
        digits += character
    return int(digits or 0)
