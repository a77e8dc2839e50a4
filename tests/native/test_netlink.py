"""rtnetlink datagrams become dicts; what contradicts itself becomes ``invalid``."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydiver.base.errors import Unavailable
from skydiver.lab import Lab, Namespace
from skydiver.lab.sockets import open_socket
from skydiver.native import decode_netlink

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 17, 18, 20, 22
AF_BRIDGE = 7


def attribute(kind: int, value: bytes) -> bytes:
    data = struct.pack("=HH", 4 + len(value), kind) + value
    return data + bytes(-len(data) % 4)


def message(kind: int, payload: bytes, *, seq: int = 0, flags: int = 0) -> bytes:
    data = struct.pack("=IHHII", 16 + len(payload), kind, flags, seq, 0) + payload
    return data + bytes(-len(data) % 4)


def link(index: int, *attributes: bytes, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 1, index, 0x1043, 0) + b"".join(attributes)


def test_a_link_says_what_the_interface_is() -> None:
    """The probe makes a node of exactly these members."""
    stats = struct.pack("=24Q", 5, 0, 500, *range(21))
    vlan = attribute(1, b"vlan\0") + attribute(2, attribute(1, struct.pack("=H", 42)))
    (got,) = decode_netlink(
        message(
            RTM_NEWLINK,
            link(
                7,
                attribute(3, b"eth0.42\0"),
                attribute(1, bytes.fromhex("020000000001")),
                attribute(4, struct.pack("=I", 1500)),
                attribute(5, struct.pack("=I", 2)),
                attribute(10, struct.pack("=I", 9)),
                attribute(16, b"\x06"),
                attribute(20, b"to the router\0"),
                attribute(37, struct.pack("=i", 3)),
                attribute(23, stats),
                attribute(18, vlan),
            ),
            seq=11,
            flags=2,
        )
    )
    assert got == {
        "kind": "newlink",
        "type": RTM_NEWLINK,
        "seq": 11,
        "flags": 2,
        "family": 0,
        "index": 7,
        "name": "eth0.42",
        "arphrd": 1,
        "link_flags": 0x1043,
        "mtu": 1500,
        "mac": "02:00:00:00:00:01",
        "kind_name": "vlan",
        "slave_kind": "",
        "master": 9,
        "link": 2,
        "link_netnsid": 3,
        "new_netnsid": None,
        "new_index": 0,
        "operstate": 6,
        "stats": {
            "RxPackets": 5,
            "RxBytes": 500,
            "RxErrors": 1,
            "TxErrors": 2,
            "RxDropped": 3,
            "TxDropped": 4,
            "Multicast": 5,
            "Collisions": 6,
            "RxLengthErrors": 7,
            "RxOverErrors": 8,
            "RxCrcErrors": 9,
            "RxFrameErrors": 10,
            "RxFifoErrors": 11,
            "RxMissedErrors": 12,
            "TxAbortedErrors": 13,
            "TxCarrierErrors": 14,
            "TxFifoErrors": 15,
            "TxHeartbeatErrors": 16,
            "TxWindowErrors": 17,
            "RxCompressed": 18,
            "TxCompressed": 19,
        },
        "info": {"Vlan": 42},
        "details": {"Alias": "to the router"},
    }


def test_what_is_as_usual_is_left_out() -> None:
    """Ten thousand interfaces each saying that they have one queue would be a waste of memory."""
    usual = (attribute(13, struct.pack("=I", 1000)), attribute(31, struct.pack("=I", 1)))
    (got,) = decode_netlink(message(RTM_NEWLINK, link(7, *usual)))
    assert not got.keys() & {"details", "info", "slave_info", "altnames", "xdp", "vfs"}
    unusual = (attribute(13, struct.pack("=I", 7)), attribute(31, struct.pack("=I", 8)))
    (got,) = decode_netlink(message(RTM_NEWLINK, link(7, *unusual)))
    assert got["details"] == {"TxQueueLen": 7, "NumTxQueues": 8}


def test_virtual_functions_are_told_in_the_words_of_the_graph() -> None:
    """Another part of the probe makes `Vfs` of them; members without a value are left out."""

    def setting(kind: int, *numbers: int) -> bytes:
        return attribute(kind, struct.pack(f"={len(numbers)}I", *numbers))

    first = attribute(1, struct.pack("=I", 0) + bytes.fromhex("02000000000a") + bytes(26))
    second = attribute(1, struct.pack("=I", 1) + bytes(32))
    functions = attribute(
        1, first + setting(2, 0, 7, 3) + setting(3, 0, 100) + setting(4, 0, 1) + setting(5, 0, 2)
    ) + attribute(1, second + setting(4, 1, 0) + setting(9, 1, 0xFFFFFFFF))
    (got,) = decode_netlink(message(RTM_NEWLINK, link(7, attribute(22, functions))))
    assert got["vfs"] == [
        {
            "MAC": "02:00:00:00:00:0a",
            "Vlan": 7,
            "Qos": 3,
            "TxRate": 100,
            "Spoofchk": True,
            "LinkState": 2,
        },
        {"ID": 1},
    ]


def test_a_port_message_of_a_bridge_tells_how_the_port_is_treated() -> None:
    """Changes of a port are announced in this form and in no other."""
    port = attribute(12 | 0x8000, attribute(1, b"\x03") + attribute(33, b"\x01"))
    (got,) = decode_netlink(message(RTM_NEWLINK, link(7, port, family=AF_BRIDGE)))
    assert got["slave_info"] == {"State": "forwarding", "Isolated": True}


def test_an_attribute_of_another_form_than_expected_is_left_out() -> None:
    """A later kernel may send more; the interface is there all the same."""
    data = attribute(1, struct.pack("=I", 42)) + attribute(5, b"123")
    vxlan = attribute(1, b"vxlan\0") + attribute(2, data)
    (got,) = decode_netlink(message(RTM_NEWLINK, link(7, attribute(18, vxlan))))
    assert got["info"] == {"VNI": 42}


def test_a_number_without_a_word_is_no_error() -> None:
    """A later kernel knows more modes."""
    bond = attribute(1, b"bond\0") + attribute(2, attribute(1, b"\x63"))
    (got,) = decode_netlink(message(RTM_NEWLINK, link(7, attribute(18, bond))))
    assert got["info"] == {"Mode": "UNKNOWN99"}


def test_leaving_a_bridge_is_told_from_being_deleted() -> None:
    """Both are RTM_DELLINK; taking one for the other would remove a living interface."""
    left, deleted = decode_netlink(
        message(RTM_DELLINK, link(7, family=AF_BRIDGE)) + message(RTM_DELLINK, link(7))
    )
    assert (left["kind"], left["bridge_port_del"]) == ("dellink", True)
    assert (deleted["kind"], deleted["bridge_port_del"]) == ("dellink", False)


def test_an_interface_that_moved_says_where_it_went() -> None:
    """A move to another namespace is a deletion that names the destination."""
    moved = attribute(45, struct.pack("=i", 4)) + attribute(49, struct.pack("=I", 12))
    (got,) = decode_netlink(message(RTM_DELLINK, link(7, moved)))
    assert (got["new_netnsid"], got["new_index"]) == (4, 12)


def test_addresses_namespace_ids_errors_and_the_end_of_a_dump() -> None:
    """These end requests and name what came and went."""
    payload = struct.pack("=BBBBI", 2, 24, 0, 0, 7)
    ipv4 = payload + attribute(1, b"\x0a\0\0\x02") + attribute(2, b"\x0a\0\0\x01")
    nsid = bytes(4) + attribute(1, struct.pack("=i", 5))
    got = decode_netlink(
        message(RTM_NEWADDR, ipv4)
        + message(89, nsid)
        + message(2, struct.pack("=i", -19) + bytes(16))
        + message(3, struct.pack("=i", 0))
        + message(24, b"route")
    )
    assert [entry["kind"] for entry in got] == ["newaddr", "delnsid", "error", "done", "other"]
    assert got[0] == {
        "kind": "newaddr",
        "type": RTM_NEWADDR,
        "seq": 0,
        "flags": 0,
        "family": 2,
        "index": 7,
        "address": "10.0.0.2",
        "local": "10.0.0.1",
        "prefix_len": 24,
    }
    assert got[1]["nsid"] == 5
    assert got[2]["errno"] == 19


@pytest.mark.parametrize(
    "broken",
    [
        b"\x01",
        bytes(16),
        struct.pack("=IHHII", 400, RTM_NEWLINK, 0, 0, 0) + bytes(20),
        message(RTM_NEWLINK, b"\0" * 8),
        message(RTM_NEWLINK, link(1, struct.pack("=HH", 200, 3) + b"eth0")),
        message(RTM_NEWLINK, link(1, struct.pack("=HH", 2, 3) + b"eth0")),
        message(RTM_NEWLINK, link(1, attribute(4, b"\x01"))),
        message(RTM_NEWLINK, link(1, attribute(18, struct.pack("=HH", 90, 1)))),
        message(RTM_NEWADDR, struct.pack("=BBBBI", 10, 64, 0, 0, 7) + attribute(1, b"1234")),
    ],
)
def test_a_message_that_contradicts_itself_is_invalid_and_the_last(broken: bytes) -> None:
    """What follows cannot be found any more; what came before is kept."""
    good = message(RTM_NEWLINK, link(1, attribute(3, b"lo\0")))
    got = decode_netlink(good + broken)
    assert [entry["kind"] for entry in got] == ["newlink", "invalid"]


@given(st.binary(max_size=500))
def test_any_bytes_give_a_list(data: bytes) -> None:
    """The probe must survive whatever is read from the socket."""
    kinds = [entry["kind"] for entry in decode_netlink(data)]
    assert kinds.count("invalid") <= 1
    assert "invalid" not in kinds[:-1]


def dump(place: Namespace, kind: int) -> Iterator[dict[str, Any]]:
    """All messages of a dump inside a namespace."""
    with open_socket(place, socket.AF_NETLINK, socket.SOCK_RAW) as asker:
        asker.send(message(kind, struct.pack("=BxHiII", 0, 0, 0, 0, 0), seq=1, flags=0x301))
        while True:
            for entry in decode_netlink(asker.recv(1 << 20)):
                if entry["kind"] in ("done", "error"):
                    return
                yield entry


@pytest.mark.root
def test_links_and_addresses_of_a_namespace_are_those_that_ip_shows() -> None:
    """The kernel's own tool is the oracle, on every kind of link that the lab can make."""
    with Lab("nl") as lab:
        place, other = lab.netns("a"), lab.netns("b")
        lab.veth((place, "eth0"), (other, "eth0"), mac_a="02:00:00:00:00:01")
        lab.veth((place, "p1"), (other, "p1"))
        lab.bridge(place, "br0", "p1")
        lab.address(place, "eth0", "10.9.0.1/24", "fd09::1/64")
        lab.vxlan(place, "vx0", 77, local="10.9.0.1", remote="10.9.0.2")
        lab.tap(place, "tap0")
        lab.macvlan(place, "mv0", "eth0")
        for extra in (
            "eth0.5 link eth0 type vlan id 5",
            "gre0x type gre local 10.9.0.1 remote 10.9.0.2 key 9",
            "gnv0 type geneve id 8 remote 10.9.0.2",
            "sit0x type sit local 10.9.0.1 remote 10.9.0.2",
            "vrf0 type vrf table 10",
            "dm0 type dummy",
        ):
            with suppress(Unavailable):  # not every kernel has all kinds
                lab.ip(place, "link add", extra)
        lab.ip(place, "link set dev p1 alias something")
        lab.ping(place, "10.9.0.2")
        shown = json.loads(
            lab.run(place, ["ip", "-json", "-details", "-statistics", "address", "show"]).stdout
        )
        links = {entry["index"]: entry for entry in dump(place, RTM_GETLINK)}
        addresses = list(dump(place, RTM_GETADDR))

    assert [links[entry["ifindex"]]["name"] for entry in shown] == [
        entry["ifname"] for entry in shown
    ]
    by_name = {entry["ifname"]: entry["ifindex"] for entry in shown}
    for entry in shown:
        got = links[entry["ifindex"]]
        assert got["mtu"] == entry["mtu"]
        assert got["mac"] == (entry["address"] if entry["address"].strip("0:") else "")
        assert got["kind_name"] == entry.get("linkinfo", {}).get("info_kind", "")
        assert got["slave_kind"] == entry.get("linkinfo", {}).get("info_slave_kind", "")
        assert got["master"] == by_name.get(entry.get("master", ""), 0)
        assert got["link"] == by_name.get(entry.get("link", ""), entry.get("link_index", 0))
        assert got["link_netnsid"] == entry.get("link_netnsid")
        assert got.get("details", {}).get("Alias") == entry.get("ifalias")
        assert bool(got["link_flags"] & 1) == ("UP" in entry["flags"])
    told = {
        (entry["index"], entry["local"] or entry["address"], entry["prefix_len"])
        for entry in addresses
    }
    assert told == {
        (entry["ifindex"], address["local"], address["prefixlen"])
        for entry in shown
        for address in entry["addr_info"]
    }
    assert links[by_name["vx0"]]["info"]["VNI"] == 77
    assert links[by_name["vx0"]]["info"]["Local"] == "10.9.0.1"
    assert links[by_name["vx0"]]["info"]["Remote"] == "10.9.0.2"
    assert links[by_name["vx0"]]["info"]["Port"] == 4789
    for name, member, value in (
        ("eth0.5", "Vlan", 5),
        ("gre0x", "IKey", 9),
        ("gnv0", "VNI", 8),
        ("sit0x", "Remote", "10.9.0.2"),
        ("vrf0", "Table", 10),
    ):
        assert name not in by_name or links[by_name[name]]["info"][member] == value
    assert links[by_name["eth0"]]["stats"]["TxPackets"] > 0
