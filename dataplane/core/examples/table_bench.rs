//! Figures of the flow table: `cargo run --release --example table_bench [flows… | kinds…]`.
//!
//! Prints one JSON object a line: name, unit, samples. Frames lie one after the other in memory, as in
//! a capture ring, each of a flow drawn at random, and are handed over 64 at a time. Times are those of
//! the processor that the process had, so that a busy machine spoils them less.

#![allow(unsafe_code)] // the clock of the process is a system call

use skydive_core::json;
use skydive_core::layers::FirstLayer;
use skydive_core::query::Search;
use skydive_core::ring::Frame;
use skydive_core::table::{FlowTable, Settings};
use skydive_core::wire::Writer;

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
        if kinds.is_empty() || kinds.iter().any(|kind| *kind == "search") {
            searches(flows);
        }
        if kinds.is_empty() || kinds.iter().any(|kind| *kind == "file") {
            file(flows);
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

struct Clock(u64);

impl Clock {
    fn now() -> Clock {
        // SAFETY: the kernel fills the structure that it is given.
        let spent = unsafe {
            let mut spent: libc::timespec = std::mem::zeroed();
            libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut spent);
            spent
        };
        Clock(spent.tv_sec as u64 * 1_000_000_000 + spent.tv_nsec as u64)
    }

    fn elapsed_ns(&self) -> f64 {
        (Clock::now().0 - self.0) as f64
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
    let first = Stream::new(0..flows, make);
    let with_stream = resident_bytes();
    let begin = Clock::now();
    first.feed(&mut table, &mut at_ns);
    let new = begin.elapsed_ns() / f64::from(flows);
    let grown = resident_bytes() - with_stream;
    drop(first);
    report(&format!("{name}_{flows}_new"), "ns", &[new]);
    let stats = table.stats();
    let held = stats.flows as f64;
    report(
        &format!("{name}_{flows}_memory"),
        "bytes",
        &[stats.memory_bytes as f64 / held, grown as f64 / held],
    );

    let mut random = Random(88_172_645_463_325_252);
    let count = (flows * 2).max(1_000_000);
    let stream = Stream::new((0..count).map(|_| random.next(flows)), make);
    let mut samples = Vec::new();
    for _ in 0..RUNS {
        let begin = Clock::now();
        stream.feed(&mut table, &mut at_ns);
        samples.push(begin.elapsed_ns() / f64::from(count));
    }
    report(&format!("{name}_{flows}_packet"), "ns", &samples);

    let mut ticks = Vec::new();
    let mut encoded = Vec::new();
    for run in 0..RUNS as i64 {
        stream.feed(&mut table, &mut at_ns);
        let begin = Clock::now();
        let message = table.update(at_ns / 1_000_000 + run);
        ticks.push(begin.elapsed_ns() / 1e6);
        encoded.push(message.len() as f64 / held);
    }
    report(&format!("{name}_{flows}_tick"), "ms", &ticks);
    report(&format!("{name}_{flows}_encoded"), "bytes", &encoded);
}

/// Live questions to the table alone.
fn searches(flows: u32) {
    let mut table = FlowTable::new(Settings {
        max_flows: 4_000_000,
        node_tid: "4228a5dc-4b3c-5a2e-9a4b-0ee1d6a3a9d7".to_owned(),
        ..Settings::default()
    });
    let mut at_ns = 1_700_000_000_000_000_000;
    let mut random = Random(88_172_645_463_325_252);
    Stream::new(0..flows, mix).feed(&mut table, &mut at_ns);
    Stream::new((0..flows).map(|_| random.next(flows)), mix).feed(&mut table, &mut at_ns);
    let filter = |write: &dyn Fn(&mut Writer)| {
        let mut out = Writer::default();
        out.message(1, |out| write(out));
        out
    };
    let top = |out: &mut Writer| {
        out.message(2, |out| out.integer(2, 100));
        out.number(3, 1);
        out.text(6, "Metric.ABBytes");
    };
    let mut rows: Vec<(&str, Writer)> = Vec::new();
    rows.push(("all", Writer::default()));
    let mut search = filter(&|out| {
        out.message(1, |out| {
            out.text(1, "Application");
            out.text(2, "TCP");
        });
    });
    top(&mut search);
    rows.push(("filter_sort_limit_100", search));
    let mut search = filter(&|out| {
        out.message(9, |out| {
            out.text(1, "Network.A");
            out.text(2, r"^10\.0\..*\.7$");
        });
    });
    top(&mut search);
    rows.push(("regex_sort_limit_100", search));
    let mut search = Writer::default();
    search.number(4, 1);
    search.message(2, |out| out.integer(2, 100));
    rows.push(("dedup_limit_100", search));
    for (name, search) in rows {
        let Ok(search) = Search::parse(&search.into_bytes()) else {
            continue;
        };
        let mut samples = Vec::new();
        let mut as_json = Vec::new();
        for _ in 0..RUNS {
            let begin = Clock::now();
            let set = search.run(table.flows());
            samples.push(begin.elapsed_ns() / 1e6);
            let begin = Clock::now();
            let text = json::flows(&set).unwrap_or_default();
            as_json.push(begin.elapsed_ns() / 1e6);
            assert!(!text.is_empty());
        }
        report(&format!("search_{flows}_{name}"), "ms", &samples);
        report(&format!("search_{flows}_{name}_json"), "ms", &as_json);
    }
}

/// A capture file in memory.
fn file(flows: u32) {
    let mut random = Random(88_172_645_463_325_252);
    let mut file = vec![
        0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0,
    ];
    file.extend(1u32.to_le_bytes());
    let packets = flows * 10;
    let mut frame = Vec::new();
    for number in 0..packets {
        frame.clear();
        tcp(&mut frame, random.next(flows));
        file.extend((1_700_000_000 + number / 1_000_000).to_le_bytes());
        file.extend((number % 1_000_000).to_le_bytes());
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend(&frame);
    }
    let mut samples = Vec::new();
    for _ in 0..RUNS {
        let mut table = FlowTable::new(Settings {
            max_flows: 4_000_000,
            ..Settings::default()
        });
        let begin = Clock::now();
        let fed = table.feed_file(&file);
        samples.push(f64::from(packets) / begin.elapsed_ns() * 1e3);
        assert_eq!(fed, Ok(u64::from(packets)));
    }
    report(&format!("file_{flows}"), "million packets/s", &samples);
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
