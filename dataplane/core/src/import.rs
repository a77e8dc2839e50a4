//! Capture files that arrive in pieces, on their way into a flow table.
//!
//! Imported, they keep their times and go in as they come. Replayed, each packet waits for its
//! turn: the gaps are those of the file, and the time of a packet is that of its delivery.

use crate::bpf::Program;
use crate::layers::FirstLayer;
use crate::pcap::{FileError, Next, Record, Stream};
use crate::ring::Frame;
use crate::table::FlowTable;

/// Packets that are handed over together.
const BATCH: usize = 64;

/// What became of the packets of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets of the file.
    pub packets: u64,
    /// Their lengths on the wire.
    pub bytes: u64,
    /// Of the packets, those that the filter refused.
    pub refused: u64,
}

/// One file on its way.
#[derive(Debug, Default)]
pub struct Import {
    stream: Stream,
    filters: Option<Vec<(u16, Program)>>,
    replay: Option<Replay>,
    counters: Counters,
}

/// When packets are due.
#[derive(Debug, Clone, Copy, Default)]
struct Replay {
    /// When the first packet was seen, and delivered.
    first_ns: Option<(i64, i64)>,
    now_ns: i64,
}

impl Replay {
    /// Nanoseconds until a packet is due, 0 or less when it is.
    fn until(&mut self, at_ns: i64) -> i64 {
        let (seen_ns, delivered_ns) = *self.first_ns.get_or_insert((at_ns, self.now_ns));
        let gap_ns = at_ns.saturating_sub(seen_ns);
        gap_ns.saturating_sub(self.now_ns.saturating_sub(delivered_ns))
    }
}

impl Import {
    /// With `filters` by link type, packets of other link types are refused. `replay`: in time.
    pub fn new(filters: Option<Vec<(u16, Program)>>, replay: bool) -> Import {
        Import {
            filters,
            replay: replay.then(Replay::default),
            ..Import::default()
        }
    }

    /// Takes in the next octets, which may be none, and accounts what is there and due. Some: the
    /// nanoseconds until the next packet is due; None: more octets are needed. After an error,
    /// before which everything is accounted, nothing is taken in any more.
    pub fn push(
        &mut self,
        table: &mut FlowTable,
        data: &[u8],
        now_ns: i64,
    ) -> Result<Option<i64>, FileError> {
        self.stream.push(data);
        if let Some(replay) = &mut self.replay {
            replay.now_ns = now_ns;
        }
        loop {
            let replay = &mut self.replay;
            let due = |at_ns| {
                replay
                    .as_mut()
                    .is_none_or(|replay| replay.until(at_ns) <= 0)
            };
            let (records, next) = self.stream.take(BATCH, due);
            let delivered_ns = self.replay.map(|replay| replay.now_ns);
            feed(
                table,
                &records,
                self.filters.as_deref(),
                delivered_ns,
                &mut self.counters,
            )?;
            match next? {
                Next::Packet => (),
                Next::Octets => return Ok(None),
                Next::Later(at_ns) => {
                    return Ok(self
                        .replay
                        .as_mut()
                        .map(|replay| replay.until(at_ns).max(1)))
                }
            }
        }
    }

    /// Whether the file may end here.
    pub fn end(&self) -> Result<(), FileError> {
        self.stream.end()
    }

    /// What became of its packets so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

fn feed(
    table: &mut FlowTable,
    records: &[Record<'_>],
    filters: Option<&[(u16, Program)]>,
    delivered_ns: Option<i64>,
    counters: &mut Counters,
) -> Result<(), FileError> {
    let mut frames: Vec<Frame<'_>> = Vec::with_capacity(records.len());
    let mut before = FirstLayer::Ethernet;
    let mut result = Ok(());
    for record in records {
        let Some(first) = FirstLayer::of_link_type(record.link_type) else {
            result = Err(FileError::LinkType {
                number: record.link_type,
                packets: counters.packets,
            });
            break;
        };
        counters.packets += 1;
        counters.bytes += u64::from(record.wire_bytes);
        if !wanted(record, filters) {
            counters.refused += 1;
            continue;
        }
        // Interfaces of one file may be of several kinds.
        if first != before {
            table.feed_from(before, &frames);
            frames.clear();
            before = first;
        }
        frames.push(Frame {
            data: record.data,
            at_ns: delivered_ns.unwrap_or(record.at_ns),
            wire_bytes: record.wire_bytes,
        });
    }
    table.feed_from(before, &frames);
    result
}

fn wanted(record: &Record<'_>, filters: Option<&[(u16, Program)]>) -> bool {
    let Some(filters) = filters else {
        return true;
    };
    let mut of_type = filters
        .iter()
        .filter(|(type_, _)| *type_ == record.link_type);
    of_type.any(|(_, program)| program.run(record.data, record.wire_bytes) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Settings;
    use proptest::prelude::*;

    /// A file of UDP packets in Ethernet, the n-th sent by 10.0.0.n at second n.
    fn file(packets: u8) -> Vec<u8> {
        let mut file = vec![0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0];
        file.extend([0; 8]);
        file.extend([0, 0, 4, 0, 1, 0, 0, 0]);
        for number in 0..packets {
            file.extend(u32::from(number).to_le_bytes());
            file.extend([0; 4]);
            file.extend([42, 0, 0, 0, 42, 0, 0, 0]);
            file.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
            file.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
            file.extend([10, 0, 0, number, 10, 0, 1, 1, 0, 7, 0, 9, 0, 8, 0, 0]);
        }
        file
    }

    fn table() -> FlowTable {
        FlowTable::new(Settings::default())
    }

    #[test]
    fn a_replay_keeps_the_gaps_of_the_file_and_has_the_time_of_now() {
        let (mut table, mut replay) = (table(), Import::new(None, true));
        let second = 1_000_000_000;
        let now_ns = 500 * second;
        assert_eq!(replay.push(&mut table, &file(4), now_ns), Ok(Some(second)));
        assert_eq!(table.stats().packets, 1);
        let half = now_ns + second / 2;
        assert_eq!(replay.push(&mut table, b"", half), Ok(Some(second / 2)));
        // Late by a whole packet.
        let late = now_ns + 2 * second;
        assert_eq!(replay.push(&mut table, b"", late), Ok(Some(second)));
        assert_eq!(table.stats().packets, 3);
        let end = now_ns + 3 * second;
        assert_eq!(replay.push(&mut table, b"", end), Ok(None));
        assert_eq!(replay.end(), Ok(()));
        let seen: Vec<i64> = table.flows().iter().map(|flow| flow.last_ms()).collect();
        assert_eq!(seen, [500_000, 502_000, 502_000, 503_000]);
    }

    #[test]
    fn what_the_filter_refuses_is_counted_and_makes_no_flow() {
        let accept = Program::new(&[(6, 0, 0, 1)]);
        for (link_type, refused) in [(1, 0), (228, 3)] {
            let filters = accept.clone().map(|program| vec![(link_type, program)]);
            let (mut table, mut import) = (table(), Import::new(filters, false));
            assert_eq!(import.push(&mut table, &file(3), 0), Ok(None));
            let counted = Counters {
                packets: 3,
                bytes: 126,
                refused,
            };
            assert_eq!(import.counters(), counted);
            assert_eq!(table.stats().flows, 3 - refused);
        }
    }

    #[test]
    fn a_file_that_breaks_counts_what_came_before() {
        let (mut table, mut import) = (table(), Import::new(None, false));
        let whole = file(3);
        let cut = whole.split_at(whole.len() - 5).0;
        assert_eq!(import.push(&mut table, cut, 0), Ok(None));
        assert_eq!(import.end(), Err(FileError::Cut { packets: 2 }));
        assert_eq!(table.stats().flows, 2);
    }

    #[test]
    fn a_length_that_nobody_writes_is_damage_and_not_kept_for() {
        let (mut table, mut import) = (table(), Import::new(None, false));
        let mut damaged = file(1);
        damaged.truncate(24);
        damaged.extend([0; 8]);
        damaged.extend([0xFF; 8]);
        let piece = vec![0; 1024 * 1024];
        let mut result = import.push(&mut table, &damaged, 0);
        let mut pieces = 0;
        while result == Ok(None) && pieces < 100 {
            result = import.push(&mut table, &piece, 0);
            pieces += 1;
        }
        assert_eq!(result, Err(FileError::Invalid { packets: 0 }));
        assert!(pieces < 20);
        assert_eq!(import.push(&mut table, &piece, 0), Ok(None));
    }

    #[test]
    fn what_is_no_file_is_refused_at_its_first_octets() {
        let (mut table, mut import) = (table(), Import::new(None, false));
        assert_eq!(
            import.push(&mut table, b"GE", 0),
            Err(FileError::NotCapture)
        );
        assert_eq!(Import::default().end(), Err(FileError::NotCapture));
    }

    proptest! {
        #[test]
        fn a_file_in_pieces_is_the_same_as_a_whole_one(cuts in prop::collection::vec(0usize..700, 0..9)) {
            let whole = file(10);
            let mut import = Import::default();
            let mut table = table();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.push(whole.len());
            cuts.sort_unstable();
            let mut at = 0;
            for cut in cuts {
                prop_assert_eq!(import.push(&mut table, whole.get(at..cut).unwrap_or(&[]), 0), Ok(None));
                at = cut;
            }
            prop_assert_eq!(import.end(), Ok(()));
            prop_assert_eq!(table.stats().flows, 10);
        }

        #[test]
        fn arbitrary_pieces_are_read_to_an_end(pieces: Vec<Vec<u8>>, at in 0usize..500, byte: u8) {
            let (mut table, mut import) = (table(), Import::default());
            let mut damaged = file(8);
            if let Some(slot) = damaged.get_mut(at) {
                *slot = byte;
            }
            for piece in [damaged].iter().chain(&pieces) {
                if import.push(&mut table, piece, 0).is_err() {
                    break;
                }
            }
            let _ = import.end();
        }
    }
}
