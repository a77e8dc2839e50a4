//! One frame into its layers and sub packets, without copying or allocating (flows.md §§2-3).
//!
//! Decoding goes on from header to header in one loop. What it leaves is where the headers are, by
//! offset, and which layers were met, by number; names, addresses and ports are read from the frame
//! when somebody needs them. A tunnel header ends a sub packet and the next one begins behind it.
//!
//! Application protocols inside UDP are only noted by port: whether the payload really is DNS is
//! looked at when a flow begins (`application`), not for each packet of it.

use crate::layers::{FirstLayer, Layer};

/// Layers of one frame that are looked at; decoding stops there.
pub const MAX_LAYERS: usize = 32;

/// Sub packets of one frame, which is tunnels inside each other plus one.
pub const MAX_SUB_PACKETS: usize = 8;

/// Bytes of a frame that are looked for headers. Offsets are 16 bits.
const MAX_HEADER_BYTES: usize = 65_534;

/// Labels of a routing header of GRE that are followed.
const MAX_GRE_ROUTES: usize = 8;

/// Where a header begins in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(u16);

impl At {
    /// No such header.
    pub const NONE: At = At(u16::MAX);

    const fn new(offset: usize) -> At {
        At(offset as u16)
    }

    /// Offset of the header.
    #[inline]
    pub fn get(self) -> Option<usize> {
        (self != At::NONE).then_some(usize::from(self.0))
    }

    #[inline]
    fn or(self, other: At) -> At {
        if self == At::NONE {
            other
        } else {
            self
        }
    }
}

/// Version of an IP header and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// None.
    None,
    /// IPv4.
    V4(At),
    /// IPv6.
    V6(At),
}

/// Protocol of a transport header and where its two ports are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// None.
    None,
    /// TCP.
    Tcp(At),
    /// UDP.
    Udp(At),
    /// SCTP.
    Sctp(At),
}

/// What lies between two tunnel headers.
#[derive(Debug, Clone, Copy)]
pub struct SubPacket {
    /// Its first byte in the frame.
    pub begin: u32,
    /// Its length on the wire, its own headers included.
    pub bytes: u32,
    /// VLAN ids, the outermost in the lowest 12 bits.
    pub link_id: u64,
    /// VNI or key of the tunnel that it carries.
    pub network_id: u32,
    first_layer: u8,
    layers: u8,
    /// Ends with VXLAN or Geneve, whose UDP source port says nothing.
    pub overlay: bool,
    /// An identifier follows the ICMPv6 header.
    pub echo_v6: bool,
    /// First Ethernet header.
    pub ethernet: At,
    /// First IPv4 header.
    pub ipv4: At,
    /// First IPv6 header.
    pub ipv6: At,
    /// First TCP header.
    pub tcp: At,
    /// First UDP header.
    pub udp: At,
    /// First SCTP header.
    pub sctp: At,
    /// First ICMPv4 header.
    pub icmp_v4: At,
    /// First ICMPv6 header.
    pub icmp_v6: At,
    /// What the UDP ports promise.
    pub application: Option<Layer>,
    /// Where the payload of UDP begins.
    pub application_at: At,
    /// Where it ends.
    pub application_end: At,
}

impl SubPacket {
    const EMPTY: SubPacket = SubPacket {
        begin: 0,
        bytes: 0,
        link_id: 0,
        network_id: 0,
        first_layer: 0,
        layers: 0,
        overlay: false,
        echo_v6: false,
        ethernet: At::NONE,
        ipv4: At::NONE,
        ipv6: At::NONE,
        tcp: At::NONE,
        udp: At::NONE,
        sctp: At::NONE,
        icmp_v4: At::NONE,
        icmp_v6: At::NONE,
        application: None,
        application_at: At::NONE,
        application_end: At::NONE,
    };

    /// Its network header: IPv4 goes before IPv6.
    #[inline]
    pub fn network(&self) -> Network {
        if self.ipv4 != At::NONE {
            Network::V4(self.ipv4)
        } else if self.ipv6 != At::NONE {
            Network::V6(self.ipv6)
        } else {
            Network::None
        }
    }

    /// Its transport header as a flow shows it: TCP, then UDP, then SCTP.
    #[inline]
    pub fn transport(&self) -> Transport {
        if self.tcp != At::NONE {
            Transport::Tcp(self.tcp)
        } else if self.udp != At::NONE {
            Transport::Udp(self.udp)
        } else if self.sctp != At::NONE {
            Transport::Sctp(self.sctp)
        } else {
            Transport::None
        }
    }

    /// Its transport header as its key takes it: UDP, then TCP, then SCTP.
    #[inline]
    pub fn key_transport(&self) -> Transport {
        if self.udp != At::NONE {
            Transport::Udp(self.udp)
        } else {
            self.transport()
        }
    }

    /// Neither link nor network: nothing that a flow could be made of.
    #[inline]
    pub fn is_anonymous(&self) -> bool {
        self.ethernet == At::NONE && self.ipv4 == At::NONE && self.ipv6 == At::NONE
    }
}

/// A decoded frame; reused from frame to frame.
#[derive(Debug, Clone)]
pub struct Packet {
    layers: [Layer; MAX_LAYERS],
    sub_packets: [SubPacket; MAX_SUB_PACKETS],
    sub_packet_count: usize,
    /// First network header of the whole frame.
    pub network: Network,
    /// First transport header of the whole frame.
    pub transport: Transport,
    /// Where the payload of a fragment begins, of whichever packet in it.
    pub fragment: At,
    /// Something in it is malformed, nested too deep, or a tunnel payload of no known kind.
    pub failed: bool,
}

impl Default for Packet {
    fn default() -> Self {
        Packet {
            layers: [Layer::Ethernet; MAX_LAYERS],
            sub_packets: [SubPacket::EMPTY; MAX_SUB_PACKETS],
            sub_packet_count: 0,
            network: Network::None,
            transport: Transport::None,
            fragment: At::NONE,
            failed: false,
        }
    }
}

impl Packet {
    /// The sub packets, outermost first, anonymous ones included.
    #[inline]
    pub fn sub_packets(&self) -> &[SubPacket] {
        self.sub_packets.get(..self.sub_packet_count).unwrap_or(&[])
    }

    /// The layers of a sub packet, outermost first.
    pub fn layers(&self, sub_packet: &SubPacket) -> &[Layer] {
        let first = usize::from(sub_packet.first_layer);
        self.layers
            .get(first..first + usize::from(sub_packet.layers))
            .unwrap_or(&[])
    }

    /// Decodes `frame`, `wire_bytes` long before the capture cut it. UDP to or from
    /// `mpls_udp_port` carries MPLS.
    #[inline]
    pub fn decode(
        &mut self,
        frame: &[u8],
        wire_bytes: u32,
        first: FirstLayer,
        mpls_udp_port: Option<u16>,
    ) {
        self.decode_as::<false>(frame, wire_bytes, first, mpls_udp_port);
    }

    /// Decodes a frame in which a datagram was put together behind the header of its last
    /// fragment. The lengths of that header are those of the fragment.
    #[cold]
    #[inline(never)]
    pub fn decode_whole(
        &mut self,
        frame: &[u8],
        wire_bytes: u32,
        first: FirstLayer,
        mpls_udp_port: Option<u16>,
    ) {
        self.decode_as::<true>(frame, wire_bytes, first, mpls_udp_port);
    }

    /// Nothing of the frame is to be accounted.
    pub fn clear(&mut self) {
        self.sub_packet_count = 0;
    }

    #[inline(always)]
    fn decode_as<const WHOLE: bool>(
        &mut self,
        frame: &[u8],
        wire_bytes: u32,
        first: FirstLayer,
        mpls_udp_port: Option<u16>,
    ) {
        let frame = frame.get(..MAX_HEADER_BYTES).unwrap_or(frame);
        self.network = Network::None;
        self.transport = Transport::None;
        self.fragment = At::NONE;
        let mut slots = self.sub_packets.iter_mut();
        let Some(current) = slots.next() else {
            return;
        };
        let mut decoder = Decoder::<WHOLE> {
            frame,
            at: 0,
            end: frame.len(),
            outer_bytes: outer_bytes(frame, wire_bytes, first),
            joined: false,
            unseen: 0,
            mpls_udp_port,
            current,
            slots,
            closed: 0,
            layers: &mut self.layers,
            layer_count: 0,
            network: &mut self.network,
            transport: &mut self.transport,
            fragment: &mut self.fragment,
            failed: false,
        };
        decoder.run(first);
        (self.sub_packet_count, self.failed) = (decoder.closed, decoder.failed);
    }
}

/// Length of the frame by which all sub packets are measured (flows.md §3.3).
#[inline]
fn outer_bytes(frame: &[u8], wire_bytes: u32, first: FirstLayer) -> u32 {
    if !matches!(
        first,
        FirstLayer::RawIp | FirstLayer::IPv4 | FirstLayer::IPv6
    ) {
        return wire_bytes;
    }
    let field = |at: usize| match frame.get(at..at + 2) {
        Some(&[high, low]) => u32::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    let length = match (first, frame.first().map(|byte| byte >> 4)) {
        (FirstLayer::IPv4, _) | (FirstLayer::RawIp, Some(4)) => field(2),
        (FirstLayer::IPv6, _) | (FirstLayer::RawIp, Some(6)) => field(4),
        _ => 0,
    };
    if length == 0 {
        wire_bytes
    } else {
        length
    }
}

/// What is decoded next.
#[derive(Clone, Copy)]
enum Next {
    Ethernet,
    EtherType(u16),
    Llc,
    Snap,
    RawIp,
    IPv4,
    IPv6,
    IpProtocol(u8),
    Tcp,
    Udp,
    Mpls,
    MplsPayload,
    Vxlan,
    VxlanGpe,
    Nsh,
    Geneve,
    Gtp,
    Ppp,
    Sctp,
    SctpChunk,
    /// Nothing, or nothing that has a name.
    Done,
    /// Malformed.
    Failed,
}

/// `WHOLE`: the first fragment in the frame is a whole datagram. (A kind of its own, so that the usual
/// one is as quick as if there were no such thing.)
struct Decoder<'f, 'p, const WHOLE: bool> {
    frame: &'f [u8],
    /// Next byte to look at.
    at: usize,
    /// End of the payload of the layer before.
    end: usize,
    outer_bytes: u32,
    /// The whole datagram was met.
    joined: bool,
    /// Bytes of headers that are no layers (ERSPAN): lengths and offsets do not know of them.
    unseen: usize,
    mpls_udp_port: Option<u16>,
    /// Filled in place: a copy of what was just written would wait for it.
    current: &'p mut SubPacket,
    slots: std::slice::IterMut<'p, SubPacket>,
    closed: usize,
    layers: &'p mut [Layer; MAX_LAYERS],
    layer_count: usize,
    network: &'p mut Network,
    transport: &'p mut Transport,
    fragment: &'p mut At,
    failed: bool,
}

impl<const WHOLE: bool> Decoder<'_, '_, WHOLE> {
    #[inline]
    fn run(&mut self, first: FirstLayer) {
        self.begin();
        let mut next = match first {
            FirstLayer::Ethernet => Next::Ethernet,
            FirstLayer::RawIp => Next::RawIp,
            FirstLayer::IPv4 => Next::IPv4,
            FirstLayer::IPv6 => Next::IPv6,
            other => self.cooked(other),
        };
        loop {
            next = match next {
                Next::Ethernet => self.ethernet(),
                Next::EtherType(number) => self.ether_type(number),
                Next::IPv4 => self.ipv4(),
                Next::IPv6 => self.ipv6(),
                Next::IpProtocol(number) => self.ip_protocol(number),
                Next::Tcp => self.tcp(),
                Next::Udp => self.udp(),
                Next::Vxlan => self.vxlan(),
                Next::VxlanGpe => self.vxlan_gpe(),
                Next::Nsh => self.nsh(),
                Next::Geneve => self.geneve(),
                Next::Mpls => self.mpls(),
                Next::MplsPayload => self.mpls_payload(),
                Next::Llc => self.llc(),
                Next::Snap => self.snap(),
                Next::RawIp => self.raw_ip(),
                Next::Gtp => self.gtp(),
                Next::Ppp => self.ppp(),
                Next::Sctp => self.sctp(),
                Next::SctpChunk => self.sctp_chunk(),
                Next::Done => break,
                Next::Failed => {
                    self.failed = true;
                    break;
                }
            };
        }
        self.finish();
    }

    // Sub packets.

    fn begin(&mut self) {
        let begin = self.at.saturating_sub(self.unseen) as u32;
        *self.current = SubPacket {
            begin,
            bytes: self.outer_bytes.saturating_sub(begin),
            first_layer: self.layer_count as u8,
            ..SubPacket::EMPTY
        };
    }

    /// Layers of the current sub packet so far.
    fn current_layers(&self) -> &[Layer] {
        let first = usize::from(self.current.first_layer);
        self.layers.get(first..self.layer_count).unwrap_or(&[])
    }

    fn close(&mut self) {
        self.current.layers = self.current_layers().len() as u8;
        self.closed += 1;
    }

    /// The header before was a tunnel's.
    fn split(&mut self, next: Next) -> Next {
        // Too deep: what is in there stays unseen.
        let Some(slot) = self.slots.next() else {
            return Next::Failed;
        };
        self.close();
        self.current = slot;
        self.begin();
        self.payload(next)
    }

    fn finish(&mut self) {
        if !self.current_layers().is_empty() {
            self.close();
        } else if self.at < self.end {
            self.failed = true;
        }
    }

    // Reading.

    #[inline]
    fn rest(&self) -> &[u8] {
        self.frame.get(self.at..self.end).unwrap_or(&[])
    }

    /// The next `N` bytes, without moving on.
    #[inline]
    fn header<const N: usize>(&self) -> Option<[u8; N]> {
        self.rest().first_chunk::<N>().copied()
    }

    #[inline]
    fn here(&self) -> At {
        At::new(self.at)
    }

    /// Notes a layer. False when there are too many.
    #[inline]
    fn add(&mut self, layer: Layer) -> bool {
        match self.layers.get_mut(self.layer_count) {
            Some(slot) => {
                *slot = layer;
                self.layer_count += 1;
                true
            }
            None => false,
        }
    }

    /// Notes a layer of `bytes` bytes and goes behind it.
    #[inline]
    fn pass(&mut self, layer: Layer, bytes: usize, next: Next) -> Next {
        if !self.add(layer) {
            return Next::Failed;
        }
        self.at += bytes;
        self.payload(next)
    }

    /// `next`, unless nothing is left: no decoder runs on nothing.
    #[inline]
    fn payload(&self, next: Next) -> Next {
        if self.at < self.end {
            next
        } else {
            Next::Done
        }
    }

    /// Notes a layer that nothing decodes further, if it is at least `bytes` long.
    fn leaf(&mut self, layer: Layer, bytes: usize) -> Next {
        if self.rest().len() < bytes {
            return Next::Failed;
        }
        self.pass(layer, 0, Next::Done)
    }

    // Link layers.

    #[inline]
    fn ethernet(&mut self) -> Next {
        let Some(header) = self.header::<14>() else {
            return Next::Failed;
        };
        let here = self.here();
        self.current.ethernet = self.current.ethernet.or(here);
        if !self.add(Layer::Ethernet) {
            return Next::Failed;
        }
        self.at += 14;
        let number = u16::from_be_bytes([header[12], header[13]]);
        if number < 0x600 {
            self.end = self.end.min(self.at + usize::from(number));
            return self.payload(Next::Llc);
        }
        self.payload(Next::EtherType(number))
    }

    #[inline]
    fn ether_type(&mut self, number: u16) -> Next {
        match number {
            0x0800 => Next::IPv4,
            0x86DD => Next::IPv6,
            0x8100 | 0x88A8 => self.dot1q(),
            0x0806 => self.arp(),
            0x8847 | 0x8848 => Next::Mpls,
            0x6558 => Next::Ethernet,
            0x88BE => self.erspan(8),
            0x22EB => self.erspan_iii(),
            0x894F => self.nsh(),
            0x8863 | 0x8864 => self.pppoe(),
            0x880B => Next::Ppp,
            0x888E => self.eapol(),
            0x88CC => self.lldp(),
            0x2000 => self.cdp(),
            0x01A2 => self.leaf(Layer::NortelDiscovery, 7),
            0x9000 => self.ethernet_ctp(),
            0 => Next::Llc,
            _ => Next::Done,
        }
    }

    fn dot1q(&mut self) -> Next {
        let Some([high, low, kind_high, kind_low]) = self.header::<4>() else {
            return Next::Failed;
        };
        let vlan = u64::from(u16::from_be_bytes([high, low]) & 0x0FFF);
        let layers = self.current_layers().iter();
        let tags = layers.filter(|layer| **layer == Layer::Dot1Q).count() as u32;
        // The outermost tag is lowest; a sixth one finds no room in 64 bits.
        self.current.link_id |= vlan.checked_shl(12 * tags).unwrap_or(0);
        let kind = u16::from_be_bytes([kind_high, kind_low]);
        self.pass(Layer::Dot1Q, 4, Next::EtherType(kind))
    }

    fn arp(&mut self) -> Next {
        let Some(header) = self.header::<8>() else {
            return Next::Failed;
        };
        let addresses = 2 * (usize::from(header[4]) + usize::from(header[5]));
        self.leaf(Layer::Arp, 8 + addresses)
    }

    /// ERSPAN: some bytes that are not a layer, then Ethernet.
    fn erspan(&mut self, bytes: usize) -> Next {
        if self.rest().len() < bytes {
            return Next::Failed;
        }
        self.at += bytes;
        self.unseen += bytes;
        self.payload(Next::Ethernet)
    }

    /// ERSPAN type III: 12 bytes, and 8 more when the last bit says so.
    fn erspan_iii(&mut self) -> Next {
        match self.header::<12>() {
            Some(header) if header[11] & 1 == 1 => self.erspan(20),
            _ => self.erspan(12),
        }
    }

    /// A service function path (RFC 8300). It is a tunnel whose id is that of the path.
    fn nsh(&mut self) -> Next {
        let Some([first, length, _, next, a, b, c, _]) = self.header::<8>() else {
            return Next::Failed;
        };
        let bytes = 4 * usize::from(length & 0x3F);
        if first >> 6 != 0 || bytes < 8 || self.rest().len() < bytes || !self.add(Layer::Nsh) {
            return Next::Failed;
        }
        self.current.network_id = u32::from_be_bytes([0, a, b, c]);
        self.at += bytes;
        self.split(carried(next))
    }

    fn llc(&mut self) -> Next {
        let Some([target, source, control]) = self.header::<3>() else {
            return Next::Failed;
        };
        let bytes = if control & 3 == 3 { 3 } else { 4 };
        if self.rest().len() < bytes {
            return Next::Failed;
        }
        let next = match (target, source) {
            (0xAA, 0xAA) => Next::Snap,
            (0x42, 0x42) => return self.pass_then_leaf(Layer::Llc, bytes, Layer::Stp, 4),
            _ => Next::Done,
        };
        self.pass(Layer::Llc, bytes, next)
    }

    fn pass_then_leaf(&mut self, layer: Layer, bytes: usize, inner: Layer, needs: usize) -> Next {
        match self.pass(layer, bytes, Next::Failed) {
            Next::Done => Next::Done,
            _ => self.leaf(inner, needs),
        }
    }

    fn snap(&mut self) -> Next {
        let Some([_, _, _, high, low]) = self.header::<5>() else {
            return Next::Failed;
        };
        let number = u16::from_be_bytes([high, low]);
        self.pass(Layer::Snap, 5, Next::EtherType(number))
    }

    fn pppoe(&mut self) -> Next {
        let Some([_, code, _, _, high, low]) = self.header::<6>() else {
            return Next::Failed;
        };
        self.end = self
            .end
            .min(self.at + 6 + usize::from(u16::from_be_bytes([high, low])));
        let next = if code == 0 { Next::Ppp } else { Next::Done };
        self.pass(Layer::PppoE, 6, next)
    }

    fn ppp(&mut self) -> Next {
        // Address and control may be left out, and so may the high byte of the protocol.
        let skipped = if self.rest().starts_with(&[0xFF, 0x03]) {
            2
        } else {
            0
        };
        let (number, bytes) = match self.rest().get(skipped..) {
            Some([low, ..]) if low & 1 == 1 => (u16::from(*low), 1),
            Some([high, low, ..]) => (u16::from_be_bytes([*high, *low]), 2),
            _ => return Next::Failed,
        };
        let next = match number {
            0x21 => Next::IPv4,
            0x57 => Next::IPv6,
            0x0281 | 0x0283 => Next::Mpls,
            _ => Next::Done,
        };
        self.pass(Layer::Ppp, skipped + bytes, next)
    }

    fn eapol(&mut self) -> Next {
        let Some([_, kind, _, _]) = self.header::<4>() else {
            return Next::Failed;
        };
        match kind {
            0 => self.pass_then_leaf(Layer::Eapol, 4, Layer::Eap, 4),
            3 => self.pass_then_leaf(Layer::Eapol, 4, Layer::EapolKey, 95),
            _ => self.leaf(Layer::Eapol, 4),
        }
    }

    fn ethernet_ctp(&mut self) -> Next {
        let Some([skip_low, skip_high]) = self.header::<2>() else {
            return Next::Failed;
        };
        let skip = usize::from(u16::from_le_bytes([skip_low, skip_high]));
        let function = match self.rest().get(2 + skip..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => u16::from_le_bytes(*bytes),
            None => return self.leaf(Layer::EthernetCtp, 2),
        };
        let inner = match function {
            1 => Layer::EthernetCtpReply,
            2 => Layer::EthernetCtpForwardData,
            _ => return self.leaf(Layer::EthernetCtp, 2),
        };
        self.pass_then_leaf(Layer::EthernetCtp, 2, inner, 4)
    }

    fn lldp(&mut self) -> Next {
        if !is_lldp(self.rest()) {
            return Next::Failed;
        }
        self.add(Layer::LinkLayerDiscovery);
        self.leaf(Layer::LinkLayerDiscoveryInfo, 0)
    }

    fn cdp(&mut self) -> Next {
        if self.rest().len() < 4 {
            return Next::Failed;
        }
        self.add(Layer::CiscoDiscovery);
        self.leaf(Layer::CiscoDiscoveryInfo, 0)
    }

    /// Link headers that are found in capture files only.
    fn cooked(&mut self, first: FirstLayer) -> Next {
        match first {
            // Not a layer of the path: a leading separator would remain of it.
            FirstLayer::LinuxSll => match self.header::<16>() {
                Some(header) => {
                    self.at += 16;
                    let number = u16::from_be_bytes([header[14], header[15]]);
                    self.payload(Next::EtherType(number))
                }
                None => Next::Failed,
            },
            FirstLayer::LinuxSll2 => match self.header::<20>() {
                Some(header) => {
                    self.at += 20;
                    self.payload(Next::EtherType(u16::from_be_bytes([header[0], header[1]])))
                }
                None => Next::Failed,
            },
            FirstLayer::Loopback => {
                let family = match self.header::<4>() {
                    // The writer's byte order is that of the file's host; families are small.
                    Some([low, _, 0, 0]) => low,
                    Some([0, 0, _, low]) => low,
                    _ => return Next::Failed,
                };
                let next = match family {
                    2 => Next::IPv4,
                    10 | 24 | 28 | 30 => Next::IPv6,
                    _ => Next::Done,
                };
                self.pass(Layer::Loopback, 4, next)
            }
            _ => Next::Ppp,
        }
    }

    // Network layers.

    /// IPv4 or IPv6 by the first nibble, else ARP.
    fn raw_ip(&mut self) -> Next {
        match self.rest().first().map(|byte| byte >> 4) {
            Some(4) => Next::IPv4,
            Some(6) => Next::IPv6,
            Some(_) => self.arp(),
            None => Next::Done,
        }
    }

    #[inline]
    fn ipv4(&mut self) -> Next {
        let Some(header) = self.header::<20>() else {
            return self.headless(Layer::IPv4);
        };
        let here = self.here();
        self.current.ipv4 = self.current.ipv4.or(here);
        if *self.network == Network::None {
            *self.network = Network::V4(here);
        }
        let available = self.rest().len();
        let total = match u16::from_be_bytes([header[2], header[3]]) {
            0 => available, // segmentation offload
            total => usize::from(total),
        };
        let header_bytes = usize::from(header[0] & 0x0F) * 4;
        if !self.add(Layer::IPv4)
            || header_bytes < 20
            || header_bytes > total
            || header_bytes > available
        {
            return Next::Failed;
        }
        self.end = self.end.min(self.at + total);
        self.at += header_bytes;
        // More fragments, or an offset.
        if u16::from_be_bytes([header[6], header[7]]) & 0x3FFF != 0 {
            return match self.payload(Next::Failed) {
                Next::Done => Next::Done,
                _ => self.fragment(header[9]),
            };
        }
        self.payload(Next::IpProtocol(header[9]))
    }

    #[inline]
    fn ipv6(&mut self) -> Next {
        let Some(header) = self.header::<40>() else {
            return self.headless(Layer::IPv6);
        };
        let here = self.here();
        self.current.ipv6 = self.current.ipv6.or(here);
        if *self.network == Network::None {
            *self.network = Network::V6(here);
        }
        if !self.add(Layer::IPv6) {
            return Next::Failed;
        }
        self.at += 40;
        // A length of 0 is a jumbogram or segmentation offload: what is there counts.
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if length > 0 {
            self.end = self.end.min(self.at + length);
        }
        self.payload(Next::IpProtocol(header[6]))
    }

    /// An IP layer without addresses: named, but nothing to make a flow of.
    fn headless(&mut self, layer: Layer) -> Next {
        self.add(layer);
        self.at = self.end;
        Next::Failed
    }

    /// What is behind a fragment header; `next` is known of the first one only.
    #[cold]
    fn fragment(&mut self, next: u8) -> Next {
        if WHOLE && !self.joined {
            self.joined = true;
            self.end = self.frame.len();
            return self.pass(Layer::Fragment, 0, Next::IpProtocol(next));
        }
        let here = self.here();
        *self.fragment = self.fragment.or(here);
        self.leaf(Layer::Fragment, 0)
    }

    #[inline]
    fn ip_protocol(&mut self, number: u8) -> Next {
        match number {
            6 => Next::Tcp,
            17 => Next::Udp,
            1 => self.icmp_v4(),
            58 => self.icmp_v6(),
            0 => self.ipv6_extension(Layer::IPv6HopByHop),
            43 => self.ipv6_extension(Layer::IPv6Routing),
            60 => self.ipv6_extension(Layer::IPv6Destination),
            44 => {
                if self.rest().len() < 8 {
                    return Next::Failed;
                }
                let next = self.rest().first().copied().unwrap_or(0);
                match self.pass(Layer::IPv6Fragment, 8, Next::Failed) {
                    Next::Done => Next::Done,
                    _ => self.fragment(next),
                }
            }
            51 => self.authentication_header(),
            50 => self.leaf(Layer::IpSecEsp, 8),
            4 | 94 => Next::IPv4,
            41 => Next::IPv6,
            47 => self.gre(),
            132 => Next::Sctp,
            2 => self.leaf(Layer::Igmp, 8),
            27 => self.leaf(Layer::Rudp, 9),
            89 => self.leaf(Layer::Ospf, 14),
            97 => {
                if self.rest().len() < 2 {
                    return Next::Failed;
                }
                self.pass(Layer::EtherIp, 2, Next::Ethernet)
            }
            112 => self.leaf(Layer::Vrrp, 8),
            136 => self.leaf(Layer::UdpLite, 8),
            137 => Next::Mpls,
            _ => Next::Done,
        }
    }

    fn ipv6_extension(&mut self, layer: Layer) -> Next {
        let Some([next, length]) = self.header::<2>() else {
            return Next::Failed;
        };
        let bytes = 8 * (usize::from(length) + 1);
        if self.rest().len() < bytes {
            return Next::Failed;
        }
        self.pass(layer, bytes, Next::IpProtocol(next))
    }

    fn authentication_header(&mut self) -> Next {
        let Some([next, length]) = self.header::<2>() else {
            return Next::Failed;
        };
        let bytes = 4 * (usize::from(length) + 2);
        if self.rest().len() < bytes {
            return Next::Failed;
        }
        self.pass(Layer::IpSecAh, bytes, Next::IpProtocol(next))
    }

    fn icmp_v4(&mut self) -> Next {
        if self.rest().len() >= 8 {
            let here = self.here();
            self.current.icmp_v4 = self.current.icmp_v4.or(here);
        }
        self.leaf(Layer::IcmpV4, 8)
    }

    fn icmp_v6(&mut self) -> Next {
        let Some([kind, _, _, _]) = self.header::<4>() else {
            return Next::Failed;
        };
        let first = self.current.icmp_v6 == At::NONE;
        let here = self.here();
        self.current.icmp_v6 = self.current.icmp_v6.or(here);
        let bytes = self.rest().len();
        let (inner, needs) = match kind {
            128 | 129 => (Layer::IcmpV6Echo, 4),
            130 if bytes > 24 => (Layer::MldV2Query, 24),
            130 => (Layer::MldV1Query, 20),
            131 => (Layer::MldV1Report, 20),
            132 => (Layer::MldV1Done, 20),
            133 => (Layer::IcmpV6RouterSolicitation, 4),
            134 => (Layer::IcmpV6RouterAdvertisement, 12),
            135 => (Layer::IcmpV6NeighborSolicitation, 20),
            136 => (Layer::IcmpV6NeighborAdvertisement, 20),
            137 => (Layer::IcmpV6Redirect, 36),
            143 => (Layer::MldV2Report, 4),
            _ => return self.leaf(Layer::IcmpV6, 4),
        };
        if first && inner == Layer::IcmpV6Echo && bytes >= 8 {
            self.current.echo_v6 = true;
        }
        self.pass_then_leaf(Layer::IcmpV6, 4, inner, needs)
    }

    // Transport layers.

    #[inline]
    fn tcp(&mut self) -> Next {
        let bytes = self.rest().len();
        if bytes >= 4 {
            let here = self.here();
            self.current.tcp = self.current.tcp.or(here);
            if *self.transport == Transport::None {
                *self.transport = Transport::Tcp(here);
            }
        }
        if self.add(Layer::Tcp) && bytes >= 20 {
            Next::Done
        } else {
            Next::Failed
        }
    }

    #[inline]
    fn udp(&mut self) -> Next {
        let header = self.header::<8>();
        if self.rest().len() >= 4 {
            let here = self.here();
            self.current.udp = self.current.udp.or(here);
            if *self.transport == Transport::None {
                *self.transport = Transport::Udp(here);
            }
        }
        let Some(header) = header else {
            self.add(Layer::Udp);
            return Next::Failed;
        };
        if !self.add(Layer::Udp) {
            return Next::Failed;
        }
        match u16::from_be_bytes([header[4], header[5]]) {
            0 => (), // a jumbogram
            length @ 8.. => self.end = self.end.min(self.at + usize::from(length)),
            _ => return Next::Failed,
        }
        self.at += 8;
        let source = u16::from_be_bytes([header[0], header[1]]);
        let target = u16::from_be_bytes([header[2], header[3]]);
        if self.at >= self.end {
            return Next::Done;
        }
        self.udp_port(target)
            .or_else(|| self.udp_port(source))
            .unwrap_or(Next::Done)
    }

    /// What a UDP port promises. Leaves are noted, to be looked at when a flow begins.
    #[inline]
    fn udp_port(&mut self, port: u16) -> Option<Next> {
        let leaf = match port {
            4789 | 8472 => return Some(Next::Vxlan),
            4790 => return Some(Next::VxlanGpe),
            6081 => return Some(Next::Geneve),
            2152 => return Some(Next::Gtp),
            53 => Layer::Dns,
            123 => Layer::Ntp,
            67 | 68 => Layer::DhcpV4,
            546 | 547 => Layer::DhcpV6,
            5060 => Layer::Sip,
            6343 => Layer::SFlow,
            3784 => Layer::Bfd,
            _ if Some(port) == self.mpls_udp_port => return Some(Next::Mpls),
            _ => return None,
        };
        self.current.application = Some(leaf);
        self.current.application_at = self.here();
        self.current.application_end = At::new(self.end);
        Some(Next::Done)
    }

    fn sctp(&mut self) -> Next {
        let bytes = self.rest().len();
        if bytes >= 4 {
            let here = self.here();
            self.current.sctp = self.current.sctp.or(here);
            if *self.transport == Transport::None {
                *self.transport = Transport::Sctp(here);
            }
        }
        if bytes < 12 {
            return Next::Failed;
        }
        self.pass(Layer::Sctp, 12, Next::SctpChunk)
    }

    fn sctp_chunk(&mut self) -> Next {
        let Some([kind, _, high, low]) = self.header::<4>() else {
            return Next::Failed;
        };
        let layer = match kind {
            0 => Layer::SctpData,
            1 => Layer::SctpInit,
            2 => Layer::SctpInitAck,
            3 => Layer::SctpSack,
            4 => Layer::SctpHeartbeat,
            5 => Layer::SctpHeartbeatAck,
            6 => Layer::SctpAbort,
            7 => Layer::SctpShutdown,
            8 => Layer::SctpShutdownAck,
            9 => Layer::SctpError,
            10 => Layer::SctpCookieEcho,
            11 => Layer::SctpCookieAck,
            14 => Layer::SctpShutdownComplete,
            _ => Layer::SctpUnknownChunk,
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 4 {
            return Next::Failed;
        }
        // Behind data comes what the application sent.
        let next = match layer {
            Layer::SctpData => Next::Done,
            _ => Next::SctpChunk,
        };
        self.pass(layer, length.next_multiple_of(4), next)
    }

    // Tunnels.

    fn gre(&mut self) -> Next {
        let Some([flags, version, high, low]) = self.header::<4>() else {
            return Next::Failed;
        };
        let kind = u16::from_be_bytes([high, low]);
        let mut bytes = 4;
        if flags & 0xC0 != 0 {
            bytes += 4; // checksum and offset
        }
        if flags & 0x20 != 0 {
            let Some(key) = self.rest().get(bytes..).and_then(<[u8]>::first_chunk) else {
                return Next::Failed;
            };
            self.current.network_id = u32::from_be_bytes(*key);
            bytes += 4;
        } else {
            self.current.network_id = 0;
        }
        if flags & 0x10 != 0 {
            bytes += 4; // sequence
        }
        if flags & 0x40 != 0 {
            match self.gre_routes(bytes) {
                Some(routes) => bytes += routes,
                None => return Next::Failed,
            }
        }
        if version & 0x80 != 0 {
            bytes += 4; // acknowledgement
        }
        if self.rest().len() < bytes || !self.add(Layer::Gre) {
            return Next::Failed;
        }
        self.at += bytes;
        if kind == 0x88BE && flags & 0x10 == 0 {
            // ERSPAN of type I has no sequence and no header of its own.
            return self.split(Next::Ethernet);
        }
        // MPLS with something in it takes over the split (flows.md §3.4).
        if matches!(kind, 0x8847 | 0x8848) && self.rest().len() > 4 {
            return Next::Mpls;
        }
        self.split(Next::EtherType(kind))
    }

    /// Length of the source routes of a GRE header, which begin at `from` in it.
    fn gre_routes(&self, from: usize) -> Option<usize> {
        let mut bytes = 0;
        for _ in 0..MAX_GRE_ROUTES {
            let &[family_high, family_low, _, length] =
                self.rest().get(from + bytes..)?.first_chunk()?;
            bytes += 4 + usize::from(length);
            if family_high == 0 && family_low == 0 && length == 0 {
                return Some(bytes);
            }
        }
        None
    }

    fn mpls(&mut self) -> Next {
        let Some([_, _, third, _]) = self.header::<4>() else {
            return Next::Failed;
        };
        if !self.add(Layer::Mpls) {
            return Next::Failed;
        }
        self.at += 4;
        if third & 1 == 1 {
            self.split(Next::MplsPayload)
        } else {
            self.split(Next::Mpls)
        }
    }

    /// Nothing in MPLS says what it carries: IP if it looks so, else Ethernet.
    fn mpls_payload(&mut self) -> Next {
        match self.rest() {
            [first, _, high, low, ..] if first >> 4 == 4 => {
                let header = usize::from(first & 0x0F) * 4;
                let total = usize::from(u16::from_be_bytes([*high, *low]));
                if self.rest().len() >= 20 && header >= 20 && (total == 0 || total >= header) {
                    Next::IPv4
                } else {
                    Next::Ethernet
                }
            }
            rest @ [first, ..] if first >> 4 == 6 && rest.len() >= 40 => Next::IPv6,
            _ => Next::Ethernet,
        }
    }

    fn vxlan(&mut self) -> Next {
        let Some([_, _, _, _, a, b, c, _]) = self.header::<8>() else {
            return Next::Failed;
        };
        self.current.network_id = u32::from_be_bytes([0, a, b, c]);
        if !self.add(Layer::Vxlan) {
            return Next::Failed;
        }
        self.current.overlay = true;
        self.at += 8;
        self.split(Next::Ethernet)
    }

    /// VXLAN that says what it carries (VXLAN-GPE).
    fn vxlan_gpe(&mut self) -> Next {
        let Some([flags, _, _, next, a, b, c, _]) = self.header::<8>() else {
            return Next::Failed;
        };
        if !self.add(Layer::Vxlan) {
            return Next::Failed;
        }
        self.current.network_id = u32::from_be_bytes([0, a, b, c]);
        self.current.overlay = true;
        self.at += 8;
        self.split(if flags & 0x04 == 0 {
            Next::Ethernet
        } else {
            carried(next)
        })
    }

    fn geneve(&mut self) -> Next {
        let Some([first, _, high, low, a, b, c, _]) = self.header::<8>() else {
            return Next::Failed;
        };
        let bytes = 8 + 4 * usize::from(first & 0x3F);
        if self.rest().len() < bytes || !self.add(Layer::Geneve) {
            return Next::Failed;
        }
        self.current.network_id = u32::from_be_bytes([0, a, b, c]);
        self.current.overlay = true;
        self.at += bytes;
        self.split(Next::EtherType(u16::from_be_bytes([high, low])))
    }

    /// GTP is decoded but not a split: the tunnel and what is in it are one flow.
    fn gtp(&mut self) -> Next {
        let Some(header) = self.header::<8>() else {
            return Next::Failed;
        };
        if header[0] >> 5 != 1 {
            return Next::Failed;
        }
        let mut bytes = 8;
        if header[0] & 0x07 != 0 {
            bytes += 4;
            let mut extension = match self.rest().get(11) {
                Some(kind) if header[0] & 0x04 != 0 => *kind,
                Some(_) => 0,
                None => return Next::Failed,
            };
            while extension != 0 {
                let Some(length @ 1..) = self.rest().get(bytes).map(|words| usize::from(*words))
                else {
                    return Next::Failed;
                };
                bytes += 4 * length;
                extension = match self.rest().get(bytes - 1) {
                    Some(kind) => *kind,
                    None => return Next::Failed,
                };
            }
        }
        if self.rest().len() < bytes {
            return Next::Failed;
        }
        let carries_packet = header[1] == 255;
        let next = match self.rest().get(bytes).map(|byte| byte >> 4) {
            _ if !carries_packet => Next::Done,
            Some(4) => Next::IPv4,
            Some(6) => Next::IPv6,
            _ => Next::Ppp,
        };
        self.pass(Layer::GtpV1U, bytes, next)
    }
}

/// What follows NSH and VXLAN-GPE, by the number that both use (RFC 8300 §11.2.5).
fn carried(number: u8) -> Next {
    match number {
        1 => Next::IPv4,
        2 => Next::IPv6,
        3 => Next::Ethernet,
        4 => Next::Nsh,
        5 => Next::Mpls,
        _ => Next::Failed,
    }
}

/// Chassis, port and time to live come first, and every element fits.
fn is_lldp(mut rest: &[u8]) -> bool {
    let mut elements = 0u32;
    while let Some((&[high, low], behind)) = rest.split_first_chunk() {
        let kind = high >> 1;
        let length = usize::from(u16::from_be_bytes([high & 1, low]));
        elements += 1;
        if elements <= 3 && u32::from(kind) != elements {
            return false;
        }
        if kind == 0 {
            return true;
        }
        match behind.get(length..) {
            Some(next) => rest = next,
            None => return false,
        }
    }
    elements >= 3
}
