//! The flow table: packets in, flows out (flows.md §§5-7).
//!
//! Packets are taken in groups of 16, each in passes: decode and hash, have the index and then the
//! records come into the cache, update. Waiting for memory once a group instead of once a packet is
//! most of the speed. Inside a tunnel the key needs the UUID of the flow around it, so what is
//! nested n deep has its passes after what is nested n-1 deep.
//!
//! A table holds at most as many flows as it was told. A new flow beyond takes the place of the
//! longest silent of eight drawn at random, and that is counted. (An exact order of age would cost
//! every packet; eight draws hit the oldest tenth with 57 %, the older half with 99.6 %.)

use std::cell::Cell;
use std::collections::HashSet;

use crate::application;
use crate::applications::Applications;
use crate::defrag::{Defragmenter, FragmentCounters, Verdict, Whole};
use crate::encode;
use crate::extra;
use crate::flow::{
    milliseconds, Cold, Counters, Endpoints, Finish, Hot, Icmp, Link, More, Partial, Ports,
    Protocol, RawPacket, RawPackets, TcpTimes, CHANGED, COUNTED, FIN_A, FIN_B, FIRST_UPDATE,
    HAS_PORTS, UPDATED,
};
use crate::icmp;
use crate::index::Index;
use crate::keys::{bytes_at, uuid, KeyInput, KeyMode, Way};
use crate::layers::{FirstLayer, Layer};
use crate::packet::{At, Network, Packet, SubPacket, Transport, MAX_LAYERS, MAX_SUB_PACKETS};
use crate::paths::Paths;
use crate::pcap::{self, FileError};
use crate::prefetch;
use crate::reassembly::{Segment, StreamMetric};
use crate::records::Records;
use crate::ring::Frame;
use crate::wire::Writer;

/// Packets that are taken together.
const GROUP_PACKETS: usize = 16;

/// Packets of a file that are handed over together.
const FILE_BATCH: usize = 64;

/// A finished flow stays this long after its last packet.
const HOLD_MS: i64 = 15_000;

/// Fragments wait this long for the rest of their datagram.
const FRAGMENT_PATIENCE_MS: i64 = 30_000;

/// Memory for what the packets of flows say inside; more is left out, and that is counted.
const MOST_MORE_BYTES: u64 = 64 << 20;

/// Flows drawn when one has to go.
const DRAWN: usize = 8;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What a table is told when it is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `TID` of the node that is captured.
    pub node_tid: String,
    /// UUID of the capture.
    pub capture_id: String,
    /// What frames begin with.
    pub first_layer: FirstLayer,
    /// What tells flows apart.
    pub key_mode: KeyMode,
    /// Most flows kept.
    pub max_flows: usize,
    /// Packets of each flow kept as they are.
    pub raw_packet_limit: u32,
    /// Note the times of TCP flags.
    pub extra_tcp_metric: bool,
    /// Put datagrams together of which fragments were captured.
    pub ip_defrag: bool,
    /// Follow the sequence numbers of TCP connections.
    pub reassemble_tcp: bool,
    /// Application messages to look into: bits of `extra`.
    pub extra_layers: u8,
    /// Names and timeouts of applications.
    pub applications: Applications,
    /// UDP port that carries MPLS.
    pub mpls_udp_port: Option<u16>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            node_tid: String::new(),
            capture_id: String::new(),
            first_layer: FirstLayer::Ethernet,
            key_mode: KeyMode::L2,
            max_flows: 500_000,
            raw_packet_limit: 0,
            extra_tcp_metric: false,
            ip_defrag: false,
            reassemble_tcp: false,
            extra_layers: 0,
            applications: Applications::default(),
            mpls_udp_port: None,
        }
    }
}

/// What a table says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Flows in it now.
    pub flows: u64,
    /// Packets taken, since the start.
    pub packets: u64,
    /// Packets of which something could not be decoded, since the start.
    pub decode_errors: u64,
    /// Flows that went to make room, since the start.
    pub evicted: u64,
    /// Memory that it takes.
    pub memory_bytes: u64,
    /// Fragments that are in no flow, since the start.
    pub fragments: FragmentCounters,
    /// Fragments that wait for others now.
    pub fragments_waiting: u64,
    /// Application messages for which there was no room, since the start.
    pub layers_left_out: u64,
}

/// One flow table.
#[derive(Debug)]
pub struct FlowTable {
    flows: Flows,
}

thread_local! {
    /// Where packets are on their way through the passes: 36 KB, so one for all tables that a thread
    /// serves.
    static GROUP: Cell<Option<Box<Group>>> = const { Cell::new(None) };
}

/// A sub packet on its way through the passes.
#[derive(Debug, Default)]
struct Step {
    packet: usize,
    sub_packet: usize,
    /// The step of the sub packet around it.
    parent: Option<usize>,
    depth: usize,
    input: KeyInput,
    way: Way,
    key: u64,
    guess: Option<u32>,
    /// Of its flow, once that is known.
    uuid: u64,
}

#[derive(Debug)]
struct Group {
    packets: Vec<Packet>,
    steps: Vec<Step>,
    used: usize,
    depth: usize,
    /// Frames that completed a datagram, by their number.
    wholes: Vec<(usize, Whole)>,
}

impl FlowTable {
    /// An empty table.
    pub fn new(settings: Settings) -> FlowTable {
        FlowTable {
            flows: Flows::new(settings),
        }
    }

    /// Its flows, to be read.
    pub fn flows(&self) -> &Flows {
        &self.flows
    }

    /// Accounts frames in the order in which they were seen.
    pub fn feed(&mut self, frames: &[Frame<'_>]) {
        self.feed_from(self.flows.settings.first_layer, frames);
    }

    /// Accounts frames that begin with `first`.
    pub fn feed_from(&mut self, first: FirstLayer, frames: &[Frame<'_>]) {
        let mut group = GROUP.take().unwrap_or_default();
        for frames in frames.chunks(GROUP_PACKETS) {
            let errors = group.decode(frames, first, &mut self.flows);
            self.flows.packets += frames.len() as u64;
            self.flows.decode_errors += errors;
            for depth in 0..group.depth {
                group.prefetch(depth, &self.flows);
                group.account(depth, frames, &mut self.flows);
            }
        }
        GROUP.set(Some(group));
    }

    /// Accounts the packets of a pcap or pcapng file; how many. What comes before an error in it
    /// is accounted.
    pub fn feed_file(&mut self, file: &[u8]) -> Result<u64, FileError> {
        let mut frames: Vec<Frame<'_>> = Vec::with_capacity(FILE_BATCH);
        let mut decoders = None;
        let mut packets = 0;
        let mut failed = None;
        for record in pcap::Records::new(file)? {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            let Some(first) = FirstLayer::of_link_type(record.link_type) else {
                let number = record.link_type;
                failed = Some(FileError::LinkType { number, packets });
                break;
            };
            // Interfaces of one file may be of several kinds.
            if decoders != Some(first) || frames.len() == FILE_BATCH {
                if let Some(before) = decoders.replace(first) {
                    self.feed_from(before, &frames);
                }
                frames.clear();
            }
            frames.push(Frame {
                data: record.data,
                at_ns: record.at_ns,
                wire_bytes: record.wire_bytes,
            });
            packets += 1;
        }
        if let Some(first) = decoders {
            self.feed_from(first, &frames);
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(packets),
        }
    }

    /// Update tick: what changed since the last one, as a protobuf `flow.Message`.
    pub fn update(&mut self, now_ms: i64) -> Vec<u8> {
        self.flows.update(now_ms)
    }

    /// Expire tick: what had no packet since the last one, as a protobuf `flow.Message`.
    pub fn expire(&mut self, now_ms: i64) -> Vec<u8> {
        self.flows.expire(now_ms)
    }

    /// Ends all flows: those not sent yet as they are, as a protobuf `flow.Message`.
    pub fn flush(&mut self) -> Vec<u8> {
        if let Some(defragmenter) = &mut self.flows.defragmenter {
            defragmenter.forget_before(i64::MAX);
        }
        self.flows.expire_before(i64::MAX)
    }

    /// What it says of itself.
    pub fn stats(&self) -> Stats {
        self.flows.stats()
    }
}

impl Default for Group {
    fn default() -> Self {
        let steps = GROUP_PACKETS * MAX_SUB_PACKETS;
        Group {
            packets: (0..GROUP_PACKETS).map(|_| Packet::default()).collect(),
            steps: (0..steps).map(|_| Step::default()).collect(),
            used: 0,
            depth: 0,
            wholes: Vec::new(),
        }
    }
}

impl Group {
    /// First pass: decode, and hash what needs no parent. Returns the packets with errors.
    fn decode(&mut self, frames: &[Frame<'_>], first: FirstLayer, flows: &mut Flows) -> u64 {
        self.used = 0;
        self.depth = 0;
        self.wholes.clear();
        let settings = &flows.settings;
        let mut errors = 0;
        for (number, (frame, packet)) in frames.iter().zip(&mut self.packets).enumerate() {
            packet.decode(frame.data, frame.wire_bytes, first, settings.mpls_udp_port);
            let mut data = frame.data;
            if packet.fragment != At::NONE {
                if let Some(defragmenter) = &mut flows.defragmenter {
                    let port = settings.mpls_udp_port;
                    if let Some(whole) = join(defragmenter, packet, frame, first, port) {
                        self.wholes.push((number, whole));
                    }
                }
                if let Some((_, whole)) = self.wholes.last().filter(|(of, _)| *of == number) {
                    data = &whole.frame;
                }
            }
            let mut failed = packet.failed;
            let mut parent = None;
            let mut depth = 0;
            for (place, sub_packet) in packet.sub_packets().iter().enumerate() {
                if sub_packet.is_anonymous() {
                    // Nothing to make a flow of. Of a tunnel header right behind another that is to be
                    // expected.
                    let layers = packet.layers(sub_packet);
                    failed |= layers != [Layer::Mpls] && layers != [Layer::Nsh];
                    continue;
                }
                let Some(step) = self.steps.get_mut(self.used) else {
                    break;
                };
                step.packet = number;
                step.sub_packet = place;
                step.parent = parent;
                step.depth = depth;
                step.way = step
                    .input
                    .take(data, packet, sub_packet, place == 0, settings.key_mode);
                parent = Some(self.used);
                self.used += 1;
                depth += 1;
            }
            self.depth = self.depth.max(depth);
            errors += u64::from(failed);
        }
        errors
    }

    /// Second pass: hash, then have what the third will read come into the cache. What is loaded
    /// is not used, and the loops around it are tight, so that all of it is waited for at once.
    fn prefetch(&mut self, depth: usize, flows: &Flows) {
        for place in 0..self.used {
            let parent = match self.steps.get(place) {
                Some(step) if step.depth == depth => step.parent,
                _ => continue,
            };
            let outer = parent.and_then(|parent| self.steps.get(parent));
            let outer = outer.map(|step| step.uuid);
            if let Some(step) = self.steps.get_mut(place) {
                step.key = match outer {
                    Some(uuid) => step.input.key_inside(uuid),
                    None => step.input.tracking(),
                };
                flows.index.prefetch(step.key);
            }
        }
        let steps = self.steps.get_mut(..self.used).unwrap_or(&mut []);
        for step in steps.iter_mut().filter(|step| step.depth == depth) {
            step.guess = flows.index.guess(step.key);
            if let Some(hot) = step.guess.and_then(|number| flows.hot.get(number)) {
                prefetch::soon(hot);
            }
        }
    }

    /// The datagram that a frame completes.
    #[cold]
    fn joined<'a>(&'a self, packet: usize, frame: &Frame<'a>) -> Option<Joined<'a>> {
        let (_, whole) = self.wholes.iter().find(|(of, _)| *of == packet)?;
        Some(Joined {
            whole,
            frame: Frame {
                data: &whole.frame,
                at_ns: frame.at_ns,
                wire_bytes: (whole.payload_at as u32).saturating_add(whole.payload_bytes),
            },
            captured: frame.data,
        })
    }

    /// Third pass: update the flows, making those that are new.
    fn account(&mut self, depth: usize, frames: &[Frame<'_>], flows: &mut Flows) {
        for place in 0..self.used {
            let Some(step) = self.steps.get(place).filter(|step| step.depth == depth) else {
                continue;
            };
            let (Some(packet), Some(frame)) =
                (self.packets.get(step.packet), frames.get(step.packet))
            else {
                continue;
            };
            let Some(sub_packet) = packet.sub_packets().get(step.sub_packet) else {
                continue;
            };
            let parent = step.parent.and_then(|parent| self.steps.get(parent));
            let joined = match self.wholes.is_empty() {
                true => None,
                false => self.joined(step.packet, frame),
            };
            let seen = Seen {
                frame: joined.as_ref().map_or(frame, |joined| &joined.frame),
                joined: joined.as_ref(),
                packet,
                sub_packet,
                input: &step.input,
                key: step.key,
                guess: step.guess,
                way: step.way,
                parent: parent.map(|step| step.uuid),
            };
            let uuid = flows.account(&seen);
            if let Some(step) = self.steps.get_mut(place) {
                step.uuid = uuid;
            }
        }
    }
}

/// Gives a fragment to the defragmenter. What it completes is decoded; of others nothing is accounted.
#[cold]
#[inline(never)]
fn join(
    defragmenter: &mut Defragmenter,
    packet: &mut Packet,
    frame: &Frame<'_>,
    first: FirstLayer,
    mpls_udp_port: Option<u16>,
) -> Option<Whole> {
    match defragmenter.take(frame.data, packet, frame.at_ns) {
        Verdict::Pass => None,
        Verdict::Taken => {
            packet.clear();
            None
        }
        Verdict::Whole(whole) => {
            packet.decode_whole(&whole.frame, frame.wire_bytes, first, mpls_udp_port);
            Some(whole)
        }
    }
}

/// A frame that completes a datagram.
struct Joined<'a> {
    whole: &'a Whole,
    /// With all of the datagram in it.
    frame: Frame<'a>,
    /// As it was captured.
    captured: &'a [u8],
}

/// A sub packet and all that is known of it.
struct Seen<'a> {
    frame: &'a Frame<'a>,
    /// The datagram that it completes; `frame` has all of it then.
    joined: Option<&'a Joined<'a>>,
    packet: &'a Packet,
    sub_packet: &'a SubPacket,
    input: &'a KeyInput,
    key: u64,
    guess: Option<u32>,
    way: Way,
    parent: Option<u64>,
}

impl Seen<'_> {
    /// Source and target port of what the flow shows as its transport layer.
    #[inline]
    fn ports(&self) -> Option<Ports> {
        let (protocol, at) = match self.sub_packet.transport() {
            Transport::Tcp(at) => (Protocol::Tcp, at),
            Transport::Udp(at) => (Protocol::Udp, at),
            Transport::Sctp(at) => (Protocol::Sctp, at),
            Transport::None => return None,
        };
        let [a1, a0, b1, b0] = bytes_at::<4>(self.frame.data, at.get())?;
        Some(Ports {
            protocol,
            a: u16::from_be_bytes([a1, a0]),
            b: u16::from_be_bytes([b1, b0]),
        })
    }

    fn endpoints(&self) -> Endpoints {
        let data = self.frame.data;
        let found = match self.sub_packet.network() {
            Network::None => None,
            Network::V4(at) => at.get().and_then(|at| {
                let a = bytes_at::<4>(data, Some(at + 12))?;
                let b = bytes_at::<4>(data, Some(at + 16))?;
                Some(Endpoints::V4(a.into(), b.into()))
            }),
            Network::V6(at) => at.get().and_then(|at| {
                let a = bytes_at::<16>(data, Some(at + 8))?;
                let b = bytes_at::<16>(data, Some(at + 24))?;
                Some(Endpoints::V6(a.into(), b.into()))
            }),
        };
        found.unwrap_or(Endpoints::None)
    }

    fn link(&self) -> Option<Link> {
        let at = self.sub_packet.ethernet.get()?;
        Some(Link {
            a: bytes_at(self.frame.data, Some(at + 6))?,
            b: bytes_at(self.frame.data, Some(at))?,
        })
    }

    /// Bytes that the packet counts for (flows.md §5.2).
    #[inline]
    fn bytes(&self, mode: KeyMode) -> u64 {
        let sub_packet = self.sub_packet;
        let data = self.frame.data;
        let measured = mode == KeyMode::L3 || sub_packet.ethernet.get().is_some();
        if measured && sub_packet.bytes > 0 {
            return u64::from(sub_packet.bytes);
        }
        let (at, field) = match sub_packet.network() {
            Network::None => return u64::from(sub_packet.bytes),
            Network::V4(at) => (at, 2),
            Network::V6(at) => (at, 4),
        };
        let Some(at) = at.get() else {
            return u64::from(sub_packet.bytes);
        };
        match bytes_at::<2>(data, Some(at + field)).map(u16::from_be_bytes) {
            Some(length @ 1..) => u64::from(length),
            // Segmentation offload: the field is empty.
            _ => u64::from(sub_packet.bytes)
                .saturating_sub((at as u64).saturating_sub(u64::from(sub_packet.begin))),
        }
    }

    /// TTL or hop limit.
    fn ttl(&self) -> u32 {
        let (at, field) = match self.sub_packet.network() {
            Network::None => return 0,
            Network::V4(at) => (at, 8),
            Network::V6(at) => (at, 7),
        };
        let byte = at.get().and_then(|at| self.frame.data.get(at + field));
        byte.map_or(0, |byte| u32::from(*byte))
    }

    /// Layers of the sub packet, the application's included.
    fn layers(&self) -> ([Layer; MAX_LAYERS + 1], usize) {
        let mut layers = [Layer::Ethernet; MAX_LAYERS + 1];
        let found = self.packet.layers(self.sub_packet);
        for (slot, layer) in layers.iter_mut().zip(found) {
            *slot = *layer;
        }
        let mut length = found.len();
        if let Some(layer) = self.application() {
            if let Some(slot) = layers.get_mut(length) {
                *slot = layer;
                length += 1;
            }
        }
        (layers, length)
    }

    fn application(&self) -> Option<Layer> {
        let sub_packet = self.sub_packet;
        let layer = sub_packet.application?;
        let end = sub_packet.application_end.get()?;
        let data = self.frame.data;
        let payload = self.application_payload()?;
        let cut = end == data.len() && (data.len() as u64) < u64::from(self.frame.wire_bytes);
        application::confirms(layer, payload, cut).then_some(layer)
    }

    fn application_payload(&self) -> Option<&[u8]> {
        let sub_packet = self.sub_packet;
        let (at, end) = (sub_packet.application_at, sub_packet.application_end);
        self.frame.data.get(at.get()?..end.get()?)
    }

    /// Whether A of its flow sent it, told by the ports where the addresses do not.
    fn is_from_a(&self, hot: &Hot) -> bool {
        match self.way {
            Way::Same => self.ports().is_some_and(|ports| ports.a == hot.a_port),
            way => way == hot.a_way,
        }
    }

    /// It is the innermost one.
    fn is_last(&self) -> bool {
        let last = self.packet.sub_packets().last();
        last.is_some_and(|last| std::ptr::eq(last, self.sub_packet))
    }

    /// The TCP segment in it, and its payload as far as it was captured.
    fn segment(&self) -> Option<(Segment, &[u8])> {
        let sub_packet = self.sub_packet;
        let data = self.frame.data;
        let at = sub_packet.tcp.get()?;
        let header = bytes_at::<20>(data, Some(at))?;
        let payload_at = at + usize::from(header[12] >> 4) * 4;
        let length = |at: usize| match bytes_at::<2>(data, Some(at)).map(u16::from_be_bytes) {
            Some(0) | None => None, // segmentation offload
            Some(length) => Some(usize::from(length)),
        };
        let end = match (self.joined, sub_packet.network()) {
            (Some(joined), _) if sub_packet.begin == 0 => Some(joined.frame.wire_bytes as usize),
            (_, Network::V4(ip)) => ip.get().and_then(|ip| Some(ip + length(ip + 2)?)),
            (_, Network::V6(ip)) => ip.get().and_then(|ip| Some(ip + 40 + length(ip + 4)?)),
            (_, Network::None) => None,
        };
        let end = end.unwrap_or((sub_packet.begin as usize) + (sub_packet.bytes as usize));
        let [_, _, _, _, s3, s2, s1, s0, ..] = header;
        let segment = Segment {
            sequence: u32::from_be_bytes([s3, s2, s1, s0]),
            bytes: end.saturating_sub(payload_at) as u32,
            flags: header[13],
            at_ns: self.frame.at_ns,
        };
        let payload = data.get(payload_at..end.min(data.len())).unwrap_or(&[]);
        Some((segment, payload))
    }

    fn icmp(&self) -> Option<Icmp> {
        let message = icmp::Message::of(self.frame.data, self.sub_packet)?;
        // Each version counts under its own.
        match (message.is_v6(), self.sub_packet.network()) {
            (false, Network::V4(_)) | (true, Network::V6(_)) => Some(Icmp {
                kind: message.kind,
                code: message.code,
                id: message.id,
            }),
            _ => None,
        }
    }
}

/// The flows of a table.
#[derive(Debug)]
pub struct Flows {
    settings: Settings,
    index: Index,
    hot: Records<Hot>,
    cold: Records<Cold>,
    paths: Paths,
    /// Time of the last update tick, and of the one before; 0 = there was none.
    ticks_ms: (i64, i64),
    expired_ms: i64,
    random: u64,
    packets: u64,
    decode_errors: u64,
    evicted: u64,
    raw_bytes: u64,
    defragmenter: Option<Box<Defragmenter>>,
    /// Keys of flows with TCP segments that wait for others.
    waiting: HashSet<u64>,
    /// Memory of all `Cold::more`.
    more_bytes: u64,
    layers_left_out: u64,
    /// Packets are looked into beyond their headers.
    asks_for_more: bool,
}

/// A flow of a table, to be read.
#[derive(Debug, Clone, Copy)]
pub struct FlowView<'a> {
    /// What every packet touches.
    pub hot: &'a Hot,
    /// The rest.
    pub cold: &'a Cold,
    /// What it shares with others.
    pub flows: &'a Flows,
}

/// From when to when the update record of a flow counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its beginning.
    pub start_ms: i64,
    /// Its end.
    pub last_ms: i64,
}

impl FlowView<'_> {
    /// `LayersPath`.
    pub fn path(&self) -> &str {
        self.flows.paths.text(self.cold.path)
    }

    /// `Application`.
    pub fn application(&self) -> &str {
        self.flows.settings.applications.name(self.hot.application)
    }

    /// `NodeTID`.
    pub fn node_tid(&self) -> &str {
        &self.flows.settings.node_tid
    }

    /// `CaptureID`.
    pub fn capture_id(&self) -> &str {
        &self.flows.settings.capture_id
    }

    /// `Last`.
    pub fn last_ms(&self) -> i64 {
        milliseconds(self.hot.last_ns)
    }

    /// Window of the update record; None when there was no tick yet.
    pub fn window(&self) -> Option<Window> {
        let (last_ms, before_ms) = self.flows.ticks_ms;
        (self.hot.flags & UPDATED != 0).then_some(Window {
            start_ms: if self.hot.flags & FIRST_UPDATE != 0 {
                self.cold.start_ms
            } else {
                before_ms
            },
            last_ms,
        })
    }

    /// What the two directions of its connection show, from A first; None as long as nothing was.
    pub fn streams(&self) -> Option<[StreamMetric; 2]> {
        let streams = self.cold.more.as_ref()?.streams.as_ref()?;
        let [a, b] = &**streams;
        let metrics = [a.metric, b.metric];
        (metrics != <[StreamMetric; 2]>::default()).then_some(metrics)
    }

    /// Counters of the update record.
    pub fn update(&self) -> Counters {
        if self.hot.flags & COUNTED != 0 {
            self.cold.update
        } else {
            Counters::default()
        }
    }
}

impl Flows {
    fn new(settings: Settings) -> Flows {
        Flows {
            defragmenter: settings.ip_defrag.then(Box::default),
            waiting: HashSet::new(),
            more_bytes: 0,
            layers_left_out: 0,
            asks_for_more: settings.raw_packet_limit > 0
                || settings.ip_defrag
                || settings.reassemble_tcp
                || settings.extra_layers != 0,
            settings,
            index: Index::default(),
            hot: Records::default(),
            cold: Records::default(),
            paths: Paths::default(),
            ticks_ms: (0, 0),
            expired_ms: 0,
            random: 0x9E37_79B9_7F4A_7C15,
            packets: 0,
            decode_errors: 0,
            evicted: 0,
            raw_bytes: 0,
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.hot.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.hot.is_empty()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = FlowView<'_>> {
        let pairs = self.hot.iter().zip(self.cold.iter());
        pairs.map(|(hot, cold)| FlowView {
            hot,
            cold,
            flows: self,
        })
    }

    /// The one with this number; numbers are those of `iter` and change when flows end.
    pub fn get(&self, number: u32) -> Option<FlowView<'_>> {
        Some(FlowView {
            hot: self.hot.get(number)?,
            cold: self.cold.get(number)?,
            flows: self,
        })
    }

    fn defragmenter_bytes(&self) -> usize {
        let defragmenter = self.defragmenter.as_ref();
        defragmenter.map_or(0, |defragmenter| defragmenter.memory_bytes())
    }

    fn stats(&self) -> Stats {
        let memory = self.hot.memory_bytes() + self.cold.memory_bytes() + self.index.memory_bytes();
        Stats {
            flows: self.len() as u64,
            packets: self.packets,
            decode_errors: self.decode_errors,
            evicted: self.evicted,
            memory_bytes: (memory + self.defragmenter_bytes()) as u64
                + self.raw_bytes
                + self.more_bytes,
            fragments: self
                .defragmenter
                .as_ref()
                .map(|defragmenter| defragmenter.counters())
                .unwrap_or_default(),
            fragments_waiting: self
                .defragmenter
                .as_ref()
                .map_or(0, |defragmenter| defragmenter.waiting()),
            layers_left_out: self.layers_left_out,
        }
    }

    // Packets.

    /// Accounts a sub packet; the number of the UUID of its flow.
    #[inline]
    fn account(&mut self, seen: &Seen<'_>) -> u64 {
        let is_it = |number: &u32| self.hot.get(*number).is_some_and(|hot| hot.key == seen.key);
        let number = match seen.guess.filter(is_it) {
            Some(number) => number,
            None => match self.index.find(seen.key, |number| is_it(&number)) {
                Some(number) => number,
                None => self.begin(seen),
            },
        };
        let Some(hot) = self.hot.get_mut(number) else {
            return 0;
        };
        hot.last_ns = seen.frame.at_ns;
        hot.flags |= CHANGED;
        let bytes = seen.bytes(self.settings.key_mode);
        let from_a = match seen.way {
            // With one address on both sides ports decide, the wrong way round: kept as it is
            // upstream, where a test asserts it (flows.md §5.2).
            Way::Same if hot.flags & HAS_PORTS != 0 => {
                seen.ports().is_some_and(|ports| hot.a_port > ports.a)
            }
            Way::Same => true,
            way => way == hot.a_way,
        };
        if from_a {
            hot.counters.ab_packets += 1;
            hot.counters.ab_bytes += bytes;
        } else {
            hot.counters.ba_packets += 1;
            hot.counters.ba_bytes += bytes;
        }
        let uuid = hot.uuid;
        let sub_packet = seen.sub_packet;
        if let Some(at) = sub_packet.tcp.get() {
            let flags = seen.frame.data.get(at + 13).copied().unwrap_or(0);
            if flags & (SYN | FIN | RST) != 0 && sub_packet.network() != Network::None {
                self.tcp_flags(number, seen, flags);
            }
        } else if sub_packet.icmp_v4.get().is_some() || sub_packet.echo_v6 {
            self.echo(number, seen);
        }
        if self.asks_for_more {
            self.look_inside(number, seen);
        }
        uuid
    }

    /// What few captures ask for.
    #[cold]
    fn look_inside(&mut self, number: u32, seen: &Seen<'_>) {
        if self.settings.raw_packet_limit > 0 {
            self.keep_raw(number, seen);
        }
        if self.settings.ip_defrag {
            self.count_fragments(number, seen);
        }
        if !self.settings.reassemble_tcp && self.settings.extra_layers == 0 {
            return;
        }
        let segment = seen.segment();
        if let (true, Some((segment, _))) = (self.settings.reassemble_tcp, &segment) {
            self.follow(number, seen, *segment);
        }
        let wanted = self.settings.extra_layers;
        if wanted == 0 {
            return;
        }
        if let Some((segment, payload)) = segment {
            if !payload.is_empty() {
                self.look_into_segment(number, wanted, segment, payload);
            }
            return;
        }
        let known = |layer| {
            let more = self.cold.get(number).and_then(|cold| cold.more.as_deref());
            more.is_some_and(|more| more.layer(layer).is_some())
        };
        let found = match seen.application() {
            Some(layer) => seen.application_payload().and_then(|payload| {
                extra::of_datagram(wanted, layer, payload, seen.frame.at_ns, known)
            }),
            None => match seen.packet.layers(seen.sub_packet).last() {
                Some(Layer::Vrrp) => {
                    extra::of_vrrp(wanted, seen.frame.data, seen.sub_packet, known)
                }
                Some(Layer::Udp) => {
                    let payload = seen.sub_packet.udp.get();
                    let payload = payload.and_then(|at| seen.frame.data.get(at + 8..));
                    payload.and_then(|payload| extra::of_unknown_datagram(wanted, payload, known))
                }
                _ => None,
            },
        };
        if let Some((layer, bytes)) = found {
            self.set_layer(number, layer, bytes);
        }
    }

    /// Looks for the beginning of a conversation in a TCP segment.
    fn look_into_segment(&mut self, number: u32, wanted: u8, segment: Segment, payload: &[u8]) {
        let cold = self.cold.get(number);
        let more = cold.and_then(|cold| cold.more.as_deref());
        let mut joined = None;
        if more.is_some_and(|more| more.partial.is_some()) {
            self.change_more(number, |more| {
                let follows = |partial: &mut Box<Partial>| partial.next == segment.sequence;
                joined = more.partial.take_if(follows).map(|partial| partial.bytes);
            });
        }
        if let Some(bytes) = &mut joined {
            bytes.extend_from_slice(payload);
        }
        let message = joined.as_deref().unwrap_or(payload);
        let found = extra::of_stream(wanted, message);
        // What the capture cut off will not come.
        let goes_on = found.goes_on
            && payload.len() as u32 == segment.bytes
            && message.len() < extra::LONGEST_PARTIAL
            && self.more_bytes <= MOST_MORE_BYTES;
        if goes_on {
            let next = segment.sequence.wrapping_add(segment.bytes);
            let bytes = joined.unwrap_or_else(|| payload.to_vec());
            let partial = Box::new(Partial { next, bytes });
            self.change_more(number, |more| more.partial = Some(partial));
        }
        if let Some((layer, bytes)) = found.layer {
            self.set_layer(number, layer, bytes);
        }
    }

    fn set_layer(&mut self, number: u32, layer: u32, bytes: Vec<u8>) {
        if self.more_bytes > MOST_MORE_BYTES {
            self.layers_left_out += 1;
            return;
        }
        self.change_more(number, |more| more.set_layer(layer, bytes));
    }

    /// Fragments of the datagram, on the flow of what is innermost in it.
    fn count_fragments(&mut self, number: u32, seen: &Seen<'_>) {
        let is_v4 = matches!(seen.sub_packet.network(), Network::V4(_));
        if !seen.is_last() || !(is_v4 || seen.joined.is_some()) {
            return;
        }
        let known = self.cold.get(number).and_then(|cold| cold.more.as_ref());
        if seen.joined.is_none() && known.is_some_and(|more| more.ip.is_some()) {
            return;
        }
        self.change_more(number, |more| {
            let ip = more.ip.get_or_insert_default();
            if let Some(joined) = seen.joined {
                ip.fragments += u64::from(joined.whole.fragments);
                ip.errors += u64::from(joined.whole.errors);
            }
        });
    }

    /// A segment of one of the two directions of a connection.
    fn follow(&mut self, number: u32, seen: &Seen<'_>, segment: Segment) {
        let Some(hot) = self.hot.get(number) else {
            return;
        };
        let (key, from_a) = (hot.key, seen.is_from_a(hot));
        let mut waits = false;
        self.change_more(number, |more| {
            let streams = more.streams.get_or_insert_default();
            let [a, b] = &mut **streams;
            if from_a {
                a.take(segment);
            } else {
                b.take(segment);
            }
            waits = a.is_waiting() || b.is_waiting();
        });
        if waits {
            self.waiting.insert(key);
        } else if !self.waiting.is_empty() {
            self.waiting.remove(&key);
        }
    }

    /// Changes what is known of a flow beyond its headers, and keeps account of its memory.
    fn change_more(&mut self, number: u32, change: impl FnOnce(&mut More)) {
        let Some(cold) = self.cold.get_mut(number) else {
            return;
        };
        let before = cold.more.as_ref().map_or(0, |more| more.memory_bytes());
        let more = cold.more.get_or_insert_default();
        change(more);
        let after = more.memory_bytes();
        self.more_bytes = (self.more_bytes + after as u64).saturating_sub(before as u64);
    }

    /// Gives up waiting for what lies before TCP segments that came 30 s ago.
    fn give_up_gaps(&mut self, now_ms: i64) {
        let keys: Vec<u64> = self.waiting.iter().copied().collect();
        for key in keys {
            let is_it = |number| self.hot.get(number).is_some_and(|hot| hot.key == key);
            let mut waits = false;
            if let Some(number) = self.index.find(key, is_it) {
                self.change_more(number, |more| {
                    for stream in more
                        .streams
                        .iter_mut()
                        .flat_map(|streams| streams.iter_mut())
                    {
                        stream.give_up_old(now_ms.saturating_mul(1_000_000));
                        waits |= stream.is_waiting();
                    }
                });
            }
            if !waits {
                self.waiting.remove(&key);
            }
        }
    }

    /// Ends the connection of a flow that is to be sent for the last time.
    fn finish_streams(&mut self, number: u32) {
        let Some(key) = self.hot.get(number).map(|hot| hot.key) else {
            return;
        };
        if self.waiting.remove(&key) {
            self.change_more(number, |more| {
                for stream in more
                    .streams
                    .iter_mut()
                    .flat_map(|streams| streams.iter_mut())
                {
                    stream.finish();
                }
            });
        }
    }

    /// Makes the flow of a first packet; its number.
    #[cold]
    fn begin(&mut self, seen: &Seen<'_>) -> u32 {
        while self.hot.len() >= self.settings.max_flows.max(1) {
            self.evict();
        }
        let start_ms = milliseconds(seen.frame.at_ns);
        let network = seen.endpoints();
        let ports = seen.ports().filter(|_| network != Endpoints::None);
        let (layers, length) = seen.layers();
        let layers = layers.get(..length).unwrap_or(&[]);
        let last = layers.last().copied().unwrap_or(Layer::Ethernet);
        let application = self.settings.applications.number(last, ports.as_ref());
        let tcp = matches!(ports, Some(ports) if ports.protocol == Protocol::Tcp);
        let number = self.hot.len() as u32;
        self.hot.push(Hot {
            key: seen.key,
            uuid: uuid(seen.key, start_ms, &self.settings.node_tid),
            counters: Counters::default(),
            last_ns: seen.frame.at_ns,
            a_port: ports.map_or(0, |ports| ports.a),
            application,
            a_way: seen.way,
            flags: if ports.is_some() { HAS_PORTS } else { 0 },
            finish: Finish::Not,
        });
        self.cold.push(Cold {
            start_ms,
            tracking: seen.input.tracking(),
            l3_tracking: seen.input.l3_tracking(),
            parent: seen.parent,
            link_id: seen.sub_packet.link_id,
            asked_ns: 0,
            rtt_ns: 0,
            counted: Counters::default(),
            update: Counters::default(),
            update_rtt_ns: 0,
            tcp: (tcp && self.settings.extra_tcp_metric).then(Box::default),
            raw: None,
            more: None,
            network,
            link: seen.link(),
            network_id: seen.sub_packet.network_id,
            path: self.paths.take(layers),
            ports,
            icmp: seen.icmp(),
        });
        self.index.insert(seen.key, number);
        number
    }

    /// SYN, FIN or RST is set.
    #[cold]
    fn tcp_flags(&mut self, number: u32, seen: &Seen<'_>, flags: u8) {
        let (Some(hot), Some(cold)) = (self.hot.get_mut(number), self.cold.get_mut(number)) else {
            return;
        };
        let from_a = seen.is_from_a(hot);
        // Upstream looks at the first packet only. A flow is over when both ends, or all that were
        // ever heard of, have said FIN; and is not when they start again on the same ports.
        if flags & SYN != 0 {
            hot.flags &= !(FIN_A | FIN_B);
            hot.finish = Finish::Not;
        }
        if flags & FIN != 0 {
            hot.flags |= if from_a { FIN_A } else { FIN_B };
            let both = hot.flags & FIN_A != 0 && hot.flags & FIN_B != 0;
            if both || hot.counters.ab_packets == 0 || hot.counters.ba_packets == 0 {
                hot.finish = Finish::Fin;
            }
        }
        if flags & RST != 0 && hot.finish == Finish::Not {
            hot.finish = Finish::Rst;
        }

        let at_ns = seen.frame.at_ns;
        match cold.asked_ns {
            0 if flags & SYN != 0 => cold.asked_ns = at_ns,
            0 => (),
            asked_ns if flags & (SYN | ACK) == SYN | ACK || flags & RST != 0 => {
                cold.rtt_ns = at_ns.wrapping_sub(asked_ns);
                cold.asked_ns = 0;
            }
            _ => (),
        }
        if let Some(times) = &mut cold.tcp {
            note_times(times, flags, from_a, milliseconds(at_ns), seen.ttl());
        }
    }

    /// An ICMP message, maybe an echo.
    fn echo(&mut self, number: u32, seen: &Seen<'_>) {
        let Some(message) = icmp::Message::of(seen.frame.data, seen.sub_packet) else {
            return;
        };
        if !(message.request || message.reply) {
            return;
        }
        let Some(cold) = self.cold.get_mut(number) else {
            return;
        };
        match cold.asked_ns {
            0 if message.request => cold.asked_ns = seen.frame.at_ns,
            0 => (),
            asked_ns if message.reply => {
                cold.rtt_ns = seen.frame.at_ns.wrapping_sub(asked_ns);
                cold.asked_ns = 0;
            }
            _ => (),
        }
    }

    fn keep_raw(&mut self, number: u32, seen: &Seen<'_>) {
        let Some(cold) = self.cold.get_mut(number) else {
            return;
        };
        let raw = cold.raw.get_or_insert_with(Box::default);
        if raw.captured >= self.settings.raw_packet_limit {
            return;
        }
        raw.captured += 1;
        let begin = seen.sub_packet.begin as usize;
        // What was captured, not what was made of it, unless only that has the sub packet.
        let data = match seen.joined {
            Some(joined) if begin == 0 => joined.captured,
            _ => seen.frame.data,
        };
        let data = data.get(begin..).unwrap_or(&[]);
        self.raw_bytes += data.len() as u64;
        raw.packets.push(RawPacket {
            at_ms: milliseconds(seen.frame.at_ns),
            index: raw.captured,
            data: data.into(),
        });
    }

    // Going.

    /// Drops the longest silent of a few drawn flows.
    fn evict(&mut self) {
        let length = self.hot.len().max(1) as u64;
        let mut oldest = (i64::MAX, 0);
        for _ in 0..DRAWN {
            // xorshift64: good enough to draw by.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let number = ((u128::from(self.random) * u128::from(length)) >> 64) as u32;
            if let Some(hot) = self.hot.get(number) {
                oldest = oldest.min((hot.last_ns, number));
            }
        }
        self.remove(oldest.1);
        self.evicted += 1;
    }

    fn remove(&mut self, number: u32) {
        let (Some(hot), Some(cold)) = (self.hot.swap_remove(number), self.cold.swap_remove(number))
        else {
            return;
        };
        self.index.remove(hot.key, number);
        self.paths.give_back(cold.path);
        if let Some(raw) = &cold.raw {
            self.raw_bytes = self.raw_bytes.saturating_sub(raw_bytes(raw));
        }
        if let Some(more) = &cold.more {
            self.more_bytes = self.more_bytes.saturating_sub(more.memory_bytes() as u64);
            self.waiting.remove(&hot.key);
        }
        // The last one has taken its number.
        let last = self.hot.len() as u32;
        if let Some(moved) = self.hot.get(number).map(|hot| hot.key) {
            self.index.renumber(moved, last, number);
        }
    }

    /// Removes flows by their numbers, which rise.
    fn remove_all(&mut self, numbers: &[u32]) {
        // From behind, so that none of them changes its number before its turn.
        for number in numbers.iter().rev() {
            self.remove(*number);
        }
    }

    // Ticks.

    fn update(&mut self, now_ms: i64) -> Vec<u8> {
        if !self.waiting.is_empty() {
            self.give_up_gaps(now_ms);
        }
        if let Some(defragmenter) = &mut self.defragmenter {
            let limit_ms = now_ms.saturating_sub(FRAGMENT_PATIENCE_MS);
            defragmenter.forget_before(limit_ms.saturating_mul(1_000_000));
        }
        let (changed, gone) = self.sweep(now_ms);
        for number in &gone {
            self.finish_streams(*number);
        }
        let message = self.encode(&changed, None);
        for number in changed {
            if let Some(raw) = self.cold.get_mut(number).and_then(|cold| cold.raw.as_mut()) {
                self.raw_bytes = self.raw_bytes.saturating_sub(raw_bytes(raw));
                raw.packets = Vec::new();
            }
        }
        self.remove_all(&gone);
        message
    }

    /// Closes the update records at `now_ms`. Returns the flows to be sent and those to be removed.
    pub(crate) fn sweep(&mut self, now_ms: i64) -> (Vec<u32>, Vec<u32>) {
        self.ticks_ms = (now_ms, self.ticks_ms.0);
        let applications = &self.settings.applications;
        let has_timeouts = applications.has_timeouts();
        let mut changed = Vec::new();
        let mut gone = Vec::new();
        for (number, (hot, cold)) in self.hot.iter_mut().zip(self.cold.iter_mut()).enumerate() {
            let number = number as u32;
            let first = if hot.flags & UPDATED == 0 {
                FIRST_UPDATE
            } else {
                0
            };
            let sent = hot.flags & CHANGED != 0;
            hot.flags = hot.flags & !(FIRST_UPDATE | COUNTED | CHANGED) | first | UPDATED;
            if sent {
                hot.flags |= COUNTED;
                cold.update = hot.counters.since(cold.counted);
                cold.update_rtt_ns = cold.rtt_ns;
                cold.counted = hot.counters;
                changed.push(number);
            }
            if (sent || !has_timeouts) && hot.finish == Finish::Not {
                continue;
            }
            let silent_ms = now_ms.saturating_sub(milliseconds(hot.last_ns));
            let timeout_ms = applications.timeout_ms(hot.application);
            if !sent && timeout_ms.is_some_and(|timeout_ms| silent_ms > timeout_ms) {
                hot.finish = Finish::Timeout;
                changed.push(number);
                gone.push(number);
            } else if hot.finish != Finish::Not && silent_ms >= HOLD_MS {
                gone.push(number);
            }
        }
        (changed, gone)
    }

    fn expire(&mut self, now_ms: i64) -> Vec<u8> {
        let limit_ms = std::mem::replace(&mut self.expired_ms, now_ms);
        self.expire_before(limit_ms)
    }

    /// Ends flows whose last packet is older than `limit_ms`.
    fn expire_before(&mut self, limit_ms: i64) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut gone = Vec::new();
        for (number, (hot, cold)) in self.hot.iter_mut().zip(self.cold.iter_mut()).enumerate() {
            if milliseconds(hot.last_ns) >= limit_ms {
                continue;
            }
            let number = number as u32;
            let changed = hot.flags & CHANGED != 0;
            if changed {
                let first = if hot.flags & UPDATED == 0 {
                    FIRST_UPDATE
                } else {
                    0
                };
                hot.flags = hot.flags & !FIRST_UPDATE | COUNTED | UPDATED | first;
                cold.update = hot.counters.since(cold.counted);
                cold.update_rtt_ns = cold.rtt_ns;
            }
            // What ended by itself was sent when that was seen, unless that is news.
            if changed || hot.finish == Finish::Not {
                sent.push(number);
            }
            if hot.finish == Finish::Not {
                hot.finish = Finish::Timeout;
            }
            gone.push(number);
        }
        for number in &gone {
            self.finish_streams(*number);
        }
        let message = self.encode(&sent, Some(self.ticks_ms.0));
        self.remove_all(&gone);
        message
    }

    /// The flows as a `flow.Message`. `ending_ms`: they end, and their last records began then.
    fn encode(&self, numbers: &[u32], ending_ms: Option<i64>) -> Vec<u8> {
        let mut out = Writer::with_capacity(numbers.len() * encode::USUAL_BYTES);
        for flow in numbers.iter().filter_map(|number| self.get(*number)) {
            let window = match ending_ms {
                Some(since_ms) if flow.hot.flags & CHANGED != 0 => Some(Window {
                    start_ms: if flow.hot.flags & FIRST_UPDATE != 0 {
                        flow.cold.start_ms
                    } else {
                        since_ms
                    },
                    last_ms: flow.last_ms(),
                }),
                _ => flow.window(),
            };
            encode::flow(&mut out, &flow, window);
        }
        out.into_bytes()
    }
}

fn raw_bytes(raw: &RawPackets) -> u64 {
    raw.packets
        .iter()
        .map(|packet| packet.data.len() as u64)
        .sum()
}

/// Of the three flags one counts: SYN, else FIN, else RST. Of SYN the first time counts, of the
/// others the last.
fn note_times(times: &mut TcpTimes, flags: u8, from_a: bool, at_ms: i64, ttl: u32) {
    if flags & SYN != 0 {
        let (start, first_ttl) = if from_a {
            (&mut times.ab_syn, &mut times.ab_syn_ttl)
        } else {
            (&mut times.ba_syn, &mut times.ba_syn_ttl)
        };
        if *start == 0 {
            *start = at_ms;
            *first_ttl = ttl;
        }
        return;
    }
    let start = match (flags & FIN != 0, from_a) {
        (true, true) => &mut times.ab_fin,
        (true, false) => &mut times.ba_fin,
        (false, true) => &mut times.ab_rst,
        (false, false) => &mut times.ba_rst,
    };
    *start = at_ms;
}
