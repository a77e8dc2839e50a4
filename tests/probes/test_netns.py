from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.probes.conftest import Running, ip

from skydiver.base.settings import NetlinkSettings, NetnsSettings
from skydiver.broker.client import Broker
from skydiver.broker.namespaces import Namespace
from skydiver.probes.host import Config as HostConfig
from skydiver.probes.host import HostProbe
from skydiver.probes.netlink import NetlinkProbe
from skydiver.probes.netns import NetnsProbe, netns_node
from skydiver.probes.probe import Probe
from skydiver.topology import netns_node_id


def with_interfaces() -> list[Probe[Any]]:
    return [
        HostProbe(HostConfig()),
        NetnsProbe(NetnsSettings()),
        NetlinkProbe(NetlinkSettings()),
    ]


def test_the_node_of_a_namespace() -> None:
    """Its identifier follows from device and inode, as other probes know them."""
    node = netns_node("h1", Namespace(77, 4, 3, "blue", "/var/run/netns/blue"))
    assert node.id == netns_node_id("h1", 4, 77)
    assert node.metadata == {
        "Name": "blue",
        "Type": "netns",
        "Path": "/var/run/netns/blue",
        "Inode": 77,
        "Device": 4,
    }


@pytest.mark.root
async def test_a_namespace_comes_and_goes_below_the_host(broker: Broker, prefix: str) -> None:
    """One node and one edge, and nothing left of them."""
    running = Running(broker, [HostProbe(HostConfig()), NetnsProbe(NetnsSettings())])
    async with running.at_work():
        ip(f"netns add {prefix}a")
        await running.until(lambda: ("h1", f"{prefix}a", "own") in running.edges())
        found = running.named(f"{prefix}a")
        assert found["Path"] == f"/var/run/netns/{prefix}a"
        assert found["Inode"] == os.stat(found["Path"]).st_ino
        ip(f"netns del {prefix}a")
        await running.until(lambda: not running.nodes(prefix))
        assert not [edge for edge in running.edges() if edge[1].startswith(prefix)]


@pytest.mark.root
async def test_namespaces_are_found_in_the_configured_directory(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    """Container engines have directories of their own; it may come later than the agent."""
    directory = tmp_path / "netns"
    running = Running(broker, [NetnsProbe(NetnsSettings(run_path=str(directory)))])
    async with running.at_work():
        ip(f"netns add {prefix}a")
        directory.mkdir()
        mount = directory / f"{prefix}-there"
        mount.touch()
        subprocess.run(["mount", "--bind", f"/run/netns/{prefix}a", str(mount)], check=True)
        try:
            await running.until(lambda: bool(running.named(mount.name)))
            assert not running.named(f"{prefix}a")
        finally:
            subprocess.run(["umount", str(mount)], check=True)
        ip(f"netns del {prefix}a")
        await running.until(lambda: not running.nodes(prefix))


@pytest.mark.root
async def test_a_namespace_of_a_process_has_a_node_too(broker: Broker, prefix: str) -> None:
    """Its name says which process."""
    running = Running(broker, [HostProbe(HostConfig()), NetnsProbe(NetnsSettings())])
    async with running.at_work():
        with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
            name = f"sleep-{holder.pid}"
            try:
                await running.until(lambda: ("h1", name, "own") in running.edges())
                assert running.named(name)["Path"] == f"/proc/{holder.pid}/ns/net"
            finally:
                holder.kill()
            await running.until(lambda: not running.named(name))


@pytest.mark.root
async def test_what_an_open_file_holds_stays_with_its_interfaces(
    broker: Broker, prefix: str
) -> None:
    """The kernel has it still, and the host's end of its cable too; nothing of ours may hold it."""
    outer, inner = f"{prefix}o", f"{prefix}i"
    running = Running(broker, with_interfaces())
    async with running.at_work():
        with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
            name = f"sleep-{holder.pid}"
            try:
                await running.until(lambda: bool(running.named(name)))
                ip(f"link add {outer} type veth peer name {inner} netns {holder.pid}")
                await running.until(lambda: running.linked(outer, inner))
                namespace = open(f"/proc/{holder.pid}/ns/net")  # noqa: SIM115 - closed below
            finally:
                holder.kill()
        with namespace:
            released: list[str] = []
            unsubscribe = running.namespaces.subscribe(
                added=lambda _: None,
                removed=lambda _: None,
                released=lambda found: released.append(found.name),
            )
            await running.until(lambda: name in released)
            unsubscribe()
            assert running.children(name) >= {inner}
            assert running.linked(outer, inner)
        await running.until(lambda: not running.named(name))
        await running.until(lambda: not running.nodes(prefix))


@pytest.mark.root
async def test_a_namespace_made_in_a_container_is_below_the_host(
    broker: Broker, prefix: str
) -> None:
    """With its name, and with what is inside."""
    script = 'mount -t tmpfs none /run && ip netns add "$0" && echo made && exec sleep 60'
    running = Running(broker, with_interfaces())
    async with running.at_work():
        with subprocess.Popen(
            ["unshare", "-m", "-n", "sh", "-c", script, f"{prefix}in"],
            stdout=subprocess.PIPE,
            text=True,
        ) as container:
            try:
                await running.until(lambda: ("h1", f"{prefix}in", "own") in running.edges())
                await running.until(lambda: "lo" in running.children(f"{prefix}in"))
            finally:
                container.kill()
        await running.until(lambda: not running.nodes(prefix))
