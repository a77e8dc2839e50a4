"""Labs are built as told, traffic flows through them, and nothing is left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skydiver.base.errors import Unavailable
from skydiver.lab import Lab, wait_until
from skydiver.lab.record import DEVICES, NAMESPACES, RECORDS

OWNER = """
import time
from skydiver.lab import Lab
with Lab("labcrash") as lab:
    a, b = lab.netns("a"), lab.netns("b")
    lab.veth((a, "eth0"), (b, "eth0"))
    lab.veth((lab.host, "x"), (b, "eth1"))
    for end, address in ((a, "10.0.0.1"), (b, "10.0.0.2")):
        lab.address(end, "eth0", address + "/24")
    lab.http_server(a, "10.0.0.1")
    lab.http_gets(b, "http://10.0.0.1/")
    print(lab.prefix, flush=True)
    time.sleep(60)
"""


def left(prefix: str) -> list[str]:
    """Everything on this machine whose name begins with the prefix."""
    folders = [folder for folder in (NAMESPACES, DEVICES, RECORDS) if folder.exists()]
    names = [entry.name for folder in folders for entry in folder.iterdir()]
    return [name for name in names if name.startswith((f"{prefix}-", f"{prefix}."))]


def start_owner() -> "tuple[subprocess.Popen[str], str]":
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    prefix = owner.stdout.readline().strip()
    owner.stdout.close()
    assert prefix.startswith("labcrash")
    assert len(left(prefix)) == 4
    return owner, prefix


def test_a_user_without_privilege_reads_one_line() -> None:
    """Namespaces need root; a traceback would not say so."""
    if os.geteuid() == 0:
        pytest.skip("needs another user than root")
    with pytest.raises(Unavailable, match="needs root"), Lab("labtest"):
        pass


@pytest.mark.parametrize("name", ["", "Lab", "a/b", "longerthan8", "x y"])
def test_a_name_that_cannot_begin_device_names_is_refused(name: str) -> None:
    """Prefixed names must fit the kernel's 15 characters and a file name."""
    with pytest.raises(ValueError, match="lab name"):
        Lab(name)


def test_waiting_names_what_did_not_come() -> None:
    """A test that waits in vain must say for what."""
    with pytest.raises(TimeoutError, match="a miracle"):
        wait_until(lambda: False, "a miracle", timeout_s=0.05)


@pytest.mark.root
def test_traffic_crosses_a_bridge_and_nothing_is_left_afterwards() -> None:
    """The base of every other test that builds a network."""
    with Lab("labtest") as lab:
        web, user, switch = lab.netns("web"), lab.netns("user"), lab.netns("switch")
        with lab.batch():
            lab.veth((web, "eth0"), (switch, "tap-web"), mac_a="02:00:00:00:00:01", mtu=1400)
            lab.veth((user, "eth0"), (switch, "tap-user"))
            lab.bridge(switch, "br0", "tap-web", "tap-user")
            lab.address(web, "eth0", "10.0.0.18/24", "fd00::18/64")
            lab.address(user, "eth0", "10.0.0.17/24", "fd00::17/64")
        shown = lab.run(web, ["ip", "link", "show", "eth0"]).stdout
        assert ("02:00:00:00:00:01" in shown, "mtu 1400" in shown) == (True, True)
        lab.http_server(web, "10.0.0.18", size=100)
        assert len(lab.http_get(user, "http://10.0.0.18/")) == 100
        assert lab.ping(user, "10.0.0.18", count=2) == 2
        assert lab.ping(user, "fd00::18") == 1
        assert lab.ping(user, "10.0.0.99", timeout_s=0.2) == 0
        prefix = lab.prefix
    assert left(prefix) == []


@pytest.mark.root
def test_every_kind_of_device_is_up_where_it_was_put() -> None:
    """Probes are tested with these kinds."""
    with Lab("labtest") as lab:
        a, b = lab.netns("a"), lab.netns("b")
        with lab.batch():
            lab.veth((a, "eth0"), (b, "eth0"))
            lab.vxlan(a, "vxlan7", 7, local="10.0.0.1", remote="10.0.0.2")
            lab.macvlan(a, "mac0", "eth0")
            lab.ifb(a, "ifb9")
            lab.tap(a, "tap0")
            lab.bridge(a, "br0")
        shown = lab.run(a, ["ip", "-d", "-o", "link", "show", "up"]).stdout
        found = [kind for kind in ("veth", "vxlan id 7", "macvlan", "ifb", "type tap", "bridge")
                 if kind in shown]  # fmt: skip
        assert found == ["veth", "vxlan id 7", "macvlan", "ifb", "type tap", "bridge"]
        lab.down(a, "tap0")
        lab.delete(a, "ifb9")
        assert "ifb9" not in lab.run(a, ["ip", "link"]).stdout


@pytest.mark.root
def test_a_device_on_the_host_has_the_prefix_and_goes_with_the_lab() -> None:
    """Agents are tested with links between the host and a namespace."""
    with Lab("labtest") as lab:
        inside = lab.netns("in")
        name, _ = lab.veth((lab.host, "out"), (inside, "eth0"))
        assert name == f"{lab.prefix}-out"
        assert (DEVICES / name).exists()
        with pytest.raises(ValueError, match="exists already"):
            lab.veth((lab.host, "out"), (inside, "eth1"))
        with pytest.raises(ValueError, match="over 15 characters"):
            lab.bridge(lab.host, "muchtoolongname")
    assert not (DEVICES / name).exists()


@pytest.mark.root
def test_a_failing_command_names_itself_and_the_lab_is_removed() -> None:
    """`ip -batch` only gives a line number."""
    lab = Lab("labtest")

    def build() -> None:
        with lab:
            a = lab.netns("a")
            prefixes.append(lab.prefix)
            with lab.batch():
                lab.bridge(a, "br0")
                lab.up(a, "nope")

    prefixes: list[str] = []
    with pytest.raises(Unavailable, match=r"ip link set dev nope up \(in a\): Cannot find device"):
        build()
    assert left(prefixes[0]) == []


@pytest.mark.root
def test_background_traffic_runs_until_stopped_and_senders_end_by_themselves() -> None:
    """Load in tests is bounded and tracked."""
    with Lab("labtest") as lab:
        a, b = lab.netns("a"), lab.netns("b")
        lab.veth((a, "eth0"), (b, "eth0"))
        lab.address(a, "eth0", "10.0.0.1/24")
        lab.address(b, "eth0", "10.0.0.2/24")
        lab.sink(a, "udp", "10.0.0.1", 5000)
        sender = lab.send(b, "udp", "10.0.0.1", 5000, count=100, rate=10_000)
        assert sender.popen.wait(10) == 0
        pings = lab.pings(b, "10.0.0.1", every_s=0.01)
        counter = "/sys/class/net/eth0/statistics/rx_packets"
        read = lab.run(a, ["cat", counter])
        wait_until(
            lambda: int(lab.run(a, ["cat", counter]).stdout) > int(read.stdout) + 5, "more pings"
        )
        assert pings.running()
        pings.stop()
        assert not pings.running()


@pytest.mark.root
def test_a_server_that_cannot_listen_says_why() -> None:
    """Otherwise the first client would fail with something unrelated."""
    with Lab("labtest") as lab:
        a = lab.netns("a")
        with pytest.raises(Unavailable, match="http-server in a: Cannot assign requested address"):
            lab.http_server(a, "10.9.9.9")


@pytest.mark.root
def test_what_a_killed_lab_left_is_removed_when_the_next_one_starts(tmp_path: Path) -> None:
    """SIGKILL runs no handler; the next start is the only chance."""
    owner, prefix = start_owner()
    with Lab("labother") as other, Lab("labtest") as third:
        kept = other.netns("kept")
        owner.kill()
        owner.wait()
        assert left(prefix)
        third.close()
        with Lab("labtest"):
            assert left(prefix) == []
            assert kept.path.exists()


@pytest.mark.root
def test_a_lab_is_removed_on_sigterm() -> None:
    """Continuous integration ends jobs this way."""
    owner, prefix = start_owner()
    owner.send_signal(signal.SIGTERM)
    assert owner.wait(10) == 128 + signal.SIGTERM
    assert left(prefix) == []
