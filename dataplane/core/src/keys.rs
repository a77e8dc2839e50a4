//! Flow keys, tracking ids and UUIDs, bit for bit those of the original (flows.md §4).
//!
//! A key is the XXH64 of the endpoints of a sub packet, network first, then transport,
//! application and link, and of the UUID of the flow around it. The tracking ids are the same hash
//! stopped earlier. So a packet costs one hash; the other two are made when its flow begins.

use xxhash_rust::xxh64::{xxh64, Xxh64};

use crate::icmp;
use crate::packet::{Network, Packet, SubPacket, Transport};

/// What identifies a conversation, and which way round it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyMode {
    /// Link and network addresses.
    #[default]
    L2,
    /// Network addresses; link addresses where there are none.
    L3,
}

impl KeyMode {
    /// By its name, `L2` or `L3`.
    pub fn of_name(name: &str) -> Option<KeyMode> {
        match name {
            "L2" => Some(KeyMode::L2),
            "L3" => Some(KeyMode::L3),
            _ => None,
        }
    }
}

// Kinds of endpoints, as they go into the hash.
const IPV4: u64 = 1;
const IPV6: u64 = 2;
const MAC: u64 = 3;
const TCP: u64 = 4;
const UDP: u64 = 5;
const SCTP: u64 = 6;

/// Most bytes that are hashed: IPv6 addresses, overlay port, ICMP, MAC addresses, parent.
const CAPACITY: usize = 40 + 14 + 12 + 20 + 16;

/// What is hashed into key and tracking ids; written in place, packet after packet.
#[derive(Debug, Clone, Copy)]
pub struct KeyInput {
    bytes: [u8; CAPACITY],
    length: usize,
    l3_length: usize,
}

impl Default for KeyInput {
    fn default() -> Self {
        KeyInput {
            bytes: [0; CAPACITY],
            length: 0,
            l3_length: 0,
        }
    }
}

/// Which way a packet goes between the two ends of its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// From the greater address to the smaller.
    Down,
    /// From the smaller address to the greater.
    #[default]
    Up,
    /// Both ends have one address.
    Same,
}

impl Way {
    #[inline]
    fn of<T: Ord>(source: T, target: T) -> Way {
        match source.cmp(&target) {
            std::cmp::Ordering::Greater => Way::Down,
            std::cmp::Ordering::Less => Way::Up,
            std::cmp::Ordering::Equal => Way::Same,
        }
    }
}

/// Addresses of a network header.
#[derive(Debug, Clone, Copy)]
enum Addresses {
    None,
    V4(u32, u32),
    V6(u128, u128),
}

impl Addresses {
    #[inline]
    fn of(frame: &[u8], network: Network) -> Addresses {
        match network {
            Network::None => Addresses::None,
            Network::V4(at) => match bytes_at::<8>(frame, at.get().map(|at| at + 12)) {
                Some(raw) => {
                    let both = u64::from_be_bytes(raw);
                    Addresses::V4((both >> 32) as u32, both as u32)
                }
                None => Addresses::None,
            },
            Network::V6(at) => match (
                bytes_at::<16>(frame, at.get().map(|at| at + 8)),
                bytes_at::<16>(frame, at.get().map(|at| at + 24)),
            ) {
                (Some(a), Some(b)) => Addresses::V6(u128::from_be_bytes(a), u128::from_be_bytes(b)),
                _ => Addresses::None,
            },
        }
    }

    #[inline]
    fn way(self) -> Option<Way> {
        match self {
            Addresses::None => None,
            Addresses::V4(a, b) => Some(Way::of(a, b)),
            Addresses::V6(a, b) => Some(Way::of(a, b)),
        }
    }
}

/// The `N` bytes at `at`.
#[inline]
pub fn bytes_at<const N: usize>(frame: &[u8], at: Option<usize>) -> Option<[u8; N]> {
    frame.get(at?..)?.first_chunk::<N>().copied()
}

impl KeyInput {
    /// Takes the endpoints of `sub_packet`; `outermost` is the first of its frame. Returns the way it
    /// goes.
    #[inline]
    pub fn take(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        sub_packet: &SubPacket,
        outermost: bool,
        mode: KeyMode,
    ) -> Way {
        self.length = 0;
        // The first sub packet is told apart by the first headers of the whole frame.
        let (network, transport) = if outermost {
            (packet.network, packet.transport)
        } else {
            (sub_packet.network(), sub_packet.key_transport())
        };
        let addresses = Addresses::of(frame, network);
        let link = bytes_at::<12>(frame, sub_packet.ethernet.get()).map(
            |[t0, t1, t2, t3, t4, t5, s0, s1, s2, s3, s4, s5]| {
                let source = u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]);
                let target = u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]);
                (source, target)
            },
        );
        let network_way = addresses.way();
        let link_way = link.map(|(source, target)| Way::of(source, target));
        let by_link = (mode == KeyMode::L2 && link_way.is_some()) || network_way.is_none();
        let mut way = if by_link {
            link_way.unwrap_or(Way::Same)
        } else {
            Way::Same
        };
        if way == Way::Same {
            way = network_way.unwrap_or(Way::Same);
        }
        let ports = Ports::of(frame, transport);
        let swap = match (way, ports) {
            (Way::Same, Some(ports)) => ports.source > ports.target,
            (way, _) => way == Way::Down,
        };

        match addresses {
            Addresses::None => (),
            Addresses::V4(a, b) => {
                let (a, b) = if swap { (b, a) } else { (a, b) };
                let both = u128::from(a) << 96 | u128::from(b) << 64 | u128::from(IPV4);
                self.push(both.to_be_bytes());
            }
            Addresses::V6(a, b) => {
                let (a, b) = if swap { (b, a) } else { (a, b) };
                self.push(a.to_be_bytes());
                self.push(b.to_be_bytes());
                self.push(IPV6.to_be_bytes());
            }
        }
        if let Some(ports) = ports {
            if sub_packet.overlay && ports.kind == UDP {
                self.push(sub_packet.network_id.to_be_bytes());
                self.push(ports.target.to_be_bytes());
                self.push(0u64.to_be_bytes());
            } else {
                let (a, b) = if swap {
                    (ports.target, ports.source)
                } else {
                    (ports.source, ports.target)
                };
                self.push((u32::from(a) << 16 | u32::from(b)).to_be_bytes());
                self.push(ports.kind.to_be_bytes());
            }
        }
        if let Some(message) = icmp::Message::of(frame, sub_packet) {
            self.push(message.key().to_be_bytes());
            self.push(0u64.to_be_bytes());
        }
        self.l3_length = self.length;
        if let (true, Some((source, target))) = (by_link, link) {
            let (a, b) = if swap {
                (target, source)
            } else {
                (source, target)
            };
            // 6 bytes each: the first two of the eight are always zero.
            let both = u128::from(a) << 48 | u128::from(b);
            if let Some(addresses) = both.to_be_bytes().last_chunk::<12>() {
                self.push(*addresses);
            }
            self.push(MAC.to_be_bytes());
        }
        way
    }

    #[inline]
    fn push<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(slot) = self.bytes.get_mut(self.length..self.length + N) {
            slot.copy_from_slice(&bytes);
            self.length += N;
        }
    }

    #[inline]
    fn hash(&self, length: usize) -> u64 {
        xxh64(self.bytes.get(..length).unwrap_or(&[]), 0)
    }

    /// Key of an outermost flow, and the number of every flow's `TrackingID`.
    #[inline]
    pub fn tracking(&self) -> u64 {
        self.hash(self.length)
    }

    /// The number of its `L3TrackingID`.
    pub fn l3_tracking(&self) -> u64 {
        self.hash(self.l3_length)
    }

    /// Key of a flow inside the flow whose UUID is `parent`.
    #[inline]
    pub fn key_inside(&mut self, parent: u64) -> u64 {
        let hex = Hex::of(parent);
        if let Some(slot) = self.bytes.get_mut(self.length..self.length + 16) {
            // What is behind the digits is not hashed.
            slot.copy_from_slice(&hex.left_aligned());
        }
        self.hash(self.length + hex.len())
    }
}

/// Source and target port as a key takes them.
#[derive(Debug, Clone, Copy)]
struct Ports {
    kind: u64,
    source: u16,
    target: u16,
}

impl Ports {
    #[inline]
    fn of(frame: &[u8], transport: Transport) -> Option<Ports> {
        let (kind, at) = match transport {
            Transport::None => return None,
            Transport::Tcp(at) => (TCP, at),
            Transport::Udp(at) => (UDP, at),
            Transport::Sctp(at) => (SCTP, at),
        };
        let [s1, s0, t1, t0] = bytes_at::<4>(frame, at.get())?;
        Some(Ports {
            kind,
            source: u16::from_be_bytes([s1, s0]),
            target: u16::from_be_bytes([t1, t0]),
        })
    }
}

/// UUID of the flow with `key` that began at `start_ms` on the node `node_tid`.
pub fn uuid(key: u64, start_ms: i64, node_tid: &str) -> u64 {
    let mut hasher = Xxh64::new(key);
    hasher.update(&start_ms.to_be_bytes());
    hasher.update(node_tid.as_bytes());
    hasher.digest()
}

/// An id as text: lower-case hexadecimal without leading zeros.
#[derive(Debug, Clone, Copy)]
pub struct Hex {
    digits: [u8; 16],
    first: usize,
}

impl Hex {
    /// The text of `value`.
    #[inline]
    pub fn of(value: u64) -> Hex {
        let high = spread((value >> 32) as u32);
        let low = spread(value as u32);
        let mut digits = [0; 16];
        let (left, right) = digits.split_at_mut(8);
        left.copy_from_slice(&high);
        right.copy_from_slice(&low);
        let first = (value.leading_zeros() as usize / 4).min(15);
        Hex { digits, first }
    }

    /// Number of digits.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        16 - self.first
    }

    /// The digits.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.first..).unwrap_or(&[])
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }

    /// The digits, and as many zero bytes behind them as make 16.
    #[inline]
    fn left_aligned(&self) -> [u8; 16] {
        // To the left in big-endian is to the front.
        (u128::from_be_bytes(self.digits) << (8 * (self.first as u32 & 15))).to_be_bytes()
    }

    /// The number that is written `text`; None for any other spelling than ours.
    pub fn parse(text: &str) -> Option<u64> {
        let value = u64::from_str_radix(text, 16).ok()?;
        (Hex::of(value).as_bytes() == text.as_bytes()).then_some(value)
    }
}

/// Eight hexadecimal digits, each nibble to a byte of its own.
#[inline]
fn spread(value: u32) -> [u8; 8] {
    let mut x = u64::from(value);
    x = (x | x << 16) & 0x0000_FFFF_0000_FFFF;
    x = (x | x << 8) & 0x00FF_00FF_00FF_00FF;
    x = (x | x << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    let letters = (x + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (x + 0x3030_3030_3030_3030 + letters * 0x27).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hex_is_what_the_standard_library_writes(value: u64) {
            let text = format!("{value:x}");
            let hex = Hex::of(value);
            prop_assert_eq!(hex.as_str(), &text);
            prop_assert_eq!(Hex::parse(&text), Some(value));
            prop_assert!(Hex::of(value).left_aligned().starts_with(text.as_bytes()));
        }

        #[test]
        fn small_numbers_have_few_digits(value in 0u64..70_000) {
            let text = format!("{value:x}");
            let hex = Hex::of(value);
            prop_assert_eq!(hex.as_str(), &text);
            prop_assert_eq!(Hex::of(value).len(), text.len());
        }
    }

    #[test]
    fn other_spellings_of_an_id_are_not_ids() {
        assert_eq!(Hex::parse("0A"), None);
        assert_eq!(Hex::parse("0a"), None);
        assert_eq!(Hex::parse("+a"), None);
        assert_eq!(Hex::parse(""), None);
        assert_eq!(Hex::parse("10000000000000000"), None);
    }

    #[test]
    fn nothing_hashes_to_the_id_that_flows_without_network_have() {
        assert_eq!(
            Hex::of(KeyInput::default().l3_tracking()).as_str(),
            "ef46db3751d8e999"
        );
    }

    #[test]
    fn a_key_inside_a_flow_takes_the_digits_of_its_uuid() {
        let mut input = KeyInput::default();
        input.push(*b"abc");
        assert_eq!(input.key_inside(0x1f), xxh64(b"abc1f", 0));
        assert_eq!(input.key_inside(0), xxh64(b"abc0", 0));
        assert_eq!(input.tracking(), xxh64(b"abc", 0));
    }
}
