//! What messages of applications say, for captures that ask for it (flows.md §1.9).
//!
//! A message becomes the serialized member of the flow at once: it takes little memory, is sent as it
//! is, and searches read it like any other message. Members and words of DNS, DHCPv4 and VRRPv2 are
//! those of the original; the other kinds are ours, under numbers that the original passes over.

mod dhcp;
mod dns;
mod http;
mod ntp;
mod quic;
mod text;
mod tls;
mod vrrp;

use crate::layers::Layer;
use crate::packet::SubPacket;
use crate::schema::flow;

/// Look into VRRP.
pub const VRRP: u8 = 1;
/// Look into DNS.
pub const DNS: u8 = 1 << 1;
/// Look into DHCPv4.
pub const DHCP_V4: u8 = 1 << 2;
/// Look into DHCPv6.
pub const DHCP_V6: u8 = 1 << 3;
/// Look into TLS.
pub const TLS: u8 = 1 << 4;
/// Look into HTTP/1.
pub const HTTP: u8 = 1 << 5;
/// Look into QUIC.
pub const QUIC: u8 = 1 << 6;
/// Look into NTP.
pub const NTP: u8 = 1 << 7;

/// Bytes of a message kept while the rest of it is on the way.
pub const LONGEST_PARTIAL: usize = 8192;

/// A member of a flow: its number, and the serialized message.
pub type Member = (u32, Vec<u8>);

/// What the beginning of a TCP conversation says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The message, as far as it is there.
    pub layer: Option<Member>,
    /// More of it is to come.
    pub goes_on: bool,
}

/// Reads a datagram of an application known by its port. `known`: the flow has the member already.
pub fn of_datagram(
    wanted: u8,
    layer: Layer,
    payload: &[u8],
    at_ns: i64,
    known: impl Fn(u32) -> bool,
) -> Option<Member> {
    match layer {
        Layer::Dns if wanted & DNS != 0 => Some((flow::DNS, dns::message(payload, at_ns)?)),
        // The first one counts, as upstream.
        Layer::DhcpV4 if wanted & DHCP_V4 != 0 && !known(flow::DHCP_V4) => {
            Some((flow::DHCP_V4, dhcp::v4(payload)?))
        }
        Layer::DhcpV6 if wanted & DHCP_V6 != 0 => Some((flow::DHCP_V6, dhcp::v6(payload)?)),
        Layer::Ntp if wanted & NTP != 0 => Some((flow::NTP, ntp::message(payload)?)),
        _ => None,
    }
}

/// Reads a UDP payload of which the ports say nothing.
pub fn of_unknown_datagram(
    wanted: u8,
    payload: &[u8],
    known: impl Fn(u32) -> bool,
) -> Option<Member> {
    // The first bit is set in all packets that say something.
    if wanted & QUIC == 0 || payload.first()? & 0xC0 != 0xC0 || known(flow::QUIC) {
        return None;
    }
    Some((flow::QUIC, quic::initial(payload)?))
}

/// Reads VRRP, which is right behind the IP header.
pub fn of_vrrp(
    wanted: u8,
    frame: &[u8],
    sub_packet: &SubPacket,
    known: impl Fn(u32) -> bool,
) -> Option<Member> {
    if wanted & VRRP == 0 || known(flow::VRRP_V2) {
        return None;
    }
    let at = match (sub_packet.ipv4.get(), sub_packet.ipv6.get()) {
        (Some(at), _) => at + 4 * usize::from(frame.get(at)? & 0x0F),
        (None, Some(at)) => at + 40,
        (None, None) => return None,
    };
    Some((flow::VRRP_V2, vrrp::message(frame.get(at..)?)?))
}

/// Reads the payload of a TCP segment, or of several that follow each other.
pub fn of_stream(wanted: u8, payload: &[u8]) -> Found {
    if wanted & TLS != 0 && tls::begins(payload) {
        return match tls::client_hello(payload) {
            Some((bytes, whole)) => Found {
                layer: Some((flow::TLS, bytes)),
                goes_on: !whole,
            },
            None => Found::default(),
        };
    }
    if wanted & HTTP != 0 && http::begins(payload) {
        return match http::request(payload) {
            Some((bytes, whole)) => Found {
                layer: Some((flow::HTTP, bytes)),
                goes_on: !whole,
            },
            None => Found::default(),
        };
    }
    Found::default()
}
