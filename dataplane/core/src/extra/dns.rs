//! DNS messages, with the members and words of the original (flows.md §1.9).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::text;
use super::tls::Cursor;
use crate::wire::Writer;

/// Labels and pointers followed in one name.
const MAX_NAME_STEPS: usize = 128;
/// Bytes of a name, whose bytes may take four each when written.
const LONGEST_NAME: usize = 255;
/// Bytes of all records shown; what is beyond is left out, and the counts tell.
const LONGEST: usize = 4096;
/// Bytes of a string or option that are shown.
const LONGEST_DATA: usize = 1024;
/// Options and strings of a record.
const MOST_PARTS: usize = 32;

const OPERATIONS: &[&str] = &[
    "Query",
    "Inverse Query",
    "Status",
    "Unknown",
    "Notify",
    "Update",
];

/// The space is upstream's.
const RESPONSES: &[&str] = &[
    "No Error",
    "Format Error",
    "Server Failure ",
    "Non-Existent Domain",
    "Not Implemented",
    "Query Refused",
    "Name Exists when it should not",
    "RR Set Exists when it should not",
    "RR Set that should exist does not",
    "Server Not Authoritative for zone",
    "Name not contained in zone",
];

const KINDS: &[&str] = &[
    "Unknown", "A", "NS", "MD", "MF", "CNAME", "SOA", "MB", "MG", "MR", "NULL", "WKS", "PTR",
    "HINFO", "MINFO", "MX", "TXT",
];

fn kind_name(kind: u16) -> &'static str {
    match kind {
        28 => "AAAA",
        33 => "SRV",
        41 => "OPT",
        other => KINDS.get(usize::from(other)).unwrap_or(&"Unknown"),
    }
}

fn class_name(class: u16) -> &'static str {
    match class {
        1 => "IN",
        2 => "CS",
        3 => "CH",
        4 => "HS",
        255 => "Any",
        _ => "Unknown",
    }
}

/// A message as a serialized `layers.DNS`, as far as it was captured.
pub fn message(bytes: &[u8], at_ns: i64) -> Option<Vec<u8>> {
    let mut header = Cursor::new(bytes);
    let id = header.u16()?;
    let [first, second] = *header.take(2)?.first_chunk()?;
    let mut counts = [0u16; 4];
    for count in &mut counts {
        *count = header.u16()?;
    }
    let mut out = Writer::default();
    out.number(1, u64::from(id));
    out.number(2, u64::from(first >> 7));
    let operation = OPERATIONS.get(usize::from(first >> 3 & 15));
    out.text(3, operation.unwrap_or(&"Unknown"));
    out.number(4, u64::from(first >> 2 & 1));
    out.number(5, u64::from(first >> 1 & 1));
    out.number(6, u64::from(first & 1));
    out.number(7, u64::from(second >> 7));
    out.number(8, u64::from(second >> 4 & 7));
    let response = RESPONSES.get(usize::from(second & 15));
    out.text(9, response.unwrap_or(&"Unknown"));
    for (number, count) in (10..).zip(counts) {
        out.number(number, u64::from(count));
    }
    let mut reader = Sections { bytes, at: 12 };
    let _ = reader.read(counts, &mut out);
    out.message(18, |out| {
        out.integer(1, at_ns.div_euclid(1_000_000_000));
        out.integer(2, at_ns.rem_euclid(1_000_000_000));
    });
    Some(out.into_bytes())
}

struct Sections<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Sections<'_> {
    /// None when the message ends early, or says more than is shown.
    fn read(&mut self, counts: [u16; 4], out: &mut Writer) -> Option<()> {
        let begin = out.len();
        let [questions, records @ ..] = counts;
        for _ in 0..questions {
            let (name, at) = name_at(self.bytes, self.at)?;
            let mut cursor = Cursor::new(self.bytes.get(at..)?);
            let (kind, class) = (cursor.u16()?, cursor.u16()?);
            self.at = at + 4;
            out.message(14, |out| {
                out.text(1, &name);
                out.text(2, kind_name(kind));
                out.text(3, class_name(class));
            });
            if out.len() - begin > LONGEST {
                return None;
            }
        }
        for (number, count) in (15..).zip(records) {
            for _ in 0..count {
                self.record(number, out)?;
                if out.len() - begin > LONGEST {
                    return None;
                }
            }
        }
        Some(())
    }

    fn record(&mut self, number: u32, out: &mut Writer) -> Option<()> {
        let (name, at) = name_at(self.bytes, self.at)?;
        let mut cursor = Cursor::new(self.bytes.get(at..)?);
        let (kind, class) = (cursor.u16()?, cursor.u16()?);
        let ttl = u32::from_be_bytes(*cursor.take(4)?.first_chunk()?);
        let length = cursor.u16()?;
        let data = cursor.take(usize::from(length))?;
        let data_at = at + 10;
        self.at = data_at + usize::from(length);
        let mut content = Writer::default();
        // Of kinds that are not kept nothing is.
        if self.content(kind, data, data_at, &mut content).is_none() {
            return Some(());
        }
        let content = content.into_bytes();
        out.message(number, |out| {
            out.text(1, &name);
            out.text(2, kind_name(kind));
            out.text(3, class_name(class));
            out.number(4, u64::from(ttl));
            out.number(5, u64::from(length));
            out.raw(&content);
        });
        Some(())
    }

    /// Writes what a record holds. None for a kind that is not kept, or that holds something else.
    fn content(&self, kind: u16, data: &[u8], at: usize, out: &mut Writer) -> Option<()> {
        let name = |at: usize| name_at(self.bytes, at);
        match kind_name(kind) {
            "A" => {
                let address = Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?);
                out.text(6, &address.to_string());
            }
            "AAAA" => {
                let address = Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?);
                out.text(6, &address.to_canonical().to_string());
            }
            "NS" => out.text(7, &name(at)?.0),
            "CNAME" => out.text(8, &name(at)?.0),
            "PTR" => out.text(9, &name(at)?.0),
            "TXT" | "HINFO" => {
                let mut cursor = Cursor::new(data);
                for _ in 0..MOST_PARTS {
                    let Some(length) = cursor.u8() else {
                        break;
                    };
                    let Some(part) = cursor.take(usize::from(length)) else {
                        break;
                    };
                    // Written even when empty.
                    out.message(10, |out| {
                        out.raw(text::lossy(part, LONGEST_DATA).as_bytes())
                    });
                }
            }
            "SOA" => {
                let (primary, at) = name(at)?;
                let (mailbox, at) = name(at)?;
                let mut cursor = Cursor::new(self.bytes.get(at..)?);
                let mut numbers = [0; 5];
                for number in &mut numbers {
                    *number = u32::from_be_bytes(*cursor.take(4)?.first_chunk()?);
                }
                out.message(11, |out| {
                    out.text(1, &primary);
                    out.text(2, &mailbox);
                    for (member, number) in (3..).zip(numbers) {
                        out.number(member, u64::from(number));
                    }
                });
            }
            "SRV" => {
                let mut cursor = Cursor::new(data);
                let numbers = [cursor.u16()?, cursor.u16()?, cursor.u16()?];
                let (target, _) = name(at + 6)?;
                out.message(12, |out| {
                    for (member, number) in (1..).zip(numbers) {
                        out.number(member, u64::from(number));
                    }
                    out.text(4, &target);
                });
            }
            "MX" => {
                let preference = Cursor::new(data).u16()?;
                let (exchange, _) = name(at + 2)?;
                out.message(13, |out| {
                    out.number(1, u64::from(preference));
                    out.text(2, &exchange);
                });
            }
            "OPT" => {
                let mut cursor = Cursor::new(data);
                for _ in 0..MOST_PARTS {
                    let (Some(code), Some(length)) = (cursor.u16(), cursor.u16()) else {
                        break;
                    };
                    let Some(body) = cursor.take(usize::from(length)) else {
                        break;
                    };
                    out.message(14, |out| {
                        out.number(1, u64::from(code));
                        // The original crashes on these. They are no text.
                        out.text(2, &text::hex(body.get(..LONGEST_DATA / 2).unwrap_or(body)));
                    });
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// The name at `at`, and where it ends. Pointers must lead backwards.
fn name_at(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut end = None;
    let mut bytes = 0;
    for _ in 0..MAX_NAME_STEPS {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some((name, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = message.get(at + 1..at + 1 + length)?;
                bytes += length + 1;
                if bytes > LONGEST_NAME {
                    return None;
                }
                push_label(&mut name, label);
                at += 1 + length;
            }
            0xC0.. => {
                let target = (length & 0x3F) << 8 | usize::from(*message.get(at + 1)?);
                end.get_or_insert(at + 2);
                if target >= at {
                    return None;
                }
                at = target;
            }
            _ => return None,
        }
    }
    None
}

/// A name without pointers, which may lack its end.
pub fn plain_name(bytes: &[u8]) -> String {
    let mut name = String::new();
    let mut cursor = Cursor::new(bytes.get(..LONGEST_NAME).unwrap_or(bytes));
    while let Some(length @ 1..=63) = cursor.u8() {
        let Some(label) = cursor.take(usize::from(length)) else {
            break;
        };
        push_label(&mut name, label);
    }
    name
}

/// Appends a label. What cannot be read is written as in a zone file (RFC 4343 §2.1).
fn push_label(name: &mut String, label: &[u8]) {
    if !name.is_empty() {
        name.push('.');
    }
    for byte in label {
        match byte {
            b'.' | b'\\' => {
                name.push('\\');
                name.push(char::from(*byte));
            }
            0x21..=0x7E => name.push(char::from(*byte)),
            other => {
                // Writing into memory does not fail.
                let _ = write!(name, "\\{other:03}");
            }
        }
    }
}
