from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.probes.conftest import Running, ip

from skydiver.base.settings import NetnsSettings
from skydiver.broker.client import Broker
from skydiver.broker.namespaces import Namespace
from skydiver.probes.host import Config as HostConfig
from skydiver.probes.host import HostProbe
from skydiver.probes.netns import NetnsProbe, netns_node
from skydiver.topology import netns_node_id


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
