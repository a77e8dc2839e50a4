//! Figures of the flow table: `cargo run --release --example table_bench [flows… | kinds…]`.
//!
//! Prints one JSON object a line: name, unit, samples. Frames lie one after the other in memory, as in
//! a capture ring, each of a flow drawn at random, and are handed over 64 at a time.

use std::time::Instant;

use skydive_core::layers::FirstLayer;
use skydive_core::ring::Frame;
use skydive_core::table::{FlowTable, Settings};

const RUNS: usize = 7;
const BATCH: usize = 64;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut sizes: Vec<u32> = wanted.iter().filter_map(|a| a.parse().ok()).collect();
    let kinds: Vec<&String> = wanted
        .iter()
        .filter(|a| a.parse::<u32>().is_err())
        .collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000];
    }
    for flows in sizes {
        for (name, make) in KINDS {
            if kinds.is_empty() || kinds.iter().any(|kind| kind == name) {
                packets(name, flows, *make);
            }
        }
    }
}

type Make = fn(&mut Vec<u8>, u32);
const KINDS: &[(&str, Make)] = &[("tcp", tcp), ("mix", mix), ("vxlan", vxlan)];

/// Frames in one piece of memory.
struct Stream {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Stream {
    fn new(order: impl Iterator<Item = u32>, make: Make) -> Stream {
        let mut stream = Stream {
            bytes: Vec::new(),
            ends: Vec::new(),
        };
        for flow in order {
            make(&mut stream.bytes, flow);
            stream.ends.push(stream.bytes.len());
        }
        stream
    }

    fn feed(&self, table: &mut FlowTable, at_ns: &mut i64) {
        let mut begin = 0;
        let mut frames = Vec::with_capacity(BATCH);
        for ends in self.ends.chunks(BATCH) {
            frames.clear();
            for end in ends {
                let data = self.bytes.get(begin..*end).unwrap_or(&[]);
                *at_ns += 700;
                frames.push(Frame {
                    data,
                    at_ns: *at_ns,
                    wire_bytes: data.len() as u32,
                });
                begin = *end;
            }
            table.feed_from(FirstLayer::Ethernet, &frames);
        }
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(below)) >> 32) as u32
    }
}

fn packets(name: &str, flows: u32, make: Make) {
    let mut table = FlowTable::new(Settings {
        max_flows: 4_000_000,
        ..Settings::default()
    });
    let mut at_ns = 1_700_000_000_000_000_000;
    let resident = resident_bytes();
    let first = Stream::new(0..flows, make);
    let with_stream = resident_bytes();
    let begin = Instant::now();
    first.feed(&mut table, &mut at_ns);
    let new = begin.elapsed().as_nanos() as f64 / f64::from(flows);
    let grown = resident_bytes() - with_stream;
    let _ = resident;
    drop(first);
    report(&format!("{name}_{flows}_new_flow"), "ns", &[new]);
    let stats = table.stats();
    let held = stats.flows as f64;
    report(
        &format!("{name}_{flows}_memory_per_flow"),
        "bytes",
        &[stats.memory_bytes as f64 / held, grown as f64 / held],
    );

    let mut random = Random(88_172_645_463_325_252);
    let count = (flows * 2).max(1_000_000);
    let stream = Stream::new((0..count).map(|_| random.next(flows)), make);
    let mut samples = Vec::new();
    for _ in 0..RUNS {
        let begin = Instant::now();
        stream.feed(&mut table, &mut at_ns);
        samples.push(begin.elapsed().as_nanos() as f64 / f64::from(count));
    }
    report(&format!("{name}_{flows}_packet"), "ns", &samples);

    let mut samples = Vec::new();
    let mut with_bytes = Vec::new();
    for run in 0..RUNS as i64 {
        stream.feed(&mut table, &mut at_ns);
        let begin = Instant::now();
        let message = table.update(at_ns / 1_000_000 + run);
        with_bytes.push(begin.elapsed().as_secs_f64() * 1e3);
        samples.push(message.len() as f64 / held);
    }
    report(
        &format!("{name}_{flows}_tick_and_encode"),
        "ms",
        &with_bytes,
    );
    report(&format!("{name}_{flows}_encoded_flow"), "bytes", &samples);
}

fn report(name: &str, unit: &str, samples: &[f64]) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let texts: Vec<String> = samples.iter().map(|s| format!("{s:.1}")).collect();
    println!(
        "{{\"name\": \"{name}\", \"unit\": \"{unit}\", \"median\": {median:.1}, \"samples\": [{}]}}",
        texts.join(", ")
    );
}

fn resident_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: i64 = status
        .split(' ')
        .nth(1)
        .and_then(|p| p.parse().ok())
        .unwrap_or(0);
    pages * 4096
}

fn ethernet(out: &mut Vec<u8>, flow: u32, kind: u16) {
    let [_, a, b, c] = (flow & 0xFF).to_be_bytes();
    out.extend([2, 0, 1, a, b, c]);
    out.extend([2, 0, 2, a, b, c]);
    out.extend(kind.to_be_bytes());
}

fn ipv4(out: &mut Vec<u8>, flow: u32, protocol: u8, payload: usize) {
    out.extend([0x45, 0]);
    out.extend((20 + payload as u16).to_be_bytes());
    out.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    out.extend((0x0A00_0000 | flow >> 8).to_be_bytes());
    out.extend((0x0A80_0000 | flow & 0xFF).to_be_bytes());
}

fn tcp_header(out: &mut Vec<u8>, flow: u32) {
    out.extend((1024 + (flow % 50_000) as u16).to_be_bytes());
    out.extend(443u16.to_be_bytes());
    out.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xFF, 0xFF, 0, 0, 0, 0]);
}

fn tcp(out: &mut Vec<u8>, flow: u32) {
    ethernet(out, flow, 0x0800);
    ipv4(out, flow, 6, 20);
    tcp_header(out, flow);
    out.extend([0; 6]);
}

fn mix(out: &mut Vec<u8>, flow: u32) {
    match flow % 20 {
        0..=9 => tcp(out, flow),
        10..=13 => {
            ethernet(out, flow, 0x0800);
            ipv4(out, flow, 17, 40);
            out.extend((1024 + (flow % 50_000) as u16).to_be_bytes());
            out.extend(if flow.is_multiple_of(2) { 53u16 } else { 5001 }.to_be_bytes());
            out.extend([0, 40, 0, 0]);
            out.extend([0; 32]);
        }
        14..=16 => {
            ethernet(out, flow, 0x86DD);
            out.extend([0x60, 0, 0, 0, 0, 20, 6, 64]);
            out.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            out.extend(flow.to_be_bytes());
            out.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            tcp_header(out, flow);
        }
        17 => {
            ethernet(out, flow, 0x0800);
            ipv4(out, flow, 1, 64);
            out.extend([8, 0, 0, 0]);
            out.extend((flow as u16).to_be_bytes());
            out.extend([0; 58]);
        }
        _ => {
            ethernet(out, flow, 0x8100);
            out.extend([0, 7, 8, 0]);
            ipv4(out, flow, 6, 20);
            tcp_header(out, flow);
            out.extend([0; 6]);
        }
    }
}

/// Two flows a packet: a thousand tunnels, and what is in them.
fn vxlan(out: &mut Vec<u8>, flow: u32) {
    ethernet(out, 0x10, 0x0800);
    ipv4(out, flow % 1000, 17, 70);
    out.extend((49_152 + (flow % 1000) as u16).to_be_bytes());
    out.extend(4789u16.to_be_bytes());
    out.extend([0, 70, 0, 0, 8, 0, 0, 0, 0, 0, 10, 0]);
    ethernet(out, flow, 0x0800);
    ipv4(out, flow, 6, 20);
    tcp_header(out, flow);
}
