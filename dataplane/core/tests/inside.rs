//! What captures see that ask for more than headers: datagrams out of fragments, TCP sequence
//! numbers, application messages (flows.md §§1.9, 6, Annex B.2).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod frames;

use frames::{ethernet, icmp, ipv4, ipv6, udp, vxlan};
use proptest::prelude::*;
use skydive_core::extra;
use skydive_core::json;
use skydive_core::query::Search;
use skydive_core::ring::Frame;
use skydive_core::table::{FlowTable, Settings};
use skydive_core::wire::Writer;

const SECOND: i64 = 1_000_000_000;
const SYN: u8 = 2;
const ACK: u8 = 16;

fn feed(table: &mut FlowTable, bytes: &[u8], at_ns: i64) {
    feed_cut(table, bytes, bytes.len(), at_ns);
}

fn feed_cut(table: &mut FlowTable, bytes: &[u8], kept: usize, at_ns: i64) {
    table.feed(&[Frame {
        data: &bytes[..kept.min(bytes.len())],
        at_ns,
        wire_bytes: bytes.len() as u32,
    }]);
}

fn all(table: &FlowTable) -> String {
    let set = Search::parse(b"").unwrap().run(table.flows());
    String::from_utf8(json::flows(&set).unwrap()).unwrap()
}

fn paths(table: &FlowTable) -> Vec<String> {
    let mut paths: Vec<_> = table.flows().iter().map(|f| f.path().to_owned()).collect();
    paths.sort();
    paths
}

/// How many flows pass a filter of this kind.
fn count(table: &FlowTable, kind: u32, key: &str, write: impl FnOnce(&mut Writer)) -> usize {
    let mut query = Writer::default();
    query.message(1, |out| {
        out.message(kind, |out| {
            out.text(1, key);
            write(out);
        });
    });
    let search = Search::parse(&query.into_bytes()).unwrap();
    search.select(table.flows()).len()
}

fn with_text(table: &FlowTable, key: &str, text: &str) -> usize {
    count(table, 1, key, |out| out.text(2, text))
}

fn with_number(table: &FlowTable, key: &str, number: i64) -> usize {
    count(table, 2, key, |out| out.integer(2, number))
}

fn defragmenting() -> FlowTable {
    FlowTable::new(Settings {
        ip_defrag: true,
        extra_layers: 255,
        ..Settings::default()
    })
}

/// Fragments of an IPv4 datagram, `size` bytes of payload each.
fn fragments(id: u16, protocol: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let last = payload.len().div_ceil(size) - 1;
    payload
        .chunks(size)
        .enumerate()
        .map(|(number, part)| fragment(id, protocol, number * size, number < last, part))
        .collect()
}

fn fragment(id: u16, protocol: u8, offset: usize, more: bool, part: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(1, 2, protocol, part);
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    let place = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
    packet[6..8].copy_from_slice(&place.to_be_bytes());
    ethernet(1, 2, 0x0800, &packet)
}

fn fragments_v6(id: u32, next: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let last = payload.len().div_ceil(size) - 1;
    let parts = payload.chunks(size).enumerate();
    parts
        .map(|(number, part)| {
            let place = (number * size) as u16 | u16::from(number < last);
            let mut header = vec![next, 0];
            header.extend(place.to_be_bytes());
            header.extend(id.to_be_bytes());
            ethernet(1, 2, 0x86DD, &ipv6(1, 2, 44, &[&header[..], part].concat()))
        })
        .collect()
}

// Fragments.

#[test]
fn a_datagram_in_fragments_is_one_packet_of_its_last_frame() {
    // ipv4-fragments.pcap of the original: 1,442 bytes one way, 466 of the last fragment the other.
    let request = [icmp(8, 5058), vec![7; 1344]].concat();
    let mut table = defragmenting();
    let parts = fragments(9, 1, &request, 976);
    for (number, part) in parts.iter().enumerate() {
        assert!(table.flows().is_empty());
        feed(&mut table, part, (number as i64 + 1) * SECOND);
    }
    assert_eq!(paths(&table), ["Ethernet/IPv4/Fragment/ICMPv4"]);
    let flow = table.flows().get(0).unwrap();
    assert_eq!(flow.hot.counters.ab_packets, 1);
    assert_eq!(flow.hot.counters.ab_bytes, parts[1].len() as u64);
    assert_eq!(flow.cold.icmp.unwrap().id, 5058);
    assert!(all(&table).contains(r#""IPMetric":{"Fragments":1,"FragmentErrors":0}"#));
    assert_eq!(with_number(&table, "IPMetric.Fragments", 1), 1);
    let stats = table.stats();
    assert_eq!((stats.fragments.joined, stats.fragments_waiting), (1, 0));
    assert_eq!(stats.packets, 2);
}

#[test]
fn a_flow_has_its_identifiers_whether_it_came_in_fragments_or_not() {
    let payload = udp(5000, 53_000, &[1; 3000]);
    let mut whole = defragmenting();
    feed(
        &mut whole,
        &ethernet(1, 2, 0x0800, &ipv4(1, 2, 17, &payload)),
        SECOND,
    );
    let mut parts = defragmenting();
    for part in fragments(9, 17, &payload, 1480).iter().rev() {
        feed(&mut parts, part, SECOND);
    }
    let key = |table: &FlowTable| table.flows().get(0).unwrap().cold.tracking;
    assert_eq!(key(&whole), key(&parts));
    assert_eq!(parts.flows().len(), 1);
    assert!(all(&whole).contains(r#""IPMetric":{"Fragments":0,"FragmentErrors":0}"#));
}

#[test]
fn fragments_that_the_capture_cut_do() {
    let payload = udp(5000, 53_000, &[1; 60_000]);
    let mut table = defragmenting();
    for part in fragments(9, 17, &payload, 1480) {
        feed_cut(&mut table, &part, 64, SECOND);
    }
    assert_eq!(paths(&table), ["Ethernet/IPv4/Fragment/UDP"]);
    assert_eq!(table.stats().decode_errors, 0);
    assert_eq!(table.stats().fragments.joined, 40);
}

#[test]
fn datagrams_of_ipv6_are_put_together_too() {
    let payload = udp(5000, 53_000, &[1; 3000]);
    let mut table = defragmenting();
    let mut parts = fragments_v6(9, 17, &payload, 1232);
    // Only the first says what follows.
    parts[2][14 + 40] = 59;
    for part in &parts {
        feed(&mut table, part, SECOND);
    }
    assert_eq!(paths(&table), ["Ethernet/IPv6/IPv6Fragment/Fragment/UDP"]);
    assert!(all(&table).contains(r#""IPMetric":{"Fragments":2,"FragmentErrors":0}"#));
}

#[test]
fn tunnels_in_fragments_are_seen_through() {
    let inner = ethernet(3, 4, 0x0800, &ipv4(3, 4, 17, &udp(1, 2, &[0; 1400])));
    let payload = udp(9, 4789, &vxlan(5, &inner));
    let mut table = defragmenting();
    for part in fragments(9, 17, &payload, 800) {
        feed(&mut table, &part, SECOND);
    }
    let wanted = ["Ethernet/IPv4/Fragment/UDP/VXLAN", "Ethernet/IPv4/UDP"];
    assert_eq!(paths(&table), wanted);
    // The metric is of the innermost.
    let flows: Vec<_> = table.flows().iter().collect();
    assert!(flows[0].cold.more.is_none() && flows[1].cold.more.is_some());
}

#[test]
fn fragments_stay_what_they_are_when_nobody_asks() {
    let mut table = FlowTable::new(Settings::default());
    for part in fragments(9, 17, &udp(1, 2, &[0; 100]), 64) {
        feed(&mut table, &part, SECOND);
    }
    assert_eq!(paths(&table), ["Ethernet/IPv4/Fragment"]);
    assert!(!all(&table).contains("IPMetric"));
}

#[test]
fn fragments_that_overlap_or_cannot_be_are_counted() {
    let payload = udp(5000, 53_000, &[1; 400]);
    let rows: &[(&str, Vec<Vec<u8>>, u64, u64)] = &[
        (
            "said again",
            {
                let parts = fragments(9, 17, &payload, 200);
                vec![
                    parts[0].clone(),
                    parts[0].clone(),
                    parts[1].clone(),
                    parts[2].clone(),
                ]
            },
            0,
            1,
        ),
        (
            "overlaps the first",
            vec![
                fragment(9, 17, 0, true, &payload[..200]),
                fragment(9, 17, 104, true, &payload[104..304]),
                fragment(9, 17, 304, false, &payload[304..]),
            ],
            2,
            0,
        ),
        (
            "overlaps what comes later",
            vec![
                fragment(9, 17, 200, false, &payload[200..]),
                fragment(9, 17, 0, true, &payload[..208]),
            ],
            2,
            0,
        ),
        (
            "two ends",
            vec![
                fragment(9, 17, 200, false, &payload[200..400]),
                fragment(9, 17, 8, false, &payload[..104]),
            ],
            2,
            0,
        ),
        (
            "odd length",
            vec![fragment(9, 17, 0, true, &payload[..201])],
            1,
            0,
        ),
        (
            "beyond the longest",
            vec![fragment(9, 17, 65_528, false, &payload[..200])],
            1,
            0,
        ),
    ];
    for (name, parts, invalid, flows) in rows {
        let mut table = defragmenting();
        for part in parts {
            feed(&mut table, part, SECOND);
        }
        assert_eq!(table.stats().fragments.invalid, *invalid, "{name}");
        assert_eq!(table.stats().flows, *flows, "{name}");
        table.flush();
        let stats = table.stats();
        let lost = stats.fragments;
        let counted = lost.joined + lost.invalid + lost.incomplete + lost.crowded;
        assert_eq!(counted + *flows, parts.len() as u64, "{name}");
        assert_eq!(stats.memory_bytes, 512, "{name}");
    }
}

#[test]
fn datagrams_that_stay_incomplete_are_forgotten_and_counted() {
    let parts = fragments(9, 17, &udp(1, 2, &[0; 100]), 64);
    let mut table = defragmenting();
    feed(&mut table, &parts[0], SECOND);
    table.update(30_000);
    assert_eq!(table.stats().fragments_waiting, 1);
    table.update(32_000);
    assert_eq!(table.stats().fragments.incomplete, 1);
    feed(&mut table, &parts[0], 40 * SECOND);
    feed(&mut table, &fragment(10, 17, 0, true, &[0; 8]), 80 * SECOND);
    assert_eq!(table.stats().fragments.incomplete, 2);
}

#[test]
fn a_flood_of_fragments_stays_within_its_bounds() {
    let mut table = defragmenting();
    let mut sent = 0;
    for id in 0..3000u16 {
        for part in 0..3 {
            feed(
                &mut table,
                &fragment(id, 17, part * 1480, true, &[1; 1472]),
                SECOND,
            );
            sent += 1;
        }
        assert!(table.stats().memory_bytes < 5 << 20);
    }
    let stats = table.stats();
    assert_eq!(stats.fragments.crowded + stats.fragments_waiting, sent);
    assert!(stats.fragments.crowded > 5000 && stats.flows == 0);
    // The smallest fragments there are, with gaps between them.
    let mut table = defragmenting();
    for place in 0..4000 {
        feed(
            &mut table,
            &fragment(1, 17, place * 16, true, &[1; 8]),
            SECOND,
        );
    }
    assert!(table.stats().memory_bytes < 1 << 20);
    assert!(table.stats().fragments.invalid > 0);
}

// TCP.

fn segment(a: u8, b: u8, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (from, to) = if a == 1 {
        (40_000u16, 80u16)
    } else {
        (80, 40_000)
    };
    let mut header = [from.to_be_bytes(), to.to_be_bytes()].concat();
    header.extend(sequence.to_be_bytes());
    header.extend([0, 0, 0, 1, 0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0]);
    header.extend(payload);
    let mut frame = ethernet(a, b, 0x0800, &ipv4(a, b, 6, &header));
    // The shortest frame is longer than a bare header.
    frame.resize(frame.len().max(60), 0);
    frame
}

#[test]
fn sequence_numbers_of_both_ways_are_followed() {
    let mut table = FlowTable::new(Settings {
        reassemble_tcp: true,
        extra_tcp_metric: true,
        ..Settings::default()
    });
    let frames = [
        segment(1, 2, 99, SYN, b""),
        segment(2, 1, 499, SYN | ACK, b""),
        segment(1, 2, 100, ACK, b""),
        segment(1, 2, 100, ACK, &[1; 1000]),
        segment(2, 1, 1500, ACK, &[1; 1000]),
        segment(2, 1, 2500, ACK, &[1; 1000]),
        segment(2, 1, 500, ACK, &[1; 1000]),
        segment(2, 1, 9000, ACK, &[1; 10]),
        segment(1, 2, 1100, ACK | 1, b""),
    ];
    for (number, frame) in frames.iter().enumerate() {
        // Cut behind the headers: places and lengths are enough.
        feed_cut(&mut table, frame, 60, (number as i64 + 1) * SECOND);
    }
    let live = all(&table);
    assert!(
        live.contains(r#""ABPackets":3,"ABBytes":1000,"ABSawStart":1,"ABSawEnd":1"#),
        "{live}"
    );
    assert!(
        live.contains(r#""BASegmentOutOfOrder":2,"BASegmentSkipped":0"#),
        "{live}"
    );
    assert!(
        live.contains(r#""ABSynStart":1000,"BASynStart":2000"#),
        "{live}"
    );
    assert_eq!(with_number(&table, "TCPMetric.BASegmentOutOfOrder", 2), 1);
    // What never came is skipped in the end.
    let ended = table.flush();
    let ended = String::from_utf8(json::flows(&ended).unwrap()).unwrap();
    assert!(
        ended.contains(r#""BASegmentSkipped":1,"BASegmentSkippedBytes":5500"#),
        "{ended}"
    );
    assert!(ended.contains(r#""BAPackets":5,"BABytes":3010"#), "{ended}");
    assert_eq!(table.stats().memory_bytes, 512);
}

#[test]
fn a_gap_is_given_up_by_a_tick() {
    let mut table = FlowTable::new(Settings {
        reassemble_tcp: true,
        ..Settings::default()
    });
    feed(&mut table, &segment(1, 2, 99, SYN, b""), SECOND);
    feed(&mut table, &segment(1, 2, 200, ACK, &[1; 10]), SECOND);
    table.update(10_000);
    assert_eq!(
        with_number(&table, "TCPMetric.ABSegmentSkippedBytes", 100),
        0
    );
    table.update(40_000);
    assert_eq!(
        with_number(&table, "TCPMetric.ABSegmentSkippedBytes", 100),
        1
    );
    assert_eq!(with_number(&table, "TCPMetric.ABBytes", 10), 1);
}

#[test]
fn without_asking_there_are_no_metrics_of_tcp() {
    let mut table = FlowTable::new(Settings::default());
    feed(&mut table, &segment(1, 2, 99, SYN, b""), SECOND);
    assert!(!all(&table).contains("TCPMetric"));
}

// Application messages.

fn datagram(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    ethernet(
        1,
        2,
        0x0800,
        &ipv4(1, 2, 17, &udp(ports.0, ports.1, payload)),
    )
}

fn looking(layers: u8) -> FlowTable {
    FlowTable::new(Settings {
        extra_layers: layers,
        ..Settings::default()
    })
}

/// An answer of the name server with records of every kind that is kept, and one that is not.
fn answer() -> Vec<u8> {
    let mut out = b"\x94\xED\x85\x83\0\x01\0\x0B\0\x01\0\x01".to_vec();
    out.extend(b"\x03www\x07eXample\x03org\0\0\x1C\0\x01");
    let mut record = |kind: u16, ttl: u32, data: &[u8]| {
        out.extend([0xC0, 0x0C]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    };
    record(1, 60, &[10, 0, 0, 9]);
    record(
        28,
        61,
        &[0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
    );
    record(5, 62, b"\x01c\xC0\x10");
    record(2, 63, b"\x02ns\xC0\x10");
    record(12, 64, b"\x01p\xC0\x10");
    record(16, 65, b"\x03one\x03two");
    record(13, 66, b"\x03cpu\x02os");
    record(33, 67, b"\0\x01\0\x02\0\x50\x01s\xC0\x10");
    record(15, 68, b"\0\x0A\x02mx\xC0\x10");
    record(65, 69, b"\0\x01\0"); // not kept
    record(1, 70, &[10, 0, 0, 10]);
    record(
        6,
        71,
        b"\x02n0\xC0\x10\x04host\xC0\x10\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05",
    );
    out.extend(b"\0\0\x29\x10\0\0\0\0\0\0\x0C\0\x0A\0\x08\x01\x02\x03\x04\x05\x06\x07\x08");
    out
}

#[test]
fn a_name_server_answer_shows_as_the_original_shows_it() {
    let question = b"\x94\xED\x01\0\0\x01\0\0\0\0\0\0\x03www\x07eXample\x03org\0\0\x1C\0\x01";
    let mut table = looking(extra::DNS);
    feed(&mut table, &datagram((41_278, 53), question), SECOND);
    assert_eq!(with_text(&table, "DNS.OpCode", "Query"), 1);
    assert_eq!(count(&table, 3, "DNS.QR", |_| ()), 1);
    let mut back = ethernet(2, 1, 0x0800, &ipv4(2, 1, 17, &udp(53, 41_278, &answer())));
    feed(&mut table, &back, 1_559_792_414_984_235_000);
    let wanted = concat!(
        r#""DNS":{"ID":38125,"QR":true,"op_code":"Query","AA":true,"RD":true,"RA":true,"#,
        r#""response_code":"Non-Existent Domain","QDCount":1,"ANCount":11,"NSCount":1,"ARCount":1,"#,
        r#""questions":[{"name":"www.eXample.org","type":"AAAA","class":"IN"}],"#,
        r#""answers":[{"name":"www.eXample.org","type":"A","class":"IN","TTL":60,"data_length":4,"IP":"10.0.0.9"},"#,
        r#"{"name":"www.eXample.org","type":"AAAA","class":"IN","TTL":61,"data_length":16,"IP":"2001:db8::7"},"#,
        r#"{"name":"www.eXample.org","type":"CNAME","class":"IN","TTL":62,"data_length":4,"CNAME":"c.eXample.org"},"#,
        r#"{"name":"www.eXample.org","type":"NS","class":"IN","TTL":63,"data_length":5,"NS":"ns.eXample.org"},"#,
        r#"{"name":"www.eXample.org","type":"PTR","class":"IN","TTL":64,"data_length":4,"PTR":"p.eXample.org"},"#,
        r#"{"name":"www.eXample.org","type":"TXT","class":"IN","TTL":65,"data_length":8,"TXTs":["one","two"]},"#,
        r#"{"name":"www.eXample.org","type":"HINFO","class":"IN","TTL":66,"data_length":7,"TXTs":["cpu","os"]},"#,
        r#"{"name":"www.eXample.org","type":"SRV","class":"IN","TTL":67,"data_length":10,"#,
        r#""SRV":{"priority":1,"weight":2,"port":80,"name":"s.eXample.org"}},"#,
        r#"{"name":"www.eXample.org","type":"MX","class":"IN","TTL":68,"data_length":7,"#,
        r#""MX":{"preference":10,"name":"mx.eXample.org"}},"#,
        r#"{"name":"www.eXample.org","type":"A","class":"IN","TTL":70,"data_length":4,"IP":"10.0.0.10"}],"#,
        r#""authorities":[{"name":"www.eXample.org","type":"SOA","class":"IN","TTL":71,"data_length":32,"#,
        r#""SOA":{"MName":"n0.eXample.org","RName":"host.eXample.org","serial":1,"refresh":2,"retry":3,"expire":4,"minimum":5}}],"#,
        r#""additionals":[{"type":"OPT","class":"Unknown","data_length":12,"OPT":[{"Code":10,"Data":"0102030405060708"}]}],"#,
        r#""timestamp":"2019-06-06T03:40:14.984235Z"}"#,
    );
    let found = all(&table);
    assert!(found.contains(wanted), "{found}\n{wanted}");
    for (key, text) in [
        ("DNS.Questions.Name", "www.eXample.org"),
        ("DNS.questions.name", "www.eXample.org"),
        ("DNS.Answers.IP", "10.0.0.10"),
        ("DNS.Answers.CNAME", "c.eXample.org"),
        ("DNS.Answers.TXTs", "two"),
        ("DNS.Answers.MX.Name", "mx.eXample.org"),
        ("DNS.Authorities.SOA.MName", "n0.eXample.org"),
        ("DNS.ResponseCode", "Non-Existent Domain"),
    ] {
        assert_eq!(with_text(&table, key, text), 1, "{key}");
        assert_eq!(with_text(&table, key, "no"), 0, "{key}");
    }
    assert_eq!(with_number(&table, "DNS.Answers.TTL", 61), 1);
    assert_eq!(with_number(&table, "DNS.Answers.SRV.Port", 80), 1);
    assert_eq!(with_number(&table, "DNS.ANCount", 11), 1);
    assert_eq!(count(&table, 3, "DNS.QR", |out| out.number(2, 1)), 1);
    // What the capture cut off is missing, the rest is there.
    back.truncate(130);
    let mut cut = looking(extra::DNS);
    cut.feed(&[Frame {
        data: &back,
        at_ns: SECOND,
        wire_bytes: 400,
    }]);
    let found = all(&cut);
    assert!(
        found.contains(r#""ANCount":11"#) && found.contains("10.0.0.9"),
        "{found}"
    );
}

#[test]
fn a_message_is_shown_only_to_those_who_ask_for_its_kind() {
    for layers in [0, extra::VRRP | extra::DHCP_V4 | extra::TLS] {
        let mut table = looking(layers);
        let frame = ethernet(2, 1, 0x0800, &ipv4(2, 1, 17, &udp(53, 41_278, &answer())));
        feed(&mut table, &frame, SECOND);
        assert_eq!(paths(&table), ["Ethernet/IPv4/UDP/DNS"]);
        assert!(!all(&table).contains(r#""DNS":{"#));
    }
}

#[test]
fn an_answer_of_pointers_to_pointers_stays_small() {
    let mut bomb = b"\0\x01\x81\x80\0\0\x10\0\0\0\0\0".to_vec();
    for _ in 0..4 {
        bomb.push(60);
        bomb.extend([b'a'; 60]);
    }
    bomb.push(0);
    while bomb.len() < 60_000 {
        bomb.extend(b"\xC0\x0C\0\x02\0\x01\0\0\0\0\0\x02\xC0\x0C");
    }
    let mut table = looking(extra::DNS);
    feed(
        &mut table,
        &ethernet(2, 1, 0x0800, &ipv4(2, 1, 17, &udp(53, 41_278, &bomb))),
        SECOND,
    );
    let flow = table.flows().get(0).unwrap();
    assert!(flow.cold.more.as_ref().unwrap().memory_bytes() < 6000);
}

#[test]
fn leases_are_shown_as_the_original_shows_them() {
    let mut request = vec![0u8; 300];
    request[..12].copy_from_slice(&[1, 1, 6, 3, 1, 2, 3, 4, 0, 9, 0x80, 0]);
    request[44..50].copy_from_slice(b"server");
    request[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    let mut table = looking(255);
    feed(&mut table, &datagram((68, 67), &request), SECOND);
    request[9] = 99;
    feed(&mut table, &datagram((68, 67), &request), 2 * SECOND);
    let found = all(&table);
    let wanted = r#""DHCPv4":{"hardware_len":6,"hardware_opts":3,"secs":9,"flags":32768,"server_name":"c2VydmVy"#;
    assert!(found.contains(wanted), "{found}");
    assert_eq!(with_number(&table, "DHCPv4.Secs", 9), 1);
}

#[test]
fn router_advertisements_are_shown_as_the_original_shows_them() {
    let mut table = looking(255);
    let packet = ipv4(1, 2, 112, &[0x21, 7, 100, 1, 0, 5, 0, 0, 10, 0, 0, 9]);
    feed(&mut table, &ethernet(1, 2, 0x0800, &packet), SECOND);
    let wanted = r#""VRRPv2":{"version":2,"VirtualRtrID":7,"priority":100,"adver_int":5}"#;
    assert!(all(&table).contains(wanted), "{}", all(&table));
    assert_eq!(with_number(&table, "VRRPv2.Priority", 100), 1);
}

#[test]
fn leases_of_ipv6_show_who_and_what() {
    let option = |kind: u16, body: &[u8]| {
        [
            &kind.to_be_bytes()[..],
            &(body.len() as u16).to_be_bytes(),
            body,
        ]
        .concat()
    };
    let address = [
        &[0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5][..],
        &[0; 8],
    ]
    .concat();
    let prefix = [&[0; 8][..], &[56], &[0x20, 1, 0xD, 0xB8], &[0; 12]].concat();
    let reply = [
        &[7, 1, 2, 3][..],
        &option(1, &[0, 3, 0, 1, 0xAA]),
        &option(2, &[0, 3, 0, 1, 0xBB]),
        &option(3, &[&[0; 12][..], &option(5, &address)].concat()),
        &option(25, &[&[0; 12][..], &option(26, &prefix)].concat()),
        &option(39, b"\0\x01h\x07example\0"),
    ]
    .concat();
    let mut table = looking(255);
    feed(&mut table, &datagram((547, 546), &reply), SECOND);
    let wanted = concat!(
        r#""DHCPv6":{"MessageType":"Reply","TransactionID":66051,"ClientID":"00030001aa","#,
        r#""ServerID":"00030001bb","Addresses":["2001:db8::5"],"Prefixes":["2001:db8::/56"],"Name":"h.example"}"#,
    );
    assert!(all(&table).contains(wanted), "{}", all(&table));
    assert_eq!(with_text(&table, "DHCPv6.Addresses", "2001:db8::5"), 1);
}

/// A record with a hello that asks for `name`.
fn hello(name: &str, padding: usize) -> Vec<u8> {
    let part = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let names = part(&[&[0][..], &part(name.as_bytes())].concat());
    let extensions = [
        &[0x0A, 0x0A][..],
        &part(b""),
        &[0, 21][..],
        &part(&vec![0; padding]),
        &[0, 0],
        &part(&names),
        &[0, 43],
        &part(&[4, 0x7A, 0x7A, 3, 4]),
        &[0, 16],
        &part(&part(b"\x02h2\x08http/1.1")),
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[9; 32],
        &[0],
        &part(&[0x13, 1]),
        &[1, 0],
        &part(&extensions),
    ]
    .concat();
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &part(&message)].concat()
}

#[test]
fn the_name_asked_for_in_tls_is_shown_even_when_it_comes_in_two_segments() {
    let record = hello("shop.example", 1800);
    let (first, second) = record.split_at(1400);
    let mut table = looking(extra::TLS);
    feed(&mut table, &segment(1, 2, 99, SYN, b""), SECOND);
    feed(&mut table, &segment(1, 2, 100, ACK, first), SECOND);
    assert_eq!(with_text(&table, "TLS.Version", "TLS 1.2"), 1);
    feed(&mut table, &segment(1, 2, 1500, ACK, second), SECOND);
    feed(
        &mut table,
        &segment(2, 1, 1, ACK, &[22, 3, 3, 0, 4, 2, 0, 0, 0]),
        SECOND,
    );
    let wanted =
        r#""TLS":{"Version":"TLS 1.3","ServerName":"shop.example","Protocols":["h2","http/1.1"]}"#;
    assert!(all(&table).contains(wanted), "{}", all(&table));
    assert_eq!(with_text(&table, "TLS.ServerName", "shop.example"), 1);
    assert_eq!(with_text(&table, "TLS.Protocols", "h2"), 1);
    let kept = table.flows().get(0).unwrap().cold.more.as_ref().unwrap();
    assert!(kept.partial.is_none());
    table.flush();
    assert_eq!(table.stats().memory_bytes, 512);
}

#[test]
fn the_line_and_the_host_of_a_request_are_shown() {
    let request = b"GET /a?b=\"c\" HTTP/1.1\r\nUser-Agent: curl/8\r\nhOst:  web.example \r\n\r\n";
    let mut table = looking(255);
    feed(&mut table, &segment(1, 2, 100, ACK, &request[..30]), SECOND);
    assert_eq!(with_text(&table, "HTTP.Host", "web.example"), 0);
    feed(&mut table, &segment(1, 2, 130, ACK, &request[30..]), SECOND);
    let wanted = concat!(
        r#""HTTP":{"Method":"GET","Target":"/a?b=\"c\"","Version":"HTTP/1.1","#,
        r#""Host":"web.example","UserAgent":"curl/8"}"#,
    );
    assert!(all(&table).contains(wanted), "{}", all(&table));
    assert_eq!(with_text(&table, "HTTP.Host", "web.example"), 1);
    let mut other = looking(255);
    feed(
        &mut other,
        &segment(1, 2, 100, ACK, b"GET a song\r\n"),
        SECOND,
    );
    assert!(!all(&other).contains("HTTP"));
}

#[test]
fn the_first_packet_of_quic_is_shown() {
    let packet = [
        &[
            0xC3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 9, 0, 0x44, 0x9E,
        ][..],
        &[0; 1178],
    ]
    .concat();
    let mut table = looking(255);
    feed(&mut table, &datagram((50_000, 443), &packet), SECOND);
    let wanted =
        r#""QUIC":{"Version":"1","DestinationID":"0102030405060708","SourceID":"09090909"}"#;
    assert!(all(&table).contains(wanted), "{}", all(&table));
    let mut other = looking(255);
    feed(&mut other, &datagram((50_000, 443), &[0xFF; 1200]), SECOND);
    assert!(!all(&other).contains("QUIC"));
}

#[test]
fn a_clock_shows_its_source() {
    let mut message = vec![0x24, 2, 6, 0xE9, 0, 0, 0, 0, 0, 0, 0, 0, 10, 1, 2, 3];
    message.resize(48, 0);
    let mut table = looking(255);
    feed(&mut table, &datagram((123, 123), &message), SECOND);
    let wanted = concat!(
        r#""NTP":{"Version":4,"Mode":"Server","Stratum":2,"Poll":6,"#,
        r#""Precision":-23,"ReferenceID":"10.1.2.3"}"#,
    );
    assert!(all(&table).contains(wanted), "{}", all(&table));
}

#[test]
fn layers_of_floods_are_left_out_beyond_the_budget() {
    let mut table = looking(255);
    let request = [b"GET /", &[b'a'; 1020][..], b" HTTP/1.1\r\n\r\n"].concat();
    for flow in 0..80_000u32 {
        let mut frame = segment(1, 2, 100, ACK, &request);
        frame[28..30].copy_from_slice(&(flow as u16).to_be_bytes());
        frame[26..28].copy_from_slice(&((flow >> 16) as u16).to_be_bytes());
        feed(&mut table, &frame, SECOND);
    }
    assert!(table.stats().layers_left_out > 0);
    let headers = 80_000 * 600;
    assert!(table.stats().memory_bytes < (65 << 20) + headers);
}

// Whatever bytes.

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let mut lease = vec![0u8; 260];
    lease[0] = 1;
    lease[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    let quic = [&[0xC0, 0, 0, 0, 1, 8][..], &[0; 60]].concat();
    let frames = vec![
        datagram((53, 53), &answer()),
        datagram((67, 68), &lease),
        datagram(
            (546, 547),
            &[
                1, 0, 0, 1, 0, 3, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0,
            ],
        ),
        datagram((123, 123), &[0x24; 48]),
        datagram((9, 443), &quic),
        segment(1, 2, 1, ACK, &hello("a.example", 3)),
        segment(1, 2, 1, ACK, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        segment(2, 1, 7, SYN, b""),
        ethernet(1, 2, 0x0800, &ipv4(1, 2, 112, &[0x21; 12])),
        fragment(1, 17, 0, true, &udp(9, 53, &answer())[..64]),
        fragment(1, 17, 64, false, &udp(9, 53, &answer())[64..200]),
        fragments_v6(1, 6, &[0; 80], 40)[0].clone(),
        fragments_v6(1, 6, &[0; 80], 40)[1].clone(),
    ];
    let change = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    (prop::sample::select(frames), change, 0usize..600).prop_map(|(mut bytes, changes, cut)| {
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
    fn any_messages_are_taken_and_memory_comes_back(
        frames in prop::collection::vec(messages(), 1..60), more in 0u32..100, limit in 1usize..20,
    ) {
        let mut table = FlowTable::new(Settings {
            ip_defrag: true,
            reassemble_tcp: true,
            extra_layers: 255,
            extra_tcp_metric: true,
            max_flows: limit,
            raw_packet_limit: 1,
            ..Settings::default()
        });
        let frames: Vec<Frame<'_>> = frames.iter().enumerate().map(|(number, data)| Frame {
            data,
            at_ns: number as i64 * SECOND,
            wire_bytes: data.len() as u32 + more,
        }).collect();
        table.feed(&frames);
        let set = Search::parse(b"").unwrap().run(table.flows());
        prop_assert!(json::flows(&set).is_ok());
        prop_assert!(json::flows(&table.update(40_000)).is_ok());
        prop_assert!(json::flows(&table.flush()).is_ok());
        prop_assert_eq!(table.stats().memory_bytes, 512);
        prop_assert_eq!(table.stats().fragments_waiting, 0);
    }
}
