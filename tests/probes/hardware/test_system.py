from __future__ import annotations

from pathlib import Path

import pytest

from skydiver.probes.hardware.system import release


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="22.04"', ("ubuntu", "debian", "22.04")),
        ('ID="rhel"\nVERSION_ID="9.3"', ("redhat", "rhel", "9.3")),
        ('ID="ol"\nID_LIKE="fedora"\nVERSION_ID="8.9"', ("oracle", "rhel", "8.9")),
        ("ID=fedora\nVERSION_ID=39", ("fedora", "fedora", "39")),
        ('ID="opensuse-leap"\nVERSION_ID="15.5"', ("opensuse", "suse", "15.5")),
        ("ID=pop\nID_LIKE='ubuntu debian'\nVERSION_ID=1", ("pop", "debian", "1")),
        ("ID=own\n# comment\n nonsense", ("own", "", "")),
        ("", ("", "", "")),
    ],
)
def test_distributions(tmp_path: Path, text: str, expected: tuple[str, str, str]) -> None:
    """The words are those that gopsutil uses, since queries ask for them."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(text)
    assert tuple(release(tmp_path).values()) == expected


def test_debian_says_its_point_release_elsewhere(tmp_path: Path) -> None:
    """``12`` is less than ``12.11``."""
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    (tmp_path / "etc").mkdir()
    assert release(tmp_path)["PlatformVersion"] == "12"
    (tmp_path / "etc/debian_version").write_text("12.11\n")
    assert release(tmp_path)["PlatformVersion"] == "12.11"
