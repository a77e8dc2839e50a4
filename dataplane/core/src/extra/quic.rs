//! The first packet of a QUIC connection (RFC 9000 §17.2, RFC 9369), and the TLS hello in it.
//!
//! What a client sends first is encrypted with keys that follow from the identifier it chose, so that
//! anybody on the path can read it (RFC 9001 §5.2). The tag behind is not checked: a capture may have
//! cut it off, and what is no hello does not read as one.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, KeyInit};
use aes::Aes128;
use hkdf::Hkdf;
use sha2::Sha256;

use super::text;
use super::tls::{self, Cursor};
use crate::wire::Writer;

/// Longest identifier of a connection.
const LONGEST_ID: usize = 20;
/// Bytes of a hello that are read.
const LONGEST_HELLO: usize = 4096;
/// Pieces that a hello may come in.
const MOST_PIECES: usize = 64;
const TAG_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;

const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6B33_43CF;

const SALT_1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];
const SALT_2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
    0xf9, 0xbd, 0x2e, 0xd9,
];
const SALT_DRAFT: [u8; 20] = [
    0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0,
    0x43, 0x90, 0xa8, 0x99,
];

/// What differs between versions.
struct Version {
    name: String,
    /// Bits of the first byte that tell a first packet.
    kind: u8,
    salt: [u8; 20],
    labels: [&'static str; 3],
}

impl Version {
    fn of(number: u32) -> Option<Version> {
        const LABELS: [&str; 3] = ["quic key", "quic iv", "quic hp"];
        let (name, kind, salt, labels) = match number {
            VERSION_1 => ("1".to_owned(), 0, SALT_1, LABELS),
            VERSION_2 => (
                "2".to_owned(),
                1,
                SALT_2,
                ["quicv2 key", "quicv2 iv", "quicv2 hp"],
            ),
            0xFF00_001D..=0xFF00_0020 => (draft(number), 0, SALT_DRAFT, LABELS),
            0xFF00_0021..=0xFF00_0022 => (draft(number), 0, SALT_1, LABELS),
            _ => return None,
        };
        Some(Version {
            name,
            kind,
            salt,
            labels,
        })
    }
}

fn draft(number: u32) -> String {
    format!("draft-{}", number & 0xFF)
}

/// Keys of what a client sends first.
struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    header: [u8; 16],
}

impl Keys {
    fn new(version: &Version, target: &[u8]) -> Option<Keys> {
        let (_, initial) = Hkdf::<Sha256>::extract(Some(&version.salt), target);
        let mut secret = [0; 32];
        expand(&initial, "client in", &mut secret)?;
        let client = Hkdf::<Sha256>::from_prk(&secret).ok()?;
        let [key_label, iv_label, header_label] = version.labels;
        let mut keys = Keys {
            key: [0; 16],
            iv: [0; 12],
            header: [0; 16],
        };
        expand(&client, key_label, &mut keys.key)?;
        expand(&client, iv_label, &mut keys.iv)?;
        expand(&client, header_label, &mut keys.header)?;
        Some(keys)
    }

    /// Encrypts or decrypts, which is the same (AES in counter mode, as GCM has it).
    fn apply(&self, number: u32, data: &mut [u8]) {
        let mut nonce = [0; BLOCK_BYTES];
        for (slot, byte) in nonce.iter_mut().zip(self.iv) {
            *slot = byte;
        }
        for (slot, byte) in nonce.iter_mut().skip(8).zip(number.to_be_bytes()) {
            *slot ^= byte;
        }
        let cipher = Aes128::new(&self.key.into());
        // The block of the first counter is for the tag.
        for (counter, part) in (2u32..).zip(data.chunks_mut(BLOCK_BYTES)) {
            let mut block = GenericArray::from(nonce);
            for (slot, byte) in block.iter_mut().skip(12).zip(counter.to_be_bytes()) {
                *slot = byte;
            }
            cipher.encrypt_block(&mut block);
            for (slot, byte) in part.iter_mut().zip(block) {
                *slot ^= byte;
            }
        }
    }

    /// What the first byte and the packet number are covered with.
    fn mask(&self, sample: [u8; BLOCK_BYTES]) -> [u8; BLOCK_BYTES] {
        let mut block = GenericArray::from(sample);
        Aes128::new(&self.header.into()).encrypt_block(&mut block);
        block.into()
    }
}

/// HKDF-Expand-Label of TLS 1.3, without context.
fn expand(secret: &Hkdf<Sha256>, label: &str, out: &mut [u8]) -> Option<()> {
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_bytes = [u8::try_from(6 + label.len()).ok()?];
    let parts = [&length[..], &label_bytes, b"tls13 ", label.as_bytes(), &[0]];
    secret.expand_multi_info(&parts, out).ok()
}

/// A first packet as a serialized `QUIC`; None for packets of other kinds, and what is no QUIC.
pub fn initial(payload: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(payload);
    let first = cursor.u8()?;
    let version = Version::of(u32::from_be_bytes(*cursor.take(4)?.first_chunk()?))?;
    if first >> 6 != 3 || first >> 4 & 3 != version.kind {
        return None;
    }
    let target = identifier(&mut cursor)?;
    let source = identifier(&mut cursor)?;
    let mut out = Writer::default();
    out.text(1, &version.name);
    out.text(2, &text::hex(target));
    out.text(3, &text::hex(source));
    if let Some(hello) = read(&version, first, target, &mut cursor) {
        out.text(4, &hello.server_name);
        for protocol in &hello.protocols {
            out.text(5, protocol);
        }
    }
    Some(out.into_bytes())
}

fn identifier<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = usize::from(cursor.u8()?);
    (length <= LONGEST_ID).then(|| cursor.take(length))?
}

/// A number of one to eight bytes.
fn varint(cursor: &mut Cursor<'_>) -> Option<usize> {
    let first = cursor.u8()?;
    let mut value = u64::from(first & 0x3F);
    for _ in 1..1 << (first >> 6) {
        value = value << 8 | u64::from(cursor.u8()?);
    }
    usize::try_from(value).ok()
}

/// The hello in a first packet, of which `cursor` has what is behind the identifiers.
fn read(
    version: &Version,
    first: u8,
    target: &[u8],
    cursor: &mut Cursor<'_>,
) -> Option<tls::Hello> {
    let token = varint(cursor)?;
    cursor.take(token)?;
    let length = varint(cursor)?;
    let rest = cursor.rest();
    let keys = Keys::new(version, target)?;
    let mask = keys.mask(*rest.get(4..)?.first_chunk()?);
    let [first_mask, number_mask @ ..] = mask;
    let number_bytes = usize::from((first ^ first_mask) & 3) + 1;
    let mut number = 0;
    for (byte, cover) in rest.get(..number_bytes)?.iter().zip(number_mask) {
        number = number << 8 | u32::from(byte ^ cover);
    }
    let end = length.saturating_sub(TAG_BYTES).min(rest.len());
    let mut frames = rest.get(number_bytes..end)?.to_vec();
    keys.apply(number, &mut frames);
    let message = crypto(&frames);
    tls::hello(&message).map(|(hello, _)| hello)
}

/// The bytes of the handshake from its beginning on, out of the pieces in `frames`.
fn crypto(frames: &[u8]) -> Vec<u8> {
    let mut pieces = Vec::new();
    // What is cut off anywhere ends the reading.
    let _ = read_pieces(frames, &mut pieces);
    pieces.sort_by_key(|(offset, _)| *offset);
    let mut message: Vec<u8> = Vec::new();
    for (offset, piece) in pieces {
        let Some(new) = message
            .len()
            .checked_sub(offset)
            .and_then(|at| piece.get(at..))
        else {
            // A gap, or nothing new.
            continue;
        };
        message.extend_from_slice(new);
        message.truncate(LONGEST_HELLO);
    }
    message
}

fn read_pieces<'a>(frames: &'a [u8], pieces: &mut Vec<(usize, &'a [u8])>) -> Option<()> {
    let mut cursor = Cursor::new(frames);
    while pieces.len() < MOST_PIECES {
        match cursor.u8()? {
            0 | 1 => (), // padding, ping
            6 => {
                let (offset, length) = (varint(&mut cursor)?, varint(&mut cursor)?);
                let rest = cursor.rest();
                pieces.push((offset, rest.get(..length).unwrap_or(rest)));
                cursor.take(length)?;
            }
            _ => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

    #[test]
    fn keys_are_those_of_the_standard() {
        // RFC 9001 appendix A.1, RFC 9369 appendix A.1.
        for (number, key, iv, header) in [
            (
                VERSION_1,
                "1f369613dd76d5467730efcbe3b1a22d",
                "fa044b2f42a3fd3b46fb255c",
                "9f50449e04a0e810283a1e9933adedd2",
            ),
            (
                VERSION_2,
                "8b1a0bc121284290a29e0971b5cd045d",
                "91f73e2351d8fa91660e909f",
                "45b95e15235d6f45a6b19cbcb0294ba9",
            ),
        ] {
            let keys = Version::of(number).and_then(|version| Keys::new(&version, &TARGET));
            let found = keys.map(|k| (text::hex(&k.key), text::hex(&k.iv), text::hex(&k.header)));
            let wanted = (key.to_owned(), iv.to_owned(), header.to_owned());
            assert_eq!(found, Some(wanted));
        }
    }

    #[test]
    fn a_cover_is_that_of_the_standard() {
        // RFC 9001 appendix A.2.
        let sample = [
            0xd1, 0xb1, 0xc9, 0x8d, 0xd7, 0x68, 0x9f, 0xb8, 0xec, 0x11, 0xd2, 0x42, 0xb1, 0x23,
            0xdc, 0x9b,
        ];
        let keys = Version::of(VERSION_1).and_then(|version| Keys::new(&version, &TARGET));
        let mask = keys.map(|keys| text::hex(keys.mask(sample).get(..5).unwrap_or(&[])));
        assert_eq!(mask.as_deref(), Some("437b9aec36"));
    }

    /// A first packet with these frames.
    fn packet(number: u32, frames: &[u8]) -> Option<Vec<u8>> {
        let version = Version::of(number)?;
        let keys = Keys::new(&version, &TARGET)?;
        let mut body = frames.to_vec();
        body.resize(1150, 0);
        keys.apply(2, &mut body);
        body.extend([0; TAG_BYTES]);
        let first = 0xC0 | version.kind << 4 | 3;
        let mut out = vec![first];
        out.extend(number.to_be_bytes());
        out.push(8);
        out.extend(TARGET);
        out.extend([0, 0]);
        out.extend((0x4000 | (body.len() + 4) as u16).to_be_bytes());
        let at = out.len();
        out.extend([0, 0, 0, 2]);
        out.extend(body);
        let mask = keys.mask(*out.get(at + 4..)?.first_chunk()?);
        *out.get_mut(0)? ^= mask[0] & 0x0F;
        for (slot, byte) in out.get_mut(at..at + 4)?.iter_mut().zip(&mask[1..]) {
            *slot ^= byte;
        }
        Some(out)
    }

    /// A hello that asks for `shop.example`.
    fn hello() -> Vec<u8> {
        let name = b"\0\0\0\x11\0\x0f\0\0\x0cshop.example\0\x10\0\x05\0\x03\x02h3";
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0, 0, name.len() as u8]);
        body.extend(name);
        let mut out = vec![1, 0, 0, body.len() as u8];
        out.extend(body);
        out
    }

    #[test]
    fn the_name_asked_for_is_read_from_pieces_in_any_order() {
        let hello = hello();
        let (one, two) = hello.split_at(40);
        let mut frames = vec![1, 6, 40, two.len() as u8];
        frames.extend(two);
        frames.extend([0, 0, 6, 0, 40]);
        frames.extend(one);
        for number in [VERSION_1, VERSION_2, 0xFF00_001D] {
            let packet = packet(number, &frames).unwrap_or_default();
            // Also where the capture cut it.
            for length in [packet.len(), 220] {
                let read = initial(packet.get(..length).unwrap_or(&[])).unwrap_or_default();
                let read = String::from_utf8_lossy(&read);
                assert!(
                    read.contains("shop.example") && read.contains("h3"),
                    "{read}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_frames_are_read_to_an_end(frames: Vec<u8>) {
            prop_assert!(crypto(&frames).len() <= LONGEST_HELLO);
            if let Some(packet) = packet(VERSION_1, &frames) {
                prop_assert!(initial(&packet).is_some());
            }
        }
    }
}
