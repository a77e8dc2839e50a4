//! One flow as a table keeps it: what every packet touches, and the rest.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::keys::Way;
use crate::reassembly::Stream;

/// Packets and bytes both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets from A to B.
    pub ab_packets: u64,
    /// Bytes from A to B.
    pub ab_bytes: u64,
    /// Packets from B to A.
    pub ba_packets: u64,
    /// Bytes from B to A.
    pub ba_bytes: u64,
}

impl Counters {
    /// What came since `earlier`.
    pub fn since(self, earlier: Counters) -> Counters {
        Counters {
            ab_packets: self.ab_packets.wrapping_sub(earlier.ab_packets),
            ab_bytes: self.ab_bytes.wrapping_sub(earlier.ab_bytes),
            ba_packets: self.ba_packets.wrapping_sub(earlier.ba_packets),
            ba_bytes: self.ba_bytes.wrapping_sub(earlier.ba_bytes),
        }
    }
}

/// Why a flow is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Finish {
    /// It is not.
    #[default]
    Not = 0,
    /// Nothing came for long.
    Timeout = 1,
    /// Both ends said so.
    Fin = 2,
    /// One end broke it.
    Rst = 3,
}

/// Packets came since the last tick.
pub const CHANGED: u8 = 1;
/// There is an update record: the flow was there at a tick.
pub const UPDATED: u8 = 1 << 1;
/// That tick was its first.
pub const FIRST_UPDATE: u8 = 1 << 2;
/// A said FIN.
pub const FIN_A: u8 = 1 << 3;
/// B said FIN.
pub const FIN_B: u8 = 1 << 4;
/// The transport ports tell the ends apart where the addresses do not.
pub const HAS_PORTS: u8 = 1 << 5;
/// Packets came between the last two ticks.
pub const COUNTED: u8 = 1 << 6;

/// What every packet of a flow touches: one cache line.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Hot {
    /// Key in the table.
    pub key: u64,
    /// Number of its UUID.
    pub uuid: u64,
    /// Since its start.
    pub counters: Counters,
    /// Time of the last packet processed.
    pub last_ns: i64,
    /// Source port of the first packet.
    pub a_port: u16,
    /// Number of its application.
    pub application: u16,
    /// Way of the first packet.
    pub a_way: Way,
    /// Bits as above.
    pub flags: u8,
    /// Why it is over.
    pub finish: Finish,
}

const _: () = assert!(size_of::<Hot>() == 64);

/// Version of the network addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoints {
    /// No network layer.
    None,
    /// IPv4 addresses of A and B.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6 addresses of A and B.
    V6(Ipv6Addr, Ipv6Addr),
}

/// Protocol of the transport layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Ports of A and B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Whose ports.
    pub protocol: Protocol,
    /// Of A.
    pub a: u16,
    /// Of B.
    pub b: u16,
}

/// ICMP of the first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Number of its kind (`icmp::KINDS`).
    pub kind: u8,
    /// As sent.
    pub code: u8,
    /// Identifier, 0 where there is none.
    pub id: u16,
}

/// MAC addresses of A and B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Of A.
    pub a: [u8; 6],
    /// Of B.
    pub b: [u8; 6],
}

/// What few packets touch.
#[derive(Debug)]
pub struct Cold {
    /// Time of the first packet.
    pub start_ms: i64,
    /// Number of its TrackingID.
    pub tracking: u64,
    /// Number of its L3TrackingID.
    pub l3_tracking: u64,
    /// Number of the UUID of the flow around it.
    pub parent: Option<u64>,
    /// VLAN ids of the first packet.
    pub link_id: u64,
    /// When the answer that gives the round trip was asked for; 0 = it was not.
    pub asked_ns: i64,
    /// Latest round trip; 0 = none measured.
    pub rtt_ns: i64,
    /// Counters at the last tick.
    pub counted: Counters,
    /// Between the last two ticks.
    pub update: Counters,
    /// Round trip at the last tick.
    pub update_rtt_ns: i64,
    /// Times of TCP flags, when asked for.
    pub tcp: Option<Box<TcpTimes>>,
    /// Packets kept, when asked for.
    pub raw: Option<Box<RawPackets>>,
    /// What few captures ask for.
    pub more: Option<Box<More>>,
    /// IP addresses.
    pub network: Endpoints,
    /// MAC addresses.
    pub link: Option<Link>,
    /// VNI or key of the tunnel that it is.
    pub network_id: u32,
    /// Number of its layer path.
    pub path: u32,
    /// Ports.
    pub ports: Option<Ports>,
    /// ICMP.
    pub icmp: Option<Icmp>,
}

/// What is known of a flow beyond its headers, when asked for.
#[derive(Debug, Default)]
pub struct More {
    /// Fragments that its datagrams came in.
    pub ip: Option<IpMetric>,
    /// The two directions of a TCP connection, from A first.
    pub streams: Option<Box<[Stream; 2]>>,
    /// Messages of applications, serialized, by the number of their member.
    pub layers: Vec<(u32, Box<[u8]>)>,
    /// The beginning of a message that goes on in the next segment.
    pub partial: Option<Box<Partial>>,
}

/// Fragments of datagrams that became whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IpMetric {
    /// Those before the last of each.
    pub fragments: u64,
    /// Those that were refused.
    pub errors: u64,
}

/// The beginning of a message in a TCP connection.
#[derive(Debug, Default)]
pub struct Partial {
    /// Sequence number of the byte after it.
    pub next: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl More {
    /// Memory that it takes, itself included.
    pub fn memory_bytes(&self) -> usize {
        let layers = self.layers.capacity() * size_of::<(u32, Box<[u8]>)>();
        let bytes: usize = self.layers.iter().map(|(_, bytes)| bytes.len()).sum();
        let streams = self.streams.as_ref().map_or(0, |streams| {
            let waiting: usize = streams.iter().map(Stream::memory_bytes).sum();
            size_of::<[Stream; 2]>() + waiting
        });
        let partial = self
            .partial
            .as_ref()
            .map_or(0, |partial| size_of::<Partial>() + partial.bytes.capacity());
        size_of::<More>() + layers + bytes + streams + partial
    }

    /// The serialized message with this number.
    pub fn layer(&self, number: u32) -> Option<&[u8]> {
        let found = self.layers.iter().find(|(layer, _)| *layer == number);
        found.map(|(_, bytes)| &**bytes)
    }

    /// Sets the message with this number.
    pub fn set_layer(&mut self, number: u32, bytes: Vec<u8>) {
        let bytes = bytes.into_boxed_slice();
        match self.layers.iter_mut().find(|(layer, _)| *layer == number) {
            Some((_, slot)) => *slot = bytes,
            None => self.layers.push((number, bytes)),
        }
    }
}

/// When TCP flags were seen, ms; 0 = not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // the names are those of the wire
pub struct TcpTimes {
    pub ab_syn: i64,
    pub ba_syn: i64,
    pub ab_syn_ttl: u32,
    pub ba_syn_ttl: u32,
    pub ab_fin: i64,
    pub ba_fin: i64,
    pub ab_rst: i64,
    pub ba_rst: i64,
}

/// Packets of a flow kept as they were.
#[derive(Debug, Default)]
pub struct RawPackets {
    /// Kept since the start.
    pub captured: u32,
    /// Kept since they were last sent.
    pub packets: Vec<RawPacket>,
}

/// One of them.
#[derive(Debug)]
pub struct RawPacket {
    /// When it was seen.
    pub at_ms: i64,
    /// Its number in the flow, from 1.
    pub index: u32,
    /// From the first header of the flow on.
    pub data: Box<[u8]>,
}

/// Milliseconds of a time in nanoseconds.
#[inline]
pub fn milliseconds(at_ns: i64) -> i64 {
    at_ns / 1_000_000
}
