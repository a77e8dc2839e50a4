from __future__ import annotations

from pathlib import Path

from tests.probes.conftest import Running

from skydiver.base.settings import MetadataFile
from skydiver.broker.client import Broker
from skydiver.probes.host import Config, HostProbe, host_node, nested
from skydiver.topology import host_node_id


def test_the_node_of_the_host() -> None:
    """Its identifier follows from the host id, so that others can state edges from it."""
    node = host_node("h1", hostname="machine", extra={})
    assert node.id == host_node_id("h1")
    assert node.metadata == {"Name": "h1", "Type": "host", "Hostname": "machine"}


def test_metadata_of_the_settings_is_added_and_may_replace() -> None:
    """Users describe their hosts: rack, role, owner."""
    extra = {"mydict": {"value": 123}, "myarrays": {"bools": [True]}, "Hostname": "other"}
    node = host_node("h1", hostname="machine", extra=extra)
    assert node.metadata == {
        "Name": "h1",
        "Type": "host",
        "Hostname": "other",
        "mydict": {"value": 123},
        "myarrays": {"bools": [True]},
    }


def test_dots_make_objects() -> None:
    """Queries descend by dots, so a key with a dot could not be asked for."""
    assert nested({"a.b": 1, "a": {"c.d": 2}, "e": None}) == {
        "a": {"b": 1, "c": {"d": 2}},
        "e": "",
    }


def test_a_key_below_a_value_does_not_replace_it() -> None:
    """One of the two is lost in any case; the first stays."""
    assert nested({"a": 1, "a.b": 2}) == {"a": 1}


async def test_the_probe_states_the_host(broker: Broker) -> None:
    """Without privilege too."""
    running = Running(broker, [HostProbe(Config(metadata={"rack": 3}))])
    async with running.at_work():
        await running.until(lambda: bool(running.named("h1")))
        assert running.named("h1")["rack"] == 3
        assert running.probes.status() == {"host": {"Status": "running"}}
    assert running.probes.status() == {"host": {"Status": "stopped"}}


async def test_values_of_files_follow_them(broker: Broker, tmp_path: Path) -> None:
    """Beside what the settings say, and in place when they change."""
    path = tmp_path / "ex.ini"
    path.write_text("[DEFAULT]\nl3_driver = ovs\n")
    files = [
        MetadataFile(str(path), "ini", "driver", "DEFAULT.l3_driver"),
        MetadataFile(str(tmp_path / "absent"), "ini", "other.name", "a"),
    ]
    running = Running(broker, [HostProbe(Config({"Config": {"own": 1}}, files))])
    async with running.at_work():
        await running.until(lambda: bool(running.named("h1")))
        assert running.named("h1")["Config"] == {"own": 1, "driver": "ovs"}
        path.write_text("[DEFAULT]\nl3_driver = ovn\n")
        (tmp_path / "absent").write_text("a=b")
        expected = {"own": 1, "driver": "ovn", "other": {"name": "b"}}
        await running.until(lambda: running.named("h1")["Config"] == expected)
        assert running.probes.status() == {"host": {"Status": "running"}}
