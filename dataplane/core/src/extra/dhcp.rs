//! DHCP, both versions.

use std::net::Ipv6Addr;

use super::text;
use super::tls::Cursor;
use crate::wire::Writer;

/// A message as a serialized `layers.DHCPv4`, with the members that the original fills.
pub fn v4(message: &[u8]) -> Option<Vec<u8>> {
    let [_, _, length, hops] = *message.first_chunk()?;
    let seconds = u16::from_be_bytes(*message.get(8..)?.first_chunk()?);
    let flags = u16::from_be_bytes(*message.get(10..)?.first_chunk()?);
    let mut out = Writer::default();
    out.number(3, u64::from(length));
    out.number(4, u64::from(hops));
    out.number(6, u64::from(seconds));
    out.number(7, u64::from(flags));
    // Where the capture cut them off they are left out.
    out.data(8, message.get(44..108).unwrap_or(&[]));
    out.data(9, message.get(108..236).unwrap_or(&[]));
    Some(out.into_bytes())
}

const KINDS: &[&str] = &[
    "Unspecified",
    "Solicit",
    "Advertise",
    "Request",
    "Confirm",
    "Renew",
    "Rebind",
    "Reply",
    "Release",
    "Decline",
    "Reconfigure",
    "Information Request",
    "Relay Forward",
    "Relay Reply",
];

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const ADDRESSES: u16 = 3;
const TEMPORARY_ADDRESSES: u16 = 4;
const ADDRESS: u16 = 5;
const RELAYED: u16 = 9;
const PREFIXES: u16 = 25;
const PREFIX: u16 = 26;
const NAME: u16 = 39;

/// Messages inside relayed messages.
const DEEPEST: u32 = 8;
/// Addresses and prefixes that are shown.
const MOST_ADDRESSES: usize = 16;
/// Bytes of an identifier.
const LONGEST_ID: usize = 128;

#[derive(Default)]
struct Found {
    client: String,
    server: String,
    addresses: Vec<String>,
    prefixes: Vec<String>,
    name: String,
}

/// A message as a serialized `DHCPv6`: the innermost, of one that was relayed.
pub fn v6(message: &[u8]) -> Option<Vec<u8>> {
    let mut found = Found::default();
    let mut message = message;
    for _ in 0..DEEPEST {
        if !matches!(message.first()?, 12 | 13) {
            break;
        }
        let mut inner = None;
        options(message.get(34..)?, |kind, body| {
            if kind == RELAYED {
                inner = Some(body);
            }
        });
        match inner {
            Some(inner) => message = inner,
            None => break,
        }
    }
    let [kind, t2, t1, t0] = *message.first_chunk()?;
    let mut out = Writer::default();
    out.text(1, KINDS.get(usize::from(kind)).unwrap_or(&"Unknown"));
    if !matches!(kind, 12 | 13) {
        out.number(2, u64::from(u32::from_be_bytes([0, t2, t1, t0])));
        options(message.get(4..)?, |kind, body| {
            let _ = option(&mut found, kind, body);
        });
    }
    out.text(3, &found.client);
    out.text(4, &found.server);
    for address in &found.addresses {
        out.text(5, address);
    }
    for prefix in &found.prefixes {
        out.text(6, prefix);
    }
    out.text(7, &found.name);
    Some(out.into_bytes())
}

fn options<'a>(bytes: &'a [u8], mut each: impl FnMut(u16, &'a [u8])) {
    let mut cursor = Cursor::new(bytes);
    while let (Some(kind), Some(length)) = (cursor.u16(), cursor.u16()) {
        let Some(body) = cursor.take(usize::from(length)) else {
            break;
        };
        each(kind, body);
    }
}

fn option(found: &mut Found, kind: u16, body: &[u8]) -> Option<()> {
    match kind {
        CLIENT_ID => found.client = text::hex(body.get(..LONGEST_ID).unwrap_or(body)),
        SERVER_ID => found.server = text::hex(body.get(..LONGEST_ID).unwrap_or(body)),
        // Behind an identifier and two times.
        ADDRESSES | PREFIXES => options(body.get(12..)?, |kind, body| {
            let _ = address(found, kind, body);
        }),
        TEMPORARY_ADDRESSES => options(body.get(4..)?, |kind, body| {
            let _ = address(found, kind, body);
        }),
        NAME => found.name = super::dns::plain_name(body.get(1..)?),
        _ => (),
    }
    Some(())
}

fn address(found: &mut Found, kind: u16, body: &[u8]) -> Option<()> {
    match kind {
        ADDRESS if found.addresses.len() < MOST_ADDRESSES => {
            let address = Ipv6Addr::from(*body.first_chunk::<16>()?);
            found.addresses.push(address.to_string());
        }
        PREFIX if found.prefixes.len() < MOST_ADDRESSES => {
            let length = *body.get(8)?;
            let address = Ipv6Addr::from(*body.get(9..)?.first_chunk::<16>()?);
            found.prefixes.push(format!("{address}/{length}"));
        }
        _ => (),
    }
    Some(())
}
