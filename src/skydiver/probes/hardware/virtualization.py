"""Whether the machine is a guest, and of what; or the host of others.

The innermost counts: in a container on a virtual machine it is the container. What runs below is
known by what it leaves in the file system and the kernel; the instruction that asks the processor
is out of reach here, but the clocks that the kernel offers tell the hypervisor just as surely.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from skydiver.probes.hardware.files import text_of

_CONTAINERS: Mapping[str, str] = {
    "lxc": "lxc",
    "lxc-libvirt": "lxc",
    "systemd-nspawn": "systemd-nspawn",
    "docker": "docker",
    "podman": "podman",
    "oci": "oci",
    "rkt": "rkt",
    "wsl": "wsl",
}
"""Values of the variable ``container`` that the first process gets."""

_CGROUPS: Mapping[str, str] = {
    "/docker": "docker",
    "/lxc": "lxc",
    "/libpod": "podman",
    "/kubepods": "kubernetes",
    "/machine-rkt": "rkt",
}

_CLOCKS: Mapping[str, str] = {
    "kvm-clock": "kvm",
    "hyperv": "hyperv",
    "xen": "xen",
    "vmware": "vmware",
}

_BOARDS: tuple[tuple[str, str], ...] = (
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Amazon EC2", "kvm"),
    ("Google", "kvm"),
    ("DigitalOcean", "kvm"),
    ("Hetzner", "kvm"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "vbox"),
    ("VirtualBox", "vbox"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Apple Virtualization", "apple"),
)
"""What the firmware tables begin with. Physical machines of Amazon, Google and Microsoft exist,
so these count only for a processor that says that it has a hypervisor."""

_FLAG = re.compile(r"^flags\s*:.*\bhypervisor\b", re.MULTILINE)


def virtualization(root: Path) -> Mapping[str, str]:
    """``VirtualizationSystem`` and ``VirtualizationRole``; empty on plain metal."""
    if container := _container(root):
        return _words(container, "guest")
    system, guest = _hypervisor(root)
    if guest:
        return _words(system, "guest")
    system = _host_of(root)
    return _words(system, "host" if system else "")


def _words(system: str, role: str) -> Mapping[str, str]:
    return {"VirtualizationSystem": system, "VirtualizationRole": role}


def _container(root: Path) -> str:
    if (root / "proc/vz").exists() and not (root / "proc/bc").exists():
        return "openvz"
    if re.search(r"microsoft|WSL", text_of(root / "proc/sys/kernel/osrelease")):
        return "wsl"
    told = text_of(root / "run/systemd/container").strip()
    variables = text_of(root / "proc/1/environ").split("\0")
    told = told or next((v[10:] for v in variables if v.startswith("container=")), "")
    if told:
        return _CONTAINERS.get(told, told if re.fullmatch(r"[\w.-]{1,32}", told) else "")
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    groups = text_of(root / "proc/self/cgroup")
    return next((name for mark, name in _CGROUPS.items() if mark in groups), "")


def _hypervisor(root: Path) -> tuple[str, bool]:
    """What this is a guest of, empty when not known, and whether it is one."""
    kind = text_of(root / "sys/hypervisor/type").strip()
    if kind == "xen" or (root / "proc/xen").exists():
        return "xen", "control_d" not in text_of(root / "proc/xen/capabilities")
    clocks = text_of(root / "sys/devices/system/clocksource/clocksource0/available_clocksource")
    for mark, name in _CLOCKS.items():
        if mark in clocks:
            return name, True
    cpuinfo = text_of(root / "proc/cpuinfo")
    flagged = _FLAG.search(cpuinfo) is not None
    # Only x86 has the flag; on others the firmware alone must do.
    if flagged or "flags\t" not in cpuinfo:
        board = _board(root)
        if board:
            return board, True
    tree = text_of(root / "proc/device-tree/hypervisor/compatible")
    if tree:
        return next((name for name in ("kvm", "vmware", "xen") if name in tree), ""), True
    if re.search(r"QEMU Virtual CPU|Common (32-bit )?KVM processor", cpuinfo):
        return "kvm", True
    if "User Mode Linux" in cpuinfo:
        return "uml", True
    return "", flagged


def _board(root: Path) -> str:
    tables = root / "sys/class/dmi/id"
    names = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")
    values = {name: text_of(tables / name).strip() for name in names}
    if values["sys_vendor"] == "Microsoft Corporation" and "Virtual" in values["product_name"]:
        return "hyperv"
    if values["product_name"].endswith(".metal"):
        return ""
    for value in values.values():
        for mark, name in _BOARDS:
            if value.startswith(mark):
                return name
    return ""


def _host_of(root: Path) -> str:
    if "control_d" in text_of(root / "proc/xen/capabilities"):
        return "xen"
    modules = {line.split(" ", 1)[0] for line in text_of(root / "proc/modules").splitlines()}
    if modules & {"kvm_intel", "kvm_amd", "kvm_hv"} or (root / "dev/kvm").exists():
        return "kvm"
    if "vboxdrv" in modules:
        return "vbox"
    return "openvz" if (root / "proc/bc").exists() else ""
