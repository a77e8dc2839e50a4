"""Compiled data plane: packet decoding, flow tables, capture rings, netlink decoding.

Work on more than a few elements runs detached from the interpreter. Results cross as bytes.
Every error of input is a `ValueError` of one line; a panic inside becomes a `RuntimeError`.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any, final

@final
class FlowTable:
    """One flow table: packets in, flows out (flows.md §§2-7). Not shared between threads."""

    def __init__(
        self,
        *,
        node_tid: str = "",
        capture_id: str = "",
        first_layer: str = "ether",
        key_mode: str = "L2",
        max_flows: int = 500_000,
        raw_packet_limit: int = 0,
        extra_tcp_metric: bool = False,
        ip_defrag: bool = False,
        reassemble_tcp: bool = False,
        extra_layers: int = 0,
        mpls_udp_port: int = 0,
        application_timeouts_ms: dict[str, int] | None = None,
        application_ports: dict[str, dict[int, str]] | None = None,
    ) -> None:
        """`first_layer`: EncapType of the node (``ether``, ``none``, ``sit``, …; flows.md §2.2).
        `key_mode`: ``L2`` or ``L3``. `max_flows` above which the oldest is evicted and counted.
        `ip_defrag` puts IPv4 and IPv6 datagrams together of which fragments were captured (§6.1).
        `reassemble_tcp` follows the sequence numbers of connections (§6.2).
        `extra_layers`: sum of 1 VRRP, 2 DNS, 4 DHCPv4, 8 DHCPv6, 16 TLS, 32 HTTP, 64 QUIC, 128 NTP.
        `mpls_udp_port`: UDP port that carries MPLS; 0 = none.
        `application_ports`: ``{"tcp": {80: "HTTP"}, "udp": {…}}``."""

    def feed(self, frame: bytes, *, at_ns: int, wire_bytes: int = 0) -> None:
        """Account one frame seen at `at_ns` (Unix epoch); `wire_bytes` 0 = its length."""

    def feed_pcap(self, data: bytes) -> int:
        """Account every packet of a pcap or pcapng file; the number of packets. Takes the first
        layer from the file's link type."""

    def query(self, search: bytes) -> bytes:
        """Answer a protobuf `filters.SearchQuery` with a protobuf `flow.FlowSet` (flows.md §9)."""

    def update(self, now_ms: int) -> bytes:
        """Update tick (flows.md §7.3): the flows to send, as a protobuf `flow.Message`."""

    def expire(self, now_ms: int) -> bytes:
        """Expire tick (flows.md §7.4): the flows that ended, as a protobuf `flow.Message`."""

    def flush(self, now_ms: int) -> bytes:
        """End every flow; the flows to send, as a protobuf `flow.Message`."""

    def stats(self) -> dict[str, int]:
        """``flows``, ``packets``, ``decode_errors``, ``evicted``, ``memory_bytes``; of fragments
        that are in no flow ``fragments_joined`` (to a datagram that became whole), ``_waiting``
        (now), ``_invalid``, ``_incomplete`` and ``_crowded`` (given up to make room);
        ``layers_left_out``, application messages for which there was no room."""

@final
class PcapFeed:
    """A pcap or pcapng file that arrives in pieces, on its way into a table."""

    def __init__(
        self,
        table: FlowTable,
        *,
        filters: Mapping[int, Sequence[tuple[int, int, int, int]]] | None = None,
        replay: bool = False,
    ) -> None:
        """`filters`: BPF programs by link type; packets of other link types are refused then.
        `replay`: packets wait for their turn, with the gaps of the file and the time of now."""

    def push(self, data: bytes, *, now_ns: int = 0) -> int | None:
        """Account what is there, and in a replay due at `now_ns`. The nanoseconds until the next
        packet is due, or None when more of the file is needed. `ValueError` with one line for
        a broken file, before which everything is accounted."""

    def end(self) -> None:
        """The file ends here; `ValueError` if it may not."""

    def stats(self) -> dict[str, int]:
        """``packets``, their ``bytes`` on the wire, and of them ``refused`` by the filter."""

@final
class CaptureEngine:
    """Capture rings of one process, served by a few threads over epoll; one table per capture."""

    def __init__(self, *, threads: int, ring_budget_bytes: int) -> None:
        """At most `threads` worker threads; all rings together stay within `ring_budget_bytes`."""

    def start(
        self,
        fd: int,
        *,
        ifindex: int,
        bpf: Sequence[tuple[int, int, int, int]] = (),
        bpf_on_wire: bool = False,
        header_size: int = 256,
        node_tid: str = "",
        capture_id: str = "",
        first_layer: str = "ether",
        key_mode: str = "L2",
        max_flows: int = 500_000,
        raw_packet_limit: int = 0,
        extra_tcp_metric: bool = False,
        ip_defrag: bool = False,
        reassemble_tcp: bool = False,
        extra_layers: int = 0,
        mpls_udp_port: int = 0,
        application_timeouts_ms: dict[str, int] | None = None,
        application_ports: dict[str, dict[int, str]] | None = None,
    ) -> int:
        """Take over `fd`, an unbound AF_PACKET/SOCK_RAW socket in the right namespace: set the
        filter and the ring, bind it to `ifindex`, serve it. Returns a handle. `OSError` when
        the kernel refuses or the budget is spent; the socket is closed then. Frames are cut to
        `header_size` bytes; on loopback, what leaves is ignored, since it comes back.
        `bpf_on_wire`: the filter looks at VLAN tags, which the kernel takes away before it filters,
        so it runs here; ``packets`` then counts what it refused, too."""

    def stop(self, handle: int, now_ms: int) -> tuple[bytes, dict[str, Any]]:
        """Close the ring at once, after reading what the kernel had taken in: its last flows, as a
        protobuf `flow.Message`, and its last entry of `stats`. `ValueError` for an unknown handle.
        Waits some milliseconds for the kernel, with the interpreter detached."""

    def query(self, search: bytes) -> list[bytes]:
        """Answer a `filters.SearchQuery` with one `flow.FlowSet` per capture that is not empty."""

    def update(self, now_ms: int) -> bytes:
        """Update tick over all tables: a protobuf `flow.Message`."""

    def expire(self, now_ms: int) -> bytes:
        """Expire tick over all tables: a protobuf `flow.Message`."""

    def stats(self) -> list[dict[str, Any]]:
        """Per capture: ``handle``, ``packets`` (received) and ``dropped`` (not received for want of
        room; both cumulative, by the kernel's counters), what `FlowTable.stats` has besides,
        ``ring_bytes``, ``error`` (None, or why no packets come: the interface is down or gone). An
        interface that came up again ends the error; one that is gone has its ring closed."""

    def threads(self) -> int:
        """Threads that serve rings now."""

    def close(self) -> None:
        """Stop all threads and close all rings. Safe to repeat."""

@final
class Routes:
    """Routes and nexthop objects of many namespaces, some 60 bytes a route.

    `nsid` is whatever number the caller has for a namespace. Routes and tables are told with the
    names of docs/probes/netlink.md."""

    def __init__(self) -> None: ...
    def take(self, nsid: int, datagram: bytes) -> bool:
        """Take in the messages of an event, or of a dump that began; False = they do not fit what
        is known, so that a dump is needed."""

    def begin_dump(self, nsid: int) -> None:
        """From now on `take` tells of all that there is."""

    def end_dump(self, nsid: int, whole: bool) -> None:
        """Take in the dump; what it did not tell is gone if it was `whole`."""

    def forget(self, nsid: int) -> None:
        """The namespace is gone."""

    def changed(self) -> list[tuple[int, int]]:
        """Namespaces and interface indexes whose routes changed since the last call, in order of
        both; index 0 for anything that changed in a namespace."""

    def uses(self, nsid: int, index: int) -> bool:
        """Whether a route or nexthop object leads through the interface."""

    def total(self) -> int:
        """Number of routes in all namespaces."""

    def counts(self, nsid: int) -> dict[str, int]:
        """Number of routes by number of the table."""

    def nexthops(self, nsid: int, most: int) -> list[dict[str, Any]]:
        """The first nexthop objects by identifier."""

    def tables(
        self, nsid: int, indexes: Sequence[int], most: int
    ) -> dict[int, list[dict[str, Any]]]:
        """`RoutingTables` of each of the interfaces, with at most that many routes of each table:
        default routes first, then connected ones, then those made on the host. Index 0: routes
        that lead to no interface."""

    def page(
        self,
        nsid: int,
        *,
        through: int | None = None,
        table: int | None = None,
        within: tuple[IPv4Address | IPv6Address, int] | None = None,
        lookup: IPv4Address | IPv6Address | None = None,
        skip: int = 0,
        most: int = 1000,
    ) -> tuple[list[dict[str, Any]], int]:
        """Routes in order of family, table and prefix, and how many there are in all. `through`
        an interface, `within` a network; `lookup`: those of each table with the longest prefix
        that has the address."""

def merge_flow_sets(flow_sets: Sequence[bytes], search: bytes) -> bytes:
    """Merge serialized `flow.FlowSet` of several tables, honouring sort, dedup and range of the
    protobuf `filters.SearchQuery` (flows.md §9.3), into one serialized `flow.FlowSet`."""

def flow_set_json(flow_set: bytes) -> bytes:
    """A serialized `flow.FlowSet` as a JSON array of flows (api.md §9.3)."""

def flow_set_packets(flow_set: bytes) -> list[tuple[str, list[tuple[int, int, bytes, int]]]]:
    """Packets kept with the flows of a serialized `flow.FlowSet`: UUID of the flow, and of each
    packet the time in milliseconds, the number inside the flow, octets and link type. Flows
    without packets are left out."""

def bpf_matches(
    instructions: Sequence[tuple[int, int, int, int]], frames: Sequence[bytes]
) -> list[bool]:
    """Which frames a BPF program takes."""

def flow_message_json(message: bytes) -> bytes:
    """The flows of a serialized `flow.Message` as a JSON array of flows (api.md §9.3)."""

def flow_message_pieces(
    message: bytes, most_flows: int, most_bytes: int
) -> list[tuple[int, int, int]]:
    """Cut a serialized `flow.Message` into messages of at most so many flows, and bytes unless a
    single flow has more: start, end and number of flows of each."""

def join_flow_messages(messages: Sequence[bytes]) -> tuple[bytes, int, list[bytes], int]:
    """Join serialized `flow.Message` of others: one message with all flows, their number, each
    serialized `flow.Stats`, and how many messages were left out because they are none."""

def flows_of_capture(message: bytes, capture_id: str) -> bytes:
    """The flows of one capture in a `flow.Message`, as another one."""

def flow_stats_message(capture_id: str, counts: tuple[int, int, int, int, int]) -> bytes:
    """A `flow.Message` with statistics: flows now, flows evicted, flows and packets for which the
    kernel had no room, packets received."""

def flow_stats_json(stats: bytes) -> bytes:
    """A serialized `flow.Stats` as a JSON object (api.md §9.3)."""

def decode_netlink(data: bytes) -> list[dict[str, Any]]:
    """Decode the messages of one rtnetlink datagram.

    Each is a dict with ``kind`` (``newlink``, ``dellink``, ``newaddr``, ``deladdr``, ``newnsid``,
    ``delnsid``, ``done``, ``error``, ``other``), ``type`` (the kernel's number), ``seq``, ``flags``
    and, by kind:

    - link: ``family``, ``index``, ``name``, ``arphrd``, ``link_flags``, ``mtu`` (0 = not told),
      ``mac`` ("" when absent or all zero), ``kind_name`` (IFLA_INFO_KIND or ""), ``slave_kind``,
      ``master`` and ``link`` (IFLA_LINK; both 0 = none), ``link_netnsid`` (None when absent or not
      assigned), ``operstate`` (number), ``stats`` (rtnl_link_stats64 as a dict with the names of
      topology-probes.md §5.1, zero members left out); only when there is something to tell, with
      the names and words of docs/probes/netlink.md: ``info`` and ``slave_info`` (attributes of the
      kind, and of the port of a bridge, bond or VRF), ``details`` (of any interface), ``altnames``
      (a list), ``xdp``, ``vfs`` (a list, in dumps that asked for it); a dellink also has
      ``new_netnsid`` (None) and ``new_index`` (0), which say that it moved, and
      ``bridge_port_del`` (it is of family AF_BRIDGE: the link left a bridge, and lives); a link of
      family AF_BRIDGE has the ``slave_info`` of a bridge port and little else;
    - addr: ``family``, ``index``, ``address``, ``local`` ("" when absent), ``prefix_len``;
    - nsid: ``nsid`` (None when absent);
    - error: ``errno`` (positive; 0 = acknowledged) and ``message`` (the kernel's words or "");
    - done: ``errno``.

    A truncated or hostile message gives ``kind`` ``invalid`` and ends the list."""
