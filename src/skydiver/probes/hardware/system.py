"""The distribution, in the words that gopsutil made common: ``redhat`` of the family ``rhel``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from skydiver.probes.hardware.files import text_of

_PLATFORMS: Mapping[str, str] = {
    "rhel": "redhat",
    "ol": "oracle",
    "amzn": "amazon",
    "opensuse-leap": "opensuse",
    "opensuse-tumbleweed": "opensuse",
    "sles": "suse",
    "sled": "suse",
}
"""Identifiers of os-release that have another name here."""

_FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(("debian", "ubuntu", "linuxmint", "raspbian", "kali", "devuan"), "debian"),
    **dict.fromkeys(
        ("redhat", "rhel", "centos", "oracle", "amazon", "rocky", "almalinux", "scientific"), "rhel"
    ),
    **dict.fromkeys(("suse", "opensuse", "sles", "sled"), "suse"),
    **dict.fromkeys(("arch", "manjaro", "archarm"), "arch"),
    "fedora": "fedora",
    "gentoo": "gentoo",
    "alpine": "alpine",
    "slackware": "slackware",
}

_LINE = re.compile(r"""([A-Z_]+)=(["']?)(.*?)\2\s*""")


def release(root: Path) -> Mapping[str, str]:
    """``Platform``, ``PlatformFamily`` and ``PlatformVersion``."""
    text = text_of(root / "etc/os-release") or text_of(root / "usr/lib/os-release")
    values = {
        match[1]: match[3] for line in text.splitlines() if (match := _LINE.fullmatch(line.strip()))
    }
    identifier = values.get("ID", "").lower()
    platform = _PLATFORMS.get(identifier, identifier)
    version = values.get("VERSION_ID", "")
    if platform in ("debian", "raspbian"):
        # Only this has the number of the point release.
        version = text_of(root / "etc/debian_version").strip() or version
    return {
        "Platform": platform,
        "PlatformFamily": _family(platform, values.get("ID_LIKE", "")),
        "PlatformVersion": version,
    }


def _family(platform: str, like: str) -> str:
    known = (_FAMILIES[name] for name in (platform, *like.lower().split()) if name in _FAMILIES)
    return next(known, "")
