//! The first message of a TLS connection: who is asked for, and what is offered (RFC 8446 §4.1.2).

use super::text;
use crate::wire::Writer;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const PROTOCOLS: u16 = 16;
const VERSIONS: u16 = 43;
/// Bytes of a name of a host.
const LONGEST_NAME: usize = 255;
/// Protocols that are shown.
const MOST_PROTOCOLS: usize = 8;

/// Reads fields one after the other; None behind the end.
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes }
    }

    pub fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    fn u24(&mut self) -> Option<usize> {
        let [a, b, c] = *self.take(3)?.first_chunk()?;
        Some(u32::from_be_bytes([0, a, b, c]) as usize)
    }

    /// A part that is preceded by its length in two bytes.
    fn part(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// The same in one byte.
    fn short_part(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// What was not read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// What a hello says.
#[derive(Debug, Default)]
pub struct Hello {
    /// Greatest version offered.
    pub version: u16,
    /// Host that is asked for.
    pub server_name: String,
    /// Protocols that would be spoken inside.
    pub protocols: Vec<String>,
}

/// Whether it is the beginning of a record with a hello.
pub fn begins(payload: &[u8]) -> bool {
    matches!(payload, [HANDSHAKE, 3, _, _, _, CLIENT_HELLO, ..])
}

/// A hello as a serialized `TLS`, and whether it is all there.
pub fn client_hello(payload: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut record = Cursor::new(payload);
    record.take(3)?;
    let length = usize::from(record.u16()?);
    let there = record.rest.get(..length).unwrap_or(record.rest);
    let (hello, whole) = hello(there)?;
    // One in several records is read as far as its first.
    let whole = whole || there.len() == length;
    let mut out = Writer::default();
    out.text(1, &version_name(hello.version));
    out.text(2, &hello.server_name);
    for protocol in &hello.protocols {
        out.text(3, protocol);
    }
    Some((out.into_bytes(), whole))
}

/// Reads a hello as far as it is there, and whether that is all.
pub fn hello(message: &[u8]) -> Option<(Hello, bool)> {
    let mut cursor = Cursor::new(message);
    if cursor.u8()? != CLIENT_HELLO {
        return None;
    }
    let length = cursor.u24()?;
    let whole = cursor.rest.len() >= length;
    let mut body = Cursor::new(cursor.rest.get(..length).unwrap_or(cursor.rest));
    let mut hello = Hello {
        version: body.u16()?,
        ..Hello::default()
    };
    if hello.version >> 8 != 3 {
        return None;
    }
    // What is cut off anywhere from here on ends the reading, not the finding.
    let _ = read_rest(&mut body, &mut hello);
    Some((hello, whole))
}

fn read_rest(body: &mut Cursor<'_>, hello: &mut Hello) -> Option<()> {
    body.take(32)?; // random
    body.short_part()?; // session
    body.part()?; // ciphers
    body.short_part()?; // compression
    body.u16()?; // length of the extensions
    while !body.is_empty() {
        let kind = body.u16()?;
        let mut extension = Cursor::new(body.part()?);
        match kind {
            SERVER_NAME => {
                let mut names = Cursor::new(extension.part()?);
                if names.u8()? == 0 {
                    hello.server_name = text::lossy(names.part()?, LONGEST_NAME);
                }
            }
            PROTOCOLS => {
                let mut names = Cursor::new(extension.part()?);
                while hello.protocols.len() < MOST_PROTOCOLS && !names.is_empty() {
                    hello
                        .protocols
                        .push(text::lossy(names.short_part()?, LONGEST_NAME));
                }
            }
            VERSIONS => {
                let mut versions = Cursor::new(extension.short_part()?);
                while let Some(version) = versions.u16() {
                    // Others are there to keep servers in practice (RFC 8701).
                    if (0x0300..=0x0304).contains(&version) {
                        hello.version = hello.version.max(version);
                    }
                }
            }
            _ => (),
        }
    }
    Some(())
}

/// `TLS 1.3`.
pub fn version_name(version: u16) -> String {
    match version {
        0x0300 => "SSL 3.0".to_owned(),
        0x0301..=0x0304 => format!("TLS 1.{}", version - 0x0301),
        other => format!("{other:#06x}"),
    }
}
