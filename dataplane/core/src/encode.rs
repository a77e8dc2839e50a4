//! Flows of a table as protobuf (flows.md §1).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::flow::{Counters, Endpoints, Finish, Protocol, RawPackets, TcpTimes};
use crate::keys::Hex;
use crate::reassembly::StreamMetric;
use crate::schema::flow;
use crate::table::{FlowView, Window};
use crate::wire::Writer;

/// Bytes of a flow, for reserving memory.
pub const USUAL_BYTES: usize = 352;

const FLOWS: u32 = 1;
const ETHERNET: u64 = 0;
const IPV4: u64 = 1;
const IPV6: u64 = 5;
const LINK_ETHERNET: u64 = 1;
const LINK_IPV4: u64 = 228;
const LINK_IPV6: u64 = 229;

/// Number of a transport protocol on the wire.
pub fn protocol_number(protocol: Protocol) -> u64 {
    match protocol {
        Protocol::Tcp => 2,
        Protocol::Udp => 3,
        Protocol::Sctp => 4,
    }
}

/// Writes a flow as a member of a `flow.Message` or `flow.FlowSet`.
pub fn flow(out: &mut Writer, view: &FlowView<'_>, window: Option<Window>) {
    out.message(FLOWS, |out| members(out, view, window));
}

fn members(out: &mut Writer, view: &FlowView<'_>, window: Option<Window>) {
    let (hot, cold) = (view.hot, view.cold);
    hex(out, flow::UUID, hot.uuid);
    out.text(flow::LAYERS_PATH, view.path());
    out.text(flow::APPLICATION, view.application());
    if let Some(parent) = cold.parent {
        hex(out, flow::PARENT_UUID, parent);
    }
    out.integer(flow::START, cold.start_ms);
    out.integer(flow::LAST, view.last_ms());
    if let Some(link) = cold.link {
        out.message(flow::LINK, |out| {
            out.number(1, ETHERNET);
            out.data(3, &mac_text(link.a));
            out.data(4, &mac_text(link.b));
            out.number(5, cold.link_id);
        });
    }
    match cold.network {
        Endpoints::None => (),
        Endpoints::V4(a, b) => out.message(flow::NETWORK, |out| {
            out.number(1, IPV4);
            v4(out, 3, a);
            v4(out, 4, b);
            out.number(5, u64::from(cold.network_id));
        }),
        Endpoints::V6(a, b) => out.message(flow::NETWORK, |out| {
            out.number(1, IPV6);
            v6(out, 3, a);
            v6(out, 4, b);
            out.number(5, u64::from(cold.network_id));
        }),
    }
    if let Some(ports) = cold.ports {
        out.message(flow::TRANSPORT, |out| {
            out.number(1, protocol_number(ports.protocol));
            out.number(2, u64::from(ports.a));
            out.number(3, u64::from(ports.b));
        });
    }
    if let Some(icmp) = cold.icmp {
        out.message(flow::ICMP, |out| {
            out.number(1, u64::from(icmp.kind));
            out.number(2, u64::from(icmp.code));
            out.number(3, u64::from(icmp.id));
        });
    }
    if let Some(window) = window {
        out.message(flow::LAST_UPDATE_METRIC, |out| {
            metric(out, view.update(), window, cold.update_rtt_ns);
        });
    }
    let whole = Window {
        start_ms: cold.start_ms,
        last_ms: view.last_ms(),
    };
    out.message(flow::METRIC, |out| {
        metric(out, hot.counters, whole, cold.rtt_ns);
    });
    out.text(flow::NODE_TID, view.node_tid());
    out.text(flow::CAPTURE_ID, view.capture_id());
    if let Some(raw) = &cold.raw {
        let link_type = match (cold.link, cold.network) {
            (Some(_), _) => LINK_ETHERNET,
            (None, Endpoints::V6(..)) => LINK_IPV6,
            (None, _) => LINK_IPV4,
        };
        raw_packets(out, raw, link_type);
    }
    let streams = view.streams();
    if cold.tcp.is_some() || streams.is_some() {
        let times = cold.tcp.as_deref().copied().unwrap_or_default();
        out.message(flow::TCP_METRIC, |out| {
            tcp_metric(out, &times);
            if let Some([a, b]) = streams {
                stream_metric(out, 9, a);
                stream_metric(out, 16, b);
            }
        });
    }
    if let Some(more) = &cold.more {
        if let Some(ip) = more.ip {
            out.message(flow::IP_METRIC, |out| {
                out.number(1, ip.fragments);
                out.number(2, ip.errors);
            });
        }
        for (number, bytes) in &more.layers {
            out.message(*number, |out| out.raw(bytes));
        }
    }
    hex(out, flow::TRACKING_ID, cold.tracking);
    hex(out, flow::L3_TRACKING_ID, cold.l3_tracking);
    if hot.finish != Finish::Not {
        out.number(flow::FINISH_TYPE, hot.finish as u64);
    }
}

fn hex(out: &mut Writer, number: u32, value: u64) {
    out.data(number, Hex::of(value).as_bytes());
}

fn metric(out: &mut Writer, counters: Counters, window: Window, rtt_ns: i64) {
    out.number(2, counters.ab_packets);
    out.number(3, counters.ab_bytes);
    out.number(4, counters.ba_packets);
    out.number(5, counters.ba_bytes);
    out.integer(6, window.start_ms);
    out.integer(7, window.last_ms);
    out.integer(8, rtt_ns);
}

fn tcp_metric(out: &mut Writer, times: &TcpTimes) {
    out.integer(1, times.ab_syn);
    out.integer(2, times.ba_syn);
    out.number(3, u64::from(times.ab_syn_ttl));
    out.number(4, u64::from(times.ba_syn_ttl));
    out.integer(5, times.ab_fin);
    out.integer(6, times.ba_fin);
    out.integer(7, times.ab_rst);
    out.integer(8, times.ba_rst);
}

/// The seven numbers of a direction, the first of them `from`.
fn stream_metric(out: &mut Writer, from: u32, metric: StreamMetric) {
    out.integer(from, metric.out_of_order);
    out.integer(from + 1, metric.skipped);
    out.integer(from + 2, metric.skipped_bytes);
    out.integer(from + 3, metric.packets);
    out.integer(from + 4, metric.bytes);
    out.number(from + 5, u64::from(metric.saw_start));
    out.number(from + 6, u64::from(metric.saw_end));
}

fn raw_packets(out: &mut Writer, raw: &RawPackets, link_type: u64) {
    for packet in &raw.packets {
        out.message(flow::LAST_RAW_PACKETS, |out| {
            out.integer(1, packet.at_ms);
            out.number(2, u64::from(packet.index));
            out.data(3, &packet.data);
            out.number(4, link_type);
        });
    }
    out.number(flow::RAW_PACKETS_CAPTURED, u64::from(raw.captured));
}

/// `aa:bb:cc:dd:ee:ff`.
pub fn mac_text(mac: [u8; 6]) -> [u8; 17] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
    let mut text = [b':'; 17];
    for (slot, byte) in text.chunks_mut(3).zip(mac) {
        if let [high, low, ..] = slot {
            *high = digit(byte >> 4);
            *low = digit(byte);
        }
    }
    text
}

fn v4(out: &mut Writer, number: u32, address: Ipv4Addr) {
    let (text, length) = v4_text(address);
    out.data(number, text.get(..length).unwrap_or(&[]));
}

/// Dotted text and its length.
pub fn v4_text(address: Ipv4Addr) -> ([u8; 16], usize) {
    let mut text = [b'.'; 16];
    let mut length = 0;
    let mut put = |byte: u8, length: &mut usize| {
        if let Some(slot) = text.get_mut(*length) {
            *slot = byte;
            *length += 1;
        }
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            put(b'.', &mut length);
        }
        if octet >= 100 {
            put(b'0' + octet / 100, &mut length);
        }
        if octet >= 10 {
            put(b'0' + octet / 10 % 10, &mut length);
        }
        put(b'0' + octet % 10, &mut length);
    }
    (text, length)
}

fn v6(out: &mut Writer, number: u32, address: Ipv6Addr) {
    out.message(number, |out| {
        // Writing into memory does not fail.
        let _ = write!(Text(out), "{address}");
    });
}

struct Text<'a>(&'a mut Writer);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.raw(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for raw in [0u32, 1, 0x0A00_0001, 0xC0A8_01FE, 0xFFFF_FFFF, 0x0109_6400] {
            let address = Ipv4Addr::from(raw);
            let (text, length) = v4_text(address);
            assert_eq!(text.get(..length), Some(address.to_string().as_bytes()));
        }
        assert_eq!(
            &mac_text([0, 0x1b, 0x21, 0x3c, 0xab, 0xff]),
            b"00:1b:21:3c:ab:ff"
        );
    }
}
