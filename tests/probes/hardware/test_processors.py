from __future__ import annotations

from pathlib import Path

from skydiver.probes.hardware.processors import processors

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Gold
stepping\t: 7
microcode\t: 0x5003303
cpu MHz\t\t: 2596.148
cache size\t: 36608 KB
physical id\t: 1
core id\t\t: 3
flags\t\t: fpu vme

processor\t: 1
cpu MHz\t\t: garbage

"""

ARM = """\
processor\t: 0
BogoMIPS\t: 243.75
CPU implementer\t: 0x41
CPU part\t: 0xd0c
CPU revision\t: 1

"""

POWER = """\
processor\t: 0
cpu\t\t: POWER9, altivec supported
clock\t\t: 3800.000000MHz
revision\t: 2.2 (pvr 004e 1202)

timebase\t: 512000000
model\t\t: 9009-22A
"""


def test_processors_of_a_pc(tmp_path: Path) -> None:
    """Zero is left out like everything that is not known, so the first has no number."""
    first, second = processors(X86, tmp_path)
    assert first == {
        "Cores": 1,
        "VendorID": "GenuineIntel",
        "Family": "6",
        "Model": "85",
        "ModelName": "Intel(R) Xeon(R) Gold",
        "Stepping": 7,
        "Microcode": "0x5003303",
        "Mhz": 2596,
        "CacheSize": 36608,
        "PhysicalID": "1",
        "CoreID": "3",
    }
    assert second == {"CPU": 1, "Cores": 1}


def test_processors_of_other_architectures(tmp_path: Path) -> None:
    """Their kernels use other words; what describes the machine is no processor."""
    assert processors(ARM, tmp_path) == [
        {"Cores": 1, "VendorID": "ARM", "Model": "0xd0c", "Stepping": 1}
    ]
    assert processors(POWER, tmp_path) == [
        {"Cores": 1, "ModelName": "POWER9, altivec supported", "Mhz": 3800, "Stepping": 2}
    ]


def test_what_cpuinfo_lacks_is_read_from_sys(tmp_path: Path) -> None:
    """ARM names no cores there; and the highest frequency is the same at each start."""
    for name, content in {
        "topology/physical_package_id": "2\n",
        "topology/core_id": "5\n",
        "cpufreq/cpuinfo_max_freq": "2800000\n",
    }.items():
        path = tmp_path / "cpu0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (found,) = processors(ARM, tmp_path)
    assert (found["PhysicalID"], found["CoreID"], found["Mhz"]) == ("2", "5", 2800)


def test_nonsense_is_no_processor(tmp_path: Path) -> None:
    """Such a file may be mounted there."""
    for text in ("", "processor", "processor\t: x\nmodel: 1\n", "\0" * 100, ": :\n:"):
        assert processors(text, tmp_path) == []
