//! Fields of the flows of a table, read without making the whole flow (gremlin.md §5.4).

use std::fmt::Write;

use crate::encode::{mac_text, protocol_number, v4_text};
use crate::flow::{Counters, Endpoints, TcpTimes};
use crate::icmp;
use crate::keys::Hex;
use crate::reassembly::StreamMetric;
use crate::schema::{flow, Field, Kind, PROTOCOLS};
use crate::table::FlowView;
use crate::wire::{Reader, Value};

/// Names of the protocols of link and network layers.
const ETHERNET: &str = "ETHERNET";
const IPV4: &str = "IPV4";
const IPV6: &str = "IPV6";

impl FlowView<'_> {
    /// A field that is a number; None when the flow lacks it or it is no number.
    pub fn integer(&self, field: Field) -> Option<i64> {
        let (hot, cold) = (self.hot, self.cold);
        let value = match (field.layer, field.member) {
            (flow::START, 0) => cold.start_ms,
            (flow::LAST, 0) => self.last_ms(),
            (flow::FINISH_TYPE, 0) => hot.finish as i64,
            (flow::RAW_PACKETS_CAPTURED, 0) => {
                cold.raw.as_ref().map_or(0, |raw| i64::from(raw.captured))
            }
            (flow::LINK, 5) => {
                cold.link?;
                cold.link_id as i64
            }
            (flow::NETWORK, 5) => match cold.network {
                Endpoints::None => return None,
                _ => i64::from(cold.network_id),
            },
            (flow::TRANSPORT, member) => {
                let ports = cold.ports?;
                match member {
                    2 => i64::from(ports.a),
                    3 => i64::from(ports.b),
                    4 => 0,
                    _ => return None,
                }
            }
            (flow::ICMP, member) => {
                let icmp = cold.icmp?;
                match member {
                    2 => i64::from(icmp.code),
                    3 => i64::from(icmp.id),
                    _ => return None,
                }
            }
            (flow::METRIC, 6) => cold.start_ms,
            (flow::METRIC, 7) => self.last_ms(),
            (flow::METRIC, 8) => cold.rtt_ns,
            (flow::METRIC, member) => counter(hot.counters, member)?,
            (flow::LAST_UPDATE_METRIC, member) => {
                let window = self.window()?;
                match member {
                    6 => window.start_ms,
                    7 => window.last_ms,
                    8 => cold.update_rtt_ns,
                    _ => counter(self.update(), member)?,
                }
            }
            (flow::TCP_METRIC, member) => {
                let streams = self.streams();
                match (&cold.tcp, member) {
                    (None, _) if streams.is_none() => return None,
                    (times, ..=8) => times.as_ref().map_or(0, |times| tcp_time(times, member)),
                    _ => streams.map_or(0, |streams| stream_number(streams, member)),
                }
            }
            (flow::IP_METRIC, member) => {
                let ip = cold.more.as_ref()?.ip?;
                (if member == 1 { ip.fragments } else { ip.errors }) as i64
            }
            _ => {
                let layer = self.layer(field)?;
                match field.kind {
                    Kind::Integer | Kind::Unsigned | Kind::Boolean if !field.many => {
                        let value = last_of(layer, field.member);
                        value.and_then(Value::integer).unwrap_or(0)
                    }
                    _ => return None,
                }
            }
        };
        Some(value)
    }

    /// A field that is text or a name; None when the flow lacks it or it is neither. What has to be
    /// written first is written into `scratch`.
    pub fn text<'s>(&'s self, field: Field, scratch: &'s mut String) -> Option<&'s str> {
        let cold = self.cold;
        scratch.clear();
        Some(match (field.layer, field.member) {
            (flow::LAYERS_PATH, 0) => self.path(),
            (flow::APPLICATION, 0) => self.application(),
            (flow::NODE_TID, 0) => self.node_tid(),
            (flow::CAPTURE_ID, 0) => self.capture_id(),
            (_, 0) if self.id(field).is_some() => {
                if let Some(id) = self.id(field)? {
                    scratch.push_str(Hex::of(id).as_str());
                }
                scratch
            }
            (flow::LINK, 1) => cold.link.map(|_| ETHERNET)?,
            (flow::LINK, member) => {
                let link = cold.link?;
                let text = mac_text(if member == 3 { link.a } else { link.b });
                scratch.push_str(std::str::from_utf8(&text).ok()?);
                scratch
            }
            (flow::NETWORK, member) => {
                let first = member == 3;
                match (cold.network, member) {
                    (Endpoints::None, _) => return None,
                    (Endpoints::V4(..), 1) => IPV4,
                    (Endpoints::V6(..), 1) => IPV6,
                    (Endpoints::V4(a, b), _) => {
                        let (text, length) = v4_text(if first { a } else { b });
                        scratch.push_str(std::str::from_utf8(text.get(..length)?).ok()?);
                        scratch
                    }
                    (Endpoints::V6(a, b), _) => {
                        // Writing into memory does not fail.
                        let _ = write!(scratch, "{}", if first { a } else { b });
                        scratch
                    }
                }
            }
            (flow::TRANSPORT, 1) => {
                let number = protocol_number(cold.ports?.protocol);
                PROTOCOLS.get(number as usize)?
            }
            (flow::ICMP, 1) => icmp::KINDS.get(usize::from(cold.icmp?.kind))?,
            _ => {
                let layer = self.layer(field)?;
                match field.kind {
                    Kind::Text if !field.many => {
                        let value = last_of(layer, field.member);
                        value.and_then(Value::text).unwrap_or("")
                    }
                    _ => return None,
                }
            }
        })
    }

    /// Whether one of the texts of a field passes.
    pub fn any_text(
        &self,
        field: Field,
        scratch: &mut String,
        mut passes: impl FnMut(&str) -> bool,
    ) -> bool {
        if !field.many {
            return self.text(field, scratch).is_some_and(passes);
        }
        let Some(layer) = self.layer(field) else {
            return false;
        };
        let [first, second] = field.deeper;
        any_value(layer, field, &[field.member, first, second], &mut |value| {
            passes(value.map_or("", |value| value.text().unwrap_or("")))
        })
    }

    /// Whether one of the numbers of a field passes.
    pub fn any_integer(&self, field: Field, mut passes: impl FnMut(i64) -> bool) -> bool {
        if !field.many {
            return self.integer(field).is_some_and(passes);
        }
        let Some(layer) = self.layer(field) else {
            return false;
        };
        let [first, second] = field.deeper;
        any_value(layer, field, &[field.member, first, second], &mut |value| {
            passes(value.and_then(Value::integer).unwrap_or(0))
        })
    }

    /// The serialized layer that a field is in.
    fn layer(&self, field: Field) -> Option<&[u8]> {
        self.cold.more.as_ref()?.layer(field.layer)
    }

    /// A field that is an id, as its number. Some(None): the flow has the field, and it is empty.
    pub fn id(&self, field: Field) -> Option<Option<u64>> {
        Some(match (field.layer, field.member) {
            (flow::UUID, 0) => Some(self.hot.uuid),
            (flow::TRACKING_ID, 0) => Some(self.cold.tracking),
            (flow::L3_TRACKING_ID, 0) => Some(self.cold.l3_tracking),
            (flow::PARENT_UUID, 0) => self.cold.parent,
            _ => return None,
        })
    }

    /// Whether the flow has the field at all.
    pub fn has(&self, field: Field) -> bool {
        match field.kind {
            _ if field.many => self.layer(field).is_some(),
            Kind::Text | Kind::Named(_) => self.text(field, &mut String::new()).is_some(),
            _ => self.integer(field).is_some(),
        }
    }
}

fn counter(counters: Counters, member: u32) -> Option<i64> {
    let value = match member {
        2 => counters.ab_packets,
        3 => counters.ab_bytes,
        4 => counters.ba_packets,
        5 => counters.ba_bytes,
        _ => return None,
    };
    Some(value as i64)
}

/// The last member with this number.
fn last_of(message: &[u8], wanted: u32) -> Option<Value<'_>> {
    let members = Reader::new(message).filter_map(Result::ok);
    let found = members.filter(|(number, _)| *number == wanted);
    found.map(|(_, value)| value).last()
}

/// Whether one of the values at the end of a path passes. None is a value that was left out since
/// it is zero.
fn any_value(
    message: &[u8],
    field: Field,
    path: &[u32],
    passes: &mut dyn FnMut(Option<Value<'_>>) -> bool,
) -> bool {
    let [wanted, deeper @ ..] = path else {
        return false;
    };
    let mut members = Reader::new(message)
        .filter_map(Result::ok)
        .filter(|(number, _)| number == wanted)
        .map(|(_, value)| value);
    match deeper {
        [] | [0, ..] => members.any(|value| passes(Some(value))),
        [next, behind @ ..] => members.filter_map(Value::bytes).any(|inner| {
            let ends = matches!(behind, [] | [0, ..]);
            if ends && !field.list && last_of(inner, *next).is_none() {
                passes(None)
            } else {
                any_value(inner, field, deeper, passes)
            }
        }),
    }
}

fn stream_number([a, b]: [StreamMetric; 2], member: u32) -> i64 {
    let (metric, place) = if member < 16 {
        (a, member - 9)
    } else {
        (b, member - 16)
    };
    match place {
        0 => metric.out_of_order,
        1 => metric.skipped,
        2 => metric.skipped_bytes,
        3 => metric.packets,
        4 => metric.bytes,
        5 => i64::from(metric.saw_start),
        _ => i64::from(metric.saw_end),
    }
}

fn tcp_time(times: &TcpTimes, member: u32) -> i64 {
    match member {
        1 => times.ab_syn,
        2 => times.ba_syn,
        3 => i64::from(times.ab_syn_ttl),
        4 => i64::from(times.ba_syn_ttl),
        5 => times.ab_fin,
        6 => times.ba_fin,
        7 => times.ab_rst,
        8 => times.ba_rst,
        _ => 0,
    }
}
