//! IP datagrams out of their fragments (flows.md §6.1).
//!
//! Whether a datagram is whole follows from the lengths its fragments state, so frames that the
//! capture cut serve as well. Of its bytes the first 4 KiB are kept: headers and short messages are
//! there, and what anybody can have us remember is little. Fragments that overlap are an attack
//! (CVE-2018-5391): their datagram is given up, except that a fragment that says nothing new is
//! passed over. Nothing is forgotten silently: each fragment ends up in a datagram or in a counter.

use std::collections::{HashMap, VecDeque};

use crate::keys::bytes_at;
use crate::packet::{Network, Packet};

/// Bytes of a datagram that are kept.
const KEPT_BYTES: usize = 4096;
/// Pieces of a datagram; enough for an MTU of 148 bytes.
const MOST_PIECES: usize = 512;
/// Datagrams that wait for the rest of their fragments.
const MOST_DATAGRAMS: usize = 1024;
/// Memory that they take together.
const MOST_BYTES: usize = 4 << 20;
/// They wait this long.
const PATIENCE_NS: i64 = 30_000_000_000;
/// What a datagram and a piece take besides their bytes.
const DATAGRAM_OVERHEAD: usize = 192;
const PIECE_OVERHEAD: usize = 48;
/// Longest datagram.
const LONGEST: u32 = 65_535;

const DO_NOT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

/// Fragments that are in no flow, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FragmentCounters {
    /// Part of a datagram that became whole; the frame that completed it is not among them.
    pub joined: u64,
    /// Lengths that cannot be, or fragments that overlap.
    pub invalid: u64,
    /// Their datagrams did not become whole in time.
    pub incomplete: u64,
    /// Given up to make room.
    pub crowded: u64,
}

/// What becomes of a frame.
#[derive(Debug)]
pub enum Verdict {
    /// It is no fragment that is put together.
    Pass,
    /// It waits for others, or is lost; nothing of it is to be accounted.
    Taken,
    /// It completes a datagram.
    Whole(Whole),
}

/// A frame that completes a datagram, with all of the datagram in it.
#[derive(Debug)]
pub struct Whole {
    /// The headers of the frame, and the payload of the datagram as far as it was captured and kept.
    pub frame: Vec<u8>,
    /// Where the payload begins in it.
    pub payload_at: usize,
    /// Length of the payload.
    pub payload_bytes: u32,
    /// Fragments that came before.
    pub fragments: u32,
    /// Fragments of the datagram that were refused.
    pub errors: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: [u8; 16],
    target: [u8; 16],
    id: u32,
    /// Of IPv4.
    protocol: u8,
}

#[derive(Debug)]
struct Piece {
    offset: u32,
    bytes: u32,
    data: Box<[u8]>,
}

#[derive(Debug)]
struct Datagram {
    serial: u64,
    began_ns: i64,
    /// By offset; none overlaps another.
    pieces: Vec<Piece>,
    /// Sum of their lengths.
    bytes: u32,
    /// Length of the whole, once its last fragment was seen.
    end: Option<u32>,
    /// First protocol in it, of IPv6.
    next: u8,
    fragments: u32,
    errors: u32,
    memory: usize,
}

/// A fragment of a frame.
struct Fragment<'a> {
    key: Key,
    offset: u32,
    bytes: u32,
    last: bool,
    next: u8,
    is_v6: bool,
    data: &'a [u8],
}

/// Datagrams of which fragments are missing.
#[derive(Debug, Default)]
pub struct Defragmenter {
    datagrams: HashMap<Key, Datagram>,
    /// Oldest first; some are gone already, or others by now.
    order: VecDeque<(Key, u64)>,
    serial: u64,
    memory: usize,
    counters: FragmentCounters,
}

impl Defragmenter {
    /// What was counted so far.
    pub fn counters(&self) -> FragmentCounters {
        self.counters
    }

    /// Fragments that wait.
    pub fn waiting(&self) -> u64 {
        let all = self.datagrams.values();
        all.map(|datagram| u64::from(datagram.fragments)).sum()
    }

    /// Memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        self.memory
    }

    /// Takes a frame that was decoded to `packet`, if it is a fragment.
    pub fn take(&mut self, frame: &[u8], packet: &Packet, at_ns: i64) -> Verdict {
        let Some(payload_at) = packet.fragment.get() else {
            return Verdict::Pass;
        };
        let fragment = match packet.network {
            Network::None => return Verdict::Pass,
            Network::V4(at) => at.get().and_then(|at| v4(frame, at, payload_at)),
            Network::V6(at) => at.get().and_then(|at| v6(frame, at, payload_at)),
        };
        // Of an inner packet, or not to be put together.
        let Some(fragment) = fragment else {
            return Verdict::Pass;
        };
        self.forget_before(at_ns.saturating_sub(PATIENCE_NS));
        self.add(fragment, frame, payload_at, at_ns)
    }

    fn add(
        &mut self,
        fragment: Fragment<'_>,
        frame: &[u8],
        payload_at: usize,
        at_ns: i64,
    ) -> Verdict {
        let key = fragment.key;
        let end = fragment.offset + fragment.bytes;
        if fragment.bytes == 0
            || end > LONGEST
            || (!fragment.last && !fragment.bytes.is_multiple_of(8))
        {
            self.counters.invalid += 1;
            if let Some(datagram) = self.datagrams.get_mut(&key) {
                datagram.errors += 1;
            }
            return Verdict::Taken;
        }
        let datagram = self.datagrams.entry(key).or_insert_with(|| {
            self.serial += 1;
            self.order.push_back((key, self.serial));
            self.memory += DATAGRAM_OVERHEAD;
            Datagram {
                serial: self.serial,
                began_ns: at_ns,
                pieces: Vec::new(),
                bytes: 0,
                end: None,
                next: fragment.next,
                fragments: 0,
                errors: 0,
                memory: DATAGRAM_OVERHEAD,
            }
        });
        match datagram.place(&fragment) {
            Place::Known => {
                // Says what was said.
                self.counters.joined += 1;
                return Verdict::Taken;
            }
            Place::Overlaps => {
                self.counters.invalid += 1;
                let lost = self.drop(key);
                self.counters.invalid += lost;
                return Verdict::Taken;
            }
            Place::At(place) => {
                let kept = KEPT_BYTES.saturating_sub(fragment.offset as usize);
                let data = fragment.data.get(..kept).unwrap_or(fragment.data);
                let memory = PIECE_OVERHEAD + data.len();
                datagram.memory += memory;
                self.memory += memory;
                let piece = Piece {
                    offset: fragment.offset,
                    bytes: fragment.bytes,
                    data: data.into(),
                };
                datagram.pieces.insert(place, piece);
                datagram.bytes += fragment.bytes;
                if fragment.last {
                    datagram.end = Some(end);
                }
                if fragment.offset == 0 {
                    datagram.next = fragment.next;
                }
            }
        }
        if datagram.end != Some(datagram.bytes) {
            datagram.fragments += 1;
            self.make_room();
            return Verdict::Taken;
        }
        let mut whole = Whole {
            frame: frame.get(..payload_at).unwrap_or(frame).to_vec(),
            payload_at,
            payload_bytes: datagram.bytes,
            fragments: datagram.fragments,
            errors: datagram.errors,
        };
        if fragment.is_v6 {
            // The first fragment says what the datagram begins with.
            let next = datagram.next;
            let header = payload_at.checked_sub(8);
            if let Some(slot) = header.and_then(|at| whole.frame.get_mut(at)) {
                *slot = next;
            }
        }
        datagram.write(&mut whole.frame);
        let joined = self.drop(key);
        self.counters.joined += joined;
        Verdict::Whole(whole)
    }

    /// Forgets what began before `limit_ns`.
    pub fn forget_before(&mut self, limit_ns: i64) {
        while let Some((key, serial)) = self.order.front().copied() {
            match self.datagrams.get(&key) {
                Some(datagram) if datagram.serial == serial => {
                    if datagram.began_ns >= limit_ns {
                        break;
                    }
                    self.counters.incomplete += self.drop(key);
                }
                _ => (),
            }
            self.order.pop_front();
        }
    }

    fn make_room(&mut self) {
        while self.datagrams.len() > MOST_DATAGRAMS || self.memory > MOST_BYTES {
            let Some((key, serial)) = self.order.pop_front() else {
                break;
            };
            let datagram = self.datagrams.get(&key);
            if datagram.is_some_and(|datagram| datagram.serial == serial) {
                self.counters.crowded += self.drop(key);
            }
        }
        if self.order.len() > 2 * self.datagrams.len() + 64 {
            let datagrams = &self.datagrams;
            self.order.retain(|(key, serial)| {
                datagrams
                    .get(key)
                    .is_some_and(|datagram| datagram.serial == *serial)
            });
        }
    }

    /// Removes a datagram; the fragments of it that waited.
    fn drop(&mut self, key: Key) -> u64 {
        let Some(datagram) = self.datagrams.remove(&key) else {
            return 0;
        };
        self.memory = self.memory.saturating_sub(datagram.memory);
        u64::from(datagram.fragments)
    }
}

enum Place {
    At(usize),
    Known,
    Overlaps,
}

impl Datagram {
    /// Where the fragment belongs among the pieces.
    fn place(&self, fragment: &Fragment<'_>) -> Place {
        let end = fragment.offset + fragment.bytes;
        let place = self
            .pieces
            .partition_point(|piece| piece.offset + piece.bytes <= fragment.offset);
        let next = self.pieces.get(place);
        if let Some(piece) = next.filter(|piece| piece.offset < end) {
            let inside = piece.offset <= fragment.offset && end <= piece.offset + piece.bytes;
            // A last fragment has to be where the end is known to be.
            return if inside && (!fragment.last || self.end == Some(end)) {
                Place::Known
            } else {
                Place::Overlaps
            };
        }
        let last = self.pieces.last();
        let behind_end = match (self.end, fragment.last) {
            (Some(known), false) => end > known,
            (Some(known), true) => end != known,
            (None, true) => last.is_some_and(|piece| piece.offset + piece.bytes > end),
            (None, false) => false,
        };
        if behind_end || self.pieces.len() >= MOST_PIECES {
            return Place::Overlaps;
        }
        Place::At(place)
    }

    /// Appends the payload, up to the first byte that was not captured or not kept.
    fn write(&self, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            out.extend_from_slice(&piece.data);
            if piece.data.len() < piece.bytes as usize {
                break;
            }
        }
    }
}

/// The fragment that an IPv4 packet is; None when its payload is not at `payload_at`.
fn v4(frame: &[u8], at: usize, payload_at: usize) -> Option<Fragment<'_>> {
    let header = bytes_at::<20>(frame, Some(at))?;
    let header_bytes = usize::from(header[0] & 0x0F) * 4;
    let flags = u16::from_be_bytes([header[6], header[7]]);
    if at + header_bytes != payload_at || flags & DO_NOT_FRAGMENT != 0 {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let bytes = total.saturating_sub(header_bytes);
    let data = frame.get(payload_at..)?;
    let mut key = Key {
        source: [0; 16],
        target: [0; 16],
        id: u32::from(u16::from_be_bytes([header[4], header[5]])),
        protocol: header[9],
    };
    let addresses = bytes_at::<8>(frame, Some(at + 12))?;
    let (source, target) = addresses.split_at(4);
    for (slot, address) in [(&mut key.source, source), (&mut key.target, target)] {
        slot.get_mut(10..12)?.copy_from_slice(&[0xFF, 0xFF]);
        slot.get_mut(12..)?.copy_from_slice(address);
    }
    Some(Fragment {
        key,
        offset: u32::from(flags & 0x1FFF) * 8,
        bytes: bytes as u32,
        last: flags & MORE_FRAGMENTS == 0,
        next: header[9],
        is_v6: false,
        data: data.get(..bytes).unwrap_or(data),
    })
}

/// The fragment that an IPv6 packet is, whose payload begins at `payload_at`; the fragment header is
/// right before. None when something else is between.
fn v6(frame: &[u8], at: usize, payload_at: usize) -> Option<Fragment<'_>> {
    let header = bytes_at::<40>(frame, Some(at))?;
    let fragment_at = payload_at.checked_sub(8)?;
    // Through the headers that come first: an inner packet may have a fragment header, too.
    let (mut next, mut here) = (header[6], at + 40);
    while here < fragment_at {
        let [following, length] = bytes_at(frame, Some(here))?;
        here += match next {
            0 | 43 | 60 => 8 * (usize::from(length) + 1),
            51 => 4 * (usize::from(length) + 2),
            _ => return None,
        };
        next = following;
    }
    if here != fragment_at || next != 44 {
        return None;
    }
    let [next, _, high, low, i3, i2, i1, i0] = bytes_at(frame, Some(fragment_at))?;
    let place = u16::from_be_bytes([high, low]);
    let end = at + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let bytes = end.saturating_sub(payload_at);
    let data = frame.get(payload_at..)?;
    Some(Fragment {
        key: Key {
            source: bytes_at(frame, Some(at + 8))?,
            target: bytes_at(frame, Some(at + 24))?,
            id: u32::from_be_bytes([i3, i2, i1, i0]),
            protocol: 0,
        },
        offset: u32::from(place & 0xFFF8),
        bytes: bytes as u32,
        last: place & 1 == 0,
        next,
        is_v6: true,
        data: data.get(..bytes).unwrap_or(data),
    })
}
