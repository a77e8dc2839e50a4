//! ICMP messages as flows know them: a kind for both versions, code and identifier (flows.md §5.4).

use crate::keys::bytes_at;
use crate::packet::SubPacket;

/// Names of the kinds, by number.
pub const KINDS: &[&str] = &[
    "UNKNOWN",
    "DESTINATION_UNREACHABLE",
    "ECHO",
    "NEIGHBOR",
    "ADDRESS_MASK",
    "INFO",
    "PARAMETER_PROBLEM",
    "REDIRECT",
    "ROUTER",
    "SOURCE_QUENCH",
    "TIME_EXCEEDED",
    "TIMESTAMP",
    "PACKET_TOO_BIG",
];

const ECHO: u8 = 2;

/// An ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Number of its kind.
    pub kind: u8,
    /// Its code as sent.
    pub code: u8,
    /// Identifier; of ICMPv6 in echoes only.
    pub id: u16,
    /// Asks for an echo.
    pub request: bool,
    /// Answers such a request.
    pub reply: bool,
    v6: bool,
}

impl Message {
    /// The first one of a sub packet.
    #[inline]
    pub fn of(frame: &[u8], sub_packet: &SubPacket) -> Option<Message> {
        if let Some(at) = sub_packet.icmp_v4.get() {
            let [kind, code, _, _, high, low] = bytes_at::<6>(frame, Some(at))?;
            return Some(Message {
                kind: kind_v4(kind),
                code,
                id: u16::from_be_bytes([high, low]),
                request: kind == 8,
                reply: kind == 0,
                v6: false,
            });
        }
        let at = sub_packet.icmp_v6.get()?;
        let [kind, code] = bytes_at::<2>(frame, Some(at))?;
        let id = if sub_packet.echo_v6 {
            u16::from_be_bytes(bytes_at::<2>(frame, Some(at + 4))?)
        } else {
            0
        };
        Some(Message {
            kind: kind_v6(kind),
            code,
            id,
            request: kind == 128,
            reply: kind == 129,
            v6: true,
        })
    }

    /// Of version 6.
    pub fn is_v6(&self) -> bool {
        self.v6
    }

    /// What goes into a key. The code of an ICMPv6 echo does not.
    #[inline]
    pub fn key(&self) -> u32 {
        let code = if self.v6 && self.kind == ECHO {
            0
        } else {
            self.code
        };
        u32::from(self.kind) << 24 | u32::from(code) << 16 | u32::from(self.id)
    }
}

fn kind_v4(kind: u8) -> u8 {
    match kind {
        0 | 8 => ECHO,
        3 => 1,
        4 => 9,
        5 => 7,
        9 | 10 => 8,
        11 => 10,
        12 => 6,
        13 | 14 => 11,
        15 | 16 => 5,
        17 | 18 => 4,
        _ => 0,
    }
}

fn kind_v6(kind: u8) -> u8 {
    match kind {
        128 | 129 => ECHO,
        1 => 1,
        2 => 12,
        3 => 10,
        4 => 6,
        133 | 134 => 8,
        135 | 136 => 3,
        137 => 7,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_both_versions_have_one_name() {
        let name = |kind: u8| KINDS.get(usize::from(kind)).copied();
        let v4: Vec<_> = (0u8..=18).map(|kind| name(kind_v4(kind))).collect();
        assert_eq!(v4.first(), Some(&Some("ECHO")));
        assert_eq!(v4.get(3), Some(&Some("DESTINATION_UNREACHABLE")));
        assert_eq!(v4.get(4), Some(&Some("SOURCE_QUENCH")));
        assert_eq!(v4.get(5), Some(&Some("REDIRECT")));
        assert_eq!(v4.get(11), Some(&Some("TIME_EXCEEDED")));
        assert_eq!(v4.get(13), Some(&Some("TIMESTAMP")));
        assert_eq!(v4.get(15), Some(&Some("INFO")));
        assert_eq!(v4.get(17), Some(&Some("ADDRESS_MASK")));
        assert_eq!(name(kind_v6(2)), Some("PACKET_TOO_BIG"));
        assert_eq!(name(kind_v6(135)), Some("NEIGHBOR"));
        assert_eq!(name(kind_v6(134)), Some("ROUTER"));
        assert_eq!(name(kind_v6(200)), Some("UNKNOWN"));
    }
}
