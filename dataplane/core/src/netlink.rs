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
    pub info: Section,
    /// Decoded attributes of the port of a bridge, bond or VRF.
    pub slave_info: Section,
    /// Decoded attributes of any interface.
    pub details: Section,
    /// Further names.
    pub altnames: Vec<Cow<'a, str>>,
    /// The XDP program that is attached; empty when there is none.
    pub xdp: Section,
    /// Virtual functions of a physical one; only in dumps that asked for them.
    pub vfs: Vec<Section>,
}

/// Decoded attributes, by the names that they have in the graph.
pub type Section = Vec<(&'static str, Value)>;

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

/// A decoded attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, in host order.
    Number(u64),
    /// A switch that is on.
    On,
    /// A word for a number.
    Name(&'static str),
    /// An address, or text of the kernel.
    Text(String),
    /// Several words.
    Names(Vec<&'static str>),
    /// Several addresses.
    Texts(Vec<String>),
    /// Nested attributes.
    Section(Section),
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

/// How an attribute is written, and shown.
#[derive(Clone, Copy)]
enum Format {
    /// A number of 1, 2, 4 or 8 bytes.
    Number,
    /// The same, left out when 0, which stands for "none" or "as usual".
    NonZero,
    /// Left out when it is this one.
    Unless(u64),
    /// Big-endian.
    Be,
    BeNonZero,
    /// A switch: left out when 0.
    Switch,
    /// On by being there.
    Present,
    /// 4 or 16 bytes; all zero means "any" and is left out.
    Ip,
    /// The same as far end: a group when it is multicast, else the one peer.
    GroupOrRemote,
    /// Nested addresses.
    Ips,
    Mac,
    Text,
    /// Bytes of any meaning.
    Hex,
    /// Priority and address, as `brctl` and sysfs write them.
    BridgeId,
    /// Names of the numbers from 0.
    Names(&'static [&'static str]),
    /// Names of some numbers.
    Coded(&'static [(u64, &'static str)]),
    BeCoded(&'static [(u64, &'static str)]),
    /// Names of bits; those without one are left out.
    Bits(&'static [(u64, &'static str)]),
    BeBits(&'static [(u64, &'static str)]),
    /// Bits in the first 4 bytes of a structure, or in the next 4.
    FirstBits(&'static [(u64, &'static str)]),
    SecondBits(&'static [(u64, &'static str)]),
    /// A number in the first 4 bytes of a structure.
    First,
    /// Nested attributes.
    Section(Table),
}

type Table = &'static [(u16, &'static str, Format)];

const VLAN_PROTOCOLS: &[(u64, &str)] = &[(0x8100, "802.1Q"), (0x88a8, "802.1ad")];
const DONT_FRAGMENT: &[&str] = &["unset", "set", "inherit"];
const ENCAPSULATIONS: &[&str] = &["none", "fou", "gue", "mpls"];
const GRE_FLAGS: &[(u64, &str)] = &[(0x8000, "CSUM"), (0x2000, "KEY"), (0x1000, "SEQ")];

/// Attributes of IFLA_INFO_DATA that are decoded, by kind, with the names that they have in the
/// graph (linux/if_link.h, linux/if_tunnel.h, linux/can/netlink.h). Timers and counters are not
/// among them: they change without anything having changed.
fn info_table(kind: &str) -> Table {
    use Format::*;
    match kind {
        "vlan" => &[
            (1, "Vlan", Number),
            (
                2,
                "VlanFlags",
                FirstBits(&[
                    (1, "REORDER_HDR"),
                    (2, "GVRP"),
                    (4, "LOOSE_BINDING"),
                    (8, "MVRP"),
                    (16, "BRIDGE_BINDING"),
                ]),
            ),
            (5, "VlanProtocol", BeCoded(VLAN_PROTOCOLS)),
        ],
        "vxlan" => &[
            (1, "VNI", Number),
            (2, "Group", GroupOrRemote),
            (4, "Local", Ip),
            (5, "TTL", NonZero),
            (6, "TOS", NonZero),
            (7, "Learning", Switch),
            (8, "Ageing", NonZero),
            (9, "Limit", NonZero),
            (11, "Proxy", Switch),
            (12, "RSC", Switch),
            (13, "L2Miss", Switch),
            (14, "L3Miss", Switch),
            (15, "Port", Be),
            (16, "Group", GroupOrRemote),
            (17, "Local", Ip),
            (18, "UDPCsum", Switch),
            (19, "UDPZeroCsum6Tx", Switch),
            (20, "UDPZeroCsum6Rx", Switch),
            (23, "GBP", Present),
            (25, "External", Switch),
            (26, "Label", BeNonZero),
            (27, "GPE", Present),
            (28, "TTLInherit", Switch),
            (29, "DF", Names(DONT_FRAGMENT)),
            (30, "VNIFilter", Switch),
        ],
        "geneve" => &[
            (1, "VNI", Number),
            (2, "Remote", Ip),
            (3, "TTL", NonZero),
            (4, "TOS", NonZero),
            (5, "Port", Be),
            (6, "External", Present),
            (7, "Remote", Ip),
            (8, "UDPCsum", Switch),
            (9, "UDPZeroCsum6Tx", Switch),
            (10, "UDPZeroCsum6Rx", Switch),
            (11, "Label", BeNonZero),
            (12, "TTLInherit", Switch),
            (13, "DF", Names(DONT_FRAGMENT)),
            (14, "InnerProtoInherit", Present),
        ],
        "bareudp" => &[
            (1, "Port", Be),
            (2, "EtherType", Be),
            (3, "SrcPortMin", NonZero),
            (4, "MultiProto", Present),
        ],
        "gre" | "gretap" | "ip6gre" | "ip6gretap" | "erspan" | "ip6erspan" => &[
            (2, "IFlags", BeBits(GRE_FLAGS)),
            (3, "OFlags", BeBits(GRE_FLAGS)),
            (4, "IKey", BeNonZero),
            (5, "OKey", BeNonZero),
            (6, "Local", Ip),
            (7, "Remote", Ip),
            (8, "TTL", NonZero),
            (9, "TOS", NonZero),
            (10, "PMTUDisc", Switch),
            (11, "EncapLimit", NonZero),
            (12, "FlowInfo", BeNonZero),
            (14, "Encap", Names(ENCAPSULATIONS)),
            (16, "EncapSPort", BeNonZero),
            (17, "EncapDPort", BeNonZero),
            (18, "External", Present),
            (19, "IgnoreDF", Switch),
            (20, "FwMark", NonZero),
            (21, "ErspanIndex", NonZero),
            (22, "ErspanVer", NonZero),
            (23, "ErspanDir", Names(&["ingress", "egress"])),
            (24, "ErspanHwid", NonZero),
        ],
        "ipip" | "sit" | "ip6tnl" => &[
            (2, "Local", Ip),
            (3, "Remote", Ip),
            (4, "TTL", NonZero),
            (5, "TOS", NonZero),
            (6, "EncapLimit", NonZero),
            (7, "FlowInfo", BeNonZero),
            (9, "Protocol", NonZero),
            (10, "PMTUDisc", Switch),
            (15, "Encap", Names(ENCAPSULATIONS)),
            (17, "EncapSPort", BeNonZero),
            (18, "EncapDPort", BeNonZero),
            (19, "External", Present),
            (20, "FwMark", NonZero),
        ],
        "vti" | "vti6" => &[
            (2, "IKey", BeNonZero),
            (3, "OKey", BeNonZero),
            (4, "Local", Ip),
            (5, "Remote", Ip),
            (6, "FwMark", NonZero),
        ],
        "xfrm" => &[(2, "InterfaceID", Number), (3, "External", Present)],
        "gtp" => &[
            (3, "PDPHashSize", NonZero),
            (4, "Role", Names(&["ggsn", "sgsn"])),
        ],
        "macvlan" | "macvtap" => &[
            (
                1,
                "Mode",
                Coded(&[
                    (1, "private"),
                    (2, "vepa"),
                    (4, "bridge"),
                    (8, "passthru"),
                    (16, "source"),
                ]),
            ),
            (2, "Flags", Bits(&[(1, "NOPROMISC"), (2, "NODST")])),
        ],
        "ipvlan" | "ipvtap" => &[
            (1, "Mode", Names(&["l2", "l3", "l3s"])),
            (2, "Flags", Bits(&[(1, "PRIVATE"), (2, "VEPA")])),
        ],
        "macsec" => &[
            (1, "SCI", Hex),
            (3, "ICVLen", Number),
            (
                4,
                "CipherSuite",
                Coded(&[
                    (0x0080_0200_0100_0001, "GCM-AES-128"),
                    (0x0080_c200_0100_0001, "GCM-AES-128"),
                    (0x0080_c200_0100_0002, "GCM-AES-256"),
                    (0x0080_c200_0100_0003, "GCM-AES-XPN-128"),
                    (0x0080_c200_0100_0004, "GCM-AES-XPN-256"),
                ]),
            ),
            (5, "Window", NonZero),
            (6, "EncodingSA", Number),
            (7, "Encrypt", Switch),
            (8, "Protect", Switch),
            (9, "IncSCI", Switch),
            (10, "ES", Switch),
            (11, "SCB", Switch),
            (12, "ReplayProtect", Switch),
            (13, "Validation", Names(&["disabled", "check", "strict"])),
            (15, "Offload", Names(&["off", "phy", "mac"])),
        ],
        "vrf" => &[(1, "Table", Number)],
        "bond" => &[
            (1, "Mode", Names(BOND_MODES)),
            (2, "ActiveSlaveIndex", NonZero),
            (3, "MiiMon", NonZero),
            (4, "UpDelay", NonZero),
            (5, "DownDelay", NonZero),
            (6, "UseCarrier", Switch),
            (7, "ArpInterval", NonZero),
            (8, "ArpIPTargets", Ips),
            (
                9,
                "ArpValidate",
                Names(&[
                    "none",
                    "active",
                    "backup",
                    "all",
                    "filter",
                    "filter_active",
                    "filter_backup",
                ]),
            ),
            (10, "ArpAllTargets", Names(&["any", "all"])),
            (11, "PrimaryIndex", NonZero),
            (
                12,
                "PrimaryReselect",
                Names(&["always", "better", "failure"]),
            ),
            (13, "FailOverMac", Names(&["none", "active", "follow"])),
            (
                14,
                "XmitHashPolicy",
                Names(&[
                    "layer2",
                    "layer3+4",
                    "layer2+3",
                    "encap2+3",
                    "encap3+4",
                    "vlan+srcmac",
                ]),
            ),
            (15, "ResendIgmp", NonZero),
            (16, "NumPeerNotif", NonZero),
            (17, "AllSlavesActive", Switch),
            (18, "MinLinks", NonZero),
            (19, "LpInterval", NonZero),
            (20, "PacketsPerSlave", NonZero),
            (21, "LacpRate", Names(&["slow", "fast"])),
            (
                22,
                "AdSelect",
                Names(&["stable", "bandwidth", "count", "actor_port_prio"]),
            ),
            (
                23,
                "AdInfo",
                Section(&[
                    (1, "Aggregator", Number),
                    (2, "NumPorts", Number),
                    (3, "ActorKey", Number),
                    (4, "PartnerKey", Number),
                    (5, "PartnerMAC", Mac),
                ]),
            ),
            (24, "AdActorSysPrio", NonZero),
            (25, "AdUserPortKey", NonZero),
            (26, "AdActorSystem", Mac),
            (27, "TlbDynamicLb", Switch),
            (28, "PeerNotifDelay", NonZero),
            (29, "LacpActive", Switch),
            (30, "MissedMax", NonZero),
            (31, "NsIP6Targets", Ips),
            (32, "CoupledControl", Switch),
        ],
        "bridge" => &[
            (1, "ForwardDelay", Number),
            (2, "HelloTime", Number),
            (3, "MaxAge", Number),
            (4, "AgeingTime", Number),
            (5, "StpState", Names(&["disabled", "kernel", "user"])),
            (6, "Priority", Number),
            (7, "VlanFiltering", Switch),
            (8, "VlanProtocol", BeCoded(VLAN_PROTOCOLS)),
            (9, "GroupFwdMask", NonZero),
            (10, "RootID", BridgeId),
            (11, "BridgeID", BridgeId),
            (12, "RootPort", NonZero),
            (13, "RootPathCost", NonZero),
            (20, "GroupAddress", Mac),
            (22, "McastRouter", NonZero),
            (23, "McastSnooping", Switch),
            (24, "McastQueryUseIfaddr", Switch),
            (25, "McastQuerier", Switch),
            (36, "NfCallIptables", Switch),
            (37, "NfCallIp6tables", Switch),
            (38, "NfCallArptables", Switch),
            (39, "VlanDefaultPvid", NonZero),
            (41, "VlanStatsEnabled", Switch),
            (42, "McastStatsEnabled", Switch),
            (43, "McastIgmpVersion", NonZero),
            (44, "McastMldVersion", NonZero),
            (45, "VlanStatsPerPort", Switch),
        ],
        "tun" => &[
            (1, "Owner", Number),
            (2, "Group", Number),
            (3, "Mode", Coded(&[(1, "tun"), (2, "tap")])),
            (4, "PI", Switch),
            (5, "VnetHdr", Switch),
            (6, "Persist", Switch),
            (7, "MultiQueue", Switch),
            (8, "NumQueues", NonZero),
            (9, "NumDisabledQueues", NonZero),
        ],
        "can" => &[
            (1, "Bitrate", First),
            (
                4,
                "State",
                Names(&[
                    "ERROR-ACTIVE",
                    "ERROR-WARNING",
                    "ERROR-PASSIVE",
                    "BUS-OFF",
                    "STOPPED",
                    "SLEEPING",
                ]),
            ),
            (
                5,
                "CtrlMode",
                SecondBits(&[
                    (0x1, "LOOPBACK"),
                    (0x2, "LISTEN-ONLY"),
                    (0x4, "TRIPLE-SAMPLING"),
                    (0x8, "ONE-SHOT"),
                    (0x10, "BERR-REPORTING"),
                    (0x20, "FD"),
                    (0x40, "PRESUME-ACK"),
                    (0x80, "FD-NON-ISO"),
                    (0x100, "CC-LEN8-DLC"),
                    (0x200, "TDC-AUTO"),
                    (0x400, "TDC-MANUAL"),
                ]),
            ),
            (6, "RestartMs", NonZero),
            (9, "DataBitrate", First),
        ],
        "ipoib" => &[
            (1, "PKey", Number),
            (2, "Mode", Names(&["datagram", "connected"])),
            (3, "UMcast", Switch),
        ],
        "hsr" => &[
            (1, "Slave1Index", NonZero),
            (2, "Slave2Index", NonZero),
            (4, "SupervisionAddress", Mac),
            (6, "Version", NonZero),
            (7, "Protocol", Names(&["hsr", "prp"])),
        ],
        "rmnet" => &[(1, "MuxID", Number)],
        "netkit" => &[(2, "Mode", Names(&["l2", "l3"])), (5, "Primary", Switch)],
        _ => &[],
    }
}

const BOND_MODES: &[&str] = &[
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
];

/// Attributes of a bridge port: of IFLA_INFO_SLAVE_DATA, and of IFLA_PROTINFO in a message of family
/// AF_BRIDGE.
const BRIDGE_PORT: Table = &[
    (
        1,
        "State",
        Format::Names(&[
            "disabled",
            "listening",
            "learning",
            "forwarding",
            "blocking",
        ]),
    ),
    (2, "Priority", Format::Number),
    (3, "Cost", Format::Number),
    (4, "Hairpin", Format::Switch),
    (5, "Guard", Format::Switch),
    (6, "RootBlock", Format::Switch),
    (7, "FastLeave", Format::Switch),
    (8, "Learning", Format::Switch),
    (9, "Flood", Format::Switch),
    (10, "ProxyArp", Format::Switch),
    (11, "LearningSync", Format::Switch),
    (12, "ProxyArpWifi", Format::Switch),
    (18, "Number", Format::Number),
    (25, "McastRouter", Format::Unless(1)),
    (27, "McastFlood", Format::Switch),
    (28, "McastToUcast", Format::Switch),
    (29, "VlanTunnel", Format::Switch),
    (30, "BcastFlood", Format::Switch),
    (31, "GroupFwdMask", Format::NonZero),
    (32, "NeighSuppress", Format::Switch),
    (33, "Isolated", Format::Switch),
    (34, "BackupPortIndex", Format::NonZero),
    (39, "Locked", Format::Switch),
    (40, "Mab", Format::Switch),
    (43, "NeighVlanSuppress", Format::Switch),
];

/// Attributes of IFLA_INFO_SLAVE_DATA that are decoded, by kind of the master.
fn slave_table(kind: &str) -> Table {
    use Format::*;
    match kind {
        "bond" => &[
            (1, "State", Names(&["ACTIVE", "BACKUP"])),
            (
                2,
                "MiiStatus",
                Names(&["UP", "GOING_DOWN", "DOWN", "GOING_BACK"]),
            ),
            (3, "LinkFailureCount", Number),
            (4, "PermMAC", Mac),
            (5, "QueueId", Number),
            (6, "AggregatorId", Number),
            (7, "AdActorOperPortState", Number),
            (8, "AdPartnerOperPortState", Number),
            (9, "Prio", NonZero),
        ],
        "bridge" => BRIDGE_PORT,
        "vrf" => &[(1, "Table", Number)],
        _ => &[],
    }
}

/// Attributes of any interface; those that have the usual value are left out.
const DETAILS: Table = &[
    (13, "TxQueueLen", Format::Unless(1000)),
    (20, "Alias", Format::Text),
    (27, "Group", Format::NonZero),
    (30, "Promiscuity", Format::NonZero),
    (31, "NumTxQueues", Format::Unless(1)),
    (32, "NumRxQueues", Format::Unless(1)),
    (34, "PhysPortID", Format::Hex),
    (36, "PhysSwitchID", Format::Hex),
    (38, "PhysPortName", Format::Text),
    (40, "GSOMaxSegs", Format::Unless(65_535)),
    (41, "GSOMaxSize", Format::Unless(65_536)),
    (54, "PermMAC", Format::Mac),
    (56, "ParentDev", Format::Text),
    (57, "ParentBus", Format::Text),
];

/// Their numbers, as bits: most attributes of a message are none of them.
const DETAIL_KINDS: u64 = {
    let (mut bits, mut at) = (0, 0);
    while at < DETAILS.len() {
        bits |= 1 << DETAILS[at].0;
        at += 1;
    }
    bits
};

/// Attributes of IFLA_XDP; nothing is told when no program is attached.
const XDP: Table = &[
    (
        2,
        "Attached",
        Format::Names(&["none", "driver", "generic", "offload", "multi"]),
    ),
    (4, "ProgID", Format::NonZero),
];

/// Kinds whose IFLA_LINK is themselves, which the kernel tells when they moved to another namespace.
/// A VXLAN may be on an interface all the same, and has an attribute of its own for that.
const NOTHING_BELOW: &[&str] = &[
    "vxlan",
    "geneve",
    "bareudp",
    "gtp",
    "wireguard",
    "amt",
    "ovpn",
];

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
    let mut below = None;
    for attribute in Attributes::new(payload.get(16..)?) {
        let (kind, value) = attribute?;
        match kind {
            1 => link.mac = mac(value),
            3 => link.name = text(value),
            4 => link.mtu = u32_at(value, 0)?,
            5 => link.link = u32_at(value, 0)?,
            10 => link.master = u32_at(value, 0)?,
            16 => link.operstate = *value.first()?,
            // Only of a bridge port it is known what this holds.
            12 if link.family == AF_BRIDGE => {
                link.slave_kind = Cow::Borrowed("bridge");
                link.slave_info = values(BRIDGE_PORT, value)?;
            }
            18 => below = link_info(&mut link, value)?,
            22 => link.vfs = functions(value)?,
            23 => link.stats = Some(stats(value)?),
            // -1 is "has none".
            37 => link.link_netnsid = Some(i32_at(value, 0)?).filter(|id| *id >= 0),
            45 => link.new_netnsid = Some(i32_at(value, 0)?).filter(|id| *id >= 0),
            43 => link.xdp = xdp(value)?,
            49 => link.new_index = u32_at(value, 0)?,
            52 => link.altnames = alternative_names(value)?,
            _ if kind < 64 && DETAIL_KINDS & (1 << kind) != 0 => {
                decode(DETAILS, kind, value, &mut link.details);
            }
            _ => {}
        }
    }
    if let Some(below) = below {
        link.link = below;
    }
    Some(link)
}

fn alternative_names(bytes: &[u8]) -> Option<Vec<Cow<'_, str>>> {
    let mut names = Vec::new();
    for attribute in Attributes::new(bytes) {
        let (kind, value) = attribute?;
        if kind == 53 {
            names.push(text(value));
        }
    }
    Some(names)
}

fn xdp(bytes: &[u8]) -> Option<Section> {
    let section = values(XDP, bytes)?;
    // Without a program the kernel says so, by the number 0.
    let none = ("Attached", Value::Name("none"));
    Some(if section.contains(&none) {
        Section::new()
    } else {
        section
    })
}

/// IFLA_VFINFO_LIST, in the words of topology-probes.md §6.2.8. Each attribute of a function is a
/// structure that begins with the number of the function.
fn functions(bytes: &[u8]) -> Option<Vec<Section>> {
    let mut found = Vec::new();
    for function in Attributes::new(bytes) {
        let mut section = Section::new();
        for attribute in Attributes::new(function?.1) {
            let (kind, value) = attribute?;
            let mut number = |name, offset| -> Option<()> {
                let shown = unless(0, u32_at(value, offset)?.into());
                section.extend(shown.map(|shown| (name, shown)));
                Some(())
            };
            match kind {
                1 => {
                    number("ID", 0)?;
                    section.push(("MAC", Value::Text(mac(value.get(4..10)?))));
                }
                2 => {
                    number("Vlan", 4)?;
                    number("Qos", 8)?;
                }
                3 => number("TxRate", 4)?,
                4 if on(u32_at(value, 4)?) => section.push(("Spoofchk", Value::On)),
                5 => number("LinkState", 4)?,
                9 if on(u32_at(value, 4)?) => section.push(("Trust", Value::On)),
                _ => {}
            }
        }
        section.retain(|(_, value)| *value != Value::Text(String::new()));
        found.push(section);
    }
    Some(found)
}

/// Drivers that cannot tell leave all bits set.
fn on(setting: u32) -> bool {
    setting != 0 && setting != u32::MAX
}

/// Take in IFLA_LINKINFO; the interface below, for kinds that do not tell it as IFLA_LINK.
fn link_info<'a>(link: &mut Link<'a>, bytes: &'a [u8]) -> Option<Option<u32>> {
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
    if !NOTHING_BELOW.contains(&link.kind.as_ref()) {
        return Some(None);
    }
    let mut below = 0;
    for attribute in Attributes::new(data) {
        let (kind, value) = attribute?;
        if kind == 3 && link.kind == "vxlan" {
            below = u32_at(value, 0)?;
        }
    }
    Some(Some(below))
}

fn values(table: Table, bytes: &[u8]) -> Option<Section> {
    let mut out = Section::new();
    if !table.is_empty() {
        for attribute in Attributes::new(bytes) {
            let (kind, value) = attribute?;
            decode(table, kind, value, &mut out);
        }
    }
    Some(out)
}

/// Add an attribute of `table` to `out`, unless it says nothing. One that has another form than
/// expected is left out: kernels differ, and the interface is there all the same.
fn decode(table: Table, kind: u16, bytes: &[u8], out: &mut Section) {
    if let Some((_, name, format)) = table.iter().find(|entry| entry.0 == kind) {
        let name = match format {
            Format::GroupOrRemote if !is_multicast(bytes) => "Remote",
            _ => *name,
        };
        if let Some(Some(value)) = shown(format, bytes) {
            out.push((name, value));
        }
    }
}

/// An attribute as it is shown, None inside when it is left out; None when it is malformed.
fn shown(format: &Format, bytes: &[u8]) -> Option<Option<Value>> {
    Some(match format {
        Format::Number => Some(Value::Number(number(bytes)?)),
        Format::NonZero => unless(0, number(bytes)?),
        Format::Unless(usual) => unless(*usual, number(bytes)?),
        Format::Be => Some(Value::Number(big_endian(bytes)?)),
        Format::BeNonZero => unless(0, big_endian(bytes)?),
        Format::First => Some(Value::Number(u32_at(bytes, 0)?.into())),
        Format::Switch => (number(bytes)? != 0).then_some(Value::On),
        Format::Present => Some(Value::On),
        Format::Ip | Format::GroupOrRemote if is_zero(bytes) => None,
        Format::Ip | Format::GroupOrRemote => Some(Value::Text(ip(bytes)?)),
        Format::Ips => {
            let mut found = Vec::new();
            for attribute in Attributes::new(bytes) {
                found.push(ip(attribute?.1)?);
            }
            (!found.is_empty()).then_some(Value::Texts(found))
        }
        Format::Mac | Format::Hex if is_zero(bytes) => None,
        Format::Mac => Some(Value::Text(mac(bytes))),
        Format::Hex => Some(Value::Text(hex(bytes))),
        Format::Text => Some(Value::Text(text(bytes).into_owned())),
        Format::BridgeId => {
            let (priority, address) = bytes.split_at_checked(2)?;
            Some(Value::Text(format!("{}.{}", hex(priority), hex(address))))
        }
        Format::Names(names) => {
            let number = number(bytes)?;
            let name = usize::try_from(number).ok().and_then(|at| names.get(at));
            Some(name.map_or_else(|| unnamed(number), |name| Value::Name(name)))
        }
        Format::Coded(codes) => Some(coded(codes, number(bytes)?)),
        Format::BeCoded(codes) => Some(coded(codes, big_endian(bytes)?)),
        Format::Bits(names) => bits(names, number(bytes)?),
        Format::BeBits(names) => bits(names, big_endian(bytes)?),
        Format::FirstBits(names) => bits(names, u32_at(bytes, 0)?.into()),
        Format::SecondBits(names) => bits(names, u32_at(bytes, 4)?.into()),
        Format::Section(table) => {
            let section = values(table, bytes)?;
            (!section.is_empty()).then_some(Value::Section(section))
        }
    })
}

fn unless(usual: u64, number: u64) -> Option<Value> {
    (number != usual).then_some(Value::Number(number))
}

fn coded(codes: &[(u64, &'static str)], number: u64) -> Value {
    let code = codes.iter().find(|(code, _)| *code == number);
    code.map_or_else(|| unnamed(number), |(_, name)| Value::Name(name))
}

/// A later kernel knows more words; that is no error.
fn unnamed(number: u64) -> Value {
    Value::Text(format!("UNKNOWN{number}"))
}

fn bits(names: &[(u64, &'static str)], number: u64) -> Option<Value> {
    let found: Vec<_> = names
        .iter()
        .filter(|(bit, _)| number & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    (!found.is_empty()).then_some(Value::Names(found))
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
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
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

pub(crate) fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(offset..offset + 2)?.try_into().ok()?,
    ))
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}

fn i32_at(bytes: &[u8], offset: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}

/// A number of any usual size.
fn number(bytes: &[u8]) -> Option<u64> {
    Some(match bytes.len() {
        1 => (*bytes.first()?).into(),
        2 => u16_at(bytes, 0)?.into(),
        4 => u32_at(bytes, 0)?.into(),
        8 => u64::from_ne_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}

fn big_endian(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    })
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn is_multicast(address: &[u8]) -> bool {
    let first = address.first().copied().unwrap_or_default();
    if address.len() == 4 {
        (224..240).contains(&first)
    } else {
        first == 0xff
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
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
    if is_zero(bytes) {
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
                ("VNI", Value::Number(42)),
                ("Group", Value::Text("239.1.1.1".into())),
                ("Local", Value::Text("10.0.0.1".into())),
                ("Port", Value::Number(4789)),
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

    const KINDS: &[&str] = &[
        "vlan", "vxlan", "geneve", "bareudp", "gre", "ipip", "vti", "xfrm", "gtp", "macvlan",
        "ipvlan", "macsec", "vrf", "bond", "bridge", "tun", "can", "ipoib", "hsr", "rmnet",
        "netkit", "none",
    ];

    #[test]
    fn a_vxlan_tells_the_interface_below_in_a_way_of_its_own() {
        let info = [
            attribute(1, b"vxlan\0"),
            attribute(2, &attribute(3, &9u32.to_ne_bytes())),
        ];
        // After a move to another namespace IFLA_LINK is its own index.
        let attributes = [
            attribute(18, &info.concat()),
            attribute(5, &5u32.to_ne_bytes()),
        ];
        let datagram = message(16, 1, &link_payload(5, &attributes));
        assert_eq!(only_link(&datagram).link, 9);
    }

    #[test]
    fn an_interface_without_an_xdp_program_says_nothing_of_it() {
        let none = attribute(43, &attribute(2, &[0]));
        let datagram = message(16, 1, &link_payload(5, &[none]));
        assert_eq!(only_link(&datagram).xdp, []);
        let some = [attribute(2, &[2]), attribute(4, &7u32.to_ne_bytes())].concat();
        let datagram = message(16, 1, &link_payload(5, &[attribute(43, &some)]));
        let expected = [
            ("Attached", Value::Name("generic")),
            ("ProgID", Value::Number(7)),
        ];
        assert_eq!(only_link(&datagram).xdp, expected);
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
        fn any_attributes_of_any_kind_of_interface_are_decoded_without_panic(
            kind in proptest::sample::select(KINDS),
            family in prop_oneof![Just(0u8), Just(AF_BRIDGE)],
            values in proptest::collection::vec(
                (0u16..60, proptest::collection::vec(any::<u8>(), 0..24)), 0..40),
        ) {
            let values: Vec<_> =
                values.iter().map(|(kind, value)| attribute(*kind, value)).collect();
            let name = [kind.as_bytes(), b"\0"].concat();
            let info = [
                attribute(1, &name),
                attribute(2, &values.concat()),
                attribute(4, &name),
                attribute(5, &values.concat()),
            ];
            let attributes = [
                attribute(18, &info.concat()),
                attribute(12, &values.concat()),
                attribute(22, &attribute(1, &values.concat())),
                attribute(43, &values.concat()),
                attribute(52, &values.concat()),
            ];
            let mut payload = link_payload(1, &attributes);
            payload[0] = family;
            prop_assert_eq!(messages(&message(16, 1, &payload)).count(), 1);
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
