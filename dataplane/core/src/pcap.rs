//! Capture files, pcap and pcapng, read from memory.
//!
//! References: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. Every length is checked
//! against what is there; a file that ends or errs in the middle gives the packets before that.

use std::fmt;

/// Interfaces of one section of a pcapng file.
const MOST_INTERFACES: usize = 4096;

/// One packet of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Link type of its interface.
    pub link_type: u16,
    /// Since the Unix epoch.
    pub at_ns: i64,
    /// What was captured of it.
    pub data: &'a [u8],
    /// Its length on the wire.
    pub wire_bytes: u32,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileError {
    /// It begins as no capture file does.
    NotCapture,
    /// It ends inside a packet or block.
    Cut {
        /// Packets before that.
        packets: u64,
    },
    /// A block contradicts itself.
    Invalid {
        /// Packets before it.
        packets: u64,
    },
    /// The link type has no decoder.
    LinkType {
        /// Its number.
        number: u16,
        /// Packets before it.
        packets: u64,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::NotCapture => out.write_str("not a pcap or pcapng file"),
            FileError::Cut { packets } => {
                write!(out, "the capture file ends in the middle, after {packets} packets")
            }
            FileError::Invalid { packets } => {
                write!(out, "the capture file is damaged after {packets} packets")
            }
            FileError::LinkType { number, packets } => write!(
                out,
                "link type {number} of the capture file is not supported; {packets} packets before it"
            ),
        }
    }
}

impl std::error::Error for FileError {}

/// The packets of a file; ends after the first error.
#[derive(Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    packets: u64,
    format: Format,
    little: bool,
}

#[derive(Debug)]
enum Format {
    Pcap { link_type: u16, nanoseconds: bool },
    PcapNg { interfaces: Vec<Interface> },
    Ended,
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    link_type: u16,
    snap_bytes: u32,
    /// Nanoseconds of a tick are this, divided by `per`.
    ns: u64,
    per: u64,
    offset_s: i64,
}

/// What files begin with.
const MAGICS: [[u8; 4]; 5] = [
    [0xD4, 0xC3, 0xB2, 0xA1],
    [0xA1, 0xB2, 0xC3, 0xD4],
    [0x4D, 0x3C, 0xB2, 0xA1],
    [0xA1, 0xB2, 0x3C, 0x4D],
    [0x0A, 0x0D, 0x0D, 0x0A],
];

/// Octets of a packet or block that arrives in pieces. Longer ones would be kept in memory only
/// because a damaged length says so; libpcap and Wireshark write none.
const LONGEST: usize = 16 * 1024 * 1024;

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const PACKET: u32 = 6;

impl<'a> Records<'a> {
    /// Begins to read a file.
    pub fn new(file: &'a [u8]) -> Result<Records<'a>, FileError> {
        let magic = file.first_chunk::<4>().ok_or(FileError::NotCapture)?;
        let (little, nanoseconds) = match magic {
            [0xD4, 0xC3, 0xB2, 0xA1] => (true, false),
            [0xA1, 0xB2, 0xC3, 0xD4] => (false, false),
            [0x4D, 0x3C, 0xB2, 0xA1] => (true, true),
            [0xA1, 0xB2, 0x3C, 0x4D] => (false, true),
            [0x0A, 0x0D, 0x0D, 0x0A] => {
                return Ok(Records {
                    rest: file,
                    packets: 0,
                    format: Format::PcapNg {
                        interfaces: Vec::new(),
                    },
                    little: true,
                })
            }
            _ => return Err(FileError::NotCapture),
        };
        let (header, rest) = file.split_at_checked(24).ok_or(FileError::NotCapture)?;
        let mut records = Records {
            rest,
            packets: 0,
            format: Format::Ended,
            little,
        };
        // The upper bits say whether frames carry a checksum.
        let link_type = records.word(header, 20).ok_or(FileError::NotCapture)? as u16;
        records.format = Format::Pcap {
            link_type,
            nanoseconds,
        };
        Ok(records)
    }

    /// Packets given so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    fn word(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let raw = *bytes.get(at..)?.first_chunk::<4>()?;
        Some(if self.little {
            u32::from_le_bytes(raw)
        } else {
            u32::from_be_bytes(raw)
        })
    }

    fn half(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let raw = *bytes.get(at..)?.first_chunk::<2>()?;
        Some(if self.little {
            u16::from_le_bytes(raw)
        } else {
            u16::from_be_bytes(raw)
        })
    }

    #[inline]
    fn pcap_record(&mut self, link_type: u16, nanoseconds: bool) -> Option<Record<'a>> {
        let (header, rest) = self.rest.split_first_chunk::<16>()?;
        let seconds = self.word(header, 0)?;
        let fraction = i64::from(self.word(header, 4)?);
        let captured = self.word(header, 8)? as usize;
        let wire_bytes = self.word(header, 12)?;
        let (data, rest) = rest.split_at_checked(captured)?;
        self.rest = rest;
        let fraction_ns = if nanoseconds {
            fraction
        } else {
            fraction * 1_000
        };
        Some(Record {
            link_type,
            at_ns: i64::from(seconds) * 1_000_000_000 + fraction_ns,
            data,
            wire_bytes: wire_bytes.max(captured as u32),
        })
    }

    /// The next block of a pcapng file; None for one that is no packet.
    fn pcapng_block(&mut self) -> Result<Option<Record<'a>>, FileError> {
        let packets = self.packets;
        let cut = FileError::Cut { packets };
        let invalid = FileError::Invalid { packets };
        let begin = self.rest;
        let mut section = None;
        if begin.starts_with(&SECTION.to_le_bytes()) {
            // The byte order of a section is told by itself.
            self.little = match begin.get(8..12).ok_or(cut)? {
                [0x4D, 0x3C, 0x2B, 0x1A] => true,
                [0x1A, 0x2B, 0x3C, 0x4D] => false,
                _ => return Err(invalid),
            };
            section = Some(Format::PcapNg {
                interfaces: Vec::new(),
            });
        }
        let kind = self.word(begin, 0).ok_or(cut)?;
        let length = self.word(begin, 4).ok_or(cut)? as usize;
        if length < 12 || !length.is_multiple_of(4) {
            return Err(invalid);
        }
        let (block, rest) = begin.split_at_checked(length).ok_or(cut)?;
        if self.word(block, length - 4) != Some(length as u32) {
            return Err(invalid);
        }
        self.rest = rest;
        let body = block.get(8..length - 4).ok_or(invalid)?;
        if let Some(section) = section {
            self.format = section;
        }
        match kind {
            INTERFACE => self.interface(body).map(|()| None),
            PACKET => self.packet(body).map(Some),
            OLD_PACKET => self.old_packet(body).map(Some),
            SIMPLE_PACKET => self.simple_packet(body).map(Some),
            _ => Some(None),
        }
        .ok_or(invalid)
    }

    /// The next packet, or block that is none (None); at the end, or where too little is there, `Cut`.
    #[inline]
    fn step(&mut self) -> Result<Option<Record<'a>>, FileError> {
        let packets = self.packets;
        let record = match &self.format {
            Format::Ended => None,
            Format::Pcap {
                link_type,
                nanoseconds,
            } => {
                let (link_type, nanoseconds) = (*link_type, *nanoseconds);
                let record = self.pcap_record(link_type, nanoseconds);
                Some(record.ok_or(FileError::Cut { packets })?)
            }
            Format::PcapNg { .. } => self.pcapng_block()?,
        };
        self.packets += u64::from(record.is_some());
        Ok(record)
    }

    fn interfaces(&self) -> &[Interface] {
        match &self.format {
            Format::PcapNg { interfaces } => interfaces,
            _ => &[],
        }
    }

    fn interface(&mut self, body: &[u8]) -> Option<()> {
        let mut interface = Interface {
            link_type: self.half(body, 0)?,
            snap_bytes: self.word(body, 4)?,
            ns: 1_000,
            per: 1,
            offset_s: 0,
        };
        let mut options = body.get(8..)?;
        while let (Some(code), Some(length)) = (self.half(options, 0), self.half(options, 2)) {
            let length = usize::from(length);
            let value = options.get(4..4 + length)?;
            match (code, value) {
                (0, _) => break,
                (9, [resolution, ..]) => (interface.ns, interface.per) = tick(*resolution)?,
                (14, value) => {
                    let raw = *value.first_chunk::<8>()?;
                    interface.offset_s = if self.little {
                        i64::from_le_bytes(raw)
                    } else {
                        i64::from_be_bytes(raw)
                    };
                }
                _ => (),
            }
            options = options.get(4 + length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        match &mut self.format {
            Format::PcapNg { interfaces } if interfaces.len() < MOST_INTERFACES => {
                interfaces.push(interface);
                Some(())
            }
            _ => None,
        }
    }

    fn packet(&self, body: &'a [u8]) -> Option<Record<'a>> {
        let interface = self.interfaces().get(self.word(body, 0)? as usize)?;
        self.timed_packet(body, interface)
    }

    fn old_packet(&self, body: &'a [u8]) -> Option<Record<'a>> {
        let interface = self.interfaces().get(usize::from(self.half(body, 0)?))?;
        self.timed_packet(body, interface)
    }

    fn timed_packet(&self, body: &'a [u8], interface: &Interface) -> Option<Record<'a>> {
        let ticks = u64::from(self.word(body, 4)?) << 32 | u64::from(self.word(body, 8)?);
        let captured = self.word(body, 12)? as usize;
        let wire_bytes = self.word(body, 16)?;
        let at_ns = u128::from(ticks) * u128::from(interface.ns) / u128::from(interface.per);
        let at_ns = i64::try_from(at_ns).unwrap_or(i64::MAX);
        let offset_ns = interface.offset_s.saturating_mul(1_000_000_000);
        Some(Record {
            link_type: interface.link_type,
            at_ns: at_ns.saturating_add(offset_ns),
            data: body.get(20..)?.get(..captured)?,
            wire_bytes: wire_bytes.max(captured as u32),
        })
    }

    /// Neither time nor captured length of its own.
    fn simple_packet(&self, body: &'a [u8]) -> Option<Record<'a>> {
        let interface = self.interfaces().first()?;
        let wire_bytes = self.word(body, 0)?;
        let captured = match interface.snap_bytes {
            0 => wire_bytes,
            snap => wire_bytes.min(snap),
        };
        Some(Record {
            link_type: interface.link_type,
            at_ns: 0,
            data: body.get(4..)?.get(..captured as usize)?,
            wire_bytes,
        })
    }
}

/// Nanoseconds of a tick, as a fraction.
fn tick(resolution: u8) -> Option<(u64, u64)> {
    let exponent = u32::from(resolution & 0x7F);
    if resolution & 0x80 != 0 {
        return Some((1_000_000_000, 1u64.checked_shl(exponent)?));
    }
    Some(match exponent {
        0..=9 => (10u64.pow(9 - exponent), 1),
        _ => (1, 10u64.checked_pow(exponent - 9)?),
    })
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, FileError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() && !matches!(self.format, Format::Ended) {
            match self.step() {
                Ok(Some(record)) => return Some(Ok(record)),
                Ok(None) => (),
                Err(error) => {
                    self.format = Format::Ended;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// A file that arrives in pieces. Of what has arrived it keeps only what was not given yet.
#[derive(Debug, Default)]
pub struct Stream {
    /// What arrived, from the first octet not given.
    kept: Vec<u8>,
    /// Of `kept`, what was given meanwhile.
    given: usize,
    packets: u64,
    /// Byte order and format, once it began.
    begun: Option<(bool, Format)>,
}

/// What comes after the packets that a stream gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// More packets are there.
    Packet,
    /// More octets are needed.
    Octets,
    /// The next packet is not wanted yet; when it was seen.
    Later(i64),
}

impl Stream {
    /// Takes in the next octets of the file.
    pub fn push(&mut self, data: &[u8]) {
        self.kept.drain(..self.given);
        self.given = 0;
        if !matches!(self.begun, Some((_, Format::Ended))) {
            self.kept.extend_from_slice(data);
        }
    }

    /// Gives up to `most` packets while `wanted` says so of the time at which they were seen. After
    /// an error there are no more packets.
    pub fn take(
        &mut self,
        most: usize,
        mut wanted: impl FnMut(i64) -> bool,
    ) -> (Vec<Record<'_>>, Result<Next, FileError>) {
        let mut out = Vec::new();
        let packets = self.packets;
        let (little, format) = match self.begun.take() {
            Some(begun) => begun,
            // The longest header, and no file is shorter.
            None if self.kept.len() < 24 => match Stream::may_begin(&self.kept) {
                true => return (out, Ok(Next::Octets)),
                false => {
                    self.end_here();
                    return (out, Err(FileError::NotCapture));
                }
            },
            None => match Records::new(&self.kept) {
                Ok(records) => {
                    self.given = self.kept.len() - records.rest.len();
                    (records.little, records.format)
                }
                Err(error) => {
                    self.end_here();
                    return (out, Err(error));
                }
            },
        };
        let mut records = Records {
            rest: self.kept.get(self.given..).unwrap_or(&[]),
            packets,
            format,
            little,
        };
        let mut next = Ok(Next::Packet);
        while out.len() < most {
            let before = records.rest;
            if before.is_empty() || matches!(records.format, Format::Ended) {
                next = Ok(Next::Octets);
                break;
            }
            match records.step() {
                Ok(Some(record)) if wanted(record.at_ns) => out.push(record),
                Ok(Some(record)) => {
                    records.rest = before;
                    records.packets -= 1;
                    next = Ok(Next::Later(record.at_ns));
                    break;
                }
                Ok(None) => (),
                Err(FileError::Cut { .. }) if before.len() <= LONGEST => {
                    next = Ok(Next::Octets);
                    break;
                }
                Err(error) => {
                    records.format = Format::Ended;
                    next = Err(match error {
                        FileError::Cut { packets } => FileError::Invalid { packets },
                        other => other,
                    });
                    break;
                }
            }
        }
        self.given = self.kept.len() - records.rest.len();
        self.packets = records.packets;
        self.begun = Some((records.little, records.format));
        (out, next)
    }

    /// Whether the file may end here.
    pub fn end(&self) -> Result<(), FileError> {
        match &self.begun {
            None => Err(FileError::NotCapture),
            Some((_, Format::Ended)) => Ok(()),
            Some(_) if self.given < self.kept.len() => Err(FileError::Cut {
                packets: self.packets,
            }),
            Some(_) => Ok(()),
        }
    }

    /// Whether a file may begin so.
    fn may_begin(octets: &[u8]) -> bool {
        let octets = octets.get(..4).unwrap_or(octets);
        MAGICS.iter().any(|magic| magic.starts_with(octets))
    }

    fn end_here(&mut self) {
        self.begun = Some((true, Format::Ended));
        self.given = self.kept.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pcap(little: bool, nanoseconds: bool, packets: &[&[u8]]) -> Vec<u8> {
        let word = |value: u32| {
            if little {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let mut file = word(if nanoseconds {
            0xA1B2_3C4D
        } else {
            0xA1B2_C3D4
        })
        .to_vec();
        file.extend([0; 12]);
        file.extend(word(262_144));
        file.extend(word(1));
        for (number, packet) in packets.iter().enumerate() {
            file.extend(word(1_000 + number as u32));
            file.extend(word(7));
            file.extend(word(packet.len() as u32));
            file.extend(word(packet.len() as u32 + 100));
            file.extend_from_slice(packet);
        }
        file
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = (body.len() as u32 + 12).to_be_bytes();
        [&kind.to_be_bytes()[..], &length, &body, &length].concat()
    }

    fn pcapng(resolution: u8) -> Vec<u8> {
        let section = [
            0x1A, 0x2B, 0x3C, 0x4D, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
        ];
        let interface = [
            0, 113, 0, 0, 0, 0, 0, 96, 0, 9, 0, 1, resolution, 0, 0, 0, 0, 0, 0, 0,
        ];
        let packet = [
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 99][..],
            b"abc",
        ];
        [
            block(SECTION, &section),
            block(INTERFACE, &interface),
            block(77, b"whatever"),
            block(PACKET, &packet.concat()),
            block(SIMPLE_PACKET, b"\0\0\0\x02xy"),
        ]
        .concat()
    }

    fn read(file: &[u8]) -> Result<Vec<Record<'_>>, FileError> {
        Records::new(file)?.collect()
    }

    #[test]
    fn all_four_byte_orders_and_resolutions_are_read() {
        for little in [false, true] {
            for (nanoseconds, fraction_ns) in [(false, 7_000), (true, 7)] {
                let file = pcap(little, nanoseconds, &[b"one", b"three"]);
                let records = read(&file).unwrap_or_default();
                let second = Record {
                    link_type: 1,
                    at_ns: 1_001_000_000_000 + fraction_ns,
                    data: b"three",
                    wire_bytes: 105,
                };
                assert_eq!(records.len(), 2);
                assert_eq!(records.last(), Some(&second));
            }
        }
    }

    #[test]
    fn a_file_that_ends_in_a_packet_gives_those_before() {
        let file = pcap(true, false, &[b"one", b"three"]);
        let mut records = match Records::new(&file[..file.len() - 1]) {
            Ok(records) => records,
            Err(error) => unreachable!("{error}"),
        };
        assert!(matches!(records.next(), Some(Ok(record)) if record.data == b"one"));
        assert_eq!(records.next(), Some(Err(FileError::Cut { packets: 1 })));
        assert_eq!(records.next(), None);
    }

    #[test]
    fn blocks_of_pcapng_are_read_with_the_clock_of_their_interface() {
        for (resolution, at_ns) in [
            (6, 4_294_967_296_000),
            (9, 4_294_967_296),
            (0x80 | 32, 1_000_000_000),
        ] {
            let file = pcapng(resolution);
            let records = read(&file).unwrap_or_default();
            let timed = Record {
                link_type: 113,
                at_ns,
                data: b"abc",
                wire_bytes: 99,
            };
            assert_eq!(records.first(), Some(&timed));
            assert_eq!(
                records.get(1).map(|record| record.data),
                Some(b"xy".as_slice())
            );
        }
    }

    #[test]
    fn what_is_no_capture_file_is_refused() {
        assert_eq!(read(b""), Err(FileError::NotCapture));
        assert_eq!(read(b"\x7fELF and so on"), Err(FileError::NotCapture));
        assert_eq!(
            read(&[0xD4, 0xC3, 0xB2, 0xA1, 2, 0]),
            Err(FileError::NotCapture)
        );
        let mut file = pcapng(6);
        if let Some(byte) = file.get_mut(7) {
            *byte = 6; // a block shorter than its own lengths
        }
        assert_eq!(read(&file), Err(FileError::Invalid { packets: 0 }));
    }

    proptest! {
        #[test]
        fn arbitrary_files_are_read_to_an_end(head in 0usize..5, bytes: Vec<u8>) {
            let magic: [&[u8]; 5] = [
                b"", b"\xD4\xC3\xB2\xA1", b"\xA1\xB2\x3C\x4D",
                b"\x0A\x0D\x0D\x0A\x1C\0\0\0\x4D\x3C\x2B\x1A",
                b"\x0A\x0D\x0D\x0A\0\0\0\x1C\x1A\x2B\x3C\x4D",
            ];
            let file = [magic.get(head).copied().unwrap_or(b""), &bytes].concat();
            if let Ok(records) = Records::new(&file) {
                prop_assert!(records.count() <= file.len());
            }
        }

        #[test]
        fn damaged_files_are_read_to_an_end(at in 0usize..200, byte: u8, cut in 0usize..200) {
            for mut file in [pcap(true, false, &[b"one", b"three"]), pcapng(6)] {
                if let Some(slot) = file.get_mut(at) {
                    *slot = byte;
                }
                file.truncate(cut);
                if let Ok(records) = Records::new(&file) {
                    prop_assert!(records.count() <= file.len());
                }
            }
        }
    }
}
