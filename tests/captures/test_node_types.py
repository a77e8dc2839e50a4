"""What can be captured, and how."""

from __future__ import annotations

import pytest

from skydiver.base.errors import ConfigError
from skydiver.captures.node_types import ALLOWED, capture_type


def test_the_first_type_of_a_node_is_its_default() -> None:
    """A capture without a type must work on whatever a query finds."""
    assert capture_type("veth", "") == "afpacket"
    assert capture_type("ovsbridge", "") == "ovssflow"
    assert capture_type("bridge", "pcap") == "pcap"


def test_both_names_of_a_tap_can_be_captured() -> None:
    """The netlink probe says ``tuntap`` where the original's table says ``tun``."""
    assert ALLOWED["tun"] == ALLOWED["tuntap"]


@pytest.mark.parametrize("node_type", ["host", "netns", "container", "patch", ""])
def test_nodes_that_are_no_interfaces_are_refused(node_type: str) -> None:
    """A query that finds a container by mistake must say so."""
    with pytest.raises(ConfigError, match=f"node of type '{node_type}' cannot be captured"):
        capture_type(node_type, "")


def test_a_type_that_does_not_go_with_the_node_is_refused_with_those_that_do() -> None:
    """The answer tells what to write instead."""
    with pytest.raises(ConfigError, match=r"'dpdk' on a node of type 'veth': one of afpacket, "):
        capture_type("veth", "dpdk")
