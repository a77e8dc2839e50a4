//! VRRP advertisements, with the members that the original fills.

use crate::wire::Writer;

/// An advertisement as a serialized `layers.VRRPv2`.
pub fn message(bytes: &[u8]) -> Option<Vec<u8>> {
    let [first, router, priority, _, high, low, _, _] = *bytes.first_chunk::<8>()?;
    let version = first >> 4;
    // The kind of message: advertisements are the only one.
    if first & 0x0F != 1 || version < 2 {
        return None;
    }
    let interval = match version {
        2 => u64::from(low),
        // In centiseconds.
        _ => u64::from(u16::from_be_bytes([high & 0x0F, low])),
    };
    let mut out = Writer::default();
    out.number(3, u64::from(version));
    out.number(4, u64::from(router));
    out.number(5, u64::from(priority));
    out.number(7, interval);
    Some(out.into_bytes())
}
