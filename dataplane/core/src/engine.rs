//! The capture rings of one process: one memory budget, a few threads over all rings, one consumer
//! (a flow table) per capture.
//!
//! Readiness goes to whichever thread is free, each ring to one thread at a time, so a single
//! busy interface uses one thread and many use all. A capture is locked for a few blocks at a time;
//! queries and ticks take the same lock, one capture after the other, and get their turn even
//! when a ring is never empty. Memory is cut so that the first captures get large rings and the
//! six-hundredth still gets one: the n-th gets 3/32 of the budget divided by n, never less than
//! the smallest. (Rejected: shrinking rings of running captures. The kernel only swaps a ring
//! while the socket is detached, and what passes meanwhile is neither seen nor counted.)

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use crate::ring::{Filter, Frame, Geometry, Interface, Poller, Ring, RingError, Wake};
use crate::table::FlowTable;

/// Blocks read before others get their turn with the capture.
const BLOCKS_PER_TURN: usize = 4;

/// Threads that close rings when all are closed.
const CLOSING_THREADS: usize = 16;

/// Where the frames of a capture go.
pub trait Consumer: Send + 'static {
    /// Accounts some frames, in the order in which they were seen.
    fn feed(&mut self, frames: &[Frame<'_>]);
}

impl Consumer for FlowTable {
    fn feed(&mut self, frames: &[Frame<'_>]) {
        FlowTable::feed(self, frames);
    }
}

/// Why a capture could not be started.
#[derive(Debug)]
pub enum StartError {
    /// All memory for rings is taken.
    Budget {
        /// Memory for all rings.
        budget: u64,
        /// Captures that share it.
        captures: usize,
    },
    /// The kernel refused.
    Ring(RingError),
    /// No thread could be started.
    Thread(io::Error),
    /// The engine was closed.
    Closed,
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Budget { budget, captures } => write!(
                out,
                "the ring memory of {budget} bytes is taken by {captures} captures"
            ),
            StartError::Ring(error) => error.fmt(out),
            StartError::Thread(error) => write!(out, "cannot start a capture thread: {error}"),
            StartError::Closed => write!(out, "the capture engine is closed"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<RingError> for StartError {
    fn from(error: RingError) -> Self {
        StartError::Ring(error)
    }
}

/// What is known of a capture besides its flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Frames received, since the start.
    pub packets: u64,
    /// Frames for which the ring had no room, since the start.
    pub dropped: u64,
    /// Memory of the ring; 0 once it is closed.
    pub ring_bytes: u64,
    /// Why no frames come, if that is known.
    pub error: Option<String>,
}

/// Capture rings and the threads that serve them.
pub struct Engine<C: Consumer> {
    shared: Arc<Shared<C>>,
    workers: Mutex<Workers>,
    threads: usize,
}

struct Workers {
    running: Vec<JoinHandle<()>>,
    closed: bool,
}

struct Shared<C> {
    poller: Poller,
    captures: RwLock<BTreeMap<u64, Arc<Capture<C>>>>,
    next: AtomicU64,
    budget: u64,
    /// Memory of rings and their number, reserved before they are opened.
    reserved: Mutex<(u64, usize)>,
    panics: AtomicU64,
}

struct Capture<C> {
    /// Held only while waiting for `state`: whoever waits is next, however often the thread that
    /// serves the ring comes back.
    turn: Mutex<()>,
    state: Mutex<State<C>>,
}

struct State<C> {
    ring: Option<Ring>,
    consumer: C,
    counters: Counters,
    /// The consumer panicked: what it holds may be inconsistent and is not touched again.
    failed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Panics are caught inside the locks, so poison only tells that one was missed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C: Consumer> Engine<C> {
    /// An engine of at most `threads` threads, whose rings take at most `budget` bytes.
    pub fn new(threads: usize, budget: u64) -> io::Result<Self> {
        let shared = Shared {
            poller: Poller::new()?,
            captures: RwLock::new(BTreeMap::new()),
            next: AtomicU64::new(1),
            budget,
            reserved: Mutex::new((0, 0)),
            panics: AtomicU64::new(0),
        };
        let workers = Workers {
            running: Vec::new(),
            closed: false,
        };
        Ok(Engine {
            shared: Arc::new(shared),
            workers: Mutex::new(workers),
            threads: threads.max(1),
        })
    }

    /// Starts a capture with `socket`, as [`Ring::open`] wants it; its number.
    pub fn start(
        &self,
        socket: OwnedFd,
        ifindex: i32,
        filter: Filter,
        header_bytes: u32,
        consumer: C,
    ) -> Result<u64, StartError> {
        self.ensure_worker()?;
        let geometry = self.shared.reserve()?;
        let ring = match Ring::open(socket, ifindex, filter, header_bytes, geometry) {
            Ok(ring) => ring,
            Err(error) => {
                self.shared.give_back(geometry.bytes());
                return Err(error.into());
            }
        };
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let error = match ring.interface() {
            Interface::Up => None,
            other => Some(describe(other)),
        };
        let counters = Counters {
            packets: 0,
            dropped: 0,
            ring_bytes: ring.bytes(),
            error,
        };
        let state = State {
            ring: Some(ring),
            consumer,
            counters,
            failed: false,
        };
        let capture = Arc::new(Capture {
            turn: Mutex::new(()),
            state: Mutex::new(state),
        });
        self.shared.write().insert(number, capture.clone());
        let watched = match &capture.lock().ring {
            Some(ring) => self.shared.poller.add(ring, number),
            None => Ok(()),
        };
        if let Err(source) = watched {
            self.stop(number, |_| ());
            return Err(RingError {
                what: "cannot watch the ring",
                source,
            }
            .into());
        }
        Ok(number)
    }

    /// Closes a ring at once, after giving its last frames to the consumer; what `finish` made of
    /// the consumer (None if it had panicked), and the last counters. None for an unknown number.
    pub fn stop<R>(
        &self,
        number: u64,
        finish: impl FnOnce(&mut C) -> R,
    ) -> Option<(Option<R>, Counters)> {
        let capture = self.shared.write().remove(&number)?;
        let mut state = capture.lock();
        state.close(&self.shared, None);
        let result = state.guarded(&self.shared, finish);
        Some((result, state.counters.clone()))
    }

    /// Applies `work` to the consumer of every capture, oldest first, one locked at a time.
    pub fn each<R>(&self, mut work: impl FnMut(&mut C) -> R) -> Vec<R> {
        let captures: Vec<_> = self.shared.read().values().cloned().collect();
        let shared = &self.shared;
        captures
            .iter()
            .filter_map(|capture| capture.lock().guarded(shared, &mut work))
            .collect()
    }

    /// Number, counters and what `look` sees in the consumer (None if it panicked), per capture.
    pub fn counters<R>(
        &self,
        mut look: impl FnMut(&mut C) -> R,
    ) -> Vec<(u64, Counters, Option<R>)> {
        let captures: Vec<_> = self
            .shared
            .read()
            .iter()
            .map(|(number, capture)| (*number, capture.clone()))
            .collect();
        let mut out = Vec::with_capacity(captures.len());
        for (number, capture) in captures {
            let mut state = capture.lock();
            state.refresh(&self.shared);
            let seen = state.guarded(&self.shared, &mut look);
            out.push((number, state.counters.clone(), seen));
        }
        out
    }

    /// Panics caught so far.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    /// Threads that serve rings now.
    pub fn threads(&self) -> usize {
        lock(&self.workers).running.len()
    }

    /// Stops all threads and closes all rings.
    pub fn close(&self) {
        let mut workers = lock(&self.workers);
        workers.closed = true;
        self.shared.poller.stop();
        for worker in workers.running.drain(..) {
            // A thread that panicked is done as well.
            let _ = worker.join();
        }
        drop(workers);
        let captures: Vec<_> = std::mem::take(&mut *self.shared.write())
            .into_values()
            .collect();
        // Each close waits for the kernel, some 30 ms; they wait together.
        let share = captures.len().div_ceil(CLOSING_THREADS).max(1);
        std::thread::scope(|scope| {
            for captures in captures.chunks(share) {
                let close = move || {
                    for capture in captures {
                        capture.lock().close(&self.shared, None);
                    }
                };
                let thread = std::thread::Builder::new();
                // Without a thread the rings are closed when the last reference goes.
                let _ = thread.spawn_scoped(scope, close);
            }
        });
    }

    /// Starts a thread if there are fewer than captures and than allowed.
    fn ensure_worker(&self) -> Result<(), StartError> {
        let mut workers = lock(&self.workers);
        if workers.closed {
            return Err(StartError::Closed);
        }
        let count = workers.running.len();
        if count < self.threads && count <= self.shared.read().len() {
            let shared = self.shared.clone();
            let worker = std::thread::Builder::new()
                .name(format!("capture-{count}"))
                .spawn(move || shared.work())
                .map_err(StartError::Thread)?;
            workers.running.push(worker);
        }
        Ok(())
    }
}

impl<C: Consumer> Drop for Engine<C> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<C: Consumer> Shared<C> {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u64, Arc<Capture<C>>>> {
        self.captures.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u64, Arc<Capture<C>>>> {
        self.captures
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets memory for one more ring apart.
    fn reserve(&self) -> Result<Geometry, StartError> {
        let mut reserved = lock(&self.reserved);
        let (bytes, rings) = *reserved;
        let share = self.budget / 32 * 3 / (rings as u64 + 1);
        let share = share
            .max(Geometry::SMALLEST.bytes())
            .min(self.budget.saturating_sub(bytes));
        let Some(geometry) = Geometry::within(share) else {
            return Err(StartError::Budget {
                budget: self.budget,
                captures: rings,
            });
        };
        *reserved = (bytes + geometry.bytes(), rings + 1);
        Ok(geometry)
    }

    fn give_back(&self, bytes: u64) {
        let mut reserved = lock(&self.reserved);
        *reserved = (
            reserved.0.saturating_sub(bytes),
            reserved.1.saturating_sub(1),
        );
    }

    /// The life of a thread.
    fn work(&self) {
        while let Ok(Wake::Ring { number, error }) = self.poller.wait() {
            let capture = self.read().get(&number).cloned();
            if let Some(capture) = capture {
                capture.lock().serve(self, number, error);
            }
        }
    }
}

impl<C: Consumer> Capture<C> {
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        let turn = lock(&self.turn);
        let state = lock(&self.state);
        drop(turn);
        state
    }
}

impl<C: Consumer> State<C> {
    /// Reads some blocks, then asks for the next wake-up.
    fn serve(&mut self, shared: &Shared<C>, number: u64, error: bool) {
        let State {
            ring: Some(ring),
            consumer,
            ..
        } = self
        else {
            return;
        };
        let result = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..BLOCKS_PER_TURN {
                if !ring.read_block(&mut |frames| consumer.feed(frames)) {
                    break;
                }
            }
        }));
        if let Err(panic) = result {
            self.fail(shared, panic.as_ref());
            return;
        }
        if error {
            self.look_at_interface(shared);
        }
        let Some(ring) = &self.ring else {
            return;
        };
        if let Err(error) = shared.poller.again(ring, number) {
            self.close(shared, Some(format!("cannot watch the ring: {error}")));
        }
    }

    /// Runs `work` on the consumer unless it panicked before; None if it did or does.
    fn guarded<R>(&mut self, shared: &Shared<C>, work: impl FnOnce(&mut C) -> R) -> Option<R> {
        if self.failed {
            return None;
        }
        let consumer = &mut self.consumer;
        match catch_unwind(AssertUnwindSafe(|| work(consumer))) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.fail(shared, panic.as_ref());
                None
            }
        }
    }

    /// A panic ends this capture, and only this one.
    fn fail(&mut self, shared: &Shared<C>, panic: &(dyn Any + Send)) {
        shared.panics.fetch_add(1, Ordering::Relaxed);
        self.failed = true;
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        self.close(shared, None);
        self.counters.error = Some(format!("internal error: {words}"));
    }

    /// Brings the counters up to date, and what is known of an interface in trouble.
    fn refresh(&mut self, shared: &Shared<C>) {
        if let Some(ring) = &self.ring {
            let (packets, dropped) = ring.statistics();
            self.counters.packets += packets;
            self.counters.dropped += dropped;
        }
        if self.counters.error.is_some() {
            // No event tells that it came up again, nor that it was deleted while down.
            self.look_at_interface(shared);
        }
    }

    fn look_at_interface(&mut self, shared: &Shared<C>) {
        let Some(ring) = &self.ring else {
            return;
        };
        match ring.interface() {
            Interface::Up => self.counters.error = None,
            Interface::Down => self.counters.error = Some(describe(Interface::Down)),
            // Nothing will ever come from it, and it holds memory and the namespace.
            Interface::Gone => self.close(shared, Some(describe(Interface::Gone))),
        }
    }

    /// Closes the ring after a last look at it.
    fn close(&mut self, shared: &Shared<C>, error: Option<String>) {
        let Some(mut ring) = self.ring.take() else {
            return;
        };
        shared.poller.remove(&ring);
        let consumer = &mut self.consumer;
        let mut failure = None;
        if self.failed {
            ring.drain(&mut |_| ());
        } else {
            let drain = AssertUnwindSafe(|| ring.drain(&mut |frames| consumer.feed(frames)));
            failure = catch_unwind(drain).err();
        }
        let (packets, dropped) = ring.statistics();
        self.counters.packets += packets;
        self.counters.dropped += dropped;
        self.counters.ring_bytes = 0;
        if error.is_some() {
            self.counters.error = error;
        }
        let bytes = ring.bytes();
        drop(ring);
        shared.give_back(bytes);
        if let Some(panic) = failure {
            self.fail(shared, panic.as_ref());
        }
    }
}

fn describe(interface: Interface) -> String {
    match interface {
        Interface::Up => "interface is up",
        Interface::Down => "interface is down",
        Interface::Gone => "interface is gone",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::testing::in_new_namespace;
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    /// Counts frames; panics at the frame that is `fatal`.
    #[derive(Default)]
    struct Count {
        frames: u64,
        bytes: u64,
        fatal: u64,
    }

    impl Consumer for Count {
        fn feed(&mut self, frames: &[Frame<'_>]) {
            for frame in frames {
                self.frames += 1;
                self.bytes += u64::from(frame.wire_bytes);
                assert_ne!(self.frames, self.fatal, "boom");
            }
        }
    }

    fn without_ring(fatal: u64) -> State<Count> {
        let counters = Counters {
            packets: 0,
            dropped: 0,
            ring_bytes: 0,
            error: None,
        };
        let consumer = Count {
            fatal,
            ..Count::default()
        };
        State {
            ring: None,
            consumer,
            counters,
            failed: false,
        }
    }

    fn eventually(condition: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if condition() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    fn send(count: usize) {
        let bind = || UdpSocket::bind("127.0.0.1:0").and_then(|s| Ok((s.local_addr()?, s)));
        let (Ok((address, _receiver)), Ok((_, sender))) = (bind(), bind()) else {
            unreachable!()
        };
        for _ in 0..count {
            assert!(sender.send_to(&[0; 18], address).is_ok());
        }
    }

    #[test]
    fn many_rings_fit_in_the_budget_and_the_first_ones_are_large() {
        let Ok(engine) = Engine::<Count>::new(1, 64 << 20) else {
            unreachable!()
        };
        let mut sizes = Vec::new();
        while let Ok(geometry) = engine.shared.reserve() {
            sizes.push(geometry.bytes());
        }
        assert!(sizes.len() > 600, "{} rings", sizes.len());
        assert!(sizes.iter().sum::<u64>() <= 64 << 20);
        assert_eq!(sizes.first(), Some(&(6 << 20)));
        assert!(sizes.iter().all(|size| *size >= Geometry::SMALLEST.bytes()));
        let refused = engine.shared.reserve().err().map(|error| error.to_string());
        assert!(refused.is_some_and(|words| words.contains("67108864 bytes is taken by")));
    }

    #[test]
    fn a_panic_marks_one_capture_and_leaves_the_others() {
        let Ok(engine) = Engine::<Count>::new(1, 1 << 20) else {
            unreachable!()
        };
        for (number, fatal) in [(1, 1), (2, 0)] {
            let state = Mutex::new(without_ring(fatal));
            let capture = Arc::new(Capture {
                turn: Mutex::new(()),
                state,
            });
            engine.shared.write().insert(number, capture);
        }
        let frame = Frame {
            data: &[],
            at_ns: 0,
            wire_bytes: 60,
        };
        for _ in 0..2 {
            engine.each(|count| count.feed(&[frame]));
        }
        let counters = engine.counters(|count| count.frames);
        assert_eq!(
            counters[0].1.error.as_deref().map(|e| e.contains("boom")),
            Some(true)
        );
        assert_eq!(counters[0].2, None);
        assert_eq!(
            (counters[1].1.error.clone(), counters[1].2),
            (None, Some(2))
        );
        assert_eq!(engine.panics(), 1);
    }

    #[test]
    fn loopback_frames_are_counted_once_and_the_last_ones_at_the_stop() {
        in_new_namespace(|socket, lo| {
            let Ok(engine) = Engine::new(2, 1 << 20) else {
                unreachable!()
            };
            let number = engine.start(socket, lo, Filter::All, 256, Count::default());
            let Ok(number) = number else {
                unreachable!("{number:?}")
            };
            send(300);
            // Without waiting: the frames are still in a block that the kernel is filling.
            let stopped = engine.stop(number, |count| (count.frames, count.bytes));
            let Some((Some((frames, bytes)), counters)) = stopped else {
                unreachable!()
            };
            assert_eq!((frames, bytes), (300, 300 * 60));
            assert_eq!((counters.packets, counters.dropped), (300, 0));
            assert_eq!(engine.counters(|_| ()).len(), 0);
            assert_eq!(*lock(&engine.shared.reserved), (0, 0));
        });
    }

    #[test]
    fn a_panic_in_a_worker_closes_its_ring_and_no_other() {
        in_new_namespace(|socket, lo| {
            let Ok(engine) = Engine::new(1, 1 << 20) else {
                unreachable!()
            };
            let fatal = Count {
                fatal: 3,
                ..Count::default()
            };
            let Ok(bad) = engine.start(socket, lo, Filter::All, 256, fatal) else {
                unreachable!()
            };
            let Ok(socket) = crate::ring::testing::packet_socket() else {
                unreachable!()
            };
            let Ok(_) = engine.start(socket, lo, Filter::All, 256, Count::default()) else {
                unreachable!()
            };
            assert!(eventually(|| {
                send(1);
                engine.panics() == 1
            }));
            let counters = engine.counters(|count| count.frames);
            assert_eq!(counters[0].0, bad);
            assert_eq!(counters[0].1.ring_bytes, 0);
            assert!(counters[0]
                .1
                .error
                .as_deref()
                .is_some_and(|e| e.contains("boom")));
            let before = counters[1].2;
            assert_eq!(counters[1].1.error, None);
            assert!(eventually(|| {
                send(1);
                engine.counters(|count| count.frames)[1].2 > before
            }));
        });
    }
}
