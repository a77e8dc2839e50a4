//! What a flow table makes of packets, ticks and searches (flows.md §§5-9, Annex B).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod frames;

use std::net::Ipv4Addr;

use frames::{dot1q, ethernet, icmp, ipv4, ipv6, tcp, udp, vxlan};
use proptest::prelude::*;
use skydive_core::applications::Applications;
use skydive_core::flow::{Counters, Endpoints, Finish, Protocol};
use skydive_core::json;
use skydive_core::keys::{Hex, KeyMode};
use skydive_core::layers::FirstLayer;
use skydive_core::merge::merge;
use skydive_core::packet::Packet;
use skydive_core::query::Search;
use skydive_core::ring::Frame;
use skydive_core::table::{FlowTable, Settings};
use skydive_core::wire::{Reader, Value, Writer};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

const SECOND: i64 = 1_000_000_000;

fn feed(table: &mut FlowTable, bytes: &[u8], at_ns: i64) {
    feed_cut(table, bytes, bytes.len(), at_ns);
}

/// A frame of which the capture kept only the first `kept` bytes.
fn feed_cut(table: &mut FlowTable, bytes: &[u8], kept: usize, at_ns: i64) {
    table.feed(&[Frame {
        data: &bytes[..kept.min(bytes.len())],
        at_ns,
        wire_bytes: bytes.len() as u32,
    }]);
}

/// A table of the frames, one a second.
fn table_of(settings: Settings, frames: &[Vec<u8>]) -> FlowTable {
    let mut table = FlowTable::new(settings);
    for (number, bytes) in frames.iter().enumerate() {
        feed(&mut table, bytes, (number as i64 + 1) * SECOND);
    }
    table
}

fn paths(table: &FlowTable) -> Vec<String> {
    let mut paths: Vec<String> = table
        .flows()
        .iter()
        .map(|flow| flow.path().to_owned())
        .collect();
    paths.sort();
    paths
}

fn counters(ab_packets: u64, ab_bytes: u64, ba_packets: u64, ba_bytes: u64) -> Counters {
    Counters {
        ab_packets,
        ab_bytes,
        ba_packets,
        ba_bytes,
    }
}

fn tcp_frame(a: u8, b: u8, ports: (u16, u16), flags: u8, payload: usize) -> Vec<u8> {
    let segment = tcp(ports.0, ports.1, flags, &vec![0; payload]);
    ethernet(a, b, 0x0800, &ipv4(a, b, 6, &segment))
}

fn ping(a: u8, b: u8, kind: u8, id: u16) -> Vec<u8> {
    ethernet(a, b, 0x0800, &ipv4(a, b, 1, &icmp(kind, id)))
}

/// The flows of a serialized `flow.Message` or `flow.FlowSet`.
fn flows(message: &[u8]) -> Vec<String> {
    Reader::new(message)
        .filter_map(|member| match member.unwrap() {
            (1, Value::Bytes(flow)) => Some(String::from_utf8(json::flow(flow).unwrap()).unwrap()),
            _ => None,
        })
        .collect()
}

// What the parts of a search look like.

fn search(write: impl FnOnce(&mut Writer)) -> Search {
    let mut writer = Writer::default();
    write(&mut writer);
    Search::parse(&writer.into_bytes()).unwrap()
}

fn leaf(kind: u32, key: &str, value: &str) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(kind, |out| {
        out.text(1, key);
        out.text(2, value);
    });
    out.into_bytes()
}

fn number_leaf(kind: u32, key: &str, value: i64) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(kind, |out| {
        out.text(1, key);
        out.integer(2, value);
    });
    out.into_bytes()
}

fn group(operation: u64, filters: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(8, |out| {
        out.number(1, operation);
        for filter in filters {
            out.message(2, |out| out.raw(filter));
        }
    });
    out.into_bytes()
}

fn where_is(filter: &[u8]) -> Search {
    search(|out| out.message(1, |out| out.raw(filter)))
}

fn count(table: &FlowTable, filter: &[u8]) -> usize {
    where_is(filter).select(table.flows()).len()
}

// Packets.

#[test]
fn a_connection_is_one_flow_with_both_ways_round_trip_and_end() {
    let (there, back) = ((36_108, 3333), (3333, 36_108));
    let settings = Settings {
        extra_tcp_metric: true,
        ..Settings::default()
    };
    let mut table = FlowTable::new(settings);
    let at = |ms: i64, us: i64| 1_490_086_700_000 * 1_000_000 + ms * 1_000_000 + us * 1_000;
    feed(&mut table, &tcp_frame(2, 1, there, SYN, 0), at(0, 0));
    feed(&mut table, &tcp_frame(1, 2, back, SYN | ACK, 0), at(0, 33));
    feed(&mut table, &tcp_frame(2, 1, there, ACK, 6), at(5, 0));
    feed(&mut table, &tcp_frame(2, 1, there, FIN | ACK, 0), at(6, 0));
    let flow = table.flows().get(0).unwrap();
    assert_eq!(flow.hot.finish, Finish::Not);
    feed(&mut table, &tcp_frame(1, 2, back, FIN | ACK, 0), at(7, 0));

    let flow = table.flows().get(0).unwrap();
    assert_eq!(table.flows().len(), 1);
    assert_eq!(flow.path(), "Ethernet/IPv4/TCP");
    assert_eq!(flow.application(), "TCP");
    assert_eq!(flow.hot.counters, counters(3, 54 + 60 + 54, 2, 54 + 54));
    assert_eq!(flow.cold.rtt_ns, 33_000);
    assert_eq!(flow.hot.finish, Finish::Fin);
    assert_eq!(flow.window(), None);
    let times = flow.cold.tcp.as_deref().unwrap();
    assert_eq!(
        (times.ab_syn, times.ba_syn),
        (1_490_086_700_000, 1_490_086_700_000)
    );
    assert_eq!((times.ab_syn_ttl, times.ba_syn_ttl), (64, 64));
    assert_eq!(
        (times.ab_fin, times.ba_fin),
        (1_490_086_700_006, 1_490_086_700_007)
    );
    assert_eq!((times.ab_rst, times.ba_rst), (0, 0));
}

#[test]
fn a_repeated_first_segment_is_not_an_answer() {
    // Upstream writes it down as the other end's (a defect).
    let settings = Settings {
        extra_tcp_metric: true,
        ..Settings::default()
    };
    let syn = tcp_frame(2, 1, (1, 2), SYN, 0);
    let table = table_of(settings, &[syn.clone(), syn]);
    let times = *table.flows().get(0).unwrap().cold.tcp.clone().unwrap();
    assert_eq!((times.ab_syn, times.ba_syn), (1_000, 0));
}

#[test]
fn a_refused_connection_is_reset_and_a_new_one_on_its_ports_is_not() {
    let mut table = table_of(
        Settings::default(),
        &[
            tcp_frame(2, 1, (5, 6), SYN, 0),
            tcp_frame(1, 2, (6, 5), RST | ACK, 0),
        ],
    );
    assert_eq!(table.flows().get(0).unwrap().hot.finish, Finish::Rst);
    assert_eq!(table.flows().get(0).unwrap().cold.rtt_ns, SECOND);
    feed(&mut table, &tcp_frame(2, 1, (5, 6), SYN, 0), 3 * SECOND);
    assert_eq!(table.flows().get(0).unwrap().hot.finish, Finish::Not);
}

#[test]
fn wire_lengths_count_although_frames_are_cut() {
    let long = |kind: u8| {
        let mut message = icmp(kind, 30_393);
        message.resize(1032, 0);
        ethernet(1, 2, 0x0800, &ipv4(1, 2, 1, &message))
    };
    let mut reply = long(0);
    reply[..12].rotate_left(6);
    reply[26..34].rotate_left(4);
    let mut table = FlowTable::new(Settings::default());
    feed_cut(&mut table, &long(8), 256, SECOND);
    feed_cut(&mut table, &reply, 256, SECOND + 13_104_000);
    let flow = table.flows().get(0).unwrap();
    assert_eq!(flow.hot.counters, counters(1, 1066, 1, 1066));
    assert_eq!(flow.cold.rtt_ns, 13_104_000);
}

#[test]
fn inner_lengths_are_what_is_left_of_the_wire_length() {
    let mut message = icmp(8, 1);
    message.resize(1032, 0);
    let inner = ethernet(3, 4, 0x0800, &ipv4(3, 4, 1, &message));
    let outer = udp(55_091, 4789, &vxlan(10, &inner));
    let bytes = ethernet(1, 2, 0x0800, &ipv4(1, 2, 17, &outer));
    let mut table = FlowTable::new(Settings::default());
    feed_cut(&mut table, &bytes, 256, SECOND);
    let by_path = |path: &str| {
        table
            .flows()
            .iter()
            .find(|flow| flow.path() == path)
            .unwrap()
    };
    let tunnel = by_path("Ethernet/IPv4/UDP/VXLAN");
    let carried = by_path("Ethernet/IPv4/ICMPv4");
    assert_eq!(
        (tunnel.hot.counters.ab_bytes, tunnel.cold.network_id),
        (1116, 10)
    );
    assert_eq!(
        (carried.hot.counters.ab_bytes, carried.cold.network_id),
        (1066, 0)
    );
    assert_eq!(carried.cold.parent, Some(tunnel.hot.uuid));
}

#[test]
fn source_ports_of_an_overlay_do_not_part_its_flows() {
    let frame = |port: u16, inner_port: u16| {
        let inner = tcp_frame(3, 4, (inner_port, 8080), SYN, 0);
        let outer = udp(port, 4789, &vxlan(10, &inner));
        ethernet(1, 2, 0x0800, &ipv4(1, 2, 17, &outer))
    };
    let table = table_of(
        Settings::default(),
        &[frame(51_031, 1468), frame(40_000, 1890)],
    );
    assert_eq!(
        paths(&table),
        [
            "Ethernet/IPv4/TCP",
            "Ethernet/IPv4/TCP",
            "Ethernet/IPv4/UDP/VXLAN"
        ]
    );
}

#[test]
fn with_one_address_on_both_ends_the_first_speaker_is_counted_as_the_other() {
    // Asserted by a test of the original.
    let frame = |ports: (u16, u16), payload: usize| {
        let segment = tcp(ports.0, ports.1, ACK, &vec![0; payload]);
        ethernet(0, 0, 0x0800, &ipv4(1, 1, 6, &segment))
    };
    let there = frame((60_038, 5001), 100);
    let back = frame((5001, 60_038), 0);
    let table = table_of(Settings::default(), &[there.clone(), back, there]);
    let flow = table.flows().get(0).unwrap();
    assert_eq!(flow.hot.counters, counters(1, 54, 2, 308));
}

#[test]
fn by_network_addresses_one_conversation_over_two_routers_is_one_flow() {
    let other_router = |mut bytes: Vec<u8>| {
        bytes[6..12].copy_from_slice(&[0xF2, 0x45, 0x25, 0x5B, 0x3A, 0xAC]);
        bytes
    };
    let frames = [ping(1, 2, 8, 7), other_router(ping(1, 2, 8, 7))];
    assert_eq!(table_of(Settings::default(), &frames).flows().len(), 2);
    let settings = Settings {
        key_mode: KeyMode::L3,
        ..Settings::default()
    };
    let table = table_of(settings, &frames);
    let flow = table.flows().get(0).unwrap();
    assert_eq!(table.flows().len(), 1);
    assert_eq!(flow.hot.counters.ab_packets, 2);
    assert_eq!(flow.cold.tracking, flow.cold.l3_tracking);
}

#[test]
fn without_network_addresses_link_addresses_count_in_both_modes() {
    for key_mode in [KeyMode::L2, KeyMode::L3] {
        let settings = Settings {
            key_mode,
            ..Settings::default()
        };
        let request = ethernet(
            1,
            0xFF,
            0x0806,
            &[&[0, 1, 8, 0, 6, 4, 0, 1][..], &[0; 20]].concat(),
        );
        let table = table_of(settings, &[request]);
        let flow = table.flows().get(0).unwrap();
        assert_eq!(flow.path(), "Ethernet/ARP");
        assert_eq!(flow.hot.counters, counters(1, 42, 0, 0));
        assert_eq!(Hex::of(flow.cold.l3_tracking).as_str(), "ef46db3751d8e999");
    }
}

#[test]
fn tags_are_a_path_and_an_id_but_no_key() {
    let inner = ipv4(1, 2, 1, &icmp(8, 5));
    let tagged = |vlans: &[u16]| {
        let mut bytes = inner.clone();
        let mut kind = 0x0800;
        for vlan in vlans.iter().rev() {
            bytes = dot1q(*vlan, kind, &bytes);
            kind = 0x8100;
        }
        ethernet(1, 2, kind, &bytes)
    };
    for (vlans, id) in [
        (&[8][..], 8),
        (&[8, 10], 40_968),
        (&[8, 10, 20], 335_585_288),
        (&[8, 10, 20, 30], 2_061_919_887_368),
        (&[8, 10, 20, 30, 0, 0, 0], 2_061_919_887_368),
    ] {
        let table = table_of(Settings::default(), &[tagged(vlans), tagged(&[])]);
        let flow = table.flows().get(0).unwrap();
        assert_eq!((table.flows().len(), flow.cold.link_id), (1, id));
        assert_eq!(flow.path().matches("Dot1Q").count(), vlans.len());
    }
}

#[test]
fn layers_have_the_names_of_the_original() {
    let rows: &[(Vec<u8>, &str)] = &[
        (
            ethernet(1, 2, 0x86DD, &ipv6(1, 2, 58, &icmp(128, 9))),
            "Ethernet/IPv6/ICMPv6/ICMPv6Echo",
        ),
        (
            ethernet(
                1,
                2,
                0x86DD,
                &ipv6(
                    1,
                    2,
                    58,
                    &[135, 0, 0, 0]
                        .iter()
                        .chain(&[0; 20])
                        .copied()
                        .collect::<Vec<_>>(),
                ),
            ),
            "Ethernet/IPv6/ICMPv6/ICMPv6NeighborSolicitation",
        ),
        (
            ethernet(
                1,
                2,
                0x86DD,
                &ipv6(
                    1,
                    2,
                    0,
                    &[&[58, 0, 5, 2, 0, 0, 1, 0][..], &[143, 0, 0, 0], &[0; 4]].concat(),
                ),
            ),
            "Ethernet/IPv6/IPv6HopByHop/ICMPv6/MLDv2MulticastListenerReport",
        ),
        (
            ethernet(
                1,
                2,
                0x86DD,
                &ipv6(1, 2, 44, &[17, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3]),
            ),
            "Ethernet/IPv6/IPv6Fragment/Fragment",
        ),
        (
            ethernet(1, 2, 0x86DD, &ipv6(1, 2, 6, &tcp(1, 2, 0, b"x"))),
            "Ethernet/IPv6/TCP",
        ),
        (
            ethernet(
                1,
                2,
                0x0800,
                &ipv4(1, 2, 4, &ipv4(3, 4, 6, &tcp(1, 2, 0, b""))),
            ),
            "Ethernet/IPv4/IPv4/TCP",
        ),
        (
            ethernet(
                1,
                2,
                0x0800,
                &ipv4(1, 2, 41, &ipv6(3, 4, 17, &udp(1, 2, b""))),
            ),
            "Ethernet/IPv4/IPv6/UDP",
        ),
        (
            ethernet(1, 2, 0x0800, &ipv4(1, 2, 2, &[0x16, 0, 0, 0, 224, 0, 0, 1])),
            "Ethernet/IPv4/IGMP",
        ),
        (
            ethernet(
                1,
                2,
                0x0800,
                &ipv4(
                    1,
                    2,
                    132,
                    &[
                        &[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0][..],
                        &[1, 0, 0, 20],
                        &[0; 16],
                    ]
                    .concat(),
                ),
            ),
            "Ethernet/IPv4/SCTP/SCTPInit",
        ),
        (
            ethernet(
                1,
                2,
                0x0800,
                &ipv4(
                    1,
                    2,
                    51,
                    &[&[6, 4, 0, 0][..], &[0; 20], &tcp(1, 2, 0, b"")].concat(),
                ),
            ),
            "Ethernet/IPv4/IPSecAH/TCP",
        ),
        (
            ethernet(1, 2, 0x0800, &ipv4(1, 2, 50, &[0; 16])),
            "Ethernet/IPv4/IPSecESP",
        ),
        (
            ethernet(1, 2, 0x0800, &ipv4(1, 2, 112, &[0x21; 16])),
            "Ethernet/IPv4/VRRP",
        ),
        (
            ethernet(1, 2, 0x0800, &ipv4(1, 2, 59, b"xyz")),
            "Ethernet/IPv4",
        ),
        (
            ethernet(1, 2, 38, b"\x42\x42\x03\0\0\0\0\0"),
            "Ethernet/LLC/STP",
        ),
        (
            ethernet(1, 2, 20, b"\xAA\xAA\x03\0\0\x0C\x20\0\x02\xB4\0\0\0\0"),
            "Ethernet/LLC/SNAP/CiscoDiscovery/CiscoDiscoveryInfo",
        ),
        (
            ethernet(
                1,
                2,
                0x88CC,
                b"\x02\x02\x04\x01\x04\x02\x05\x31\x06\x02\0\x78\0\0",
            ),
            "Ethernet/LinkLayerDiscovery/LinkLayerDiscoveryInfo",
        ),
        (
            ethernet(1, 2, 0x888E, &[2, 0, 0, 4, 1, 2, 0, 4]),
            "Ethernet/EAPOL/EAP",
        ),
        (
            ethernet(
                1,
                2,
                0x8864,
                &[
                    &[0x11, 0, 0, 1, 0, 42, 0, 0x21][..],
                    &ipv4(1, 2, 6, &tcp(1, 2, 0, b"")),
                ]
                .concat(),
            ),
            "Ethernet/PPPoE/PPP/IPv4/TCP",
        ),
        (
            ethernet(
                1,
                2,
                0x0800,
                &ipv4(
                    1,
                    2,
                    17,
                    &udp(
                        2152,
                        2152,
                        &[
                            &[0x30, 255, 0, 40, 0, 0, 0, 1][..],
                            &ipv4(3, 4, 6, &tcp(1, 2, 0, b"")),
                        ]
                        .concat(),
                    ),
                ),
            ),
            "Ethernet/IPv4/UDP/GTPv1U/IPv4/TCP",
        ),
        (
            ethernet(
                1,
                2,
                0x0800,
                &ipv4(1, 2, 17, &udp(40_820, 123, &[0x1B; 48])),
            ),
            "Ethernet/IPv4/UDP/NTP",
        ),
        (
            ethernet(1, 2, 0x0800, &ipv4(1, 2, 17, &udp(40_820, 123, &[0x1B; 4]))),
            "Ethernet/IPv4/UDP",
        ),
        (
            ethernet(
                1,
                2,
                0x0800,
                &ipv4(
                    1,
                    2,
                    17,
                    &udp(
                        53,
                        40_000,
                        b"\0\x01\x81\x80\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
                    ),
                ),
            ),
            "Ethernet/IPv4/UDP/DNS",
        ),
        (
            ethernet(
                1,
                2,
                0x0800,
                &ipv4(1, 2, 6, &tcp(40_000, 53, ACK, b"\0\x01\x81\x80")),
            ),
            "Ethernet/IPv4/TCP",
        ),
        (ethernet(1, 2, 0x1234, b"whatever"), "Ethernet"),
    ];
    for (bytes, path) in rows {
        let table = table_of(Settings::default(), std::slice::from_ref(bytes));
        assert_eq!(paths(&table), [*path]);
        assert_eq!(table.stats().decode_errors, 0, "{path}");
    }
}

#[test]
fn tunnels_part_a_packet_whatever_their_header_says() {
    let inner = ethernet(3, 4, 0x0800, &ipv4(3, 4, 6, &tcp(1, 2, 0, b"")));
    let gre = |header: &[u8], inner: &[u8]| {
        ethernet(1, 2, 0x0800, &ipv4(1, 2, 47, &[header, inner].concat()))
    };
    let over = |port: u16, header: &[u8], inner: &[u8]| {
        let payload = [header, inner].concat();
        ethernet(1, 2, 0x0800, &ipv4(1, 2, 17, &udp(9, port, &payload)))
    };
    let nsh = |next: u8| [0, 2, 1, next, 0, 0, 42, 255];
    let packet = ipv4(3, 4, 6, &tcp(1, 2, 0, b""));
    let rows: &[(&str, Vec<u8>, &str, u32, &str)] = &[
        (
            "GRE with key and sequence",
            gre(&[0x30, 0, 8, 0, 0, 0, 0, 7, 0, 0, 0, 1], &packet),
            "Ethernet/IPv4/GRE",
            7,
            "IPv4/TCP",
        ),
        (
            "GRE with checksum and key",
            gre(&[0xA0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 9], &packet),
            "Ethernet/IPv4/GRE",
            9,
            "IPv4/TCP",
        ),
        (
            "Ethernet over GRE",
            gre(&[0, 0, 0x65, 0x58], &inner),
            "Ethernet/IPv4/GRE",
            0,
            "Ethernet/IPv4/TCP",
        ),
        (
            "ERSPAN I",
            gre(&[0, 0, 0x88, 0xBE], &inner),
            "Ethernet/IPv4/GRE",
            0,
            "Ethernet/IPv4/TCP",
        ),
        (
            "ERSPAN II",
            gre(
                &[0x10, 0, 0x88, 0xBE, 0, 0, 0, 1, 0x10, 0, 0, 0, 0, 0, 0, 0],
                &inner,
            ),
            "Ethernet/IPv4/GRE",
            0,
            "Ethernet/IPv4/TCP",
        ),
        (
            "ERSPAN III",
            gre(
                &[&[0x10, 0, 0x22, 0xEB, 0, 0, 0, 1, 0x20][..], &[0; 11]].concat(),
                &inner,
            ),
            "Ethernet/IPv4/GRE",
            0,
            "Ethernet/IPv4/TCP",
        ),
        (
            "ERSPAN III with platform",
            gre(
                &[
                    &[0x10, 0, 0x22, 0xEB, 0, 0, 0, 1, 0x20][..],
                    &[0; 10],
                    &[1],
                    &[0; 8],
                ]
                .concat(),
                &inner,
            ),
            "Ethernet/IPv4/GRE",
            0,
            "Ethernet/IPv4/TCP",
        ),
        (
            "VXLAN",
            over(4789, &[8, 0, 0, 0, 0, 0, 5, 0], &inner),
            "Ethernet/IPv4/UDP/VXLAN",
            5,
            "Ethernet/IPv4/TCP",
        ),
        (
            "VXLAN on the port of Linux",
            over(8472, &[8, 0, 0, 0, 0, 0, 5, 0], &inner),
            "Ethernet/IPv4/UDP/VXLAN",
            5,
            "Ethernet/IPv4/TCP",
        ),
        (
            "VXLAN-GPE with IPv4",
            over(4790, &[12, 0, 0, 1, 0, 0, 5, 0], &packet),
            "Ethernet/IPv4/UDP/VXLAN",
            5,
            "IPv4/TCP",
        ),
        (
            "VXLAN-GPE with NSH",
            over(
                4790,
                &[12, 0, 0, 4, 0, 0, 5, 0],
                &[&nsh(3)[..], &inner].concat(),
            ),
            "Ethernet/IPv4/UDP/VXLAN",
            5,
            "Ethernet/IPv4/TCP",
        ),
        (
            "Geneve with an option",
            over(6081, &[1, 0, 0x65, 0x58, 0, 0, 6, 0, 1, 2, 3, 0], &inner),
            "Ethernet/IPv4/UDP/Geneve",
            6,
            "Ethernet/IPv4/TCP",
        ),
        (
            "Geneve with IPv4",
            over(6081, &[0, 0, 8, 0, 0, 0, 6, 0], &packet),
            "Ethernet/IPv4/UDP/Geneve",
            6,
            "IPv4/TCP",
        ),
        (
            "NSH",
            ethernet(1, 2, 0x894F, &[&nsh(3)[..], &inner].concat()),
            "Ethernet/NSH",
            42,
            "Ethernet/IPv4/TCP",
        ),
        (
            "NSH with metadata",
            ethernet(
                1,
                2,
                0x894F,
                &[&[0, 6, 1, 1, 0, 0, 42, 255][..], &[0; 16], &packet].concat(),
            ),
            "Ethernet/NSH",
            42,
            "IPv4/TCP",
        ),
        (
            "MPLS in IP",
            ethernet(
                1,
                2,
                0x0800,
                &ipv4(1, 2, 137, &[&[0, 1, 1, 64][..], &packet].concat()),
            ),
            "Ethernet/IPv4/MPLS",
            0,
            "IPv4/TCP",
        ),
        (
            "Ethernet over MPLS",
            ethernet(1, 2, 0x8847, &[&[0, 1, 1, 64][..], &inner].concat()),
            "Ethernet/MPLS",
            0,
            "Ethernet/IPv4/TCP",
        ),
    ];
    for (name, bytes, outer_path, id, inner_path) in rows {
        let table = table_of(Settings::default(), std::slice::from_ref(bytes));
        let all: Vec<_> = table.flows().iter().collect();
        assert_eq!(all.len(), 2, "{name}");
        assert_eq!(
            (all[0].path(), all[1].path()),
            (*outer_path, *inner_path),
            "{name}"
        );
        assert_eq!(all[0].cold.network_id, *id, "{name}");
        assert_eq!(all[1].cold.parent, Some(all[0].hot.uuid), "{name}");
        assert_eq!(table.stats().decode_errors, 0, "{name}");
    }
}

#[test]
fn an_ip_packet_in_an_ip_packet_is_one_flow_with_outer_addresses_and_inner_ports() {
    let frame = ethernet(
        1,
        2,
        0x0800,
        &ipv4(1, 2, 4, &ipv4(3, 4, 6, &tcp(5, 6, 0, b""))),
    );
    let table = table_of(Settings::default(), &[frame]);
    let flow = table.flows().get(0).unwrap();
    let outer = Endpoints::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    assert_eq!(flow.cold.network, outer);
    assert_eq!(
        flow.cold.ports.map(|ports| (ports.a, ports.b)),
        Some((5, 6))
    );
}

#[test]
fn first_layers_without_ethernet_count_what_ip_says() {
    for (first, bytes, path, length) in [
        (
            FirstLayer::RawIp,
            ipv4(1, 2, 6, &tcp(1, 2, 0, b"")),
            "IPv4/TCP",
            40,
        ),
        (
            FirstLayer::IPv4,
            ipv4(1, 2, 6, &tcp(1, 2, 0, b"")),
            "IPv4/TCP",
            40,
        ),
        (
            FirstLayer::RawIp,
            ipv6(1, 2, 6, &tcp(1, 2, 0, b"")),
            "IPv6/TCP",
            20,
        ),
        (
            FirstLayer::IPv6,
            ipv6(1, 2, 6, &tcp(1, 2, 0, b"")),
            "IPv6/TCP",
            20,
        ),
        (
            FirstLayer::LinuxSll,
            [&[0; 14][..], &[8, 0], &ipv4(1, 2, 6, &tcp(1, 2, 0, b""))].concat(),
            "IPv4/TCP",
            40,
        ),
        (
            FirstLayer::LinuxSll2,
            [&[8, 0][..], &[0; 18], &ipv4(1, 2, 6, &tcp(1, 2, 0, b""))].concat(),
            "IPv4/TCP",
            40,
        ),
        (
            FirstLayer::Loopback,
            [&[2, 0, 0, 0][..], &ipv4(1, 2, 6, &tcp(1, 2, 0, b""))].concat(),
            "Loopback/IPv4/TCP",
            40,
        ),
        (
            FirstLayer::Ppp,
            [&[0xFF, 3, 0, 0x21][..], &ipv4(1, 2, 6, &tcp(1, 2, 0, b""))].concat(),
            "PPP/IPv4/TCP",
            40,
        ),
    ] {
        let settings = Settings {
            first_layer: first,
            ..Settings::default()
        };
        let table = table_of(settings, &[bytes]);
        let flow = table.flows().get(0).unwrap();
        assert_eq!(
            (flow.path(), flow.hot.counters.ab_bytes),
            (path, length),
            "{first:?}"
        );
        assert_eq!(flow.cold.link, None);
    }
}

// What can go wrong with packets.

#[test]
fn a_tunnel_payload_that_is_nothing_is_dropped_and_counted() {
    // Source port of Geneve and a payload of zeros: the original crashes on this one.
    let zeros = ethernet(1, 2, 0x0800, &ipv4(1, 2, 17, &udp(6081, 9, &[0; 32])));
    let unknown = ethernet(
        1,
        2,
        0x0800,
        &ipv4(1, 2, 47, &[0, 0, 0x12, 0x34, 1, 2, 3, 4]),
    );
    let table = table_of(Settings::default(), &[zeros, unknown]);
    assert_eq!(
        paths(&table),
        ["Ethernet/IPv4/GRE", "Ethernet/IPv4/UDP/Geneve"]
    );
    assert_eq!(table.stats().decode_errors, 2);
}

#[test]
fn a_tunnel_without_payload_is_a_flow_and_no_error() {
    let keepalive = ethernet(1, 2, 0x0800, &ipv4(1, 2, 47, &[0, 0, 0, 0]));
    let table = table_of(Settings::default(), &[keepalive]);
    assert_eq!(paths(&table), ["Ethernet/IPv4/GRE"]);
    assert_eq!(table.stats().decode_errors, 0);
}

#[test]
fn further_labels_are_passed_over() {
    let labels = [0, 1, 0, 64, 0, 2, 1, 64];
    let inner = ipv4(3, 4, 1, &icmp(8, 1));
    let table = table_of(
        Settings::default(),
        &[ethernet(1, 2, 0x8847, &[&labels[..], &inner].concat())],
    );
    assert_eq!(paths(&table), ["Ethernet/MPLS", "IPv4/ICMPv4"]);
    assert_eq!(table.stats().decode_errors, 0);
    let outer = table
        .flows()
        .iter()
        .find(|flow| flow.path() == "Ethernet/MPLS")
        .unwrap();
    let inner = table
        .flows()
        .iter()
        .find(|flow| flow.path() == "IPv4/ICMPv4")
        .unwrap();
    assert_eq!(outer.cold.network, Endpoints::None);
    assert_eq!(inner.cold.parent, Some(outer.hot.uuid));
}

#[test]
fn malformed_headers_end_a_packet_and_are_counted() {
    let mut short_header = ipv4(1, 2, 6, &tcp(1, 2, 0, b""));
    short_header[0] = 0x42;
    let rows: &[(Vec<u8>, &[&str])] = &[
        (vec![1, 2, 3], &[]),
        (ethernet(1, 2, 0x0800, &[0x45; 10]), &["Ethernet/IPv4"]),
        (ethernet(1, 2, 0x0800, &short_header), &["Ethernet/IPv4"]),
        (
            ethernet(1, 2, 0x0800, &ipv4(1, 2, 6, &[0; 12])),
            &["Ethernet/IPv4/TCP"],
        ),
        (
            ethernet(1, 2, 0x0800, &ipv4(1, 2, 17, &[0, 1, 0, 2, 0, 3, 0, 0])),
            &["Ethernet/IPv4/UDP"],
        ),
        (
            ethernet(1, 2, 0x0800, &ipv4(1, 2, 1, &[8, 0, 0])),
            &["Ethernet/IPv4"],
        ),
        (
            ethernet(1, 2, 0x86DD, &ipv6(1, 2, 43, &[6, 200, 0, 0])),
            &["Ethernet/IPv6"],
        ),
        (ethernet(1, 2, 0x8100, &[0, 1]), &["Ethernet"]),
        (
            ethernet(1, 2, 0x0806, &[0, 1, 8, 0, 255, 255, 0, 1]),
            &["Ethernet"],
        ),
    ];
    for (bytes, wanted) in rows {
        let table = table_of(Settings::default(), std::slice::from_ref(bytes));
        assert_eq!(&paths(&table), wanted);
        assert_eq!(table.stats().decode_errors, 1, "{wanted:?}");
    }
}

#[test]
fn tunnels_in_tunnels_end_somewhere() {
    let mut bytes = tcp_frame(1, 2, (1, 2), 0, 0);
    for _ in 0..20 {
        bytes = ethernet(
            1,
            2,
            0x0800,
            &ipv4(1, 2, 17, &udp(9, 4789, &vxlan(1, &bytes))),
        );
    }
    let table = table_of(Settings::default(), &[bytes]);
    assert_eq!(table.flows().len(), 8);
    assert_eq!(table.stats().decode_errors, 1);
}

// Ticks.

#[test]
fn a_tick_sends_what_changed_with_the_difference() {
    let mut table = table_of(Settings::default(), &[ping(1, 2, 8, 1)]);
    let sent = flows(&table.update(10_000));
    assert_eq!(sent.len(), 1);
    let record = r#""LastUpdateMetric":{"ABPackets":1,"ABBytes":98,"BAPackets":0,"BABytes":0,"Start":1000,"Last":10000}"#;
    assert!(sent[0].contains(record), "{}", sent[0]);

    assert!(flows(&table.update(20_000)).is_empty());
    let seen = flows(&Search::parse(b"").unwrap().run(table.flows()));
    let record = r#""LastUpdateMetric":{"ABPackets":0,"ABBytes":0,"BAPackets":0,"BABytes":0,"Start":10000,"Last":20000}"#;
    assert!(seen[0].contains(record), "{}", seen[0]);

    feed(&mut table, &ping(1, 2, 8, 1), 21 * SECOND);
    feed(&mut table, &ping(1, 2, 8, 1), 22 * SECOND);
    let sent = flows(&table.update(30_000));
    let record = r#""LastUpdateMetric":{"ABPackets":2,"ABBytes":196,"BAPackets":0,"BABytes":0,"Start":20000,"Last":30000}"#;
    assert!(sent[0].contains(record), "{}", sent[0]);
    assert!(
        sent[0].contains(r#""Metric":{"ABPackets":3,"ABBytes":294,"#),
        "{}",
        sent[0]
    );
}

#[test]
fn a_flow_that_ends_before_any_tick_is_sent_whole() {
    let mut table = table_of(Settings::default(), &[ping(1, 2, 8, 1)]);
    assert!(flows(&table.expire(600_000)).is_empty());
    let sent = flows(&table.expire(1_200_000));
    let record = r#""LastUpdateMetric":{"ABPackets":1,"ABBytes":98,"BAPackets":0,"BABytes":0,"Start":1000,"Last":1000}"#;
    assert!(sent[0].contains(record), "{}", sent[0]);
    assert!(sent[0].ends_with(r#""FinishType":1}"#), "{}", sent[0]);
    assert_eq!(table.flows().len(), 0);
    assert_eq!(table.stats().memory_bytes, 512);
}

#[test]
fn the_rest_since_the_last_tick_is_sent_at_the_end() {
    let mut table = table_of(Settings::default(), &[ping(1, 2, 8, 1)]);
    table.update(10_000);
    feed(&mut table, &ping(1, 2, 8, 1), 12 * SECOND);
    let sent = flows(&table.flush());
    let record = r#""LastUpdateMetric":{"ABPackets":1,"ABBytes":98,"BAPackets":0,"BABytes":0,"Start":10000,"Last":12000}"#;
    assert!(sent[0].contains(record), "{}", sent[0]);
}

#[test]
fn flows_leave_between_one_and_two_expiries_after_their_last_packet() {
    let mut table = table_of(Settings::default(), &[ping(1, 2, 8, 1)]);
    table.expire(500);
    assert_eq!(table.flows().len(), 1);
    table.expire(1_000);
    table.expire(1_001);
    assert_eq!(table.flows().len(), 1);
    table.expire(1_002);
    assert_eq!(table.flows().len(), 0);
}

#[test]
fn all_flows_are_sent_when_a_table_ends() {
    let frames: Vec<_> = (0..100).map(|id| ping(1, 2, 8, id)).collect();
    let mut table = table_of(Settings::default(), &frames);
    assert_eq!(flows(&table.flush()).len(), 100);
    assert_eq!(table.flows().len(), 0);
    assert!(table.flush().is_empty());
}

#[test]
fn a_finished_flow_is_held_for_fifteen_seconds() {
    let mut table = table_of(
        Settings::default(),
        &[
            tcp_frame(2, 1, (5, 6), SYN, 0),
            tcp_frame(1, 2, (6, 5), RST, 0),
        ],
    );
    assert_eq!(flows(&table.update(7_000)).len(), 1);
    assert_eq!(flows(&table.update(16_999)).len(), 0);
    assert_eq!(table.flows().len(), 1);
    assert_eq!(flows(&table.update(17_000)).len(), 0);
    assert_eq!(table.flows().len(), 0);
}

#[test]
fn silent_flows_of_some_applications_end_early() {
    let mut applications = Applications::default();
    applications.end_after("icmpv4", 10_000);
    applications.end_after("tcp", 20_000);
    let settings = Settings {
        applications,
        ..Settings::default()
    };
    let frames = [ping(1, 2, 8, 1), tcp_frame(2, 1, (5, 6), ACK, 0)];
    let mut table = table_of(settings, &frames);
    assert_eq!(flows(&table.update(2_000)).len(), 2);
    let sent = flows(&table.update(15_000));
    assert_eq!(sent.len(), 1);
    assert!(
        sent[0].contains("ICMPv4") && sent[0].ends_with(r#""FinishType":1}"#),
        "{}",
        sent[0]
    );
    // Nothing of it is told twice.
    assert!(
        sent[0].contains(r#""LastUpdateMetric":{"ABPackets":0,"#),
        "{}",
        sent[0]
    );
    assert_eq!(paths(&table), ["Ethernet/IPv4/TCP"]);
}

#[test]
fn ports_name_applications() {
    let mut applications = Applications::default();
    applications.name_port(Protocol::Tcp, 6, "web");
    let settings = Settings {
        applications,
        ..Settings::default()
    };
    let table = table_of(settings, &[tcp_frame(2, 1, (5, 6), ACK, 0)]);
    assert_eq!(table.flows().get(0).unwrap().application(), "WEB");
    assert_eq!(count(&table, &leaf(1, "Application", "WEB")), 1);
}

#[test]
fn raw_packets_are_kept_up_to_the_limit_and_sent_once() {
    let settings = Settings {
        raw_packet_limit: 2,
        ..Settings::default()
    };
    let frames: Vec<_> = (0..3).map(|_| ping(1, 2, 8, 1)).collect();
    let mut table = table_of(settings, &frames);
    let kept = |message: &[u8]| -> Vec<(i64, i64, Vec<u8>)> {
        let flow = Reader::new(message)
            .next()
            .unwrap()
            .unwrap()
            .1
            .bytes()
            .unwrap()
            .to_vec();
        Reader::new(&flow)
            .map(Result::unwrap)
            .filter(|(number, _)| *number == 36)
            .map(|(_, raw)| {
                let members: Vec<_> = Reader::new(raw.bytes().unwrap())
                    .map(Result::unwrap)
                    .collect();
                assert_eq!(members[3], (4, Value::Number(1)));
                let data = members[2].1.bytes().unwrap().to_vec();
                (
                    members[0].1.integer().unwrap(),
                    members[1].1.integer().unwrap(),
                    data,
                )
            })
            .collect()
    };
    let with_raw = table.stats().memory_bytes;
    let first = kept(&table.update(9_000));
    assert_eq!(
        first,
        [(1_000, 1, frames[0].clone()), (2_000, 2, frames[1].clone())]
    );
    assert_eq!(table.stats().memory_bytes, with_raw - 2 * 98);
    feed(&mut table, &frames[0], 10 * SECOND);
    let message = table.update(19_000);
    assert!(kept(&message).is_empty());
    assert!(flows(&message)[0].contains(r#""RawPacketsCaptured":2"#));
}

// Limits.

#[test]
fn a_full_table_drops_old_flows_and_counts_them() {
    let settings = Settings {
        max_flows: 100,
        ..Settings::default()
    };
    let mut table = FlowTable::new(settings);
    for id in 0..1_000 {
        feed(&mut table, &ping(1, 2, 8, id), i64::from(id) * SECOND);
    }
    let stats = table.stats();
    assert_eq!(
        (stats.flows, stats.evicted, stats.packets),
        (100, 900, 1_000)
    );
    // The old ones went: drawing eight of a hundred hardly ever leaves any of the first half.
    let young = number_leaf(6, "Start", 500_000);
    assert!(count(&table, &young) >= 95);
    // Whoever is left is found.
    for id in 0..1_000 {
        feed(&mut table, &ping(1, 2, 0, id), i64::from(id) * SECOND);
        if count(&table, &number_leaf(2, "ICMP.ID", i64::from(id))) != 1 {
            panic!("{id} is not in the table that just took it");
        }
    }
    assert_eq!(table.flows().len(), 100);
}

// Searches.

fn searched() -> FlowTable {
    let settings = Settings {
        node_tid: "probe-1".to_owned(),
        capture_id: "capture-1".to_owned(),
        ..Settings::default()
    };
    table_of(
        settings,
        &[
            tcp_frame(1, 2, (80, 5001), ACK, 10),
            tcp_frame(1, 20, (80, 5002), ACK, 20),
            ping(3, 4, 8, 123),
            ethernet(5, 6, 0x86DD, &ipv6(7, 8, 17, &udp(1, 2, b"x"))),
            ethernet(
                5,
                6,
                0x0806,
                &[&[0, 1, 8, 0, 6, 4, 0, 1][..], &[0; 20]].concat(),
            ),
        ],
    )
}

#[test]
fn filters_tell_flows_apart() {
    let table = searched();
    let id = Hex::of(table.flows().get(0).unwrap().hot.uuid);
    let rows: Vec<(Vec<u8>, usize)> = vec![
        (vec![], 5),
        (leaf(1, "NodeTID", "probe-1"), 5),
        (leaf(1, "NodeTID", "probe-2"), 0),
        (leaf(1, "UUID", id.as_str()), 1),
        (leaf(1, "UUID.foo", id.as_str()), 1),
        (leaf(1, "UUID", "0000"), 0),
        (leaf(1, "ParentUUID", ""), 5),
        (leaf(1, "Application", "TCP"), 2),
        (leaf(1, "LayersPath", "Ethernet/IPv4/TCP"), 2),
        (leaf(1, "Network.A", "10.0.0.1"), 2),
        (leaf(1, "IPV4.A", "10.0.0.1"), 2),
        (leaf(1, "IPV6.B", "10.0.0.2"), 1),
        (leaf(1, "Network.A", "fd00::7"), 1),
        (leaf(1, "Network.A", "fd00:0::7"), 0),
        (leaf(1, "Network.Protocol", "IPV6"), 1),
        (leaf(1, "Link.A", "02:00:00:00:00:01"), 2),
        (leaf(1, "ETHERNET.B", "02:00:00:00:00:14"), 1),
        (leaf(1, "Transport.Protocol", "UDP"), 1),
        (leaf(1, "ICMP.Type", "ECHO"), 1),
        // Numbers and texts are not the same, except where a text is compared with a number.
        (leaf(1, "Transport.A", "80"), 0),
        (number_leaf(2, "Transport.A", 80), 2),
        (number_leaf(2, "TCP.A", 80), 0),
        (number_leaf(2, "Application", 80), 0),
        (number_leaf(2, "ICMP.ID", 123), 1),
        (number_leaf(2, "Link.ID", 0), 5),
        (number_leaf(2, "Network.ID", 0), 4),
        (number_leaf(4, "Metric.ABBytes", 64), 2),
        (number_leaf(5, "Last", 2_000), 1),
        (number_leaf(6, "Start", 2_000), 4),
        (number_leaf(7, "Start", 2_000), 2),
        (number_leaf(3, "Application", 1), 0),
        (leaf(9, "LayersPath", "^.*ICMPv4.*$"), 1),
        (leaf(9, "LayersPath", "IPv[46]"), 4),
        (leaf(9, "Network.A", r"^10\.0\.0\.\d$"), 3),
        (leaf(9, "Transport.A", "8"), 0),
        (leaf(9, "nope", ""), 0),
        (leaf(11, "Network.A", "10.0.0.0/24"), 3),
        (leaf(11, "Network.B", "10.0.0.77/29"), 0),
        (leaf(11, "Network.B", "10.0.0.1/28"), 2),
        (leaf(11, "Network.A", "0.0.0.0/0"), 3),
        (leaf(10, "ICMP.ID", ""), 4),
        (leaf(10, "nope", ""), 5),
        (leaf(10, "Link.A", ""), 0),
        (leaf(10, "LastUpdateMetric.ABBytes", ""), 5),
        (
            group(
                0,
                &[
                    leaf(1, "Application", "TCP"),
                    number_leaf(2, "ICMP.ID", 123),
                ],
            ),
            3,
        ),
        (
            group(
                1,
                &[
                    leaf(1, "Application", "TCP"),
                    leaf(1, "Network.B", "10.0.0.2"),
                ],
            ),
            1,
        ),
        (group(2, &[leaf(1, "Application", "TCP")]), 3),
        (
            group(
                2,
                &[leaf(1, "Application", "TCP"), leaf(1, "NodeTID", "probe-1")],
            ),
            3,
        ),
        (group(0, &[]), 5),
        (group(1, &[]), 5),
        (group(2, &[]), 5),
    ];
    for (number, (filter, wanted)) in rows.iter().enumerate() {
        assert_eq!(count(&table, filter), *wanted, "row {number}");
    }
}

#[test]
fn searches_that_mean_nothing_say_why() {
    let error = |message: &[u8]| Search::parse(message).err().map(|error| error.to_string());
    let filter = |leaf: &[u8]| [&[0x0A, leaf.len() as u8][..], leaf].concat();
    assert_eq!(
        error(&filter(&leaf(9, "Application", "a(b"))).unwrap(),
        "not a regular expression: unclosed group"
    );
    assert_eq!(
        error(&filter(&leaf(11, "Network.A", "10.0.0.0/33"))).unwrap(),
        "not a range of IPv4 addresses: \"10.0.0.0/33\""
    );
    assert_eq!(
        error(&filter(&leaf(11, "Network.A", "fd00::/8"))).unwrap(),
        "not a range of IPv4 addresses: \"fd00::/8\""
    );
    assert_eq!(
        error(b"\x32\x04nope").unwrap(),
        "flows have no field \"nope\" to sort by"
    );
    assert_eq!(
        error(b"\x2A\x04nope").unwrap(),
        "flows have no field \"nope\" to dedup by"
    );
    assert_eq!(
        error(b"\x0A\x09x").unwrap(),
        "the search is not a valid protobuf message"
    );
}

fn sorted_by(field: &str, order: u64, to: Option<i64>) -> Vec<u32> {
    let search = search(|out| {
        out.number(3, 1);
        out.text(6, field);
        out.number(7, order);
        if let Some(to) = to {
            out.message(2, |out| out.integer(2, to));
        }
    });
    search.select(searched().flows())
}

#[test]
fn answers_are_sorted_and_those_without_the_field_come_first() {
    assert_eq!(sorted_by("", 1, None), [0, 1, 2, 3, 4]);
    assert_eq!(sorted_by("", 0, None), [4, 3, 2, 1, 0]);
    assert_eq!(sorted_by("Start", 2, Some(2)), [4, 3]);
    assert_eq!(sorted_by("Network.A", 1, None), [4, 0, 1, 2, 3]);
    assert_eq!(sorted_by("Network.A", 1, Some(3)), [4, 0, 1]);
    assert_eq!(sorted_by("Network.A", 2, None), [3, 2, 1, 0, 4]);
    assert_eq!(sorted_by("ICMP.ID", 1, None), [0, 1, 3, 4, 2]);
    assert_eq!(sorted_by("Start", 1, Some(0)), [0; 0]);
}

#[test]
fn answers_are_cut_behind_everything_else() {
    let ranged = |from: i64, to: i64, deduplicate: &str| {
        let search = search(|out| {
            out.message(2, |out| {
                out.integer(1, from);
                out.integer(2, to);
            });
            out.number(4, u64::from(!deduplicate.is_empty()));
            out.text(5, deduplicate);
        });
        search.select(searched().flows())
    };
    assert_eq!(ranged(0, 2, ""), [0, 1]);
    assert_eq!(ranged(1, 3, ""), [1, 2]);
    assert_eq!(ranged(3, 100, ""), [3, 4]);
    assert_eq!(ranged(4, 2, ""), [0; 0]);
    assert_eq!(ranged(-4, i64::MAX, ""), [0, 1, 2, 3, 4]);
    assert_eq!(ranged(0, 9, "NodeTID"), [0]);
    assert_eq!(ranged(0, 9, "TrackingID"), [0, 1, 2, 3, 4]);
    assert_eq!(ranged(0, 9, "Network.A"), [0, 2, 3, 4]);
    // Of those without ports all stay.
    assert_eq!(ranged(0, 9, "Transport.A"), [0, 2, 3, 4]);
    assert_eq!(ranged(1, 3, "Transport.A"), [2, 3]);
}

#[test]
fn an_answer_tells_from_when_to_when_it_is() {
    let set = Search::parse(b"").unwrap().run(searched().flows());
    let members: Vec<_> = Reader::new(&set).map(Result::unwrap).collect();
    assert_eq!(members.len(), 7);
    assert_eq!(
        members[5..],
        [(2, Value::Number(1_000)), (3, Value::Number(5_000))]
    );
    assert!(where_is(&leaf(1, "NodeTID", "none"))
        .run(searched().flows())
        .is_empty());
}

// Answers of several tables.

/// A serialized set of flows: TrackingID, NodeTID, start.
fn flow_set(flows: &[(&str, &str, i64)]) -> Vec<u8> {
    let mut out = Writer::default();
    for (tracking, node, start) in flows {
        out.message(1, |out| {
            out.integer(10, *start);
            out.text(33, node);
            out.text(50, tracking);
        });
    }
    out.into_bytes()
}

fn merged(sets: &[Vec<u8>], write: impl FnOnce(&mut Writer)) -> Vec<(String, String, i64)> {
    let parts: Vec<&[u8]> = sets.iter().map(Vec::as_slice).collect();
    let set = merge(&parts, &search(write)).unwrap();
    Reader::new(&set)
        .map(Result::unwrap)
        .filter(|(number, _)| *number == 1)
        .map(|(_, flow)| {
            let mut shown = (String::new(), String::new(), 0);
            for member in Reader::new(flow.bytes().unwrap()) {
                match member.unwrap() {
                    (10, value) => shown.2 = value.integer().unwrap(),
                    (33, value) => shown.1 = value.text().unwrap().to_owned(),
                    (50, value) => shown.0 = value.text().unwrap().to_owned(),
                    _ => (),
                }
            }
            shown
        })
        .collect()
}

fn ids(flows: &[(String, String, i64)]) -> Vec<&str> {
    flows.iter().map(|flow| flow.0.as_str()).collect()
}

#[test]
fn the_first_of_several_that_are_the_same_is_kept() {
    let set = [flow_set(&[("aaa", "", 0), ("bbb", "", 0), ("aaa", "", 0)])];
    assert_eq!(ids(&merged(&set, |out| out.number(4, 1))), ["aaa", "bbb"]);
    let set = [flow_set(&[
        ("aaa", "111", 1),
        ("bbb", "111", 2),
        ("aaa", "222", 3),
    ])];
    let kept = merged(&set, |out| {
        out.number(4, 1);
        out.text(5, "NodeTID");
    });
    assert_eq!(kept.iter().map(|flow| flow.2).collect::<Vec<_>>(), [1, 3]);
    let sets = [
        flow_set(&[("a", "111", 1), ("b", "222", 2)]),
        flow_set(&[("c", "111", 3), ("d", "222", 4), ("e", "333", 5)]),
    ];
    let kept = merged(&sets, |out| {
        out.number(4, 1);
        out.text(5, "NodeTID");
    });
    assert_eq!(ids(&kept), ["a", "b", "e"]);
}

#[test]
fn sorted_answers_stay_sorted_when_they_are_merged() {
    let sets = [
        flow_set(&[("a", "", 0), ("b", "", 2), ("c", "", 4)]),
        flow_set(&[("d", "", 6), ("e", "", 8)]),
        flow_set(&[("f", "", 1)]),
    ];
    let by_start = |order: u64| {
        move |out: &mut Writer| {
            out.number(3, 1);
            out.text(6, "Start");
            out.number(7, order);
        }
    };
    assert_eq!(
        ids(&merged(&sets, by_start(1))),
        ["a", "f", "b", "c", "d", "e"]
    );
    // Without an order it is descending.
    assert_eq!(
        ids(&merged(&sets, by_start(0))),
        ["e", "d", "c", "b", "f", "a"]
    );
    let cut = merged(&sets, |out| {
        by_start(1)(out);
        out.message(2, |out| {
            out.integer(1, 1);
            out.integer(2, 3);
        });
    });
    assert_eq!(ids(&cut), ["f", "b"]);
}

#[test]
fn sorting_and_the_same_by_another_field_work_together() {
    let flows: Vec<(String, i64)> = (0..7).map(|n| (n.to_string(), 2 * n)).collect();
    let row = |n: usize, tid: &'static str| (flows[n].0.as_str(), tid, flows[n].1);
    let sets = [
        flow_set(&[row(0, "111"), row(1, "222"), row(2, "333")]),
        flow_set(&[row(3, "111"), row(4, "222"), row(5, "222"), row(6, "333")]),
    ];
    let kept = merged(&sets, |out| {
        out.number(3, 1);
        out.text(6, "Start");
        out.number(4, 1);
        out.text(5, "NodeTID");
    });
    assert_eq!(
        kept.iter().map(|flow| flow.2).collect::<Vec<_>>(),
        [12, 10, 6]
    );
}

#[test]
fn start_and_end_span_all_answers_and_strange_members_stay() {
    let mut one = flow_set(&[("a", "", 5)]);
    one.extend([0x10, 5, 0x18, 9]);
    let mut flow = Writer::default();
    flow.message(1, |out| {
        out.text(50, "b");
        out.text(4_000, "of another release");
    });
    let mut two = flow.into_bytes();
    two.extend([0x10, 3, 0x18, 4]);
    let set = merge(&[&one, b"", &two], &Search::parse(b"").unwrap()).unwrap();
    let members: Vec<_> = Reader::new(&set).map(Result::unwrap).collect();
    assert_eq!(members[2..], [(2, Value::Number(3)), (3, Value::Number(9))]);
    let text = members[1].1.bytes().unwrap();
    assert!(text
        .windows(18)
        .any(|window| window == b"of another release"));
    assert!(merge(&[b"\x0A\x05a"], &Search::parse(b"").unwrap()).is_err());
}

// Files.

#[test]
fn a_capture_file_is_fed_with_the_decoder_of_its_link_type() {
    let packet = ipv4(1, 2, 6, &tcp(5, 6, SYN, b""));
    let mut file = vec![
        0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0,
    ];
    file.extend(101u32.to_le_bytes());
    for second in 1..=100u32 {
        file.extend(second.to_le_bytes());
        file.extend(500u32.to_le_bytes());
        file.extend((packet.len() as u32).to_le_bytes());
        file.extend((packet.len() as u32).to_le_bytes());
        file.extend(&packet);
    }
    let mut table = FlowTable::new(Settings::default());
    assert_eq!(table.feed_file(&file), Ok(100));
    let flow = table.flows().get(0).unwrap();
    assert_eq!(
        (flow.path(), flow.cold.start_ms, flow.last_ms()),
        ("IPv4/TCP", 1_000, 100_000)
    );
    assert_eq!(flow.hot.counters.ab_packets, 100);

    let mut cut = FlowTable::new(Settings::default());
    let error = cut.feed_file(&file[..file.len() - 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the capture file ends in the middle, after 99 packets"
    );
    assert_eq!(cut.stats().packets, 99);

    file[20] = 105;
    let error = table.feed_file(&file).unwrap_err();
    assert_eq!(
        error.to_string(),
        "link type 105 of the capture file is not supported; 0 packets before it"
    );
}

// Whatever comes.

fn first_layers() -> impl Strategy<Value = FirstLayer> {
    prop::sample::select(vec![
        FirstLayer::Ethernet,
        FirstLayer::RawIp,
        FirstLayer::IPv4,
        FirstLayer::IPv6,
        FirstLayer::Loopback,
        FirstLayer::Ppp,
        FirstLayer::LinuxSll,
        FirstLayer::LinuxSll2,
    ])
}

/// Good frames with a few bytes changed get further than noise.
fn almost_frames() -> impl Strategy<Value = Vec<u8>> {
    let inner = tcp_frame(3, 4, (1, 2), SYN, 4);
    let frames = vec![
        ethernet(
            1,
            2,
            0x0800,
            &ipv4(1, 2, 17, &udp(9, 4789, &vxlan(1, &inner))),
        ),
        ethernet(
            1,
            2,
            0x0800,
            &ipv4(
                1,
                2,
                17,
                &udp(
                    9,
                    6081,
                    &[&[0, 0, 0x65, 0x58, 0, 0, 1, 0][..], &inner].concat(),
                ),
            ),
        ),
        ethernet(
            1,
            2,
            0x0800,
            &ipv4(
                1,
                2,
                47,
                &[
                    &[0x70, 0, 0x88, 0xBE, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0][..],
                    &inner,
                ]
                .concat(),
            ),
        ),
        ethernet(
            1,
            2,
            0x8847,
            &[&[0, 1, 1, 64][..], &ipv4(1, 2, 1, &icmp(8, 1))].concat(),
        ),
        ethernet(
            1,
            2,
            0x86DD,
            &ipv6(
                1,
                2,
                0,
                &[
                    &[43, 0, 0, 0, 0, 0, 0, 0, 58, 0, 0, 0, 0, 0, 0, 0][..],
                    &icmp(128, 1),
                ]
                .concat(),
            ),
        ),
        ethernet(1, 2, 0x0800, &ipv4(1, 2, 17, &udp(53, 53, &[0; 40]))),
        ethernet(1, 2, 0x0800, &ipv4(1, 2, 132, &[0; 40])),
        ethernet(
            1,
            2,
            0x0800,
            &ipv4(
                1,
                2,
                17,
                &udp(
                    2152,
                    2152,
                    &[
                        &[0x36, 255, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 0, 0][..],
                        &ipv4(1, 2, 6, &[0; 20]),
                    ]
                    .concat(),
                ),
            ),
        ),
        inner,
    ];
    let change = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::sample::select(frames), change, 0usize..200).prop_map(|(mut bytes, changes, cut)| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.max(1));
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_taken_and_lengths_add_up(
        frames in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            almost_frames(),
        ], 1..40),
        first in first_layers(),
        limit in 1usize..50,
        more in 0u32..2000,
    ) {
        let settings = Settings {
            first_layer: first,
            max_flows: limit,
            raw_packet_limit: 1,
            extra_tcp_metric: true,
            mpls_udp_port: Some(9),
            ..Settings::default()
        };
        let mut table = FlowTable::new(settings);
        let frames: Vec<Frame<'_>> = frames.iter().enumerate().map(|(number, data)| Frame {
            data,
            at_ns: number as i64 * SECOND,
            wire_bytes: data.len() as u32 + more,
        }).collect();
        table.feed(&frames);
        prop_assert_eq!(table.stats().packets, frames.len() as u64);
        prop_assert!(table.flows().len() <= limit);
        prop_assert!(table.stats().decode_errors <= frames.len() as u64);

        let mut packet = Packet::default();
        for frame in &frames {
            packet.decode(frame.data, frame.wire_bytes, first, Some(9));
            let subs = packet.sub_packets();
            for pair in subs.windows(2) {
                prop_assert!(pair[0].begin <= pair[1].begin);
                // What the outer one has beyond the inner one is its headers.
                if pair[1].bytes > 0 {
                    prop_assert_eq!(pair[0].bytes - pair[1].bytes, pair[1].begin - pair[0].begin);
                }
            }
            for sub_packet in subs {
                prop_assert!(!packet.layers(sub_packet).is_empty());
                prop_assert!((sub_packet.begin as usize) <= frame.data.len());
            }
        }

        let all = Search::parse(b"").map_err(|e| TestCaseError::fail(e.to_string()))?;
        let set = all.run(table.flows());
        prop_assert!(json::flows(&set).is_ok());
        table.update(5_000);
        table.update(50_000);
        table.flush();
        prop_assert_eq!(table.flows().len(), 0);
        prop_assert_eq!(table.stats().memory_bytes, 512);
    }

    #[test]
    fn both_ways_are_one_flow(
        a in any::<u8>(), b in any::<u8>(), ports in any::<(u16, u16)>(), l3: bool, v6: bool,
        macs in any::<(u8, u8)>(), protocol in prop::sample::select(vec![6u8, 17, 132]),
    ) {
        let frame = |macs: (u8, u8), ends: (u8, u8), ports: (u16, u16)| {
            let segment = match protocol {
                17 => udp(ports.0, ports.1, b""),
                _ => tcp(ports.0, ports.1, ACK, b""),
            };
            if v6 {
                ethernet(macs.0, macs.1, 0x86DD, &ipv6(ends.0, ends.1, protocol, &segment))
            } else {
                ethernet(macs.0, macs.1, 0x0800, &ipv4(ends.0, ends.1, protocol, &segment))
            }
        };
        let settings = Settings {
            key_mode: if l3 { KeyMode::L3 } else { KeyMode::L2 },
            ..Settings::default()
        };
        let there = frame(macs, (a, b), ports);
        let back = frame((macs.1, macs.0), (b, a), (ports.1, ports.0));
        let table = table_of(settings, &[there, back]);
        prop_assert_eq!(table.flows().len(), 1);
        let counters = table.flows().get(0).map(|flow| flow.hot.counters).unwrap_or_default();
        prop_assert_eq!(counters.ab_packets + counters.ba_packets, 2);
        if a != b {
            prop_assert_eq!((counters.ab_packets, counters.ba_packets), (1, 1));
        }
    }
}
