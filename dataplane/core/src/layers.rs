//! Protocol layers by name, and where decoding starts (flows.md §2, Annex A).

use std::fmt;

macro_rules! layers {
    ($($name:ident = $text:literal,)*) => {
        /// A protocol layer, as it is called in `LayersPath`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[allow(missing_docs)] // the names are those of the protocols
        pub enum Layer { $($name,)* }

        /// All layers, by their number.
        pub const LAYERS: &[Layer] = &[$(Layer::$name,)*];

        impl Layer {
            /// The name in `LayersPath` and `Application`.
            pub const fn name(self) -> &'static str {
                match self { $(Layer::$name => $text,)* }
            }
        }
    };
}

layers! {
    Ethernet = "Ethernet",
    Dot1Q = "Dot1Q",
    Llc = "LLC",
    Snap = "SNAP",
    Stp = "STP",
    Arp = "ARP",
    LinkLayerDiscovery = "LinkLayerDiscovery",
    LinkLayerDiscoveryInfo = "LinkLayerDiscoveryInfo",
    CiscoDiscovery = "CiscoDiscovery",
    CiscoDiscoveryInfo = "CiscoDiscoveryInfo",
    NortelDiscovery = "NortelDiscovery",
    EthernetCtp = "EthernetCTP",
    EthernetCtpForwardData = "EthernetCTPForwardData",
    EthernetCtpReply = "EthernetCTPReply",
    Ppp = "PPP",
    PppoE = "PPPoE",
    Eapol = "EAPOL",
    Eap = "EAP",
    EapolKey = "EAPOLKey",
    Loopback = "Loopback",
    IPv4 = "IPv4",
    IPv6 = "IPv6",
    Fragment = "Fragment",
    IPv6HopByHop = "IPv6HopByHop",
    IPv6Routing = "IPv6Routing",
    IPv6Fragment = "IPv6Fragment",
    IPv6Destination = "IPv6Destination",
    IpSecAh = "IPSecAH",
    IpSecEsp = "IPSecESP",
    Igmp = "IGMP",
    Ospf = "OSPF",
    EtherIp = "EtherIP",
    Vrrp = "VRRP",
    IcmpV4 = "ICMPv4",
    IcmpV6 = "ICMPv6",
    IcmpV6Echo = "ICMPv6Echo",
    IcmpV6RouterSolicitation = "ICMPv6RouterSolicitation",
    IcmpV6RouterAdvertisement = "ICMPv6RouterAdvertisement",
    IcmpV6NeighborSolicitation = "ICMPv6NeighborSolicitation",
    IcmpV6NeighborAdvertisement = "ICMPv6NeighborAdvertisement",
    IcmpV6Redirect = "ICMPv6Redirect",
    MldV1Query = "MLDv1MulticastListenerQuery",
    MldV1Report = "MLDv1MulticastListenerReport",
    MldV1Done = "MLDv1MulticastListenerDone",
    MldV2Query = "MLDv2MulticastListenerQuery",
    MldV2Report = "MLDv2MulticastListenerReport",
    Tcp = "TCP",
    Udp = "UDP",
    Sctp = "SCTP",
    SctpData = "SCTPData",
    SctpInit = "SCTPInit",
    SctpInitAck = "SCTPInitAck",
    SctpSack = "SCTPSack",
    SctpHeartbeat = "SCTPHeartbeat",
    SctpHeartbeatAck = "SCTPHeartbeatAck",
    SctpAbort = "SCTPAbort",
    SctpShutdown = "SCTPShutdown",
    SctpShutdownAck = "SCTPShutdownAck",
    SctpError = "SCTPError",
    SctpCookieEcho = "SCTPCookieEcho",
    SctpCookieAck = "SCTPCookieAck",
    SctpShutdownComplete = "SCTPShutdownComplete",
    SctpUnknownChunk = "SCTPUnknownChunkType",
    UdpLite = "UDPLite",
    Rudp = "RUDP",
    Gre = "GRE",
    Vxlan = "VXLAN",
    Geneve = "Geneve",
    Mpls = "MPLS",
    GtpV1U = "GTPv1U",
    Nsh = "NSH",
    Dns = "DNS",
    DhcpV4 = "DHCPv4",
    DhcpV6 = "DHCPv6",
    Ntp = "NTP",
    Sip = "SIP",
    SFlow = "SFlow",
    Bfd = "BFD",
}

impl fmt::Display for Layer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What the first byte of a frame belongs to (flows.md §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstLayer {
    /// An Ethernet header.
    Ethernet,
    /// An IP packet whose version nibble tells which, else ARP.
    RawIp,
    /// An IPv4 packet.
    IPv4,
    /// An IPv6 packet.
    IPv6,
    /// The address family of BSD loopback, in the byte order of whoever wrote it.
    Loopback,
    /// A PPP protocol field, with or without address and control.
    Ppp,
    /// The cooked header of Linux.
    LinuxSll,
    /// The cooked header of Linux, second version.
    LinuxSll2,
}

impl FirstLayer {
    /// By the `EncapType` of a node; what is not known is taken for Ethernet.
    pub fn of_encapsulation(name: &str) -> FirstLayer {
        match name {
            "none" | "gre" => FirstLayer::RawIp,
            "sit" | "ipip" => FirstLayer::IPv4,
            "tunnel6" | "gre6" => FirstLayer::IPv6,
            _ => FirstLayer::Ethernet,
        }
    }

    /// By the link type of a pcap file; None for those that have no decoder here.
    pub fn of_link_type(number: u16) -> Option<FirstLayer> {
        Some(match number {
            0 | 108 => FirstLayer::Loopback,
            1 => FirstLayer::Ethernet,
            9 => FirstLayer::Ppp,
            12 | 14 | 101 => FirstLayer::RawIp,
            113 => FirstLayer::LinuxSll,
            228 => FirstLayer::IPv4,
            229 => FirstLayer::IPv6,
            276 => FirstLayer::LinuxSll2,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_one_list() {
        for (number, layer) in LAYERS.iter().enumerate() {
            assert_eq!(number, *layer as usize);
            assert!(!layer.name().is_empty());
        }
    }

    #[test]
    fn an_unknown_encapsulation_is_taken_for_ethernet() {
        assert_eq!(FirstLayer::of_encapsulation("gre"), FirstLayer::RawIp);
        assert_eq!(FirstLayer::of_encapsulation("sit"), FirstLayer::IPv4);
        assert_eq!(FirstLayer::of_encapsulation("gre6"), FirstLayer::IPv6);
        assert_eq!(
            FirstLayer::of_encapsulation("ieee802.15"),
            FirstLayer::Ethernet
        );
    }
}
