//! Decoding of rtnetlink messages about routes and nexthop objects.
//!
//! References: rtnetlink(7), linux/rtnetlink.h, linux/nexthop.h. Like [`crate::netlink`], nothing
//! here trusts a length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::{align, u16_at, u32_at, Attributes};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// RTM_F_CLONED: an entry of the routing cache, not of a table.
const CLONED: u32 = 0x200;
/// RTNH_F_ONLINK; the other flags follow from the state of the interface.
const ONLINK: u8 = 4;

/// Where a route is in the tables of its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// AF_INET (2) or AF_INET6 (10).
    pub family: u8,
    /// Number of the routing table.
    pub table: u32,
    /// The destination; of IPv4 the first 4 bytes.
    pub address: [u8; 16],
    /// Length of its prefix in bits.
    pub length: u8,
    /// Type of service that packets must have; 0 = any.
    pub tos: u8,
    /// The metric.
    pub priority: u32,
}

impl Place {
    /// The destination, without the length of its prefix.
    pub fn destination(&self) -> IpAddr {
        if self.family == AF_INET {
            let [a, b, c, d, ..] = self.address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        } else {
            IpAddr::V6(Ipv6Addr::from(self.address))
        }
    }
}

/// What a route does; many routes of a large table do the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Action {
    /// RTN_*: unicast, local, blackhole, …
    pub kind: u8,
    /// RTPROT_*: who made it.
    pub protocol: u8,
    /// RT_SCOPE_*; 0 for IPv6.
    pub scope: u8,
    /// ICMPV6_ROUTER_PREF_*
    pub preference: u8,
    /// Identifier of a nexthop object that has the hops; 0 = none.
    pub nexthop: u32,
    /// RTA_FLOW: realms.
    pub flow: u32,
    /// Source address of packets, if it is told.
    pub source: Option<IpAddr>,
    /// Packets must come from here (RTA_SRC).
    pub from: Option<(IpAddr, u8)>,
    /// In the order of the kernel; empty when a nexthop object has them, or packets go nowhere.
    pub hops: Vec<Hop>,
    /// RTAX_* and its value.
    pub metrics: Vec<(u16, u32)>,
    /// Congestion control algorithm (RTAX_CC_ALGO).
    pub congestion: String,
}

/// One way on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The next router; None = the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Interface index; 0 = none.
    pub interface: u32,
    /// Share of the packets, at least 1.
    pub weight: u16,
    /// The gateway need not be in a prefix of the interface.
    pub onlink: bool,
    /// LWTUNNEL_ENCAP_* and its attributes as they are; 0 = none.
    pub encapsulation: (u16, Vec<u8>),
}

/// A nexthop object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nexthop {
    /// RTPROT_*
    pub protocol: u8,
    /// RT_SCOPE_*
    pub scope: u8,
    /// Packets are dropped.
    pub blackhole: bool,
    /// It is for the forwarding database of a bridge.
    pub fdb: bool,
    /// A group in which flows stay with their hop.
    pub resilient: bool,
    /// Unless it is a group.
    pub hop: Option<Hop>,
    /// Identifiers and weights of the members of a group.
    pub members: Vec<(u32, u16)>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// RTM_NEWROUTE, with the flags of the message
    Route(Place, Box<Action>, u16),
    /// RTM_DELROUTE
    RouteGone(Place, Box<Action>),
    /// RTM_NEWNEXTHOP
    Nexthop(u32, Box<Nexthop>),
    /// RTM_DELNEXTHOP
    NexthopGone(u32),
    /// Anything else, and cached routes
    Other,
}

/// The messages of one datagram; None stands for one that contradicts its own lengths, and ends it.
pub fn told(datagram: &[u8]) -> impl Iterator<Item = Option<Told>> + '_ {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut rest);
        let one = || {
            let length = u32_at(bytes, 0)? as usize;
            let payload = bytes.get(16..length)?;
            let told = match u16_at(bytes, 4)? {
                24 => route(payload)?.map_or(Told::Other, |(place, action)| {
                    Told::Route(place, action, u16_at(bytes, 6).unwrap_or_default())
                }),
                25 => route(payload)?.map_or(Told::Other, |(place, action)| {
                    Told::RouteGone(place, action)
                }),
                104 => nexthop(payload)?,
                105 => match nexthop(payload)? {
                    Told::Nexthop(id, _) => Told::NexthopGone(id),
                    other => other,
                },
                _ => Told::Other,
            };
            Some((told, length))
        };
        let Some((told, length)) = one() else {
            return Some(None);
        };
        rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Some(told))
    })
}

/// None = malformed; Some(None) = not for a table of routes.
fn route(payload: &[u8]) -> Option<Option<(Place, Box<Action>)>> {
    let header: [u8; 8] = payload.get(..8)?.try_into().ok()?;
    let [family, length, from_length, tos, table, protocol, scope, kind] = header;
    let flags = u32_at(payload, 8)?;
    if !matches!(family, AF_INET | AF_INET6) || flags & CLONED != 0 {
        return Some(None);
    }
    let bits = if family == AF_INET { 32 } else { 128 };
    if length > bits || from_length > bits {
        return None;
    }
    let mut place = Place {
        family,
        table: table.into(),
        address: [0; 16],
        length,
        tos,
        priority: 0,
    };
    let mut action = Action {
        kind,
        protocol,
        scope,
        ..Action::default()
    };
    let mut hop = Hop {
        weight: 1,
        onlink: flags & u32::from(ONLINK) != 0,
        ..Hop::default()
    };
    let mut hops = None;
    for attribute in Attributes::new(payload.get(12..)?) {
        let (kind, value) = attribute?;
        match kind {
            1 => {
                let bytes = value.get(..usize::from(bits) / 8)?;
                place.address.get_mut(..bytes.len())?.copy_from_slice(bytes);
            }
            2 => action.from = Some((address(value)?, from_length)),
            6 => place.priority = u32_at(value, 0)?,
            7 => action.source = Some(address(value)?),
            8 => metrics(value, &mut action)?,
            9 => hops = Some(multipath(value)?),
            11 => action.flow = u32_at(value, 0)?,
            15 => place.table = u32_at(value, 0)?,
            20 => action.preference = *value.first()?,
            30 => action.nexthop = u32_at(value, 0)?,
            _ => set_hop(&mut hop, kind, value)?,
        }
    }
    action.hops = match hops {
        // The object has them, and may change without a word about the route.
        _ if action.nexthop != 0 => Vec::new(),
        Some(hops) => hops,
        None if hop.interface != 0 || hop.gateway.is_some() => vec![hop],
        None => Vec::new(),
    };
    if let [only] = &mut action.hops[..] {
        only.weight = 1;
    }
    Some(Some((place, Box::new(action))))
}

/// An attribute that a hop has, alone or as one of several.
fn set_hop(hop: &mut Hop, kind: u16, value: &[u8]) -> Option<()> {
    match kind {
        4 => hop.interface = u32_at(value, 0)?,
        5 => hop.gateway = Some(address(value)?),
        18 => hop.gateway = Some(address(value.get(2..)?)?),
        21 => hop.encapsulation.0 = u16_at(value, 0)?,
        22 => hop.encapsulation.1 = value.to_vec(),
        _ => {}
    }
    Some(())
}

fn multipath(mut bytes: &[u8]) -> Option<Vec<Hop>> {
    let mut hops = Vec::new();
    while bytes.len() >= 8 {
        let length = usize::from(u16_at(bytes, 0)?);
        let attributes = bytes.get(8..length)?;
        let mut hop = Hop {
            interface: u32_at(bytes, 4)?,
            weight: u16::from(*bytes.get(3)?) + 1,
            onlink: *bytes.get(2)? & ONLINK != 0,
            ..Hop::default()
        };
        for attribute in Attributes::new(attributes) {
            let (kind, value) = attribute?;
            set_hop(&mut hop, kind, value)?;
        }
        hops.push(hop);
        bytes = bytes.get(align(length)..).unwrap_or_default();
    }
    Some(hops)
}

fn metrics(bytes: &[u8], action: &mut Action) -> Option<()> {
    for attribute in Attributes::new(bytes) {
        let (kind, value) = attribute?;
        if kind == 16 {
            let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
            action.congestion = String::from_utf8_lossy(text).into_owned();
        } else {
            action.metrics.push((kind, u32_at(value, 0)?));
        }
    }
    Some(())
}

fn nexthop(payload: &[u8]) -> Option<Told> {
    let [_, scope, protocol, _]: [u8; 4] = payload.get(..4)?.try_into().ok()?;
    let flags = u32_at(payload, 4)?;
    let mut id = 0;
    let mut object = Nexthop {
        protocol,
        scope,
        ..Nexthop::default()
    };
    let mut hop = Hop {
        weight: 1,
        onlink: flags & u32::from(ONLINK) != 0,
        ..Hop::default()
    };
    for attribute in Attributes::new(payload.get(8..)?) {
        let (kind, value) = attribute?;
        match kind {
            1 => id = u32_at(value, 0)?,
            2 => {
                for member in value.chunks_exact(8) {
                    let low = u16::from(*member.get(4)?);
                    let high = u16::from(*member.get(5)?);
                    let weight = (low | high << 8).saturating_add(1);
                    object.members.push((u32_at(member, 0)?, weight));
                }
            }
            3 => object.resilient = u16_at(value, 0)? == 1,
            4 => object.blackhole = true,
            5 => hop.interface = u32_at(value, 0)?,
            6 => hop.gateway = Some(address(value)?),
            7 => hop.encapsulation.0 = u16_at(value, 0)?,
            8 => hop.encapsulation.1 = value.to_vec(),
            11 => object.fdb = true,
            _ => {}
        }
    }
    if object.members.is_empty() {
        object.hop = Some(hop);
    }
    Some(Told::Nexthop(id, Box::new(object)))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let octets: [u8; 16] = bytes.try_into().ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
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

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(((payload.len() + 16) as u32).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend([0; 10]);
        out.extend(payload);
        out
    }

    fn only(datagram: &[u8]) -> Told {
        let mut all = told(datagram);
        let first = all.next().flatten();
        assert_eq!(all.next(), None);
        first.unwrap_or(Told::Other)
    }

    #[test]
    fn several_hops_have_their_weights() {
        // 10.9.0.0/16 as the kernel tells it: via 10.0.0.2 dev 3 weight 3, via 10.1.0.2 dev 5.
        let payload = [
            &[2, 16, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0][..],
            &attribute(1, &[10, 9, 0, 0]),
            &attribute(
                9,
                &[
                    16, 0, 2, 2, 3, 0, 0, 0, 8, 0, 5, 0, 10, 0, 0, 2, //
                    16, 0, 0, 0, 5, 0, 0, 0, 8, 0, 5, 0, 10, 1, 0, 2,
                ],
            ),
        ]
        .concat();
        let Told::Route(place, action, 0) = only(&message(24, &payload)) else {
            unreachable!("no route");
        };
        assert_eq!(
            (place.destination().to_string(), place.length),
            ("10.9.0.0".into(), 16)
        );
        let hops: Vec<_> = action
            .hops
            .iter()
            .map(|hop| (hop.interface, hop.weight))
            .collect();
        assert_eq!(hops, [(3, 3), (5, 1)]);
    }

    #[test]
    fn routes_of_the_cache_are_left_out() {
        let payload = [2, 32, 0, 0, 254, 0, 0, 1, 0, 2, 0, 0];
        assert_eq!(only(&message(24, &payload)), Told::Other);
    }

    #[test]
    fn a_prefix_longer_than_an_address_is_malformed() {
        let payload = [2, 33, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(told(&message(24, &payload)).collect::<Vec<_>>(), [None]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_panic(
            data in proptest::collection::vec(any::<u8>(), 0..600)
        ) {
            prop_assert!(told(&data).count() <= data.len() / 16 + 1);
        }

        #[test]
        fn any_attributes_are_decoded_without_panic(
            kind in prop_oneof![Just(24u16), Just(25), Just(104), Just(105)],
            family in prop_oneof![Just(2u8), Just(10)],
            header in proptest::array::uniform3(0u8..40),
            attributes in proptest::collection::vec(
                (0u16..32, proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
        ) {
            let mut payload = vec![family];
            payload.extend(header);
            payload.extend([0; 8]);
            for (kind, value) in &attributes {
                payload.extend(attribute(*kind, value));
            }
            prop_assert!(told(&message(kind, &payload)).count() == 1);
        }
    }
}
