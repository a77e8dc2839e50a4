//! Frames into a table, ticks, and what it sends as JSON. Input: six bytes of settings, then frames,
//! each with its length in one byte (times two) before it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skydive_core::json;
use skydive_core::keys::KeyMode;
use skydive_core::layers::FirstLayer;
use skydive_core::query::Search;
use skydive_core::ring::Frame;
use skydive_core::table::{FlowTable, Settings};
use skydive_core::wire::Writer;

const FIRST: [FirstLayer; 8] = [
    FirstLayer::Ethernet,
    FirstLayer::RawIp,
    FirstLayer::IPv4,
    FirstLayer::IPv6,
    FirstLayer::Loopback,
    FirstLayer::Ppp,
    FirstLayer::LinuxSll,
    FirstLayer::LinuxSll2,
];

const FIELDS: [&str; 6] = [
    "DNS.Questions.Name",
    "DNS.Answers.SOA.Serial",
    "TLS.ServerName",
    "DHCPv6.Addresses",
    "NTP.Precision",
    "TCPMetric.ABSegmentSkipped",
];

fuzz_target!(|input: &[u8]| {
    let Some((&[first, mode, limit, more, layers, field], mut rest)) = input.split_first_chunk()
    else {
        return;
    };
    let mut table = FlowTable::new(Settings {
        first_layer: FIRST[usize::from(first) % FIRST.len()],
        key_mode: if mode & 1 == 0 {
            KeyMode::L2
        } else {
            KeyMode::L3
        },
        max_flows: usize::from(limit) + 1,
        raw_packet_limit: u32::from(mode >> 1 & 3),
        extra_tcp_metric: mode & 8 != 0,
        ip_defrag: mode & 16 != 0,
        reassemble_tcp: mode & 32 != 0,
        extra_layers: layers,
        mpls_udp_port: Some(51_234),
        ..Settings::default()
    });
    let mut frames = Vec::new();
    while let Some((length, behind)) = rest.split_first() {
        let (data, next) = behind.split_at((usize::from(*length) * 2).min(behind.len()));
        frames.push(Frame {
            data,
            at_ns: frames.len() as i64 * 3_000_000_000,
            wire_bytes: data.len() as u32 + u32::from(more),
        });
        rest = next;
    }
    table.feed(&frames);
    assert!(table.flows().len() <= usize::from(limit) + 1);
    let all = Search::parse(b"").expect("the empty search");
    let set = all.run(table.flows());
    assert!(json::flows(&set).is_ok());
    // A field inside a list, by text and by number.
    let key = FIELDS[usize::from(field) % FIELDS.len()];
    for kind in [1, 4, 10] {
        let mut query = Writer::default();
        query.message(1, |out| out.message(kind, |out| out.text(1, key)));
        let search = Search::parse(&query.into_bytes()).expect("a search for a field");
        search.run(table.flows());
    }
    for now_ms in [5_000, 50_000] {
        assert!(json::flows(&table.update(now_ms)).is_ok());
    }
    table.expire(3_000);
    table.feed(&frames);
    table.flush();
    assert!(table.flows().is_empty());
    let stats = table.stats();
    assert_eq!((stats.memory_bytes, stats.fragments_waiting), (512, 0));
});
