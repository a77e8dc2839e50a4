//! Bytes of strangers as text.

use std::fmt::Write;

/// At most `longest` bytes as text; what is no UTF-8 becomes the replacement character.
pub fn lossy(bytes: &[u8], longest: usize) -> String {
    let bytes = bytes.get(..longest).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into memory does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
