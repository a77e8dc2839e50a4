//! One TPACKET_V3 receive ring: an AF_PACKET socket whose frames the kernel writes into memory
//! that it shares with us, block by block.
//!
//! This is the only module with `unsafe`: system calls, and views of the mapping. What makes the
//! views sound is the protocol of the ring (Documentation/networking/packet_mmap.rst): a block
//! belongs to the kernel until its status word says TP_STATUS_USER, then to us until we write
//! TP_STATUS_KERNEL. Inside a block every offset is checked as if it came from a stranger.
//!
//! Order of [`Ring::open`]: version, ring, filter, mapping, bind. The socket has protocol 0 until it
//! is bound, so nothing that the filter refuses ever gets in.
//!
//! Two things that AF_PACKET does and a capture must undo:
//! - it strips the outer VLAN tag into the frame's header; it is put back, in place;
//! - on loopback every frame passes twice, leaving and arriving; the leaving one is ignored.

#![allow(unsafe_code)] // system calls and the shared mapping; each block says why it is sound

use std::fmt;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bpf::Program;

/// Frames handed over at a time.
pub const GROUP: usize = 64;

/// Longest a frame waits in a block that traffic does not fill. Each ring has a kernel timer of
/// this period, so it is also what an idle ring costs: 500 rings, 5,000 timers a second.
const RETIRE_MS: u32 = 100;

const FRAME_HEADER: usize = 48;
const SOCKADDR_LL: usize = 20;
const VLAN_TAG: usize = 4;
const TP_STATUS_KERNEL: u32 = 0;
const TP_STATUS_USER: u32 = 1;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const ETH_P_8021Q: u16 = 0x8100;
const ARPHRD_LOOPBACK: u16 = 772;
/// Longest program that the kernel takes.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One frame of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame<'a> {
    /// Its bytes from the link header on, cut to the capture length, VLAN tag put back.
    pub data: &'a [u8],
    /// Nanoseconds since the Unix epoch, by the kernel.
    pub at_ns: i64,
    /// Length on the wire (or of the aggregate, with segmentation offload), VLAN tag included.
    pub wire_bytes: u32,
}

/// An instruction of classic BPF: code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// How the memory of a ring is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block; a power of two, at least a page.
    pub block_bytes: u32,
    /// Number of blocks.
    pub blocks: u32,
}

impl Geometry {
    /// Smallest ring: 4 blocks of 16 KiB.
    pub const SMALLEST: Geometry = Geometry {
        block_bytes: 16 << 10,
        blocks: 4,
    };

    /// The largest ring of at most `bytes`: 4 to 16 blocks of 16 to 512 KiB, then more blocks. None
    /// when `bytes` is below the smallest.
    pub fn within(bytes: u64) -> Option<Geometry> {
        if bytes < Self::SMALLEST.bytes() {
            return None;
        }
        let mut block_bytes = Self::SMALLEST.block_bytes;
        while block_bytes < (512 << 10) && u64::from(block_bytes) * 16 <= bytes {
            block_bytes *= 2;
        }
        let blocks = (bytes / u64::from(block_bytes)).min(1 << 12);
        Some(Geometry {
            block_bytes,
            blocks: blocks as u32,
        })
    }

    /// Memory that the ring takes.
    pub fn bytes(self) -> u64 {
        u64::from(self.block_bytes) * u64::from(self.blocks)
    }
}

/// Whether the interface that a ring is bound to can deliver frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// It is up.
    Up,
    /// It is down; frames come again once it is up.
    Down,
    /// It was deleted or moved to another namespace: this ring will never see a frame again.
    Gone,
}

/// The kernel refused something; says what.
#[derive(Debug)]
pub struct RingError {
    /// What was attempted.
    pub what: &'static str,
    /// Why it failed.
    pub source: io::Error,
}

impl fmt::Display for RingError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.source.to_string();
        // The number follows in parentheses; it is in `source` for whoever wants it.
        let reason = reason.split(" (os error").next().unwrap_or_default();
        write!(out, "{}: {}", self.what, reason)
    }
}

impl std::error::Error for RingError {}

fn last(what: &'static str) -> RingError {
    RingError {
        what,
        source: io::Error::last_os_error(),
    }
}

/// Takes over a descriptor that Python gave away. The number is checked to be open, no more.
pub fn adopt(fd: RawFd) -> Result<OwnedFd, RingError> {
    // SAFETY: F_GETFD only reads the descriptor table.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        let source = io::Error::from_raw_os_error(libc::EBADF);
        return Err(RingError {
            what: "not an open descriptor",
            source,
        });
    }
    // SAFETY: it is open, and the contract of the caller is to give up its ownership.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The shared mapping; unmapped when dropped.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is plain memory, reached only through `&mut Ring`.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `bytes` are what mmap returned, and no view outlives `&mut Ring`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// An open ring.
pub struct Ring {
    // Dropped in this order: the kernel frees the pages when mapping and socket are both gone.
    mapping: Mapping,
    socket: OwnedFd,
    geometry: Geometry,
    ifindex: i32,
    name: [libc::c_char; libc::IFNAMSIZ],
    wanted: Option<Program>,
    next: usize,
}

/// What is received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Filter {
    /// Every frame.
    #[default]
    All,
    /// What the kernel lets through; frames are cut to what the program returns.
    Kernel(Vec<Instruction>),
    /// What matches as it is on the wire, VLAN tag included. The kernel delivers, and counts, all.
    Wire(Program),
}

impl Ring {
    /// Makes a ring of `socket`, an unbound AF_PACKET/SOCK_RAW socket with protocol 0 in the right
    /// namespace, over the interface `ifindex`. Frames are cut to `header_bytes`.
    pub fn open(
        socket: OwnedFd,
        ifindex: i32,
        filter: Filter,
        header_bytes: u32,
        geometry: Geometry,
    ) -> Result<Ring, RingError> {
        let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        set(&socket, libc::SOL_PACKET, libc::PACKET_VERSION, &version)
            .map_err(|_| last("cannot use the socket as a packet ring"))?;
        // Bound without a protocol: nothing is received yet, but the kind of device is known.
        bind(&socket, ifindex, 0).map_err(|_| last("cannot open the interface"))?;
        if address(&socket)?.sll_hatype == ARPHRD_LOOPBACK {
            set(
                &socket,
                libc::SOL_PACKET,
                libc::PACKET_IGNORE_OUTGOING,
                &1i32,
            )
            .map_err(|_| last("cannot ignore outgoing frames on loopback"))?;
        }
        let request = libc::tpacket_req3 {
            tp_block_size: geometry.block_bytes,
            tp_block_nr: geometry.blocks,
            // Frames of a version 3 ring have their own sizes; these two only have to agree.
            tp_frame_size: geometry.block_bytes,
            tp_frame_nr: geometry.blocks,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
            .map_err(|_| last("cannot allocate the ring"))?;
        let (program, wanted) = match filter {
            Filter::All => (Vec::new(), None),
            Filter::Kernel(program) => (program, None),
            Filter::Wire(program) => (Vec::new(), Some(program)),
        };
        set_filter(&socket, &program, header_bytes)?;
        let mapping = map(&socket, geometry)?;
        let name = interface_name(&socket, ifindex)?;
        bind(&socket, ifindex, libc::ETH_P_ALL as u16)
            .map_err(|_| last("cannot bind to the interface"))?;
        Ok(Ring {
            mapping,
            socket,
            geometry,
            ifindex,
            name,
            wanted,
            next: 0,
        })
    }

    /// Memory that the ring takes.
    pub fn bytes(&self) -> u64 {
        self.geometry.bytes()
    }

    /// Hands the frames of the next full block to `take`, in groups, and returns the block to the
    /// kernel. False when no block is ready.
    pub fn read_block(&mut self, take: &mut dyn FnMut(&[Frame<'_>])) -> bool {
        if self.status().load(Ordering::Acquire) & TP_STATUS_USER == 0 {
            return false;
        }
        // The status word says that the block is ours.
        self.walk(take);
        self.release();
        true
    }

    /// Stops receiving, then hands over all that the kernel had taken in, the block it was still
    /// filling included. After this the ring only waits to be dropped.
    pub fn drain(&mut self, take: &mut dyn FnMut(&[Frame<'_>])) {
        // Refusing everything and re-binding to another protocol: the second waits until no
        // processor is still writing (synchronize_net). A device that is down or gone has done
        // the same already, and refuses.
        let _ = set_filter(&self.socket, &[], 0);
        let _ = bind(&self.socket, self.ifindex, libc::ETH_P_LOOPBACK as u16);
        let mut blocks = 0;
        while blocks <= self.geometry.blocks && self.read_block(take) {
            blocks += 1;
        }
        // The kernel writes no more frames; at most its timer still sets the status word, which
        // is not read here.
        self.walk(take);
        self.release();
    }

    /// Frames received and frames for which there was no room, since the last call.
    pub fn statistics(&self) -> (u64, u64) {
        // tpacket_stats_v3: packets (those dropped included), drops, times the queue froze
        let mut stats = [0u32; 3];
        match get(
            &self.socket,
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            &mut stats,
        ) {
            Ok(()) => (
                u64::from(stats[0].saturating_sub(stats[1])),
                u64::from(stats[1]),
            ),
            Err(_) => (0, 0),
        }
    }

    /// Whether the interface can deliver frames now. Clears the error pending on the socket, which
    /// would wake the poller again and again.
    pub fn interface(&self) -> Interface {
        let mut pending = 0i32;
        let _ = get(&self.socket, libc::SOL_SOCKET, libc::SO_ERROR, &mut pending);
        if address(&self.socket).is_ok_and(|address| address.sll_ifindex != self.ifindex) {
            return Interface::Gone;
        }
        // SAFETY: an ifreq of zeros is valid.
        let mut request: libc::ifreq = unsafe { zeroed() };
        // A rename while it is down would hide it; look the name up again then.
        for name in [
            Some(self.name),
            interface_name(&self.socket, self.ifindex).ok(),
        ] {
            let Some(name) = name else { continue };
            request.ifr_name = name;
            // SAFETY: SIOCGIFINDEX and SIOCGIFFLAGS read and write one ifreq; the union members
            // read are those that the requests fill.
            unsafe {
                if libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFINDEX, &mut request) < 0
                    || request.ifr_ifru.ifru_ifindex != self.ifindex
                    || libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) < 0
                {
                    continue;
                }
                if i32::from(request.ifr_ifru.ifru_flags) & libc::IFF_UP != 0 {
                    return Interface::Up;
                }
                return Interface::Down;
            }
        }
        Interface::Down
    }

    fn status(&self) -> &AtomicU32 {
        let offset = self.next * self.geometry.block_bytes as usize + 8;
        // SAFETY: `next` is below the number of blocks, so the word is inside the mapping; it is
        // aligned, lives as long as `self`, and is written by the kernel and by `release` only.
        unsafe { AtomicU32::from_ptr(self.mapping.start.as_ptr().add(offset).cast()) }
    }

    /// The current block.
    ///
    /// SAFETY: the caller knows that the kernel does not write into it now.
    unsafe fn block(&mut self) -> &mut [u8] {
        let bytes = self.geometry.block_bytes as usize;
        // SAFETY: inside the mapping, as `next` is below the number of blocks.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.mapping.start.as_ptr().add(self.next * bytes),
                bytes,
            )
        }
    }

    /// Hands over the current block, which the kernel does not write into now.
    fn walk(&mut self, take: &mut dyn FnMut(&[Frame<'_>])) {
        let wanted = self.wanted.take();
        // SAFETY: `read_block` has seen that the block is ours, `drain` that the kernel is done.
        walk(unsafe { self.block() }, wanted.as_ref(), take);
        self.wanted = wanted;
    }

    fn release(&mut self) {
        // The number of frames is cleared so that `drain` cannot take an old block for one that
        // the kernel is filling.
        // SAFETY: the block is ours until the next statement.
        if let Some(count) = unsafe { self.block() }.get_mut(12..16) {
            count.fill(0);
        }
        self.status().store(TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.geometry.blocks as usize;
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Hands over the frames of a block that are wanted, after putting the VLAN tags back.
fn walk(block: &mut [u8], wanted: Option<&Program>, take: &mut dyn FnMut(&[Frame<'_>])) {
    let count = u32_at(block, 12).unwrap_or(0) as usize;
    let mut offset = u32_at(block, 16).unwrap_or(0) as usize;
    let mut rest = count.min(block.len() / FRAME_HEADER);
    while rest > 0 {
        let mut spots = [Spot::default(); GROUP];
        let mut found = 0;
        for spot in spots.iter_mut().take(rest) {
            let Some((place, next)) = frame_at(block, offset) else {
                rest = 0;
                break;
            };
            *spot = place;
            found += 1;
            rest -= 1;
            if next == 0 {
                rest = 0;
                break;
            }
            offset = offset.saturating_add(next);
        }
        let mut frames = [Frame {
            data: &[],
            at_ns: 0,
            wire_bytes: 0,
        }; GROUP];
        let mut kept = 0;
        for spot in spots.iter().take(found) {
            let data = block.get(spot.start..spot.end).unwrap_or_default();
            if wanted.is_some_and(|program| program.run(data, spot.wire_bytes) == 0) {
                continue;
            }
            if let Some(frame) = frames.get_mut(kept) {
                *frame = Frame {
                    data,
                    at_ns: spot.at_ns,
                    wire_bytes: spot.wire_bytes,
                };
                kept += 1;
            }
        }
        if kept > 0 {
            take(frames.get(..kept).unwrap_or_default());
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Spot {
    start: usize,
    end: usize,
    at_ns: i64,
    wire_bytes: u32,
}

/// The frame whose header is at `offset`, and the distance to the next one.
fn frame_at(block: &mut [u8], offset: usize) -> Option<(Spot, usize)> {
    let header = block.get(offset..offset.checked_add(FRAME_HEADER)?)?;
    let next = u32_at(header, 0)? as usize;
    let (seconds, nanoseconds) = (u32_at(header, 4)?, u32_at(header, 8)?);
    let captured = u32_at(header, 12)? as usize;
    let wire_bytes = u32_at(header, 16)?;
    let status = u32_at(header, 20)?;
    let mac = usize::from(u16_at(header, 24)?);
    let (tci, tpid) = (u32_at(header, 32)? as u16, u16_at(header, 36)?);
    let start = offset.checked_add(mac)?;
    let end = start.checked_add(captured)?;
    block.get(start..end)?;
    let mut spot = Spot {
        start,
        end,
        at_ns: i64::from(seconds) * 1_000_000_000 + i64::from(nanoseconds),
        wire_bytes,
    };
    if status & TP_STATUS_VLAN_VALID != 0 && captured >= 12 && mac >= FRAME_HEADER + VLAN_TAG {
        // The addresses move 4 bytes towards the frame's header (over the sockaddr_ll, which is
        // not needed), and the tag fills the gap.
        let tpid = if status & TP_STATUS_VLAN_TPID_VALID != 0 {
            tpid
        } else {
            ETH_P_8021Q
        };
        spot.start -= VLAN_TAG;
        block.copy_within(start..start + 12, spot.start);
        block
            .get_mut(spot.start + 12..spot.start + 14)?
            .copy_from_slice(&tpid.to_be_bytes());
        block
            .get_mut(spot.start + 14..spot.start + 16)?
            .copy_from_slice(&tci.to_be_bytes());
        spot.wire_bytes = wire_bytes.saturating_add(VLAN_TAG as u32);
    }
    Some((spot, next))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(offset..offset + 2)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}

fn set<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> Result<(), ()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a live value.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(())
    } else {
        Ok(())
    }
}

/// `T` is made of integers, for which any bytes are valid.
fn get<T: Copy>(socket: &OwnedFd, level: i32, option: i32, value: &mut T) -> Result<(), ()> {
    let mut bytes = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `bytes` bytes into a live value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_mut(value).cast(),
            &mut bytes,
        )
    };
    if result < 0 {
        Err(())
    } else {
        Ok(())
    }
}

fn bind(socket: &OwnedFd, ifindex: i32, protocol: u16) -> Result<(), ()> {
    // SAFETY: a sockaddr_ll of zeros is valid.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = ifindex;
    // SAFETY: the kernel reads one sockaddr_ll.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            ptr::from_ref(&address).cast(),
            SOCKADDR_LL as u32,
        )
    };
    if result < 0 {
        Err(())
    } else {
        Ok(())
    }
}

/// What the socket is bound to.
fn address(socket: &OwnedFd) -> Result<libc::sockaddr_ll, RingError> {
    // SAFETY: a sockaddr_ll of zeros is valid.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    let mut bytes = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `bytes` bytes into a live value.
    let result = unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            ptr::from_mut(&mut address).cast(),
            &mut bytes,
        )
    };
    if result < 0 {
        return Err(last("cannot read the address of the socket"));
    }
    Ok(address)
}

fn interface_name(
    socket: &OwnedFd,
    ifindex: i32,
) -> Result<[libc::c_char; libc::IFNAMSIZ], RingError> {
    // SAFETY: an ifreq of zeros is valid; SIOCGIFNAME reads the index and writes the name.
    unsafe {
        let mut request: libc::ifreq = zeroed();
        request.ifr_ifru.ifru_ifindex = ifindex;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME, &mut request) < 0 {
            return Err(last("cannot open the interface"));
        }
        Ok(request.ifr_name)
    }
}

fn set_filter(socket: &OwnedFd, program: &[Instruction], limit: u32) -> Result<(), RingError> {
    let what = "cannot set the filter";
    if program.len() > MAX_INSTRUCTIONS {
        return Err(RingError {
            what,
            source: io::Error::from_raw_os_error(libc::EINVAL),
        });
    }
    const RETURN_CONSTANT: u16 = 0x06;
    let filter = |(code, jt, jf, k): Instruction| {
        // A compiled filter returns its own snap length, which may be longer than ours.
        let k = if code == RETURN_CONSTANT {
            k.min(limit)
        } else {
            k
        };
        libc::sock_filter { code, jt, jf, k }
    };
    let mut filters: Vec<_> = program.iter().copied().map(filter).collect();
    if filters.is_empty() {
        filters.push(filter((RETURN_CONSTANT, 0, 0, limit)));
    }
    let program = libc::sock_fprog {
        len: filters.len() as u16,
        filter: filters.as_mut_ptr(),
    };
    // The kernel copies and verifies the program during the call.
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program).map_err(|()| last(what))
}

fn map(socket: &OwnedFd, geometry: Geometry) -> Result<Mapping, RingError> {
    let bytes = geometry.bytes() as usize;
    // SAFETY: a fresh shared mapping of the whole ring, at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            socket.as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(last("cannot map the ring"));
    }
    let start = NonNull::new(start.cast()).ok_or_else(|| last("cannot map the ring"))?;
    Ok(Mapping { start, bytes })
}

/// What the poller reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A ring has a block to look at.
    Ring {
        /// The number that it is watched under.
        number: u64,
        /// Something happened to its interface.
        error: bool,
    },
    /// [`Poller::stop`] was called.
    Stop,
}

const STOP: u64 = u64::MAX;

/// Waits for many rings from several threads; each readiness goes to one thread, which asks for the
/// next with [`Poller::again`].
pub struct Poller {
    epoll: OwnedFd,
    stop: OwnedFd,
}

impl Poller {
    /// A poller without rings.
    pub fn new() -> io::Result<Poller> {
        // SAFETY: creates a descriptor, which nobody else owns.
        let epoll = unsafe { owned(libc::epoll_create1(libc::EPOLL_CLOEXEC))? };
        // SAFETY: as above.
        let stop = unsafe { owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))? };
        let poller = Poller { epoll, stop };
        let stop = poller.stop.as_raw_fd();
        poller.control(libc::EPOLL_CTL_ADD, stop, libc::EPOLLIN, STOP)?;
        Ok(poller)
    }

    /// Starts to watch `ring` under `number`.
    pub fn add(&self, ring: &Ring, number: u64) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLONESHOT;
        self.control(libc::EPOLL_CTL_ADD, ring.as_raw_fd(), events, number)
    }

    /// Asks for the next readiness of `ring`.
    pub fn again(&self, ring: &Ring, number: u64) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLONESHOT;
        self.control(libc::EPOLL_CTL_MOD, ring.as_raw_fd(), events, number)
    }

    /// Stops watching `ring`.
    pub fn remove(&self, ring: &Ring) {
        // It fails only if the ring was not watched.
        let _ = self.control(libc::EPOLL_CTL_DEL, ring.as_raw_fd(), 0, 0);
    }

    /// Wakes all threads for good.
    pub fn stop(&self) {
        let one = 1u64;
        // SAFETY: writes 8 bytes of a live value; it cannot fail but when already signalled.
        unsafe { libc::write(self.stop.as_raw_fd(), ptr::from_ref(&one).cast(), 8) };
    }

    /// Waits for one thing to look at.
    pub fn wait(&self) -> io::Result<Wake> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        loop {
            // SAFETY: the kernel writes at most one event.
            let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &mut event, 1, -1) };
            if count > 0 {
                let number = event.u64;
                if number == STOP {
                    return Ok(Wake::Stop);
                }
                let error = event.events & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0;
                return Ok(Wake::Ring { number, error });
            }
            let error = io::Error::last_os_error();
            if count < 0 && error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    fn control(&self, operation: i32, fd: RawFd, events: i32, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: number,
        };
        // SAFETY: the kernel reads one event.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// SAFETY: the caller passes a descriptor that nobody else owns, or a negative number.
unsafe fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: by the contract above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
pub(crate) mod testing {
    //! A loopback interface of one's own to capture on.
    use super::*;

    /// An unbound packet socket in the namespace of this thread.
    pub fn packet_socket() -> io::Result<OwnedFd> {
        // SAFETY: creates a descriptor, which nobody else owns.
        unsafe {
            owned(libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                0,
            ))
        }
    }

    /// Runs `work` in a thread with a network namespace of its own, given a packet socket and the
    /// index of a loopback interface that is up. Says that it was left out when not allowed to.
    pub fn in_new_namespace(work: impl FnOnce(OwnedFd, i32) + Send) {
        let body = || {
            // SAFETY: affects this thread only.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
                println!("LEFT OUT: needs root to make a network namespace");
                return;
            }
            let Ok(socket) = packet_socket() else {
                unreachable!("no packet socket")
            };
            // SAFETY: an ifreq of zeros is valid; both requests use the members set here.
            unsafe {
                let mut request: libc::ifreq = zeroed();
                request.ifr_name[0] = b'l' as libc::c_char;
                request.ifr_name[1] = b'o' as libc::c_char;
                request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
                assert_eq!(
                    libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request),
                    0
                );
            }
            work(socket, 1);
        };
        std::thread::scope(|scope| {
            if let Err(panic) = scope.spawn(body).join() {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Sample {
        data: Vec<u8>,
        wire_bytes: u32,
        vlan: Option<(u16, u16)>,
    }

    /// A block as the kernel lays it out.
    fn block(samples: &[Sample]) -> Vec<u8> {
        const MAC: usize = 82;
        let mut out = vec![0u8; FRAME_HEADER];
        out[12..16].copy_from_slice(&(samples.len() as u32).to_ne_bytes());
        out[16..20].copy_from_slice(&(FRAME_HEADER as u32).to_ne_bytes());
        for sample in samples {
            let start = out.len();
            let length = (MAC + sample.data.len()).next_multiple_of(16);
            out.resize(start + length, 0xee);
            let mut put = |at: usize, value: u32| {
                out[start + at..start + at + 4].copy_from_slice(&value.to_ne_bytes());
            };
            put(0, length as u32);
            put(4, 7);
            put(8, 5);
            put(12, sample.data.len() as u32);
            put(16, sample.wire_bytes);
            put(20, if sample.vlan.is_some() { 0x51 } else { 1 });
            put(24, MAC as u32);
            let (tpid, tci) = sample.vlan.unwrap_or_default();
            put(32, u32::from(tci));
            put(36, u32::from(tpid));
            out[start + MAC..start + MAC + sample.data.len()].copy_from_slice(&sample.data);
        }
        out
    }

    fn frames(block: &mut [u8]) -> Vec<(Vec<u8>, i64, u32)> {
        let mut out = Vec::new();
        walk(block, None, &mut |frames| {
            assert!(!frames.is_empty() && frames.len() <= GROUP);
            out.extend(
                frames
                    .iter()
                    .map(|f| (f.data.to_vec(), f.at_ns, f.wire_bytes)),
            );
        });
        out
    }

    #[test]
    fn frames_keep_their_order_time_and_wire_length() {
        let samples: Vec<_> = (0..150u8)
            .map(|n| Sample {
                data: vec![n; 60],
                wire_bytes: 1000 + u32::from(n),
                vlan: None,
            })
            .collect();
        let got = frames(&mut block(&samples));
        let want: Vec<_> = samples
            .iter()
            .map(|s| (s.data.clone(), 7_000_000_005, s.wire_bytes))
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn the_stripped_vlan_tag_is_back_between_addresses_and_type() {
        let mut data: Vec<u8> = (0..12).collect();
        data.extend([0x08, 0x00, 0x45, 0xff]);
        let sample = Sample {
            data,
            wire_bytes: 16,
            vlan: Some((0x88a8, 0x2064)),
        };
        let mut want: Vec<u8> = (0..12).collect();
        want.extend([0x88, 0xa8, 0x20, 0x64, 0x08, 0x00, 0x45, 0xff]);
        assert_eq!(frames(&mut block(&[sample])), [(want, 7_000_000_005, 20)]);
    }

    #[test]
    fn geometry_never_exceeds_what_it_is_given() {
        assert_eq!(Geometry::within((64 << 10) - 1), None);
        for bytes in [64 << 10, 100_000, 1 << 20, 6 << 20, 64 << 20, 1 << 30] {
            let geometry = Geometry::within(bytes).unwrap_or(Geometry::SMALLEST);
            assert!(geometry.bytes() <= bytes);
            assert!(geometry.bytes() > bytes - bytes / 4);
            assert!(geometry.blocks >= 4);
            assert!(geometry.block_bytes.is_power_of_two());
        }
    }

    proptest! {
        #[test]
        fn any_block_is_walked_without_panic(
            mut data in proptest::collection::vec(any::<u8>(), 0..2000),
            count in 0u32..200,
            first in 0u32..100,
        ) {
            if let Some(header) = data.get_mut(12..20) {
                header[..4].copy_from_slice(&count.to_ne_bytes());
                header[4..].copy_from_slice(&first.to_ne_bytes());
            }
            prop_assert!(frames(&mut data).len() <= count as usize);
        }

        #[test]
        fn any_change_of_a_good_block_is_walked_without_panic(
            changes in proptest::collection::vec((0usize..700, any::<u8>()), 0..20),
        ) {
            let samples: Vec<_> = (0..5u8)
                .map(|n| Sample { data: vec![n; 40], wire_bytes: 40, vlan: Some((0x8100, 5)) })
                .collect();
            let mut data = block(&samples);
            for (at, value) in changes {
                if let Some(byte) = data.get_mut(at) {
                    *byte = value;
                }
            }
            frames(&mut data);
        }
    }
}
