from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from skydiver.native import Routes


def route(net: int, gateway: int, *, kind: int = 24, action: int = 1) -> bytes:
    """10.`net`.0.0/16 via 10.0.0.`gateway` dev 3 metric 5, as the kernel tells it."""
    attributes = struct.pack("=HHBBxx", 8, 1, 10, net) + struct.pack("=HHI", 8, 6, 5)
    if action == 1:
        attributes += struct.pack("=HHBBBB", 8, 5, 10, 0, 0, gateway)
        attributes += struct.pack("=HHI", 8, 4, 3)
    header = struct.pack("=BBBBBBBBI", 2, 16, 0, 0, 254, 3, 0, action, 0)
    length = 16 + len(header + attributes)
    return struct.pack("=IHHII", length, kind, 0x400, 0, 0) + header + attributes


def test_routes_are_told_as_the_graph_has_them() -> None:
    """Equal networks are one entry with several hops."""
    routes = Routes()
    for event in (route(1, 9), route(2, 8), route(3, 0, action=6)):
        assert routes.take(7, event)
    assert routes.changed() == [(7, 0), (7, 3)]
    hop = {"Priority": 5, "IP": "10.0.0.9", "IfIndex": 3}
    (table,) = routes.tables(7, [3], 10)[3]
    assert (table["ID"], table["Src"], table["Count"]) == (254, "", 2)
    assert table["Routes"][0] == {"Protocol": 3, "Prefix": "10.1.0.0/16", "NextHops": [hop]}
    (nowhere,) = routes.tables(7, [0], 10)[0]
    blackhole = {"Protocol": 3, "Prefix": "10.3.0.0/16", "Type": "blackhole", "Priority": 5}
    assert nowhere["Routes"] == [{**blackhole, "NextHops": []}]
    assert routes.counts(7) == {"254": 3}
    assert routes.total() == 3
    routes.forget(7)
    assert routes.total() == 0


def test_questions_are_answered_in_pages() -> None:
    """A table of the internet does not fit into one answer."""
    routes = Routes()
    for net in range(20):
        routes.take(7, route(net, 9))
    page, count = routes.page(7, skip=18, most=5)
    assert ([one["Prefix"] for one in page], count) == (["10.18.0.0/16", "10.19.0.0/16"], 20)
    (found,), _ = routes.page(7, lookup=ip_address("10.4.1.2"))
    assert found["Prefix"] == "10.4.0.0/16"
    assert routes.page(7, within=(ip_address("10.8.0.0"), 13))[1] == 8
    assert routes.page(7, table=3) == ([], 0)
    assert routes.page(8) == ([], 0)


def test_a_malformed_message_is_an_error() -> None:
    """The caller counts it."""
    with pytest.raises(ValueError, match="lengths"):
        Routes().take(7, route(1, 9)[:-1])
