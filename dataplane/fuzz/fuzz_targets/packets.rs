//! Frames into a table, ticks, and what it sends as JSON. Input: four bytes of settings, then frames,
//! each with its length in one byte (times two) before it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skydive_core::json;
use skydive_core::keys::KeyMode;
use skydive_core::layers::FirstLayer;
use skydive_core::query::Search;
use skydive_core::ring::Frame;
use skydive_core::table::{FlowTable, Settings};

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

fuzz_target!(|input: &[u8]| {
    let Some((&[first, mode, limit, more], mut rest)) = input.split_first_chunk() else {
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
    for now_ms in [5_000, 50_000] {
        assert!(json::flows(&table.update(now_ms)).is_ok());
    }
    table.expire(3_000);
    table.feed(&frames);
    table.flush();
    assert!(table.flows().is_empty());
});
