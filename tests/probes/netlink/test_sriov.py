from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skydiver.base.ids import NodeID, Origin
from skydiver.graph import Graph, NodeSpec
from skydiver.probes.netlink import NetlinkProbe
from skydiver.probes.netlink.sriov import (
    Functions,
    function_number,
    functions_of,
    neighbour_address,
    with_addresses,
)

CARD = "0000:03:00.1"


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """A card with two functions, as sysfs shows it."""
    devices = tmp_path / "bus/pci/devices"
    card = devices / CARD
    card.mkdir(parents=True)
    for name, value in (("numvfs", 2), ("offset", 128), ("stride", 2)):
        (card / f"sriov_{name}").write_text(f"{value}\n")
    for number, address in enumerate(("0000:03:10.1", "0000:03:10.3")):
        (devices / address).mkdir()
        (devices / address / "physfn").symlink_to(f"../{CARD}")
        (card / f"virtfn{number}").symlink_to(f"../{address}")
    (devices / "0000:00:01.0").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("address", "distance", "expected"),
    [
        ("0000:03:00.0", 0, "0000:03:00.0"),
        ("0000:03:00.1", 128, "0000:03:10.1"),
        ("0000:03:1f.7", 1, "0000:04:00.0"),
        ("0000:ff:1f.7", 1, "0001:00:00.0"),
        ("10000:03:00.0", 8, "10000:03:01.0"),
    ],
)
def test_the_address_of_a_function(address: str, distance: int, expected: str) -> None:
    """Domain, bus, slot and function are one number."""
    assert neighbour_address(address, distance) == expected


@pytest.mark.parametrize(
    "address", ["", "virtio0", "0000:03:00", "0000:03:20.0", "../../etc", "N/A"]
)
def test_what_is_no_pci_address(address: str, sysfs: Path) -> None:
    """Drivers write what they like as bus info, and it becomes part of a path."""
    with pytest.raises(ValueError, match=r"slot|PCI address"):
        neighbour_address(address, 1)
    assert functions_of(sysfs, address) is None
    assert function_number(sysfs, address) is None


def test_what_sysfs_tells(sysfs: Path) -> None:
    """The card knows how many there are, each function which card it belongs to."""
    assert functions_of(sysfs, CARD) == Functions(count=2, offset=128, stride=2)
    assert functions_of(sysfs, "0000:03:10.1") is None
    assert [function_number(sysfs, f"0000:03:10.{n}") for n in (1, 2, 3)] == [0, None, 1]
    assert function_number(sysfs, CARD) is None
    assert functions_of(sysfs, "0000:00:01.0") is None
    (sysfs / f"bus/pci/devices/{CARD}/sriov_numvfs").write_text("many\n")
    assert functions_of(sysfs, CARD) is None


def test_both_ends_find_each_other_by_address(sysfs: Path) -> None:
    """Also when the function belongs to a virtual machine that another probe tells of."""
    settings: list[dict[str, Any]] = [
        {"MAC": "02:00:00:00:00:01", "Spoofchk": True},
        {"ID": 1, "Vlan": 7},
    ]
    functions = functions_of(sysfs, CARD)
    assert functions is not None
    told = with_addresses(settings, CARD, functions)
    assert told == [
        {"MAC": "02:00:00:00:00:01", "Spoofchk": True, "BusInfo": "0000:03:10.1"},
        {"ID": 1, "Vlan": 7, "BusInfo": "0000:03:10.3"},
    ]
    graph = Graph(host="h1", origin=Origin("agent.h1"))
    graph.add_joins(NetlinkProbe.joins)
    writer = graph.owned_by("netlink.h1")
    other = graph.owned_by("libvirt.h1")
    other.upsert(NodeSpec(NodeID("vf1"), {"Type": "device", "BusInfo": "0000:03:10.3"}))
    writer.upsert(NodeSpec(NodeID("pf"), {"Type": "device", "BusInfo": CARD, "Vfs": told}))
    writer.upsert(NodeSpec(NodeID("vf0"), {"Type": "device", "BusInfo": "0000:03:10.1"}))
    edges = {(e.parent, e.child, e.metadata["RelationType"]) for e in graph.edges()}
    assert edges == {("pf", "vf0", "vf"), ("pf", "vf1", "vf")}
    writer.upsert(NodeSpec(NodeID("pf"), {"Type": "device", "BusInfo": CARD}))
    assert list(graph.edges()) == []
