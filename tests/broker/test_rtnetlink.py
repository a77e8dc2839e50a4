from __future__ import annotations

import os
import subprocess

import pytest

from skydiver.broker.client import NetnsRef
from skydiver.broker.rtnetlink import RtNetlink


def test_the_host_can_be_dumped_without_privilege() -> None:
    """An agent without root still shows the host."""
    netlink = RtNetlink()
    assert b"lo\0" in b"".join(netlink.links(None))
    assert netlink.addresses(None)
    netlink.close()


def test_an_unknown_namespace_is_an_error_of_the_system() -> None:
    """It ended between two requests; others in the same request must still be answered."""
    netlink = RtNetlink()
    with pytest.raises(OSError, match=r"Invalid argument|not permitted"):
        netlink.links(2**31 - 1)
    netlink.close()


@pytest.mark.root
def test_a_namespace_gets_one_number_and_keeps_it(netns: NetnsRef) -> None:
    """The number is what events carry."""
    netlink = RtNetlink()
    assert netns.path is not None
    descriptor = os.open(netns.path, os.O_RDONLY)
    number = netlink.nsid_of(descriptor=descriptor)
    assert number >= 0
    assert netlink.nsid_of(descriptor=descriptor) == number
    os.close(descriptor)
    netlink.close()


@pytest.mark.root
def test_a_namespace_is_dumped_from_outside(netns: NetnsRef) -> None:
    """No socket inside means that nothing of ours keeps it alive."""
    assert netns.path is not None
    name = netns.path.rpartition("/")[2]
    subprocess.run(
        ["ip", "-n", name, "link", "add", "dumped0", "type", "bridge"],
        check=True,
    )
    subprocess.run(["ip", "-n", name, "addr", "add", "192.0.2.7/24", "dev", "dumped0"], check=True)
    netlink = RtNetlink()
    descriptor = os.open(netns.path, os.O_RDONLY)
    number = netlink.nsid_of(descriptor=descriptor)
    os.close(descriptor)
    assert b"dumped0\0" in b"".join(netlink.links(number))
    assert bytes([192, 0, 2, 7]) in b"".join(netlink.addresses(number))
    assert b"dumped0\0" not in b"".join(netlink.links(None))
    netlink.close()
