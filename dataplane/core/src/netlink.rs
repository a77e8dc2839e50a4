//! Decoding of rtnetlink datagrams: links, addresses, namespace identifiers.
//!
//! The bytes come from the kernel, yet nothing here trusts a length: a message that does not fit
//! its own lengths becomes [`Body::Invalid`] and ends the datagram. Strings are borrowed from the
//! datagram, so that a dump of thousands of links allocates next to nothing.
//!
//! References: rtnetlink(7), linux/if_link.h, linux/if_addr.h, linux/net_namespace.h. Integers are
//! native-endian unless the attribute is marked big-endian in the tables below.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

const HEADER: usize = 16;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const AF_BRIDGE: u8 = 7;
/// NLM_F_ACK_TLVS: an error message carries the kernel's words.
const ACK_TLVS: u16 = 0x200;
/// NLM_F_CAPPED: an error message does not repeat the payload of the request.
const CAPPED: u16 = 0x100;

/// One message of a datagram.
#[derive(Debug, Clone, PartialEq)]
pub struct Message<'a> {
    /// Number of the request that this answers; 0 for an event.
    pub seq: u32,
    /// NLM_F_* bits.
    pub flags: u16,
    /// Message type as the kernel numbers it.
    pub kind: u16,
    /// What the message says.
    pub body: Body<'a>,
}

/// Content of a message, by type.
#[derive(Debug, Clone, PartialEq)]
pub enum Body<'a> {
    /// RTM_NEWLINK
    NewLink(Box<Link<'a>>),
    /// RTM_DELLINK
    DelLink(Box<Link<'a>>),
    /// RTM_NEWADDR
    NewAddress(Address),
    /// RTM_DELADDR
    DelAddress(Address),
    /// RTM_NEWNSID; None when the message names none.
    NewNsid(Option<i32>),
    /// RTM_DELNSID
    DelNsid(Option<i32>),
    /// NLMSG_DONE; a dump that failed half way says why.
    Done {
        /// Positive error number, 0 = complete.
        errno: i32,
    },
    /// NLMSG_ERROR; an acknowledgement when `errno` is 0.
    Error {
        /// Positive error number.
        errno: i32,
        /// The kernel's words; empty when it gave none.
        message: Cow<'a, str>,
    },
    /// A type that is not decoded here.
    Other,
    /// The message contradicts its own lengths; the rest of the datagram is not looked at.
    Invalid,
}

/// What RTM_NEWLINK and RTM_DELLINK say of an interface.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Link<'a> {
    /// Address family; AF_BRIDGE (7) tells of a bridge port, not of the interface.
    pub family: u8,
    /// Interface index.
    pub index: i32,
    /// ARPHRD_* number.
    pub arphrd: u16,
    /// IFF_* bits.
    pub link_flags: u32,
    /// Name; empty when the message has none.
    pub name: Cow<'a, str>,
    /// Alias set by the administrator.
    pub alias: Cow<'a, str>,
    /// Link-layer address as lower-case colon form; empty when absent or all zero.
    pub mac: String,
    /// 0 = not told.
    pub mtu: u32,
    /// Index of the bridge, bond, VRF or datapath that it is enslaved to; 0 = none.
    pub master: u32,
    /// IFLA_LINK: index of the underlying or peer interface; 0 = none.
    pub link: u32,
    /// Namespace of `link`, as numbered in the namespace of this interface.
    pub link_netnsid: Option<i32>,
    /// Namespace that an interface moved to (RTM_DELLINK), as numbered in the one it left.
    pub new_netnsid: Option<i32>,
    /// Index after the move (RTM_DELLINK); 0 = not told.
    pub new_index: u32,
    /// RFC 2863 operational state.
    pub operstate: u8,
    /// rtnetlink kind (`bridge`, `veth`, …); empty for physical devices and loopback.
    pub kind: Cow<'a, str>,
    /// Kind of the master, as the port sees it.
    pub slave_kind: Cow<'a, str>,
    /// Counters of [`STATS`], in that order.
    pub stats: Option<[u64; STATS.len()]>,
    /// Decoded attributes of the kind.
    pub info: Vec<(&'static str, Value)>,
    /// Decoded attributes of the port (bond members).
    pub slave_info: Vec<(&'static str, Value)>,
}

/// What RTM_NEWADDR and RTM_DELADDR say.
#[derive(Debug, Clone, PartialEq)]
pub struct Address {
    /// AF_INET (2) or AF_INET6 (10).
    pub family: u8,
    /// Interface that has the address.
    pub index: u32,
    /// Length of the prefix in bits.
    pub prefix_len: u8,
    /// IFA_ADDRESS: the address, or the peer's on a point-to-point link.
    pub address: String,
    /// IFA_LOCAL: the address of this end.
    pub local: String,
}

/// A decoded attribute of an interface kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, in host order.
    Number(u32),
    /// A switch.
    Flag(bool),
    /// An address.
    Text(String),
}

/// Counters of rtnl_link_stats64, in the kernel's order, with the names of topology-probes.md §5.1.
pub const STATS: [&str; 23] = [
    "RxPackets",
    "TxPackets",
    "RxBytes",
    "TxBytes",
    "RxErrors",
    "TxErrors",
    "RxDropped",
    "TxDropped",
    "Multicast",
    "Collisions",
    "RxLengthErrors",
    "RxOverErrors",
    "RxCrcErrors",
    "RxFrameErrors",
    "RxFifoErrors",
    "RxMissedErrors",
    "TxAbortedErrors",
    "TxCarrierErrors",
    "TxFifoErrors",
    "TxHeartbeatErrors",
    "TxWindowErrors",
    "RxCompressed",
    "TxCompressed",
];

/// How an attribute of an interface kind is written.
#[derive(Clone, Copy)]
enum Format {
    U8,
    U16,
    U32,
    Be16,
    Be32,
    /// 4 or 16 bytes; all zero means "any" and is left out.
    Ip,
    Mac,
    /// One byte, not 0 = on.
    Bool,
    /// On by being there.
    Present,
}

type Table = &'static [(u16, &'static str, Format)];

/// Attributes of IFLA_INFO_DATA that are decoded, by kind (linux/if_link.h, linux/if_tunnel.h).
fn info_table(kind: &str) -> Table {
    use Format::*;
    match kind {
        "vlan" => &[(1, "vlan_id", U16), (5, "protocol", Be16)],
        "vxlan" => &[
            (1, "vni", U32),
            (2, "group", Ip),
            (3, "underlay", U32),
            (4, "local", Ip),
            (7, "learning", Bool),
            (15, "port", Be16),
            (16, "group", Ip),
            (17, "local", Ip),
            (25, "external", Bool),
        ],
        "geneve" => &[
            (1, "vni", U32),
            (2, "remote", Ip),
            (5, "port", Be16),
            (6, "external", Present),
            (7, "remote", Ip),
        ],
        "gre" | "gretap" | "ip6gre" | "ip6gretap" | "erspan" | "ip6erspan" => &[
            (1, "underlay", U32),
            (4, "input_key", Be32),
            (5, "output_key", Be32),
            (6, "local", Ip),
            (7, "remote", Ip),
            (18, "external", Present),
        ],
        "ipip" | "sit" | "ip6tnl" => &[
            (1, "underlay", U32),
            (2, "local", Ip),
            (3, "remote", Ip),
            (9, "protocol", U8),
            (19, "external", Present),
        ],
        "vti" | "vti6" => &[
            (1, "underlay", U32),
            (2, "input_key", Be32),
            (3, "output_key", Be32),
            (4, "local", Ip),
            (5, "remote", Ip),
        ],
        "macvlan" | "macvtap" => &[(1, "mode", U32)],
        "ipvlan" | "ipvtap" => &[(1, "mode", U16)],
        "vrf" => &[(1, "table", U32)],
        "xfrm" => &[(1, "underlay", U32), (2, "interface_id", U32)],
        "bond" => &[(1, "mode", U8), (2, "active_member", U32)],
        "bridge" => &[(5, "stp_state", U32), (7, "vlan_filtering", Bool)],
        "tun" => &[
            (3, "type", U8),
            (6, "persistent", Bool),
            (7, "multi_queue", Bool),
        ],
        _ => &[],
    }
}

/// Attributes of IFLA_INFO_SLAVE_DATA that are decoded, by kind of the master.
fn slave_table(kind: &str) -> Table {
    use Format::*;
    match kind {
        "bond" => &[
            (1, "state", U8),
            (2, "mii_status", U8),
            (3, "link_failure_count", U32),
            (4, "permanent_mac", Mac),
            (5, "queue_id", U16),
            (6, "aggregator_id", U16),
            (7, "actor_port_state", U8),
            (8, "partner_port_state", U16),
        ],
        _ => &[],
    }
}

/// The messages of one datagram, in order; the last may be [`Body::Invalid`].
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram }
}

/// Iterator over the messages of a datagram.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let mut invalid = Message {
            seq: 0,
            flags: 0,
            kind: 0,
            body: Body::Invalid,
        };
        let bytes = std::mem::take(&mut self.rest);
        let Some((length, kind, flags, seq)) = header(bytes) else {
            return Some(invalid);
        };
        (invalid.seq, invalid.flags, invalid.kind) = (seq, flags, kind);
        if length < HEADER {
            return Some(invalid);
        }
        let Some(payload) = bytes.get(HEADER..length) else {
            return Some(invalid);
        };
        let Some(body) = body(kind, flags, payload) else {
            return Some(invalid);
        };
        // The last message needs no padding.
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Message {
            seq,
            flags,
            kind,
            body,
        })
    }
}

fn header(bytes: &[u8]) -> Option<(usize, u16, u16, u32)> {
    let length = u32_at(bytes, 0)? as usize;
    let seq = u32_at(bytes, 8)?;
    u32_at(bytes, 12)?;
    Some((length, u16_at(bytes, 4)?, u16_at(bytes, 6)?, seq))
}

fn body(kind: u16, flags: u16, payload: &[u8]) -> Option<Body<'_>> {
    Some(match kind {
        2 => error(flags, payload)?,
        // Older kernels send no status with NLMSG_DONE of some families.
        3 => Body::Done {
            errno: i32_at(payload, 0).map_or(0, i32::wrapping_neg).max(0),
        },
        16 => Body::NewLink(Box::new(link(payload)?)),
        17 => Body::DelLink(Box::new(link(payload)?)),
        20 => Body::NewAddress(address(payload)?),
        21 => Body::DelAddress(address(payload)?),
        88 => Body::NewNsid(nsid(payload)?),
        89 => Body::DelNsid(nsid(payload)?),
        _ => Body::Other,
    })
}

fn error(flags: u16, payload: &[u8]) -> Option<Body<'_>> {
    let errno = i32_at(payload, 0)?.wrapping_neg();
    let mut message = Cow::Borrowed("");
    if flags & ACK_TLVS != 0 {
        // The request's header follows the number, then its payload unless capped.
        let request = if flags & CAPPED != 0 {
            HEADER
        } else {
            u32_at(payload, 4)? as usize
        };
        let start = 4usize.checked_add(align(request))?;
        for attribute in Attributes::new(payload.get(start..).unwrap_or_default()) {
            let (kind, value) = attribute?;
            if kind == 1 {
                message = text(value);
            }
        }
    }
    Some(Body::Error { errno, message })
}

fn link(payload: &[u8]) -> Option<Link<'_>> {
    let mut link = Link {
        family: *payload.first()?,
        arphrd: u16_at(payload, 2)?,
        index: i32_at(payload, 4)?,
        link_flags: u32_at(payload, 8)?,
        ..Link::default()
    };
    for attribute in Attributes::new(payload.get(16..)?) {
        let (kind, value) = attribute?;
        match kind {
            1 => link.mac = mac(value),
            3 => link.name = text(value),
            4 => link.mtu = u32_at(value, 0)?,
            5 => link.link = u32_at(value, 0)?,
            10 => link.master = u32_at(value, 0)?,
            16 => link.operstate = *value.first()?,
            18 => link_info(&mut link, value)?,
            20 => link.alias = text(value),
            23 => link.stats = Some(stats(value)?),
            // -1 is "has none".
            37 => link.link_netnsid = Some(i32_at(value, 0)?).filter(|id| *id >= 0),
            45 => link.new_netnsid = Some(i32_at(value, 0)?).filter(|id| *id >= 0),
            49 => link.new_index = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(link)
}

fn link_info<'a>(link: &mut Link<'a>, bytes: &'a [u8]) -> Option<()> {
    let (mut data, mut slave_data) = (&[][..], &[][..]);
    for attribute in Attributes::new(bytes) {
        let (kind, value) = attribute?;
        match kind {
            1 => link.kind = text(value),
            2 => data = value,
            4 => link.slave_kind = text(value),
            5 => slave_data = value,
            _ => {}
        }
    }
    link.info = values(info_table(&link.kind), data)?;
    link.slave_info = values(slave_table(&link.slave_kind), slave_data)?;
    Some(())
}

fn values(table: Table, bytes: &[u8]) -> Option<Vec<(&'static str, Value)>> {
    let mut out = Vec::new();
    if table.is_empty() {
        return Some(out);
    }
    for attribute in Attributes::new(bytes) {
        let (kind, value) = attribute?;
        let Some((_, name, format)) = table.iter().find(|entry| entry.0 == kind) else {
            continue;
        };
        let value = match format {
            Format::U8 => Value::Number(u32::from(*value.first()?)),
            Format::U16 => Value::Number(u32::from(u16_at(value, 0)?)),
            Format::U32 => Value::Number(u32_at(value, 0)?),
            Format::Be16 => Value::Number(u32::from(u16::from_be(u16_at(value, 0)?))),
            Format::Be32 => Value::Number(u32::from_be(u32_at(value, 0)?)),
            Format::Bool => Value::Flag(*value.first()? != 0),
            Format::Present => Value::Flag(true),
            Format::Mac => Value::Text(mac(value)),
            Format::Ip if value.iter().all(|byte| *byte == 0) => continue,
            Format::Ip => Value::Text(ip(value)?),
        };
        out.push((*name, value));
    }
    Some(out)
}

fn address(payload: &[u8]) -> Option<Address> {
    let mut address = Address {
        family: *payload.first()?,
        prefix_len: *payload.get(1)?,
        index: u32_at(payload, 4)?,
        address: String::new(),
        local: String::new(),
    };
    // Other families (phonet, MCTP) have addresses that are not IP.
    let length = match address.family {
        AF_INET => 4,
        AF_INET6 => 16,
        _ => return Some(address),
    };
    for attribute in Attributes::new(payload.get(8..)?) {
        let (kind, value) = attribute?;
        match kind {
            1 => address.address = ip(value.get(..length)?)?,
            2 => address.local = ip(value.get(..length)?)?,
            _ => {}
        }
    }
    Some(address)
}

fn nsid(payload: &[u8]) -> Option<Option<i32>> {
    let mut nsid = None;
    for attribute in Attributes::new(payload.get(4..)?) {
        let (kind, value) = attribute?;
        if kind == 1 {
            nsid = Some(i32_at(value, 0)?).filter(|id| *id >= 0);
        }
    }
    Some(nsid)
}

fn stats(bytes: &[u8]) -> Option<[u64; STATS.len()]> {
    let mut out = [0; STATS.len()];
    for (slot, chunk) in out.iter_mut().zip(bytes.chunks_exact(8)) {
        *slot = u64::from_ne_bytes(chunk.try_into().ok()?);
    }
    // Kernels before 4.6 send one counter less than today's, never fewer than these.
    (bytes.len() >= 8 * STATS.len()).then_some(out)
}

/// Attributes of a message: (type without its flag bits, value); None for one that does not fit.
struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        // Less than a header is padding.
        if self.rest.len() < 4 {
            return None;
        }
        let bytes = std::mem::take(&mut self.rest);
        let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) else {
            return Some(None);
        };
        let length = usize::from(length);
        let Some(value) = bytes.get(4..length) else {
            return Some(None);
        };
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        // NLA_F_NESTED and NLA_F_NET_BYTEORDER
        Some(Some((kind & 0x3fff, value)))
    }
}

fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
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

fn i32_at(bytes: &[u8], offset: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}

/// A string as the kernel sends it: up to the first NUL.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default())
}

fn mac(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) {
        return String::new();
    }
    let mut out = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        let separator = if out.is_empty() { "" } else { ":" };
        // Writing to a string cannot fail.
        let _ = write!(out, "{separator}{byte:02x}");
    }
    out
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).to_string());
    }
    let octets = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(octets).to_string())
}

impl Link<'_> {
    /// True when this tells of a bridge port (family AF_BRIDGE) and not of the interface itself.
    pub fn is_bridge_port(&self) -> bool {
        self.family == AF_BRIDGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(((value.len() + 4) as u16).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(value);
        out.resize(align(out.len()), 0);
        out
    }

    fn message(kind: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(((payload.len() + HEADER) as u32).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(0u16.to_ne_bytes());
        out.extend(seq.to_ne_bytes());
        out.extend(0u32.to_ne_bytes());
        out.extend(payload);
        out.resize(align(out.len()), 0);
        out
    }

    fn link_payload(index: i32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut out = vec![0, 0];
        out.extend(1u16.to_ne_bytes());
        out.extend(index.to_ne_bytes());
        out.extend(0x1043u32.to_ne_bytes());
        out.extend(0u32.to_ne_bytes());
        out.extend(attributes.concat());
        out
    }

    fn only_link(datagram: &[u8]) -> Link<'_> {
        let Some(Body::NewLink(link)) = messages(datagram).next().map(|message| message.body)
        else {
            unreachable!("not a link");
        };
        *link
    }

    #[test]
    fn a_vxlan_link_has_its_tunnel_parameters() {
        let data = [
            attribute(1, &42u32.to_ne_bytes()),
            attribute(2, &[239, 1, 1, 1]),
            attribute(4, &[10, 0, 0, 1]),
            attribute(15, &4789u16.to_be_bytes()),
        ]
        .concat();
        let info = [attribute(1, b"vxlan\0"), attribute(2 | 0x8000, &data)].concat();
        let attributes = [
            attribute(3, b"vx0\0"),
            attribute(1, &[2, 0, 0, 0, 0, 0x0a]),
            attribute(18, &info),
            attribute(37, &(-1i32).to_ne_bytes()),
        ];
        let datagram = message(16, 7, &link_payload(5, &attributes));
        let link = only_link(&datagram);
        assert_eq!((link.index, &*link.name, &*link.kind), (5, "vx0", "vxlan"));
        assert_eq!(link.mac, "02:00:00:00:00:0a");
        assert_eq!(link.link_netnsid, None);
        assert_eq!(
            link.info,
            [
                ("vni", Value::Number(42)),
                ("group", Value::Text("239.1.1.1".into())),
                ("local", Value::Text("10.0.0.1".into())),
                ("port", Value::Number(4789)),
            ]
        );
    }

    #[test]
    fn a_message_longer_than_the_datagram_is_invalid_and_the_last() {
        let mut datagram = message(16, 1, &link_payload(1, &[]));
        let good = datagram.len();
        datagram.extend(message(16, 2, &link_payload(2, &[])));
        datagram.truncate(good + 20);
        datagram.extend([0; 3]);
        let bodies: Vec<_> = messages(&datagram).map(|message| message.body).collect();
        assert_eq!(bodies.len(), 2);
        assert_eq!(bodies[1], Body::Invalid);
    }

    #[test]
    fn an_attribute_longer_than_its_message_makes_it_invalid() {
        let mut name = attribute(3, b"eth0\0");
        name[0] = 200;
        let datagram = message(16, 1, &link_payload(1, &[name]));
        assert_eq!(
            messages(&datagram).next().map(|m| m.body),
            Some(Body::Invalid)
        );
    }

    #[test]
    fn an_error_carries_the_number_and_the_words_of_the_kernel() {
        let mut payload = (-22i32).to_ne_bytes().to_vec();
        payload.extend(message(16, 9, &[]));
        payload.extend(attribute(1, b"no such device\0"));
        let mut datagram = message(2, 9, &payload);
        datagram[6..8].copy_from_slice(&(ACK_TLVS | CAPPED).to_ne_bytes());
        let got = messages(&datagram).next().map(|m| (m.seq, m.body));
        let message = "no such device".into();
        assert_eq!(got, Some((9, Body::Error { errno: 22, message })));
    }

    #[test]
    fn a_header_of_length_zero_does_not_loop() {
        let datagram = [0u8; 64];
        assert_eq!(messages(&datagram).count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_panic(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            let count = messages(&data).count();
            prop_assert!(count <= data.len() / HEADER + 1);
        }

        #[test]
        fn any_attributes_of_any_type_are_decoded_without_panic(
            kind in prop_oneof![Just(2u16), Just(3), 16u16..22, 88u16..90],
            flags in any::<u16>(),
            attributes in proptest::collection::vec(
                (0u16..60, proptest::collection::vec(any::<u8>(), 0..220)), 0..20),
        ) {
            let attributes: Vec<_> =
                attributes.iter().map(|(kind, value)| attribute(*kind, value)).collect();
            let mut datagram = message(kind, 1, &link_payload(1, &attributes));
            datagram[6..8].copy_from_slice(&flags.to_ne_bytes());
            prop_assert_eq!(messages(&datagram).count(), 1);
        }

        #[test]
        fn every_cut_of_a_good_datagram_ends_in_at_most_one_invalid(cut in 0usize..200) {
            let info = [attribute(1, b"vlan\0"), attribute(2, &attribute(1, &7u16.to_ne_bytes()))];
            let attributes = [attribute(3, b"eth0.7\0"), attribute(18, &info.concat())];
            let mut datagram = message(16, 1, &link_payload(1, &attributes));
            datagram.extend(message(3, 1, &0i32.to_ne_bytes()));
            let whole = datagram.len();
            datagram.truncate(cut.min(whole));
            let invalid = messages(&datagram).filter(|m| m.body == Body::Invalid).count();
            prop_assert!(invalid <= 1);
            prop_assert!(cut < whole || invalid == 0);
        }
    }
}
