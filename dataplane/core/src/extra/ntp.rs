//! NTP messages (RFC 5905 §7.3).

use std::net::Ipv4Addr;

use super::text;
use crate::wire::Writer;

const MODES: &[&str] = &[
    "Reserved",
    "Symmetric Active",
    "Symmetric Passive",
    "Client",
    "Server",
    "Broadcast",
    "Control",
    "Private",
];

/// A message as a serialized `NTP`.
pub fn message(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = bytes.first_chunk::<48>()?;
    let [first, stratum, poll, precision] = *header.first_chunk()?;
    let reference: [u8; 4] = *header.get(12..16)?.first_chunk()?;
    let mut out = Writer::default();
    out.number(1, u64::from(first >> 6));
    out.number(2, u64::from(first >> 3 & 7));
    out.text(3, MODES.get(usize::from(first & 7))?);
    out.number(4, u64::from(stratum));
    out.number(5, u64::from(poll));
    out.integer(6, i64::from(precision as i8));
    match (stratum, reference) {
        (_, [0, 0, 0, 0]) => (),
        // What kind of clock, or why not.
        (0 | 1, name) => {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(4);
            out.text(7, &text::lossy(name.get(..end)?, 4));
        }
        (_, address) => out.text(7, &Ipv4Addr::from(address).to_string()),
    }
    Some(out.into_bytes())
}
