//! The first packet of a QUIC connection (RFC 9000 §17.2, RFC 9369).

use super::text;
use super::tls::Cursor;
use crate::wire::Writer;

/// Longest identifier of a connection.
const LONGEST_ID: usize = 20;

const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6B33_43CF;

/// A first packet as a serialized `QUIC`; None for packets of other kinds, and what is no QUIC.
pub fn initial(payload: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(payload);
    let first = cursor.u8()?;
    let version = u32::from_be_bytes(*cursor.take(4)?.first_chunk()?);
    let (name, kind) = match version {
        VERSION_1 => ("1".to_owned(), 0),
        VERSION_2 => ("2".to_owned(), 1),
        0xFF00_001D..=0xFF00_0022 => (format!("draft-{}", version & 0xFF), 0),
        _ => return None,
    };
    if first >> 6 != 3 || first >> 4 & 3 != kind {
        return None;
    }
    let target = identifier(&mut cursor)?;
    let source = identifier(&mut cursor)?;
    let mut out = Writer::default();
    out.text(1, &name);
    out.text(2, &text::hex(target));
    out.text(3, &text::hex(source));
    Some(out.into_bytes())
}

fn identifier<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = usize::from(cursor.u8()?);
    (length <= LONGEST_ID).then(|| cursor.take(length))?
}
