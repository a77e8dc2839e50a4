from __future__ import annotations

import socket

from skydiver.probes.netlink.drivers import driver_of


def test_loopback_has_no_driver() -> None:
    """It answers that it does not know."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as opened:
        assert driver_of(opened, "lo") == ("", None)


def test_an_interface_that_went_has_none_either() -> None:
    """It may go between its event and the question; its name may be anything."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as opened:
        assert driver_of(opened, "no-such-iface") == ("", None)
        assert driver_of(opened, "x" * 100) == ("", None)
