//! Ids of flows against those of the captures that Skydive's own tests use.
//!
//! TrackingID, L3TrackingID and UUID depend on addresses, ports, VNI, ICMP and the first
//! millisecond only, and all of these are in the table: so frames with just that content are built
//! from each row here, tunnel in tunnel, and must give the ids of the row.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod frames;

use std::collections::BTreeSet;

use frames::{frame, Row};
use skydive_core::flow::Endpoints;
use skydive_core::keys::{Hex, KeyMode};
use skydive_core::layers::FirstLayer;
use skydive_core::ring::Frame;
use skydive_core::table::{FlowTable, FlowView, Settings};

const GOLDEN: &str = include_str!("golden_flows.txt");

/// Rows by file.
fn files() -> Vec<(String, Vec<Row>)> {
    let mut files: Vec<(String, Vec<Row>)> = Vec::new();
    for line in GOLDEN.lines() {
        if let Some(name) = line.strip_prefix("file ") {
            files.push((name.to_owned(), Vec::new()));
        } else if line.starts_with(|c: char| c.is_ascii_digit()) {
            files
                .last_mut()
                .expect("a file first")
                .1
                .push(Row::parse(line));
        }
    }
    files
}

fn settings(name: &str) -> Settings {
    Settings {
        key_mode: if name.contains("LayerKeyMode L3") {
            KeyMode::L3
        } else {
            KeyMode::L2
        },
        first_layer: if name.starts_with("link-type-12") {
            FirstLayer::RawIp
        } else {
            FirstLayer::Ethernet
        },
        mpls_udp_port: Some(51_234),
        ..Settings::default()
    }
}

/// Rows that are not inside the given one contain each other: outermost first.
fn chain<'a>(rows: &'a [Row], row: &'a Row) -> Vec<&'a Row> {
    let mut chain = vec![row];
    while let Some(parent) = chain[0].parent {
        chain.insert(0, &rows[parent - 1]);
    }
    chain
}

fn table_of(name: &str, rows: &[Row], settings: Settings) -> FlowTable {
    let mut table = FlowTable::new(settings);
    let mut leaves: Vec<&Row> = rows
        .iter()
        .filter(|row| !rows.iter().any(|other| other.parent == Some(row.number)))
        .collect();
    leaves.sort_by_key(|row| row.start_ms);
    for leaf in leaves {
        let bytes = frame(&chain(rows, leaf), name.starts_with("erspan"));
        table.feed(&[Frame {
            data: &bytes,
            at_ns: leaf.start_ms * 1_000_000,
            wire_bytes: bytes.len() as u32,
        }]);
    }
    table
}

fn shown(flow: &FlowView<'_>) -> String {
    let link = flow.cold.link.map_or("-".to_owned(), |link| {
        format!("{} -> {} ({})", mac(link.a), mac(link.b), flow.cold.link_id)
    });
    let network = match flow.cold.network {
        Endpoints::None => "-".to_owned(),
        Endpoints::V4(a, b) => format!("{a} -> {b} ({})", flow.cold.network_id),
        Endpoints::V6(a, b) => format!("{a} -> {b} ({})", flow.cold.network_id),
    };
    let transport = match (flow.cold.ports, flow.cold.icmp) {
        (Some(ports), _) => {
            format!(
                "{} {}->{}",
                format!("{:?}", ports.protocol).to_uppercase(),
                ports.a,
                ports.b
            )
        }
        (None, Some(icmp)) => format!("ECHO code {} id {}", icmp.code, icmp.id),
        (None, None) => "-".to_owned(),
    };
    [
        flow.path(),
        &link,
        &network,
        &transport,
        Hex::of(flow.cold.tracking).as_str(),
        Hex::of(flow.cold.l3_tracking).as_str(),
        Hex::of(flow.hot.uuid).as_str(),
        flow.cold
            .parent
            .map(Hex::of)
            .as_ref()
            .map_or("-", Hex::as_str),
    ]
    .join(" | ")
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn wanted(rows: &[Row], row: &Row) -> String {
    let parent = row.parent.map_or("-", |parent| &rows[parent - 1].uuid);
    [
        &row.path,
        &row.link,
        &row.network,
        &row.transport,
        &row.tracking,
        &row.l3_tracking,
        &row.uuid,
        parent,
    ]
    .join(" | ")
}

#[test]
fn flows_have_the_ids_of_the_original() {
    let mut checked = 0;
    for (name, rows) in files() {
        // Datagrams are not put together again.
        if rows.iter().any(|row| row.path.contains("Fragment/")) {
            continue;
        }
        let table = table_of(&name, &rows, settings(&name));
        let found: BTreeSet<String> = table.flows().iter().map(|flow| shown(&flow)).collect();
        let wanted: BTreeSet<String> = rows.iter().map(|row| wanted(&rows, row)).collect();
        assert_eq!(found, wanted, "{name}");
        assert_eq!(table.stats().decode_errors, 0, "{name}");
        checked += rows.len();
    }
    assert!(checked >= 50, "{checked} rows");
}

#[test]
fn the_node_is_part_of_a_uuid_and_of_nothing_else() {
    let files = files();
    let (name, rows) = &files[0];
    let settings = Settings {
        node_tid: "probe-tid".to_owned(),
        ..Settings::default()
    };
    let table = table_of(name, rows, settings);
    let flow = table.flows().get(0).unwrap();
    assert_eq!(Hex::of(flow.hot.uuid).as_str(), "1bc36d52e0ae960e");
    assert_eq!(Hex::of(flow.cold.tracking).as_str(), rows[0].tracking);
}

#[test]
fn by_network_alone_the_ids_are_others() {
    let expected: &[(&str, &[&str])] = &[
        ("simple-tcpv4", &["a89369b16a3ff563"]),
        ("iperf-same-L2L3", &["a9bfa2faf7f844e"]),
        (
            "icmpv4-4vlanQinQ",
            &[
                "cd6030264f679ca9",
                "62b75fe2d9039507",
                "5d0f35c6b82fd00b",
                "75f57845f2b875e",
            ],
        ),
        (
            "vxlan-src-port",
            &["9dfc3f9d15b0f14e", "73eb60991258e4d6", "edf2af253886a910"],
        ),
        ("geneve", &["c314bf80f022c343", "fcc7dd0b7b105a8a"]),
    ];
    for (name, ids) in expected {
        let files = files();
        let (name, rows) = files
            .iter()
            .find(|(file, _)| file.starts_with(name))
            .unwrap();
        let settings = Settings {
            key_mode: KeyMode::L3,
            ..settings(name)
        };
        let table = table_of(name, rows, settings);
        let found: BTreeSet<String> = table
            .flows()
            .iter()
            .map(|flow| Hex::of(flow.cold.tracking).as_str().to_owned())
            .collect();
        for id in *ids {
            assert!(found.contains(*id), "{name}: {id} not in {found:?}");
        }
    }
}

#[test]
fn pings_with_a_hundred_ids_are_a_hundred_flows() {
    let ping = |a: u8, b: u8, id: u16, reply: bool| {
        let mut bytes = frame(
            &[&Row::parse(&format!(
                "1 | Ethernet/IPv4/ICMPv4 | 02:00:00:00:00:{a:02x} -> 02:00:00:00:00:{b:02x} (0) | \
                 176.16.13.{a} -> 176.16.13.{b} (0) | ECHO code 0 id {id} \
                 | | | | | | | - | 0 | 0"
            ))],
            false,
        );
        bytes[34] = if reply { 0 } else { 8 };
        bytes.resize(98, 0);
        bytes
    };
    let mut table = FlowTable::new(Settings::default());
    for n in 1..=100u8 {
        let (a, b) = if n <= 50 { (n, n + 50) } else { (n, n - 50) };
        let id = 18_000 + u16::from(n);
        for (bytes, at_ns) in [
            (ping(a, b, id, false), 1_000),
            (ping(b, a, id, true), 51_000),
        ] {
            table.feed(&[Frame {
                data: &bytes,
                at_ns,
                wire_bytes: bytes.len() as u32,
            }]);
        }
    }
    let uuids: BTreeSet<u64> = table.flows().iter().map(|flow| flow.hot.uuid).collect();
    assert_eq!((table.flows().len(), uuids.len()), (100, 100));
    for flow in table.flows().iter() {
        let counters = flow.hot.counters;
        assert_eq!((counters.ab_packets, counters.ab_bytes), (1, 98));
        assert_eq!((counters.ba_packets, counters.ba_bytes), (1, 98));
        assert_eq!(flow.cold.rtt_ns, 50_000);
    }
}
