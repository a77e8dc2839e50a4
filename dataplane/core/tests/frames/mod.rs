//! Frames built from what a flow says of itself.

#![allow(dead_code)] // each test uses what it needs

use std::net::{Ipv4Addr, Ipv6Addr};

/// An Ethernet header from station `a` to station `b`.
pub fn ethernet(a: u8, b: u8, kind: u16, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, b, 2, 0, 0, 0, 0, a];
    out.extend(kind.to_be_bytes());
    out.extend(inner);
    out
}

/// An 802.1Q tag.
pub fn dot1q(vlan: u16, kind: u16, inner: &[u8]) -> Vec<u8> {
    [&vlan.to_be_bytes()[..], &kind.to_be_bytes(), inner].concat()
}

/// An IPv4 header from 10.0.0.`a` to 10.0.0.`b`, TTL 64.
pub fn ipv4(a: u8, b: u8, protocol: u8, inner: &[u8]) -> Vec<u8> {
    let length = (20 + inner.len() as u16).to_be_bytes();
    let mut out = vec![
        0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0,
    ];
    out.extend([10, 0, 0, a, 10, 0, 0, b]);
    out.extend(inner);
    out
}

/// An IPv6 header from fd00::`a` to fd00::`b`, hop limit 64.
pub fn ipv6(a: u8, b: u8, next: u8, inner: &[u8]) -> Vec<u8> {
    let length = (inner.len() as u16).to_be_bytes();
    let mut out = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    for end in [a, b] {
        out.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, end]);
    }
    out.extend(inner);
    out
}

/// A TCP header.
pub fn tcp(a: u16, b: u16, flags: u8, inner: &[u8]) -> Vec<u8> {
    let mut out = [a.to_be_bytes(), b.to_be_bytes()].concat();
    out.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0]);
    out.extend(inner);
    out
}

/// A UDP header.
pub fn udp(a: u16, b: u16, inner: &[u8]) -> Vec<u8> {
    let length = 8 + inner.len() as u16;
    let mut out = [a.to_be_bytes(), b.to_be_bytes(), length.to_be_bytes()].concat();
    out.extend([0, 0]);
    out.extend(inner);
    out
}

/// An ICMP header and 56 bytes behind it.
pub fn icmp(kind: u8, id: u16) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, 0];
    out.extend(id.to_be_bytes());
    out.extend([0; 58]);
    out
}

/// A VXLAN header.
pub fn vxlan(vni: u8, inner: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0, 0, 0, vni, 0], inner].concat()
}

/// A flow of the table.
pub struct Row {
    pub number: usize,
    pub path: String,
    pub link: String,
    pub network: String,
    pub transport: String,
    pub tracking: String,
    pub l3_tracking: String,
    pub uuid: String,
    pub parent: Option<usize>,
    pub start_ms: i64,
}

impl Row {
    pub fn parse(line: &str) -> Row {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Row {
            number: cells[0].parse().unwrap(),
            path: cells[1].to_owned(),
            link: cells[2].to_owned(),
            network: cells[3].to_owned(),
            transport: cells[4].to_owned(),
            tracking: cells[8].to_owned(),
            l3_tracking: cells[9].to_owned(),
            uuid: cells[10].to_owned(),
            parent: cells[11].parse().ok(),
            start_ms: cells[12].parse().unwrap(),
        }
    }

    /// `a -> b (id)`.
    fn ends(text: &str) -> (&str, &str, u64) {
        let (a, rest) = text.split_once(" -> ").unwrap();
        let (b, id) = rest.split_once(" (").unwrap();
        (a, b, id.trim_end_matches(')').parse().unwrap())
    }

    /// `TCP 1->2`.
    fn ports(&self) -> (u16, u16) {
        let (a, b) = self
            .transport
            .split_once(' ')
            .unwrap()
            .1
            .split_once("->")
            .unwrap();
        (a.parse().unwrap(), b.parse().unwrap())
    }
}

/// The frame that a chain of flows, outermost first, is seen in.
pub fn frame(chain: &[&Row], erspan: bool) -> Vec<u8> {
    let layers: Vec<(&Row, &str)> = chain
        .iter()
        .flat_map(|row| row.path.split('/').map(|layer| (*row, layer)))
        .collect();
    build(&layers, erspan)
}

fn build(layers: &[(&Row, &str)], erspan: bool) -> Vec<u8> {
    let Some((&(row, layer), rest)) = layers.split_first() else {
        return vec![0xEE; 4];
    };
    let inner = build(rest, erspan);
    let next = rest.first().map_or("", |(_, layer)| *layer);
    let mut out = Vec::new();
    match layer {
        "Ethernet" => {
            let (a, b, _) = Row::ends(&row.link);
            out.extend(mac(b));
            out.extend(mac(a));
            out.extend(ether_type(next, erspan).to_be_bytes());
        }
        "Dot1Q" => {
            let (_, _, id) = Row::ends(&row.link);
            let left = layers
                .iter()
                .filter(|(r, l)| r.number == row.number && *l == "Dot1Q")
                .count();
            let all = row.path.matches("Dot1Q").count();
            let vlan = (id >> (12 * (all - left))) as u16 & 0xFFF;
            out.extend(vlan.to_be_bytes());
            out.extend(ether_type(next, erspan).to_be_bytes());
        }
        "ARP" => {
            out.extend([0, 1, 8, 0, 6, 4, 0, 1]);
            out.extend([0; 20]);
            return out;
        }
        "IPv4" => {
            let (a, b, _) = Row::ends(&row.network);
            let fragment: u16 = if next == "Fragment" { 0x2000 } else { 0 };
            out.extend([0x45, 0]);
            out.extend((20 + inner.len() as u16).to_be_bytes());
            out.extend([0, 1]);
            out.extend(fragment.to_be_bytes());
            out.extend([64, protocol(next), 0, 0]);
            out.extend(a.parse::<Ipv4Addr>().unwrap().octets());
            out.extend(b.parse::<Ipv4Addr>().unwrap().octets());
        }
        "IPv6" => {
            let (a, b, _) = Row::ends(&row.network);
            out.extend([0x60, 0, 0, 0]);
            out.extend((inner.len() as u16).to_be_bytes());
            out.extend([protocol(next), 64]);
            out.extend(a.parse::<Ipv6Addr>().unwrap().octets());
            out.extend(b.parse::<Ipv6Addr>().unwrap().octets());
        }
        "Fragment" => (),
        "TCP" => {
            let (a, b) = row.ports();
            out.extend(a.to_be_bytes());
            out.extend(b.to_be_bytes());
            out.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xFF, 0xFF, 0, 0, 0, 0]);
        }
        "UDP" => {
            let (a, b) = row.ports();
            out.extend(a.to_be_bytes());
            out.extend(b.to_be_bytes());
            out.extend((8 + inner.len() as u16).to_be_bytes());
            out.extend([0, 0]);
        }
        "ICMPv4" => {
            let id: u16 = row.transport.rsplit(' ').next().unwrap().parse().unwrap();
            out.extend([8, 0, 0, 0]);
            out.extend(id.to_be_bytes());
            out.extend([0, 1]);
        }
        "DNS" => {
            out.extend(b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01");
            return out;
        }
        "GRE" => {
            if erspan {
                out.extend([0x10, 0, 0x88, 0xBE, 0, 0, 0, 1]);
                out.extend([0x10; 8]);
            } else {
                out.extend([0, 0]);
                out.extend(ether_type(next, erspan).to_be_bytes());
            }
        }
        "VXLAN" => {
            let (_, _, vni) = Row::ends(&row.network);
            out.extend([8, 0, 0, 0]);
            out.extend(((vni as u32) << 8).to_be_bytes());
        }
        "Geneve" => {
            let (_, _, vni) = Row::ends(&row.network);
            out.extend([0, 0]);
            out.extend(0x6558u16.to_be_bytes());
            out.extend(((vni as u32) << 8).to_be_bytes());
        }
        "MPLS" => out.extend([0, 1, 1, 64]),
        other => unreachable!("{other}"),
    }
    out.extend(inner);
    out
}

fn ether_type(next: &str, _erspan: bool) -> u16 {
    match next {
        "IPv4" => 0x0800,
        "IPv6" => 0x86DD,
        "ARP" => 0x0806,
        "Dot1Q" => 0x8100,
        "MPLS" => 0x8847,
        "Ethernet" => 0x6558,
        other => unreachable!("{other}"),
    }
}

fn protocol(next: &str) -> u8 {
    match next {
        "TCP" => 6,
        "UDP" => 17,
        "ICMPv4" => 1,
        "GRE" => 47,
        "Fragment" => 1,
        other => unreachable!("{other}"),
    }
}

fn mac(text: &str) -> Vec<u8> {
    text.split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}
