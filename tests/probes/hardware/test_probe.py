from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tests.probes.conftest import Running

from skydiver.broker.client import Broker
from skydiver.probes.hardware.probe import Config, HardwareProbe, command_line, cpu_list, hardware
from skydiver.probes.host import Config as HostConfig
from skydiver.probes.host import HostProbe
from skydiver.probes.probe import Probe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n", []),
        ("5\n", [5]),
        ("3,4,7-9,10", [3, 4, 7, 8, 9, 10]),
        ("0-0", [0]),
        ("2,2", [2, 2]),
    ],
)
def test_lists_of_processors(text: str, expected: list[int]) -> None:
    """The grammar of the kernel's bitmap lists."""
    assert cpu_list(text) == expected


@pytest.mark.parametrize(
    "text", ["3-", "-3", "9-7", "a", "1,,2", "1-2-3", "0-99999999999", "70000", "1,", "²", "1;2"]
)
def test_a_wrong_list_of_processors_is_refused(text: str) -> None:
    """A guess would be shown as a fact; and the last number decides on the memory."""
    with pytest.raises(ValueError, match=r"range of processors|expected a number"):
        cpu_list(text)


def test_parameters_of_the_kernel() -> None:
    """Bare words are true, keys keep their dots, the last of a name wins."""
    assert command_line("ro  quiet root=UUID=1=2 console=tty0 a.b=c console=ttyS0\n") == {
        "ro": True,
        "quiet": True,
        "root": "UUID=1=2",
        "console": "ttyS0",
        "a.b": "c",
    }
    assert command_line("\n") == {}


def test_passwords_of_the_kernel_are_masked() -> None:
    """Whoever may read the graph would have the storage of the host."""
    text = "netroot=iscsi:me:word@h::: ks=https://me:word@h/x rd.iscsi.password=word k.token=word"
    assert command_line(f"{text} crashkernel=512M-2G:64M@16M") == {
        "netroot": "iscsi:********@h:::",
        "ks": "https://********@h/x",
        "rd.iscsi.password": "********",
        "k.token": "********",
        "crashkernel": "512M-2G:64M@16M",
    }


def write(root: Path, **files: str) -> None:
    """Files below `root`; ``__`` stands for a slash."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_a_machine_without_files_has_its_kernel(tmp_path: Path) -> None:
    """A container may hide everything."""
    assert hardware(tmp_path).keys() == {"OS", "KernelVersion"}


def test_all_keys_of_a_machine(tmp_path: Path) -> None:
    """Each from its own file."""
    write(
        tmp_path,
        proc__cpuinfo="processor: 0\nmodel name: X\n\nprocessor: 1\n",
        proc__cmdline="ro\n",
        sys__devices__system__cpu__isolated="1\n",
    )
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=ubuntu\nVERSION_ID="22.04"\n')
    (tmp_path / "var/lib/cloud/data").mkdir(parents=True)
    (tmp_path / "var/lib/cloud/data/instance-id").write_text("i-1\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kvm").touch()
    facts = hardware(tmp_path)
    assert facts.pop("KernelVersion")
    assert facts == {
        "OS": "linux",
        "Platform": "ubuntu",
        "PlatformFamily": "debian",
        "PlatformVersion": "22.04",
        "VirtualizationSystem": "kvm",
        "VirtualizationRole": "host",
        "CPU": [{"Cores": 1, "ModelName": "X"}, {"CPU": 1, "Cores": 1}],
        "IsolatedCPU": [1],
        "InstanceID": "i-1",
        "KernelCmdLine": {"ro": True},
    }


def test_a_wrong_file_costs_its_own_key_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest of the machine is still known."""
    write(tmp_path, sys__devices__system__cpu__isolated="9-7", proc__cmdline="ro")
    with caplog.at_level(logging.WARNING):
        facts = hardware(tmp_path)
    assert "IsolatedCPU" not in facts
    assert facts["KernelCmdLine"] == {"ro": True}
    assert [record.message for record in caplog.records] == [
        f"hardware of this host: {tmp_path}/sys/devices/system/cpu/isolated: "
        "range of processors '9-7' descends"
    ]


@pytest.mark.parametrize("order", [1, -1])
async def test_the_facts_are_on_the_node_of_the_host(broker: Broker, order: int) -> None:
    """Another probe owns that node, and either may come first."""
    probes: list[Probe[Any]] = [HostProbe(HostConfig()), HardwareProbe(Config())]
    running = Running(broker, probes[::order])
    async with running.at_work():
        await running.until(lambda: "KernelVersion" in running.named("h1"))
        assert running.named("h1")["Type"] == "host"
        assert running.named("h1")["OS"] == "linux"
