//! Whether the payload of UDP is what its port promises (flows.md §2.4).
//!
//! A payload that is not shows as plain UDP. One that the capture cut off counts as far as it goes,
//! so that a long answer is not called something else than a short one.

use crate::layers::Layer;

/// Labels and pointers followed in one name.
const MAX_NAME_STEPS: usize = 128;

/// Whether `payload` is a message of `layer`. `cut`: the capture ends inside it.
pub fn confirms(layer: Layer, payload: &[u8], cut: bool) -> bool {
    match layer {
        Layer::Dns => is_dns(payload, cut),
        Layer::Ntp => payload.len() >= 48,
        Layer::DhcpV4 => is_dhcp_v4(payload, cut),
        Layer::DhcpV6 => is_dhcp_v6(payload, cut),
        Layer::Sip => is_sip(payload),
        Layer::SFlow => payload.len() >= 28 && payload.starts_with(&[0, 0, 0, 5]),
        Layer::Bfd => is_bfd(payload, cut),
        _ => false,
    }
}

fn is_dns(message: &[u8], cut: bool) -> bool {
    let Some(&[_, _, _, _, q1, q0, a1, a0, n1, n0, r1, r0]) = message.first_chunk::<12>() else {
        return false;
    };
    let questions = u32::from(u16::from_be_bytes([q1, q0]));
    let records = [[a1, a0], [n1, n0], [r1, r0]]
        .map(|count| u32::from(u16::from_be_bytes(count)))
        .iter()
        .sum();
    let mut at = 12;
    for _ in 0..questions {
        match name_end(message, at).map(|end| end + 4) {
            Some(end) if end <= message.len() => at = end,
            _ => return cut,
        }
    }
    for _ in 0..records {
        match record_end(message, at) {
            Some(end) => at = end,
            None => return cut,
        }
    }
    true
}

fn record_end(message: &[u8], at: usize) -> Option<usize> {
    let fixed = name_end(message, at)?;
    let &[kind_high, kind_low, _, _, _, _, _, _, high, low] =
        message.get(fixed..)?.first_chunk::<10>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let end = fixed + 10 + length;
    let fits = match u16::from_be_bytes([kind_high, kind_low]) {
        1 => length == 4,
        28 => length == 16,
        _ => true,
    };
    (fits && end <= message.len()).then_some(end)
}

/// Behind the name at `at`, whose pointers must lead backwards into the message.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..MAX_NAME_STEPS {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + length,
            0xC0.. => {
                let target = (length & 0x3F) << 8 | usize::from(*message.get(at + 1)?);
                return (target < at).then_some(at + 2);
            }
            _ => return None,
        }
    }
    None
}

fn is_dhcp_v4(message: &[u8], cut: bool) -> bool {
    let Some(&[operation, _, _, _]) = message.first_chunk() else {
        return false;
    };
    if !(1..=2).contains(&operation) {
        return false;
    }
    match message.get(236..240) {
        Some(magic) => magic == [0x63, 0x82, 0x53, 0x63],
        None => cut && message.len() >= 28,
    }
}

fn is_dhcp_v6(message: &[u8], cut: bool) -> bool {
    let header = match message.first() {
        Some(12 | 13) => 34, // relayed
        Some(1..=11) => 4,
        _ => return false,
    };
    let Some(mut options) = message.get(header..) else {
        return false;
    };
    while !options.is_empty() {
        let length = match options.first_chunk() {
            Some(&[_, _, high, low]) => usize::from(u16::from_be_bytes([high, low])),
            None => return cut,
        };
        match options.get(4 + length..) {
            Some(rest) => options = rest,
            None => return cut,
        }
    }
    true
}

fn is_sip(message: &[u8]) -> bool {
    let end = memchr::memchr(b'\n', message).unwrap_or(message.len());
    let line = message.get(..end).unwrap_or_default();
    memchr::memmem::find(line, b"SIP/").is_some()
}

fn is_bfd(message: &[u8], cut: bool) -> bool {
    match message.first_chunk::<24>() {
        Some(header) => {
            header[0] >> 5 == 1 && (cut || (24..=message.len()).contains(&usize::from(header[3])))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";

    #[test]
    fn a_question_is_dns_and_half_of_it_only_when_the_capture_cut_it() {
        assert!(confirms(Layer::Dns, QUESTION, false));
        assert!(!confirms(Layer::Dns, &QUESTION[..20], false));
        assert!(confirms(Layer::Dns, &QUESTION[..20], true));
        assert!(!confirms(Layer::Dns, &QUESTION[..11], true));
    }

    #[test]
    fn an_answer_with_a_compressed_name_is_dns() {
        let mut answer = QUESTION.to_vec();
        answer[7] = 1;
        answer.extend_from_slice(b"\xC0\x0C\0\x01\0\x01\0\0\0\x3C\0\x04\x0A\0\0\x01");
        assert!(confirms(Layer::Dns, &answer, false));
        let pointer_forwards = answer.iter().position(|b| *b == 0xC0).map(|at| at + 1);
        if let Some(byte) = pointer_forwards.and_then(|at| answer.get_mut(at)) {
            *byte = 0xFF;
        }
        assert!(!confirms(Layer::Dns, &answer, false));
    }

    #[test]
    fn four_bytes_are_no_time_message() {
        assert!(!confirms(Layer::Ntp, &[0x1B, 0, 0, 0], false));
        assert!(confirms(Layer::Ntp, &[0x1B; 48], false));
    }

    #[test]
    fn a_lease_request_needs_its_magic_number_where_it_was_captured() {
        let mut request = vec![0u8; 300];
        request[0] = 1;
        assert!(!confirms(Layer::DhcpV4, &request, false));
        request[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        assert!(confirms(Layer::DhcpV4, &request, false));
        assert!(!confirms(Layer::DhcpV4, &request[..100], false));
        assert!(confirms(Layer::DhcpV4, &request[..100], true));
    }

    #[test]
    fn options_of_dhcp_v6_have_to_fit() {
        assert!(confirms(
            Layer::DhcpV6,
            &[1, 0, 0, 1, 0, 8, 0, 2, 0, 0],
            false
        ));
        assert!(!confirms(
            Layer::DhcpV6,
            &[1, 0, 0, 1, 0, 8, 0, 9, 0, 0],
            false
        ));
        assert!(!confirms(Layer::DhcpV6, &[99, 0, 0, 1], false));
    }

    #[test]
    fn sip_says_so_in_its_first_line() {
        assert!(confirms(Layer::Sip, b"OPTIONS sip:a SIP/2.0\r\n", false));
        assert!(!confirms(Layer::Sip, b"\0\0\0\0\nSIP/2.0", false));
    }

    #[test]
    fn sflow_and_bfd_have_versions() {
        let mut datagram = [0u8; 28];
        datagram[3] = 5;
        assert!(confirms(Layer::SFlow, &datagram, false));
        let mut control = [0u8; 24];
        control[0] = 0x20;
        control[3] = 24;
        assert!(confirms(Layer::Bfd, &control, false));
        control[3] = 25;
        assert!(!confirms(Layer::Bfd, &control, false));
    }
}
