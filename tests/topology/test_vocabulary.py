"""Words of the topology."""

from __future__ import annotations

import orjson

from skydiver.topology import AFPACKET_TYPES, CAPTURABLE_TYPES, Key, NodeType, Relation


def test_words_are_texts() -> None:
    """They go into metadata and compare with what comes from the wire."""
    metadata = {Key.TYPE: NodeType.HOST, Key.RELATION_TYPE: Relation.OWNERSHIP}
    assert metadata == {"Type": "host", "RelationType": "ownership"}
    assert f"{NodeType.NETNS}" == "netns"
    assert orjson.dumps(list(metadata.values())) == b'["host","ownership"]'


def test_types_that_can_be_captured_on() -> None:
    """As api.md §7.5 lists them."""
    listed = (
        "internal veth tun bridge dummy gre bond can hsr ifb macvlan macvtap vlan vxlan gretap "
        "ip6gretap geneve ipoib vcan ipip ipvlan lowpan ip6tnl ip6gre sit device"
    )
    # What the kernel calls a tun or tap made by `ip tuntap`, besides.
    assert {*listed.split(), "tuntap"} == AFPACKET_TYPES
    assert {"ovsbridge", "ovsport", "dpdkport"} == CAPTURABLE_TYPES - AFPACKET_TYPES
