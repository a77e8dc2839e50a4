from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from skydiver.probes.hardware.virtualization import virtualization

CPU = "proc/cpuinfo"
CLOCKS = "sys/devices/system/clocksource/clocksource0/available_clocksource"
DMI = "sys/class/dmi/id"
GUEST = {CPU: "flags\t\t: fpu hypervisor lahf_lm\n"}
METAL = {CPU: "flags\t\t: fpu lahf_lm\n"}


@pytest.mark.parametrize(
    ("files", "system", "role"),
    [
        (METAL, "", ""),
        ({**METAL, f"{DMI}/sys_vendor": "Google\n"}, "", ""),
        ({**METAL, "proc/modules": "kvm_intel 1 0 - Live 0x0\n"}, "kvm", "host"),
        ({**METAL, "dev/kvm": ""}, "kvm", "host"),
        ({**METAL, "proc/modules": "vboxdrv 1 0\n"}, "vbox", "host"),
        ({**GUEST, CLOCKS: "tsc kvm-clock acpi_pm\n"}, "kvm", "guest"),
        ({**GUEST, CLOCKS: "hyperv_clocksource_tsc_page acpi_pm\n"}, "hyperv", "guest"),
        ({**GUEST, "dev/kvm": "", CLOCKS: "kvm-clock"}, "kvm", "guest"),
        ({**GUEST, f"{DMI}/sys_vendor": "QEMU\n"}, "qemu", "guest"),
        ({**GUEST, f"{DMI}/sys_vendor": "VMware, Inc.\n"}, "vmware", "guest"),
        ({**GUEST, f"{DMI}/product_name": "VirtualBox\n"}, "vbox", "guest"),
        (
            {
                **GUEST,
                f"{DMI}/sys_vendor": "Microsoft Corporation\n",
                f"{DMI}/product_name": "Virtual Machine\n",
            },
            "hyperv",
            "guest",
        ),
        ({**GUEST, f"{DMI}/sys_vendor": "Somebody\n"}, "", "guest"),
        ({f"{DMI}/sys_vendor": "Amazon EC2", f"{DMI}/product_name": "c7g.large"}, "kvm", "guest"),
        ({f"{DMI}/sys_vendor": "Amazon EC2", f"{DMI}/product_name": "a1.metal"}, "", ""),
        ({"proc/device-tree/hypervisor/compatible": "linux,kvm\0"}, "kvm", "guest"),
        ({"sys/hypervisor/type": "xen\n"}, "xen", "guest"),
        ({"proc/xen/capabilities": "control_d\n"}, "xen", "host"),
        ({CPU: "vendor_id: User Mode Linux\n"}, "uml", "guest"),
        ({"proc/sys/kernel/osrelease": "5.15.90-microsoft-standard-WSL2\n"}, "wsl", "guest"),
        ({"proc/vz/version": ""}, "openvz", "guest"),
        ({"proc/vz/version": "", "proc/bc/0": ""}, "openvz", "host"),
        ({"proc/1/environ": "A=b\0container=lxc\0"}, "lxc", "guest"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn", "guest"),
        ({"run/.containerenv": ""}, "podman", "guest"),
        ({**GUEST, CLOCKS: "kvm-clock", ".dockerenv": ""}, "docker", "guest"),
        ({"proc/self/cgroup": "1:name=systemd:/docker/12ab\n"}, "docker", "guest"),
    ],
)
def test_what_the_machine_runs_on(
    tmp_path: Path, files: Mapping[str, str], system: str, role: str
) -> None:
    """The innermost counts, and a guest that could be a host is a guest."""
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert virtualization(tmp_path) == {
        "VirtualizationSystem": system,
        "VirtualizationRole": role,
    }
