//! What a TCP connection shows of loss and disorder (flows.md §6.2).
//!
//! Each direction of a flow is followed by its sequence numbers, the way of gopacket's assembler, so
//! that the numbers are those of the original. No payload is kept: only places and lengths count, and
//! lengths are those of the wire, so frames that the capture cut serve as well. What comes too early
//! waits for the gap before it to close; after 30 s, or when too much waits, the gap is given up and
//! counted as skipped. Unlike in the original the numbers are there while the connection lives.

/// Segments that wait in one direction.
const MOST_WAITING: usize = 128;
/// They wait this long.
const PATIENCE_NS: i64 = 30_000_000_000;
/// Longer segments count as several, as they would if they were kept in pages.
const PAGE_BYTES: u32 = 1900;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// A TCP segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// Sequence number.
    pub sequence: u32,
    /// Bytes of payload on the wire.
    pub bytes: u32,
    /// TCP flags.
    pub flags: u8,
    /// When it was seen.
    pub at_ns: i64,
}

/// Numbers of one direction, by the names of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct StreamMetric {
    pub out_of_order: i64,
    pub skipped: i64,
    pub skipped_bytes: i64,
    pub packets: i64,
    pub bytes: i64,
    pub saw_start: bool,
    pub saw_end: bool,
}

/// A segment that came too early.
#[derive(Debug, Clone, Copy)]
struct Early {
    sequence: u32,
    bytes: u32,
    ends: bool,
    at_ns: i64,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Stream {
    /// What was found so far.
    pub metric: StreamMetric,
    /// Next byte expected; None = the start was never seen.
    expected: Option<u32>,
    newest_ns: Option<i64>,
    ended: bool,
    /// By sequence, next first.
    waiting: Vec<Early>,
}

/// How far `to` is ahead of `from`, around the end of the numbers.
fn ahead(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

impl Stream {
    /// Takes a segment of this direction.
    pub fn take(&mut self, segment: Segment) {
        let Segment {
            sequence,
            bytes,
            flags,
            at_ns,
        } = segment;
        if flags & (SYN | FIN | RST) == 0 && bytes == 0 {
            return;
        }
        if self.ended {
            if flags & SYN == 0 {
                return; // the last word said again
            }
            // Begun again on the same ports.
            (self.expected, self.ended) = (None, false);
        }
        let ends = flags & (FIN | RST) != 0;
        match self.expected {
            None if flags & SYN != 0 => {
                self.metric.saw_start = true;
                self.deliver(at_ns, bytes, 1);
                self.expected = Some(sequence.wrapping_add(bytes).wrapping_add(1));
                self.deliver_waiting();
            }
            Some(expected) if ahead(expected, sequence) <= 0 => {
                self.span(expected, sequence, bytes, at_ns, 1);
                self.end_if(ends);
                self.deliver_waiting();
            }
            // The end alone of what was never seen.
            None if bytes == 0 && self.waiting.is_empty() => (),
            _ => self.wait(Early {
                sequence,
                bytes,
                ends,
                at_ns,
            }),
        }
    }

    /// Whether segments wait for others.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Gives gaps up that are older than 30 s at `now_ns`.
    pub fn give_up_old(&mut self, now_ns: i64) {
        let limit_ns = now_ns.saturating_sub(PATIENCE_NS);
        while self.waiting.first().is_some_and(|e| e.at_ns < limit_ns) {
            self.skip();
        }
    }

    /// Gives all gaps up.
    pub fn finish(&mut self) {
        while self.is_waiting() {
            self.skip();
        }
    }

    /// Memory that it takes besides itself.
    pub fn memory_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<Early>()
    }

    /// Counts `bytes` of which the part before `expected` is known already.
    fn span(&mut self, expected: u32, sequence: u32, bytes: u32, at_ns: i64, pages: i64) {
        let known = ahead(sequence, expected).max(0).unsigned_abs();
        let new = bytes.saturating_sub(known);
        self.deliver(at_ns, new, pages);
        self.expected = Some(if bytes < known {
            expected
        } else {
            sequence.wrapping_add(bytes)
        });
    }

    fn end_if(&mut self, ends: bool) {
        self.ended |= ends;
        self.metric.saw_end |= ends;
    }

    fn deliver(&mut self, at_ns: i64, bytes: u32, pages: i64) {
        let metric = &mut self.metric;
        metric.packets += pages;
        metric.bytes += i64::from(bytes);
        match self.newest_ns {
            Some(newest_ns) if at_ns < newest_ns => metric.out_of_order += pages,
            _ => self.newest_ns = Some(at_ns),
        }
    }

    fn wait(&mut self, early: Early) {
        if self.waiting.len() >= MOST_WAITING {
            self.skip();
        }
        let first = self.waiting.first().map_or(early.sequence, |e| e.sequence);
        let distance = ahead(first, early.sequence);
        let place = self
            .waiting
            .partition_point(|e| ahead(first, e.sequence) <= distance);
        self.waiting.insert(place, early);
    }

    /// Goes on with what waits next, over the gap before it.
    fn skip(&mut self) {
        let Some(next) = self.waiting.first().copied() else {
            return;
        };
        match self.expected {
            // How much was before is not known.
            None => {
                self.metric.skipped += 1;
                self.metric.skipped_bytes -= 1;
                self.expected = Some(next.sequence);
            }
            Some(expected) => {
                let gap = ahead(expected, next.sequence);
                if gap > 0 {
                    self.metric.skipped += 1;
                    self.metric.skipped_bytes += i64::from(gap);
                    self.expected = Some(next.sequence);
                }
            }
        }
        self.deliver_waiting();
    }

    /// Counts what waits and has no gap before it any more.
    fn deliver_waiting(&mut self) {
        let mut done = 0;
        while let (Some(expected), Some(next)) = (self.expected, self.waiting.get(done).copied()) {
            if ahead(expected, next.sequence) > 0 {
                break;
            }
            done += 1;
            let pages = i64::from(next.bytes.div_ceil(PAGE_BYTES).max(1));
            self.span(expected, next.sequence, next.bytes, next.at_ns, pages);
            self.end_if(next.ends);
        }
        self.waiting.drain(..done);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(sequence: u32, bytes: u32, flags: u8, at_ns: i64) -> Segment {
        Segment {
            sequence,
            bytes,
            flags,
            at_ns,
        }
    }

    fn stream(segments: &[Segment]) -> Stream {
        let mut stream = Stream::default();
        for segment in segments {
            stream.take(*segment);
        }
        stream
    }

    #[test]
    fn a_connection_in_order_has_nothing_out_of_order() {
        let stream = stream(&[
            segment(99, 0, SYN, 1),
            segment(100, 10, 0, 2),
            segment(110, 0, 0, 3), // an acknowledgement
            segment(110, 5, FIN, 4),
        ]);
        let wanted = StreamMetric {
            packets: 3,
            bytes: 15,
            saw_start: true,
            saw_end: true,
            ..StreamMetric::default()
        };
        assert_eq!(stream.metric, wanted);
    }

    #[test]
    fn what_comes_early_waits_and_is_older_than_what_closes_the_gap() {
        let mut stream = stream(&[
            segment(u32::MAX - 4, 0, SYN, 1),
            segment(6, 10, 0, 2),
            segment(16, 10, FIN, 3),
        ]);
        assert_eq!((stream.metric.packets, stream.is_waiting()), (1, true));
        stream.take(segment(u32::MAX - 3, 10, 0, 4));
        let metric = stream.metric;
        assert_eq!((metric.packets, metric.bytes), (4, 30));
        assert_eq!((metric.out_of_order, metric.skipped), (2, 0));
        assert!(metric.saw_end && !stream.is_waiting());
        assert_eq!(stream.memory_bytes(), 0);
    }

    #[test]
    fn what_was_seen_counts_once() {
        let stream = stream(&[
            segment(0, 0, SYN, 1),
            segment(1, 10, 0, 2),
            segment(1, 10, 0, 3),
            segment(6, 10, 0, 4),
            segment(0, 0, SYN, 5),
        ]);
        assert_eq!((stream.metric.packets, stream.metric.bytes), (5, 15));
    }

    #[test]
    fn a_gap_is_given_up_after_a_while_or_when_too_much_waits() {
        let mut patient = stream(&[segment(0, 0, SYN, 1), segment(11, 10, 0, 2)]);
        patient.give_up_old(PATIENCE_NS);
        assert_eq!(patient.metric.skipped, 0);
        patient.give_up_old(PATIENCE_NS + 3);
        assert_eq!(
            (patient.metric.skipped, patient.metric.skipped_bytes),
            (1, 10)
        );
        let mut crowded = stream(&[segment(0, 0, SYN, 1)]);
        for number in 0..200u32 {
            crowded.take(segment(3 + 2 * number, 1, 0, 2));
            assert!(crowded.waiting.len() <= MOST_WAITING);
        }
        crowded.finish();
        let metric = crowded.metric;
        assert_eq!((metric.skipped, metric.skipped_bytes), (200, 201));
        assert_eq!(metric.bytes, 200);
    }

    #[test]
    fn of_a_connection_that_ran_already_the_lack_of_a_start_is_counted() {
        let mut stream = stream(&[segment(500, 2000, 0, 1), segment(2500, 10, 0, 2)]);
        assert_eq!(stream.metric, StreamMetric::default());
        stream.finish();
        let metric = stream.metric;
        assert_eq!((metric.packets, metric.bytes), (3, 2010));
        assert_eq!((metric.skipped, metric.skipped_bytes), (1, -1));
        assert!(!metric.saw_start);
    }

    proptest! {
        #[test]
        fn any_segments_are_taken_and_nothing_waits_in_the_end(
            segments in prop::collection::vec(any::<(u32, u16, u8, u32)>(), 0..300),
        ) {
            let mut stream = Stream::default();
            let mut sent = 0;
            for (sequence, bytes, flags, at_ns) in segments {
                // Near each other, or everything only waits.
                let sequence = sequence % 20_000;
                stream.take(segment(sequence, u32::from(bytes), flags, i64::from(at_ns)));
                sent += i64::from(bytes);
                prop_assert!(stream.waiting.len() <= MOST_WAITING);
            }
            stream.finish();
            prop_assert!(!stream.is_waiting());
            prop_assert!(stream.metric.bytes <= sent);
        }
    }
}
