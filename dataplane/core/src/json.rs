//! Serialized flows as JSON (api.md §9.3), written straight from the protobuf.

use crate::schema::{Kind, Member, Schema, FLOW, MOST_MEMBERS};
use crate::wire::{Malformed, Reader, Value};

/// Messages inside messages.
const DEEPEST: usize = 8;

/// The flows (member 1) of a serialized `flow.FlowSet` or `flow.Message` as a JSON array.
pub fn flows(message: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(2 + message.len() * 3);
    out.push(b'[');
    for member in Reader::new(message) {
        if let (1, Value::Bytes(flow)) = member? {
            if out.len() > 1 {
                out.push(b',');
            }
            object(&mut out, flow, &FLOW, 0)?;
        }
    }
    out.push(b']');
    Ok(out)
}

/// One serialized flow as a JSON object.
pub fn flow(message: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(message.len() * 3);
    object(&mut out, message, &FLOW, 0)?;
    Ok(out)
}

fn object(
    out: &mut Vec<u8>,
    message: &[u8],
    schema: &Schema,
    depth: usize,
) -> Result<(), Malformed> {
    if depth > DEEPEST {
        return Err(Malformed);
    }
    let mut found = [None; MOST_MEMBERS];
    for member in Reader::new(message) {
        let (number, value) = member?;
        let slot = schema
            .place_of(number)
            .and_then(|place| found.get_mut(place));
        if let Some(slot) = slot {
            *slot = Some(value);
        }
    }
    out.push(b'{');
    let begin = out.len();
    for (member, value) in schema.members.iter().zip(found) {
        let at = out.len();
        if at > begin {
            out.push(b',');
        }
        out.extend_from_slice(member.key.as_bytes());
        let written = match value {
            Some(_) if member.repeated => list(out, message, member, depth)?,
            value => scalar(out, member, value, depth)?,
        };
        if !written {
            out.truncate(at);
        }
    }
    out.push(b'}');
    Ok(())
}

/// All values of a repeated member. It is there, so the list is not empty.
fn list(
    out: &mut Vec<u8>,
    message: &[u8],
    member: &Member,
    depth: usize,
) -> Result<bool, Malformed> {
    let item = Member {
        repeated: false,
        always: true,
        ..*member
    };
    out.push(b'[');
    let begin = out.len();
    for entry in Reader::new(message) {
        let (number, value) = entry?;
        if number == member.number {
            if out.len() > begin {
                out.push(b',');
            }
            scalar(out, &item, Some(value), depth)?;
        }
    }
    out.push(b']');
    Ok(true)
}

/// One value. False: it is left out.
fn scalar(
    out: &mut Vec<u8>,
    member: &Member,
    value: Option<Value<'_>>,
    depth: usize,
) -> Result<bool, Malformed> {
    let number = match value {
        Some(Value::Number(number)) => number,
        _ => 0,
    };
    let bytes = match value {
        Some(Value::Bytes(bytes)) => bytes,
        _ => &[],
    };
    let empty = match member.kind {
        Kind::Text | Kind::Bytes => bytes.is_empty(),
        Kind::Message(_) | Kind::Time => value.is_none(),
        _ => number == 0,
    };
    if empty && !member.always {
        return Ok(false);
    }
    match member.kind {
        Kind::Text => text(out, bytes),
        Kind::Integer => signed(out, number as i64),
        Kind::Unsigned => unsigned(out, u64::from(number as u32)),
        Kind::Boolean => out.extend_from_slice(if number == 0 { b"false" } else { b"true" }),
        Kind::Bytes => base64(out, bytes),
        Kind::Named(names) => {
            out.push(b'"');
            match usize::try_from(number)
                .ok()
                .and_then(|place| names.get(place))
            {
                Some(name) => out.extend_from_slice(name.as_bytes()),
                // Of a later release.
                None => signed(out, number as i64),
            }
            out.push(b'"');
        }
        Kind::Message(schema) => {
            let Some(Value::Bytes(message)) = value else {
                return Err(Malformed);
            };
            object(out, message, schema, depth + 1)?;
        }
        Kind::Time => {
            let Some(Value::Bytes(message)) = value else {
                return Err(Malformed);
            };
            time(out, message)?;
        }
    }
    Ok(true)
}

fn signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    unsigned(out, value.unsigned_abs());
}

fn unsigned(out: &mut Vec<u8>, mut value: u64) {
    if value < 10 {
        out.push(b'0' + value as u8);
        return;
    }
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for pair in digits.rchunks_exact_mut(2) {
        let two = (value % 100) as u8;
        pair.copy_from_slice(&[b'0' + two / 10, b'0' + two % 10]);
        value /= 100;
        used += 2;
        if value == 0 {
            used -= usize::from(two < 10);
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or(&[]));
}

/// A string. What is not UTF-8 becomes the replacement character.
pub fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    // Without a way out early, so that many bytes are looked at at once.
    if bytes.iter().fold(true, |all, byte| all & is_plain(*byte)) {
        out.extend_from_slice(bytes);
    } else {
        for character in String::from_utf8_lossy(bytes).chars() {
            escaped(out, character);
        }
    }
    out.push(b'"');
}

fn is_plain(byte: u8) -> bool {
    (0x20..0x7F).contains(&byte) & (byte != b'"') & (byte != b'\\')
}

fn escaped(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\0'..='\x1F' => out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes()),
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for chunk in bytes.chunks(3) {
        let mut three = [0; 4];
        for (slot, byte) in three.iter_mut().skip(1).zip(chunk) {
            *slot = *byte;
        }
        let bits = u32::from_be_bytes(three);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) as usize & 63;
            out.push(if place <= chunk.len() {
                DIGITS[digit]
            } else {
                b'='
            });
        }
    }
    out.push(b'"');
}

/// A `google.protobuf.Timestamp` as RFC 3339, with as many digits of the second as it has.
fn time(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    for member in Reader::new(message) {
        match member? {
            (1, Value::Number(number)) => seconds = number as i64,
            (2, Value::Number(number)) => nanos = number as i64,
            _ => (),
        }
    }
    // From year 1 to 9999.
    if !(-62_135_596_800..253_402_300_800).contains(&seconds)
        || !(0..1_000_000_000).contains(&nanos)
    {
        return Err(Malformed);
    }
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let clock = format!(
        "\"{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    out.extend_from_slice(clock.as_bytes());
    if nanos > 0 {
        let fraction = format!(".{nanos:09}");
        out.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
    }
    out.extend_from_slice(b"Z\"");
    Ok(())
}

/// Year, month and day of a day since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::flow as number;
    use crate::wire::Writer;
    use proptest::prelude::*;

    fn json(write: impl FnOnce(&mut Writer)) -> String {
        let mut writer = Writer::default();
        writer.message(1, write);
        let bytes = flows(&writer.into_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn an_empty_flow_shows_what_is_always_shown() {
        assert_eq!(
            json(|_| ()),
            r#"[{"Start":0,"Last":0,"ParentUUID":"","RawPacketsCaptured":0}]"#
        );
        assert_eq!(flows(b"").ok().as_deref(), Some(b"[]".as_slice()));
    }

    #[test]
    fn layers_show_names_and_zeros_as_they_should() {
        let text = json(|out| {
            out.text(number::UUID, "a\"b\\\n\u{1}é");
            out.message(number::LINK, |out| out.text(3, "02:00:00:00:00:01"));
            out.message(number::NETWORK, |out| {
                out.number(1, 5);
                out.number(5, 10);
            });
            out.message(number::TRANSPORT, |out| out.number(1, 3));
            out.message(number::ICMP, |out| out.number(1, 2));
            out.message(number::METRIC, |out| out.integer(8, -1));
            out.message(number::TCP_METRIC, |_| ());
            out.message(number::IP_METRIC, |out| out.number(1, 1));
            out.data(number::LAST_RAW_PACKETS, b"\x08\x01");
            out.number(number::FINISH_TYPE, 2);
        });
        let zeros: String = [
            "ABSynStart",
            "BASynStart",
            "ABFinStart",
            "BAFinStart",
            "ABRstStart",
            "BARstStart",
            "ABSegmentOutOfOrder",
            "ABSegmentSkipped",
            "ABSegmentSkippedBytes",
            "ABPackets",
            "ABBytes",
            "ABSawStart",
            "ABSawEnd",
            "BASegmentOutOfOrder",
            "BASegmentSkipped",
            "BASegmentSkippedBytes",
            "BAPackets",
            "BABytes",
            "BASawStart",
            "BASawEnd",
        ]
        .map(|name| format!("\"{name}\":0"))
        .join(",");
        let wanted = [
            r#"[{"UUID":"a\"b\\\n\u0001é","Link":{"Protocol":"ETHERNET","A":"02:00:00:00:00:01","ID":0},"#,
            r#""Network":{"Protocol":"IPV6","ID":10},"Transport":{"Protocol":"UDP","A":0,"B":0,"ID":0},"#,
            r#""ICMP":{"Type":"ECHO"},"#,
            r#""Metric":{"ABPackets":0,"ABBytes":0,"BAPackets":0,"BABytes":0,"Start":0,"Last":0,"RTT":-1},"#,
            &format!("\"TCPMetric\":{{{zeros}}},"),
            r#""IPMetric":{"Fragments":1,"FragmentErrors":0},"Start":0,"Last":0,"ParentUUID":"","#,
            r#""RawPacketsCaptured":0,"FinishType":2}]"#,
        ]
        .concat();
        assert_eq!(text, wanted);
    }

    #[test]
    fn dns_of_another_agent_keeps_its_names() {
        let text = json(|out| {
            out.message(number::DNS, |out| {
                out.number(1, 38_125);
                out.number(2, 1);
                out.text(3, "Query");
                out.number(10, 1);
                out.message(14, |out| {
                    out.text(1, "example.org");
                    out.text(2, "A");
                });
                out.message(15, |out| {
                    out.text(8, "x.org");
                    out.number(4, 60);
                    out.text(10, "one");
                    out.text(10, "two");
                    out.message(11, |out| out.text(1, "ns.org"));
                });
                out.message(18, |out| {
                    out.integer(1, 1_559_792_414);
                    out.integer(2, 984_235_000);
                });
            });
        });
        let wanted = concat!(
            r#"[{"DNS":{"ID":38125,"QR":true,"op_code":"Query","QDCount":1,"#,
            r#""questions":[{"name":"example.org","type":"A"}],"#,
            r#""answers":[{"TTL":60,"CNAME":"x.org","TXTs":["one","two"],"SOA":{"MName":"ns.org"}}],"#,
            r#""timestamp":"2019-06-06T03:40:14.984235Z"},"#,
            r#""Start":0,"Last":0,"ParentUUID":"","RawPacketsCaptured":0}]"#,
        );
        assert_eq!(text, wanted);
    }

    #[test]
    fn numbers_have_no_leading_zeros() {
        for value in [
            0,
            9,
            10,
            99,
            100,
            101,
            999,
            1_000,
            1_700_000_000_123,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            unsigned(&mut out, value);
            assert_eq!(String::from_utf8_lossy(&out), value.to_string());
        }
    }

    #[test]
    fn bytes_are_base64() {
        for (bytes, wanted) in [
            (b"".as_slice(), "\"\""),
            (b"f", "\"Zg==\""),
            (b"fo", "\"Zm8=\""),
            (b"foobar", "\"Zm9vYmFy\""),
        ] {
            let mut out = Vec::new();
            base64(&mut out, bytes);
            assert_eq!(String::from_utf8_lossy(&out), wanted);
        }
    }

    #[test]
    fn days_have_their_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(-1), (1969, 12, 31));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(-719_162), (1, 1, 1));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_json_or_an_error(bytes: Vec<u8>) {
            if let Ok(text) = flows(&bytes) {
                prop_assert!(std::str::from_utf8(&text).is_ok());
            }
            let _ = flow(&bytes);
        }
    }
}
