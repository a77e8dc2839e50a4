//! The flow messages: numbers, names and kinds of their members (flows.md §1, api.md §9).
//!
//! One table serves all that reads serialized flows: JSON, sorting, deduplication, and the names that
//! filters use. Members are in the order of JSON.

use crate::icmp;

/// What a member holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text.
    Text,
    /// Signed number.
    Integer,
    /// Unsigned number of 32 bits.
    Unsigned,
    /// True or false.
    Boolean,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A number that has a name.
    Named(&'static [&'static str]),
    /// A message.
    Message(&'static Schema),
    /// A time, RFC 3339 in JSON.
    Time,
}

/// A member of a message.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Number on the wire.
    pub number: u32,
    /// Name in JSON.
    pub name: &'static str,
    /// The same with quotes and colon.
    pub key: &'static str,
    /// Name in filters, where it differs.
    pub alias: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Any number of times.
    pub repeated: bool,
    /// In JSON even when empty or zero.
    pub always: bool,
}

macro_rules! member {
    ($number:expr, $name:literal, $kind:expr $(,)?) => {
        Member {
            number: $number,
            name: $name,
            key: concat!("\"", $name, "\":"),
            alias: $name,
            kind: $kind,
            repeated: false,
            always: false,
        }
    };
}

impl Member {
    const fn always(self) -> Member {
        Member {
            always: true,
            ..self
        }
    }

    const fn repeated(self) -> Member {
        Member {
            repeated: true,
            ..self
        }
    }

    const fn alias(self, alias: &'static str) -> Member {
        Member { alias, ..self }
    }
}

const LOW_NUMBERS: usize = 64;
/// No member.
const NOBODY: u8 = u8::MAX;

/// A message.
#[derive(Debug)]
pub struct Schema {
    /// Its members, in the order of JSON.
    pub members: &'static [Member],
    /// Which member has a number below 64.
    low: [u8; LOW_NUMBERS],
}

impl Schema {
    const fn new(members: &'static [Member]) -> Schema {
        let mut low = [NOBODY; LOW_NUMBERS];
        let mut place = 0;
        while place < members.len() {
            let number = members[place].number as usize;
            if number < LOW_NUMBERS {
                low[number] = place as u8;
            }
            place += 1;
        }
        assert!(members.len() <= MOST_MEMBERS);
        Schema { members, low }
    }

    /// Place of the member with this number.
    #[inline]
    pub fn place_of(&self, number: u32) -> Option<usize> {
        match self.low.get(number as usize) {
            Some(&NOBODY) => None,
            Some(place) => Some(usize::from(*place)),
            None => self.members.iter().position(|m| m.number == number),
        }
    }
}

/// No message has as many members.
pub const MOST_MEMBERS: usize = 28;

/// Names of protocols, by number.
pub const PROTOCOLS: &[&str] = &[
    "ETHERNET", "IPV4", "TCP", "UDP", "SCTP", "IPV6", "ICMPV4", "ICMPV6",
];

const PROTOCOL: Kind = Kind::Named(PROTOCOLS);

static LAYER: Schema = Schema::new(&[
    member!(1, "Protocol", PROTOCOL).always(),
    member!(3, "A", Kind::Text),
    member!(4, "B", Kind::Text),
    member!(5, "ID", Kind::Integer).always(),
]);

static TRANSPORT: Schema = Schema::new(&[
    member!(1, "Protocol", PROTOCOL).always(),
    member!(2, "A", Kind::Integer).always(),
    member!(3, "B", Kind::Integer).always(),
    member!(4, "ID", Kind::Integer).always(),
]);

static ICMP: Schema = Schema::new(&[
    member!(1, "Type", Kind::Named(icmp::KINDS)).always(),
    member!(2, "Code", Kind::Unsigned),
    member!(3, "ID", Kind::Unsigned),
]);

static METRIC: Schema = Schema::new(&[
    member!(2, "ABPackets", Kind::Integer).always(),
    member!(3, "ABBytes", Kind::Integer).always(),
    member!(4, "BAPackets", Kind::Integer).always(),
    member!(5, "BABytes", Kind::Integer).always(),
    member!(6, "Start", Kind::Integer).always(),
    member!(7, "Last", Kind::Integer).always(),
    member!(8, "RTT", Kind::Integer),
]);

static TCP_METRIC: Schema = Schema::new(&[
    member!(1, "ABSynStart", Kind::Integer).always(),
    member!(2, "BASynStart", Kind::Integer).always(),
    member!(3, "ABSynTTL", Kind::Unsigned),
    member!(4, "BASynTTL", Kind::Unsigned),
    member!(5, "ABFinStart", Kind::Integer).always(),
    member!(6, "BAFinStart", Kind::Integer).always(),
    member!(7, "ABRstStart", Kind::Integer).always(),
    member!(8, "BARstStart", Kind::Integer).always(),
    member!(9, "ABSegmentOutOfOrder", Kind::Integer).always(),
    member!(10, "ABSegmentSkipped", Kind::Integer).always(),
    member!(11, "ABSegmentSkippedBytes", Kind::Integer).always(),
    member!(12, "ABPackets", Kind::Integer).always(),
    member!(13, "ABBytes", Kind::Integer).always(),
    member!(14, "ABSawStart", Kind::Integer).always(),
    member!(15, "ABSawEnd", Kind::Integer).always(),
    member!(16, "BASegmentOutOfOrder", Kind::Integer).always(),
    member!(17, "BASegmentSkipped", Kind::Integer).always(),
    member!(18, "BASegmentSkippedBytes", Kind::Integer).always(),
    member!(19, "BAPackets", Kind::Integer).always(),
    member!(20, "BABytes", Kind::Integer).always(),
    member!(21, "BASawStart", Kind::Integer).always(),
    member!(22, "BASawEnd", Kind::Integer).always(),
]);

static IP_METRIC: Schema = Schema::new(&[
    member!(1, "Fragments", Kind::Integer).always(),
    member!(2, "FragmentErrors", Kind::Integer).always(),
]);

static DHCP_V4: Schema = Schema::new(&[
    member!(1, "contents", Kind::Bytes).alias("Contents"),
    member!(2, "payload", Kind::Bytes).alias("Payload"),
    member!(3, "hardware_len", Kind::Unsigned).alias("HardwareLen"),
    member!(4, "hardware_opts", Kind::Unsigned).alias("HardwareOpts"),
    member!(5, "xid", Kind::Unsigned).alias("Xid"),
    member!(6, "secs", Kind::Unsigned).alias("Secs"),
    member!(7, "flags", Kind::Unsigned).alias("Flags"),
    member!(8, "server_name", Kind::Bytes).alias("ServerName"),
    member!(9, "file", Kind::Bytes).alias("File"),
]);

static VRRP_V2: Schema = Schema::new(&[
    member!(1, "contents", Kind::Bytes).alias("Contents"),
    member!(2, "payload", Kind::Bytes).alias("Payload"),
    member!(3, "version", Kind::Unsigned).alias("Version"),
    member!(4, "VirtualRtrID", Kind::Unsigned).alias("virtual_rtrID"),
    member!(5, "priority", Kind::Unsigned).alias("Priority"),
    member!(6, "CountIPAddr", Kind::Unsigned).alias("count_ipaddr"),
    member!(7, "adver_int", Kind::Unsigned).alias("AdverInt"),
    member!(8, "checksum", Kind::Unsigned).alias("Checksum"),
]);

static DNS: Schema = Schema::new(&[
    member!(1, "ID", Kind::Unsigned),
    member!(2, "QR", Kind::Boolean),
    member!(3, "op_code", Kind::Text).alias("OpCode"),
    member!(4, "AA", Kind::Boolean),
    member!(5, "TC", Kind::Boolean),
    member!(6, "RD", Kind::Boolean),
    member!(7, "RA", Kind::Boolean),
    member!(8, "z", Kind::Unsigned).alias("Z"),
    member!(9, "response_code", Kind::Text).alias("ResponseCode"),
    member!(10, "QDCount", Kind::Unsigned).alias("q_d_count"),
    member!(11, "ANCount", Kind::Unsigned).alias("a_n_count"),
    member!(12, "NSCount", Kind::Unsigned).alias("n_s_count"),
    member!(13, "ARCount", Kind::Unsigned).alias("a_r_count"),
    member!(14, "questions", Kind::Message(&DNS_QUESTION))
        .alias("Questions")
        .repeated(),
    member!(15, "answers", Kind::Message(&DNS_RECORD))
        .alias("Answers")
        .repeated(),
    member!(16, "authorities", Kind::Message(&DNS_RECORD))
        .alias("Authorities")
        .repeated(),
    member!(17, "additionals", Kind::Message(&DNS_RECORD))
        .alias("Additionals")
        .repeated(),
    member!(18, "timestamp", Kind::Time),
]);

static DNS_QUESTION: Schema = Schema::new(&[
    member!(1, "name", Kind::Text).alias("Name"),
    member!(2, "type", Kind::Text).alias("Type"),
    member!(3, "class", Kind::Text).alias("Class"),
]);

static DNS_RECORD: Schema = Schema::new(&[
    member!(1, "name", Kind::Text).alias("Name"),
    member!(2, "type", Kind::Text).alias("Type"),
    member!(3, "class", Kind::Text).alias("Class"),
    member!(4, "TTL", Kind::Unsigned),
    member!(5, "data_length", Kind::Unsigned).alias("DataLength"),
    member!(6, "IP", Kind::Text),
    member!(7, "NS", Kind::Text),
    member!(8, "CNAME", Kind::Text).alias("c_name"),
    member!(9, "PTR", Kind::Text),
    member!(10, "TXTs", Kind::Text).repeated(),
    member!(11, "SOA", Kind::Message(&DNS_SOA)),
    member!(12, "SRV", Kind::Message(&DNS_SRV)),
    member!(13, "MX", Kind::Message(&DNS_MX)),
    member!(14, "OPT", Kind::Message(&DNS_OPT)).repeated(),
]);

static DNS_SOA: Schema = Schema::new(&[
    member!(1, "MName", Kind::Text).alias("m_name"),
    member!(2, "RName", Kind::Text).alias("r_name"),
    member!(3, "serial", Kind::Unsigned).alias("Serial"),
    member!(4, "refresh", Kind::Unsigned).alias("Refresh"),
    member!(5, "retry", Kind::Unsigned).alias("Retry"),
    member!(6, "expire", Kind::Unsigned).alias("Expire"),
    member!(7, "minimum", Kind::Unsigned).alias("Minimum"),
]);

static DNS_SRV: Schema = Schema::new(&[
    member!(1, "priority", Kind::Unsigned).alias("Priority"),
    member!(2, "weight", Kind::Unsigned).alias("Weight"),
    member!(3, "port", Kind::Unsigned).alias("Port"),
    member!(4, "name", Kind::Text).alias("Name"),
]);

static DNS_MX: Schema = Schema::new(&[
    member!(1, "preference", Kind::Unsigned).alias("Preference"),
    member!(2, "name", Kind::Text).alias("Name"),
]);

static DNS_OPT: Schema = Schema::new(&[
    member!(1, "Code", Kind::Unsigned).alias("code"),
    member!(2, "Data", Kind::Text).alias("data"),
]);

static DHCP_V6: Schema = Schema::new(&[
    member!(1, "MessageType", Kind::Text),
    member!(2, "TransactionID", Kind::Unsigned),
    member!(3, "ClientID", Kind::Text),
    member!(4, "ServerID", Kind::Text),
    member!(5, "Addresses", Kind::Text).repeated(),
    member!(6, "Prefixes", Kind::Text).repeated(),
    member!(7, "Name", Kind::Text),
]);

static TLS: Schema = Schema::new(&[
    member!(1, "Version", Kind::Text),
    member!(2, "ServerName", Kind::Text),
    member!(3, "Protocols", Kind::Text).repeated(),
]);

static HTTP: Schema = Schema::new(&[
    member!(1, "Method", Kind::Text),
    member!(2, "Target", Kind::Text),
    member!(3, "Version", Kind::Text),
    member!(4, "Host", Kind::Text),
    member!(5, "UserAgent", Kind::Text),
]);

static QUIC: Schema = Schema::new(&[
    member!(1, "Version", Kind::Text),
    member!(2, "DestinationID", Kind::Text),
    member!(3, "SourceID", Kind::Text),
    member!(4, "ServerName", Kind::Text),
    member!(5, "Protocols", Kind::Text).repeated(),
]);

static NTP: Schema = Schema::new(&[
    member!(1, "LeapIndicator", Kind::Unsigned),
    member!(2, "Version", Kind::Unsigned),
    member!(3, "Mode", Kind::Text),
    member!(4, "Stratum", Kind::Unsigned),
    member!(5, "Poll", Kind::Unsigned),
    member!(6, "Precision", Kind::Integer),
    member!(7, "ReferenceID", Kind::Text),
]);

/// A flow. `LastRawPackets` (36) is not in it: it is never in JSON.
pub static FLOW: Schema = Schema::new(&[
    member!(flow::UUID, "UUID", Kind::Text),
    member!(flow::LAYERS_PATH, "LayersPath", Kind::Text),
    member!(flow::APPLICATION, "Application", Kind::Text),
    member!(flow::LINK, "Link", Kind::Message(&LAYER)),
    member!(flow::NETWORK, "Network", Kind::Message(&LAYER)),
    member!(flow::TRANSPORT, "Transport", Kind::Message(&TRANSPORT)),
    member!(flow::ICMP, "ICMP", Kind::Message(&ICMP)),
    member!(flow::DHCP_V4, "DHCPv4", Kind::Message(&DHCP_V4)),
    member!(flow::DNS, "DNS", Kind::Message(&DNS)),
    member!(flow::VRRP_V2, "VRRPv2", Kind::Message(&VRRP_V2)),
    member!(flow::DHCP_V6, "DHCPv6", Kind::Message(&DHCP_V6)),
    member!(flow::TLS, "TLS", Kind::Message(&TLS)),
    member!(flow::HTTP, "HTTP", Kind::Message(&HTTP)),
    member!(flow::QUIC, "QUIC", Kind::Message(&QUIC)),
    member!(flow::NTP, "NTP", Kind::Message(&NTP)),
    member!(
        flow::LAST_UPDATE_METRIC,
        "LastUpdateMetric",
        Kind::Message(&METRIC),
    ),
    member!(flow::METRIC, "Metric", Kind::Message(&METRIC)),
    member!(flow::TCP_METRIC, "TCPMetric", Kind::Message(&TCP_METRIC)),
    member!(flow::IP_METRIC, "IPMetric", Kind::Message(&IP_METRIC)),
    member!(flow::START, "Start", Kind::Integer).always(),
    member!(flow::LAST, "Last", Kind::Integer).always(),
    member!(flow::TRACKING_ID, "TrackingID", Kind::Text),
    member!(flow::L3_TRACKING_ID, "L3TrackingID", Kind::Text),
    member!(flow::PARENT_UUID, "ParentUUID", Kind::Text).always(),
    member!(flow::NODE_TID, "NodeTID", Kind::Text),
    member!(flow::CAPTURE_ID, "CaptureID", Kind::Text),
    member!(
        flow::RAW_PACKETS_CAPTURED,
        "RawPacketsCaptured",
        Kind::Integer,
    )
    .always(),
    member!(flow::FINISH_TYPE, "FinishType", Kind::Integer),
]);

/// Numbers of the members of a flow.
#[allow(missing_docs)]
pub mod flow {
    pub const UUID: u32 = 1;
    pub const LAYERS_PATH: u32 = 2;
    pub const APPLICATION: u32 = 3;
    pub const PARENT_UUID: u32 = 6;
    pub const START: u32 = 10;
    pub const LAST: u32 = 11;
    pub const LINK: u32 = 20;
    pub const NETWORK: u32 = 21;
    pub const TRANSPORT: u32 = 22;
    pub const ICMP: u32 = 23;
    pub const LAST_UPDATE_METRIC: u32 = 31;
    pub const METRIC: u32 = 32;
    pub const NODE_TID: u32 = 33;
    pub const CAPTURE_ID: u32 = 34;
    pub const LAST_RAW_PACKETS: u32 = 36;
    pub const RAW_PACKETS_CAPTURED: u32 = 37;
    pub const TCP_METRIC: u32 = 38;
    pub const IP_METRIC: u32 = 39;
    pub const TRACKING_ID: u32 = 50;
    pub const L3_TRACKING_ID: u32 = 51;
    pub const FINISH_TYPE: u32 = 60;
    pub const DHCP_V4: u32 = 1000;
    pub const DNS: u32 = 1001;
    pub const VRRP_V2: u32 = 1002;
    // Ours, which the original passes over.
    pub const DHCP_V6: u32 = 5000;
    pub const TLS: u32 = 5001;
    pub const HTTP: u32 = 5002;
    pub const QUIC: u32 = 5003;
    pub const NTP: u32 = 5004;
}

/// Where a field of a flow is: the member of the flow, and the member of that.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Number of the member of the flow.
    pub layer: u32,
    /// Number inside the layer; 0 when the field is of the flow itself.
    pub member: u32,
    /// Numbers inside that, where it is a message itself; 0 = no further.
    pub deeper: [u32; 2],
    /// There may be any number of it.
    pub many: bool,
    /// It is itself what may be there any number of times, not what it is in.
    pub list: bool,
    /// Text, number, name or boolean.
    pub kind: Kind,
}

impl Field {
    /// The field called `name` in filters, sorting and deduplication (gremlin.md §5.4).
    pub fn of_name(name: &str) -> Option<Field> {
        let (root, rest) = match name.split_once('.') {
            Some((root, rest)) => (root, Some(rest)),
            None => (name, None),
        };
        // Other names of layers, for all but their id. That the layer is of that protocol is not
        // checked.
        let (layer, only): (_, &[&str]) = match root {
            "ETHERNET" => ("Link", &["Protocol", "A", "B"]),
            "IPV4" | "IPV6" => ("Network", &["Protocol", "A", "B"]),
            "TCP" | "UDP" | "SCTP" => ("Transport", &["Protocol"]),
            other => (other, &[]),
        };
        let found = FLOW.members.iter().find(|member| member.name == layer)?;
        match (found.kind, rest) {
            (Kind::Message(schema), Some(rest)) => {
                if !only.is_empty() && !only.contains(&rest) {
                    return None;
                }
                inside(found.number, schema, rest)
            }
            (Kind::Message(_), None) => None,
            // What follows a dot behind a text of the flow itself is ignored, as upstream.
            (Kind::Text, _) | (_, None) => Some(Field {
                layer: found.number,
                member: 0,
                deeper: [0; 2],
                many: false,
                list: false,
                kind: found.kind,
            }),
            _ => None,
        }
    }
}

/// The field at the end of a path inside a layer.
fn inside(layer: u32, schema: &Schema, path: &str) -> Option<Field> {
    let mut numbers = [0; 3];
    let mut slots = numbers.iter_mut();
    let (mut schema, mut many) = (schema, false);
    let mut names = path.split('.');
    loop {
        let name = names.next()?;
        let found = schema
            .members
            .iter()
            .find(|member| member.name == name || member.alias == name)?;
        *slots.next()? = found.number;
        many |= found.repeated;
        match found.kind {
            Kind::Message(inner) => schema = inner,
            Kind::Bytes | Kind::Time => return None,
            kind => {
                let [member, deeper @ ..] = numbers;
                return names.next().is_none().then_some(Field {
                    layer,
                    member,
                    deeper,
                    many,
                    list: found.repeated,
                    kind,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(name: &str) -> Option<(u32, u32)> {
        Field::of_name(name).map(|field| (field.layer, field.member))
    }

    #[test]
    fn fields_are_found_by_all_their_names() {
        assert_eq!(numbers("Network.A"), Some((21, 3)));
        assert_eq!(numbers("IPV6.A"), Some((21, 3)));
        assert_eq!(numbers("ETHERNET.B"), Some((20, 4)));
        assert_eq!(numbers("Transport.B"), Some((22, 3)));
        assert_eq!(numbers("UDP.Protocol"), Some((22, 1)));
        assert_eq!(numbers("Start"), Some((10, 0)));
        assert_eq!(numbers("UUID.whatever"), Some((1, 0)));
        assert_eq!(numbers("DNS.OpCode"), Some((1001, 3)));
        assert_eq!(numbers("DNS.op_code"), Some((1001, 3)));
        assert_eq!(numbers("VRRPv2.virtual_rtrID"), Some((1002, 4)));
    }

    #[test]
    fn fields_inside_lists_have_paths() {
        let path = |name| Field::of_name(name).map(|f| (f.layer, f.member, f.deeper, f.many));
        assert_eq!(path("DNS.Questions.Name"), Some((1001, 14, [1, 0], true)));
        assert_eq!(
            path("DNS.answers.SOA.m_name"),
            Some((1001, 15, [11, 1], true))
        );
        assert_eq!(path("TLS.ServerName"), Some((5001, 2, [0, 0], false)));
        assert_eq!(path("TLS.Protocols"), Some((5001, 3, [0, 0], true)));
    }

    #[test]
    fn what_is_no_field_is_not_found() {
        for name in [
            "nope",
            "",
            ".",
            "Network",
            "Network.",
            "Network.A.B",
            "IPV4.ID",
            "TCP.A",
            "Start.x",
            "DNS.questions",
            "DNS.Questions",
            "DNS.Answers.SOA",
            "DNS.Answers.Name.x",
            "DNS.timestamp",
            "LastRawPackets",
        ] {
            assert_eq!(numbers(name), None, "{name}");
        }
    }
}
