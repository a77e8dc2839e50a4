//! The beginning of an HTTP/1 request: method, target, version, host.

use super::text;
use crate::wire::Writer;

const METHODS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
];
/// Bytes of a target that are shown.
const LONGEST_TARGET: usize = 1024;
/// Bytes of a host and of the name of a program.
const LONGEST_NAME: usize = 255;

/// Whether it is the beginning of a request.
pub fn begins(payload: &[u8]) -> bool {
    METHODS.iter().any(|method| payload.starts_with(method))
}

/// A request as a serialized `HTTP`, and whether its header is all there.
pub fn request(payload: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (line, mut rest, ended) = split_line(payload);
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let version = words.next().unwrap_or_default();
    let named = version.starts_with(b"HTTP/1.");
    // Without its end it may still become one.
    if words.next().is_some() || (ended && !named) {
        return None;
    }
    let mut out = Writer::default();
    out.text(1, &text::lossy(method, 16));
    out.text(2, &text::lossy(target, LONGEST_TARGET));
    if ended {
        out.text(3, &text::lossy(version, 16));
    }
    let mut whole = false;
    while !rest.is_empty() {
        let (line, behind, ended) = split_line(rest);
        if !ended {
            break;
        }
        if line.is_empty() {
            whole = true;
            break;
        }
        if let Some(host) = value_of(line, b"host") {
            out.text(4, &text::lossy(host, LONGEST_NAME));
        } else if let Some(agent) = value_of(line, b"user-agent") {
            out.text(5, &text::lossy(agent, LONGEST_NAME));
        }
        rest = behind;
    }
    Some((out.into_bytes(), whole))
}

/// The first line, what is behind it, and whether it has an end.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8], bool) {
    match memchr::memchr(b'\n', bytes) {
        Some(end) => {
            let (line, rest) = bytes.split_at(end);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            (line, rest.get(1..).unwrap_or_default(), true)
        }
        None => (bytes, &[], false),
    }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?;
    head.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}
