from __future__ import annotations

import struct

import pytest
from tests.probes.conftest import Running, ip
from tests.probes.netlink.differential import differences, until_equal
from tests.probes.netlink.route_aspects import ASPECTS
from tests.probes.netlink.test_follower import probes

from skydiver.broker.client import Broker
from skydiver.probes.netlink.rules import rules_in


def message(kind: int, *attributes: tuple[int, bytes], family: int = 2) -> bytes:
    body = struct.pack("=BBBBBBBBI", family, 8, 0, 0, 254, 0, 0, 1, 2)
    for number, value in attributes:
        body += struct.pack("=HH", 4 + len(value), number) + value.ljust((len(value) + 3) & ~3)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_a_rule_is_told_in_words() -> None:
    """As `ip rule` does, and without what is not asked of packets."""
    attributes = (
        (1, bytes([10, 0, 0, 0])),
        (3, b"eth0\0"),
        (6, struct.pack("=I", 100)),
        (10, struct.pack("=I", 1)),
        (14, struct.pack("=I", 0xFFFFFFFF)),
        (15, struct.pack("=I", 1000)),
        (20, struct.pack("=II", 5, 10)),
        (24, struct.pack("=HH", 80, 80)),
    )
    rule = {
        "Priority": 100,
        "Family": "inet",
        "Action": "table",
        "Table": 1000,
        "Not": True,
        "To": "10.0.0.0/8",
        "IIF": "eth0",
        "FwMark": 1,
        "UIDRange": "5-10",
        "DPort": "80",
    }
    assert list(rules_in(message(32, *attributes))) == [(32, rule)]


def test_rules_of_multicast_routing_are_left_out() -> None:
    """They choose among tables of their own."""
    assert list(rules_in(message(32, family=128))) == []


@pytest.mark.parametrize("cut", range(17, 40))
def test_a_message_cut_short_is_refused(cut: int) -> None:
    """Whatever its lengths say."""
    whole = message(32, (1, bytes([10, 0, 0, 0])), (6, struct.pack("=I", 100)))
    with pytest.raises(ValueError, match=r"bytes|short"):
        list(rules_in(whole[:cut]))


@pytest.mark.root
async def test_rules_are_what_ip_shows(broker: Broker, prefix: str) -> None:
    """The default ones, and those that come and go."""
    netns = f"{prefix}n"
    ip(f"netns add {netns}")
    running = Running(broker, probes())
    steps = (
        "rule add fwmark 0x1/0xff iif lo not to 10.0.0.0/8 lookup 77",
        "rule add from 10.0.0.1 tos 0x10 ipproto tcp dport 80-90 goto 40000",
        "-6 rule add uidrange 5-10 lookup main suppress_prefixlength 0",
        "rule add l3mdev pref 1000",
        "rule add blackhole pref 7",
        "-6 rule add from 2001:db8::/32 sport 53 ipproto udp unreachable pref 7",
        "rule add pref 7 oif lo lookup 5",
        "rule del pref 32766",
        "rule del pref 7",
    )
    async with running.at_work():
        for step in steps:
            ip(f"-n {netns} {step}")
            assert await until_equal(running, [netns], prefix, aspects=ASPECTS) == [], step
    # Nobody watches any more.
    ip(f"-n {netns} rule add pref 9 lookup 9", f"-n {netns} route add blackhole 10.0.0.0/8")
    found = differences(running, [netns], prefix, ASPECTS)
    assert [line.split(":")[0] for line in found] == ["routes", "routes", "rules"]
