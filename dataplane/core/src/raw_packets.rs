//! Packets kept with flows, read from serialized flows. JSON leaves them out (flows.md §1.2).

use crate::schema::flow;
use crate::wire::{Malformed, Reader, Value};

/// A packet kept with a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packet<'a> {
    /// Since the Unix epoch.
    pub at_ms: i64,
    /// Number inside the flow.
    pub index: i64,
    /// What was captured of it.
    pub data: &'a [u8],
    /// What it begins with, as in capture files.
    pub link_type: u32,
}

/// The packets of one flow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OfFlow<'a> {
    /// Of the flow.
    pub uuid: String,
    /// At least one.
    pub packets: Vec<Packet<'a>>,
}

/// The packets of the flows (member 1) of a serialized `flow.FlowSet`; flows without any are left
/// out.
pub fn of_flows(message: &[u8]) -> Result<Vec<OfFlow<'_>>, Malformed> {
    let mut out = Vec::new();
    for member in Reader::new(message) {
        if let (1, Value::Bytes(flow)) = member? {
            let flow = of_flow(flow)?;
            if !flow.packets.is_empty() {
                out.push(flow);
            }
        }
    }
    Ok(out)
}

fn of_flow(message: &[u8]) -> Result<OfFlow<'_>, Malformed> {
    let mut out = OfFlow::default();
    for member in Reader::new(message) {
        match member? {
            (flow::UUID, Value::Bytes(uuid)) => {
                out.uuid = String::from_utf8_lossy(uuid).into_owned();
            }
            (flow::LAST_RAW_PACKETS, Value::Bytes(raw)) => out.packets.push(packet(raw)?),
            _ => (),
        }
    }
    Ok(out)
}

fn packet(message: &[u8]) -> Result<Packet<'_>, Malformed> {
    let mut out = Packet::default();
    for member in Reader::new(message) {
        match member? {
            (1, Value::Number(at_ms)) => out.at_ms = at_ms as i64,
            (2, Value::Number(index)) => out.index = index as i64,
            (3, Value::Bytes(data)) => out.data = data,
            (4, Value::Number(link_type)) => out.link_type = link_type as u32,
            _ => (),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;
    use proptest::prelude::*;

    #[test]
    fn packets_come_with_their_flow_and_flows_without_are_left_out() {
        let mut out = Writer::default();
        out.message(1, |out| out.text(flow::UUID, "none"));
        out.message(1, |out| {
            out.text(flow::UUID, "some");
            for index in 1..3 {
                out.message(flow::LAST_RAW_PACKETS, |out| {
                    out.integer(1, 12);
                    out.number(2, index);
                    out.data(3, b"hello");
                    out.number(4, 228);
                });
            }
        });
        let bytes = out.into_bytes();
        let first = Packet {
            at_ms: 12,
            index: 1,
            data: b"hello",
            link_type: 228,
        };
        let wanted = OfFlow {
            uuid: "some".to_owned(),
            packets: vec![first, Packet { index: 2, ..first }],
        };
        assert_eq!(of_flows(&bytes).ok(), Some(vec![wanted]));
    }

    proptest! {
        #[test]
        fn garbage_is_refused_or_read(bytes: Vec<u8>) {
            let _ = of_flows(&bytes);
        }
    }
}
