//! Serialized `flow.Message` on their way from agents to analyzers: cut, checked, joined, told apart.
//!
//! The flows of a message follow each other, and messages end to end are a message. So cutting and
//! joining copy bytes at most, and nothing is decoded except to see whether it can be.

use crate::json;
use crate::schema::flow;
use crate::wire::{Malformed, Reader, Value, Writer};

const FLOWS: u32 = 1;
const STATS: u32 = 2;
const STATS_NAMES: [&str; 5] = [
    "FlowCount",
    "FlowDropped",
    "KernelFlowDropped",
    "PacketsDropped",
    "PacketsReceived",
];

/// A part of a message that is a message itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Flows in it.
    pub flows: usize,
}

/// Cuts a message into pieces of at most so many flows, and of `most_bytes` unless a single flow is
/// larger.
pub fn pieces(
    message: &[u8],
    most_flows: usize,
    most_bytes: usize,
) -> Result<Vec<Piece>, Malformed> {
    let mut out = Vec::new();
    let mut piece = Piece {
        start: 0,
        end: 0,
        flows: 0,
    };
    let mut reader = Reader::new(message);
    while let Some(member) = reader.next() {
        let (number, _) = member?;
        let end = message.len() - reader.left();
        let full = piece.flows >= most_flows.max(1) || end - piece.start > most_bytes;
        if full && piece.end > piece.start {
            out.push(piece);
            piece = Piece {
                start: piece.end,
                end: piece.end,
                flows: 0,
            };
        }
        piece.end = end;
        piece.flows += usize::from(number == FLOWS);
    }
    if piece.end > piece.start {
        out.push(piece);
    }
    Ok(out)
}

/// What came in, told apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// All flows, as one message.
    pub message: Vec<u8>,
    /// How many.
    pub flows: usize,
    /// Each `flow.Stats`, serialized.
    pub stats: Vec<Vec<u8>>,
    /// Messages that are none, left out whole.
    pub refused: usize,
}

/// Joins messages of others; those that cannot be read to the last member are left out.
pub fn join(messages: &[&[u8]]) -> Joined {
    let mut joined = Joined::default();
    let bytes = messages.iter().map(|message| message.len()).sum();
    let mut out = Writer::with_capacity(bytes);
    for message in messages {
        match checked(message) {
            Ok((flows, stats)) => {
                if stats.is_empty() {
                    out.raw(message);
                } else {
                    for part in flows_of(message) {
                        out.data(FLOWS, part);
                    }
                }
                joined.flows += flows;
                joined.stats.extend(stats);
            }
            Err(Malformed) => joined.refused += 1,
        }
    }
    joined.message = out.into_bytes();
    joined
}

fn checked(message: &[u8]) -> Result<(usize, Vec<Vec<u8>>), Malformed> {
    let mut flows = 0;
    let mut stats = Vec::new();
    for member in Reader::new(message) {
        match member? {
            (FLOWS, Value::Bytes(part)) => {
                json::flow(part)?;
                flows += 1;
            }
            (STATS, Value::Bytes(part)) => {
                stats_json(part)?;
                stats.push(part.to_vec());
            }
            _ => return Err(Malformed),
        }
    }
    Ok((flows, stats))
}

fn flows_of(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    Reader::new(message).filter_map(|member| match member {
        Ok((FLOWS, Value::Bytes(part))) => Some(part),
        _ => None,
    })
}

/// The flows of one capture, as a message.
pub fn of_capture(message: &[u8], capture: &str) -> Result<Vec<u8>, Malformed> {
    let mut out = Writer::default();
    for member in Reader::new(message) {
        if let (FLOWS, Value::Bytes(part)) = member? {
            let mut found = "";
            for member in Reader::new(part) {
                if let (flow::CAPTURE_ID, value) = member? {
                    found = value.text().ok_or(Malformed)?;
                }
            }
            if found == capture {
                out.data(FLOWS, part);
            }
        }
    }
    Ok(out.into_bytes())
}

/// Numbers of a flow table, in the order of `flow.Stats`.
pub type Counts = [i64; STATS_NAMES.len()];

/// A message with statistics and no flows.
pub fn stats_message(capture: &str, counts: Counts) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(STATS, |out| {
        out.text(1, capture);
        for (number, count) in (2..).zip(counts) {
            out.integer(number, count);
        }
    });
    out.into_bytes()
}

/// A serialized `flow.Stats` as a JSON object; numbers are there even when 0.
pub fn stats_json(stats: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut capture = "";
    let mut counts: Counts = Default::default();
    for member in Reader::new(stats) {
        match member? {
            (1, value) => capture = value.text().ok_or(Malformed)?,
            (number, value) => {
                let place = usize::try_from(number).unwrap_or(0).wrapping_sub(2);
                if let Some(slot) = counts.get_mut(place) {
                    *slot = value.integer().ok_or(Malformed)?;
                }
            }
        }
    }
    let mut out = vec![b'{'];
    if !capture.is_empty() {
        out.extend_from_slice(b"\"CaptureID\":");
        json::text(&mut out, capture.as_bytes());
        out.push(b',');
    }
    let numbers: Vec<String> = STATS_NAMES
        .iter()
        .zip(counts)
        .map(|(name, count)| format!("\"{name}\":{count}"))
        .collect();
    out.extend_from_slice(numbers.join(",").as_bytes());
    out.push(b'}');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(captures: &[&str]) -> Vec<u8> {
        let mut out = Writer::default();
        for capture in captures {
            out.message(FLOWS, |out| out.text(flow::CAPTURE_ID, capture));
        }
        out.into_bytes()
    }

    #[test]
    fn pieces_are_messages_and_together_the_whole() {
        let whole = message(&["a"; 25]);
        let cut = pieces(&whole, 10, 1 << 20).unwrap_or_default();
        assert_eq!(cut.iter().map(|p| p.flows).collect::<Vec<_>>(), [10, 10, 5]);
        let parts: Vec<&[u8]> = cut
            .iter()
            .filter_map(|p| whole.get(p.start..p.end))
            .collect();
        assert_eq!(parts.concat(), whole);
        assert!(parts.iter().all(|part| checked(part).is_ok()));
    }

    #[test]
    fn a_flow_above_the_size_is_a_piece_of_its_own() {
        let long = "x".repeat(500);
        let whole = message(&["a", &long, "b", "c"]);
        let cut = pieces(&whole, 10, 100).unwrap_or_default();
        assert_eq!(cut.iter().map(|p| p.flows).collect::<Vec<_>>(), [1, 1, 2]);
    }

    #[test]
    fn what_is_no_message_costs_only_itself() {
        let good = message(&["a", "b"]);
        let mut both = message(&["c"]);
        both.extend(stats_message("c", [1, 2, 3, 4, 5]));
        let joined = join(&[
            &good,
            b"\x0A\x05abc",
            &both,
            b"\x08\x01",
            b"\x0A\x02\x0A\xFF",
        ]);
        assert_eq!((joined.flows, joined.refused), (3, 3));
        assert_eq!(joined.message, message(&["a", "b", "c"]));
        let stats = joined.stats.first().map(|stats| stats_json(stats));
        let text = br#"{"CaptureID":"c","FlowCount":1,"FlowDropped":2,"KernelFlowDropped":3,"PacketsDropped":4,"PacketsReceived":5}"#;
        assert_eq!(stats, Some(Ok(text.to_vec())));
    }

    #[test]
    fn flows_are_told_apart_by_their_capture() {
        let whole = message(&["a", "b", "a"]);
        assert_eq!(of_capture(&whole, "a"), Ok(message(&["a", "a"])));
        assert_eq!(of_capture(&whole, "z"), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes: Vec<u8>) {
            let joined = join(&[&bytes]);
            prop_assert!(joined.refused == 1 || joined.message.len() <= bytes.len());
            if let Ok(cut) = pieces(&bytes, 1, 1) {
                prop_assert_eq!(cut.last().map_or(0, |piece| piece.end), bytes.len());
            }
        }
    }
}
