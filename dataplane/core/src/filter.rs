//! Filters over the flows of a table (api.md §9.1, gremlin.md §§4-7).
//!
//! A filter is compiled once per search: fields become numbers, and texts that stand for ids or
//! addresses become those, so that most flows are refused without writing any text.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use regex::{Regex, RegexBuilder};

use crate::flow::Endpoints;
use crate::keys::Hex;
use crate::schema::{flow, Field, Kind};
use crate::table::FlowView;
use crate::wire::{Malformed, Reader, Value};

/// Filters inside filters.
const DEEPEST: usize = 200;
/// Memory that a compiled pattern may take.
const PATTERN_BYTES: usize = 8 << 20;

/// Why a search cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchError {
    /// The bytes are no search.
    Malformed,
    /// Filters are nested too deep.
    Deep,
    /// A pattern does not compile.
    Pattern(String),
    /// Not a range of IPv4 addresses.
    Range(String),
    /// No such field to sort or deduplicate by.
    Field {
        /// What for.
        purpose: &'static str,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for SearchError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SearchError::Malformed => out.write_str("the search is not a valid protobuf message"),
            SearchError::Deep => write!(out, "filters are nested deeper than {DEEPEST}"),
            SearchError::Pattern(why) => write!(out, "not a regular expression: {why}"),
            SearchError::Range(text) => write!(out, "not a range of IPv4 addresses: {text:?}"),
            SearchError::Field { purpose, name } => {
                write!(out, "flows have no field {name:?} to {purpose} by")
            }
        }
    }
}

impl std::error::Error for SearchError {}

impl From<Malformed> for SearchError {
    fn from(_: Malformed) -> Self {
        SearchError::Malformed
    }
}

/// A compiled filter.
#[derive(Debug)]
pub enum Filter {
    /// Everything passes.
    All,
    /// Nothing does: there is no such field, or it holds something else.
    Nothing,
    /// All of them pass, or there are none.
    And(Vec<Filter>),
    /// One of them passes, or there are none.
    Or(Vec<Filter>),
    /// One of them does not pass, or there are none.
    Not(Vec<Filter>),
    /// An id is this one; None = it is empty.
    Id(Field, Option<u64>),
    /// A MAC address is this one.
    Mac(Field, [u8; 6]),
    /// An IPv4 address is this one.
    V4(Field, Ipv4Addr),
    /// An IPv6 address is this one.
    V6(Field, Ipv6Addr),
    /// A text is this one.
    Text(Field, Box<str>),
    /// A number compares so to this one.
    Number(Field, Comparison, i64),
    /// A text contains this pattern.
    Pattern(Field, Box<Regex>),
    /// The flow lacks the field.
    Missing(Field),
    /// A text is an IPv4 address of this network.
    Range(Field, u32, u32),
}

/// How numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Greater.
    Greater,
    /// Less.
    Less,
    /// Greater or equal.
    AtLeast,
    /// Less or equal.
    AtMost,
}

impl Comparison {
    #[inline]
    fn holds(self, value: i64, wanted: i64) -> bool {
        match self {
            Comparison::Equal => value == wanted,
            Comparison::Greater => value > wanted,
            Comparison::Less => value < wanted,
            Comparison::AtLeast => value >= wanted,
            Comparison::AtMost => value <= wanted,
        }
    }
}

impl Filter {
    /// Compiles a serialized `filters.Filter`.
    pub fn parse(message: &[u8]) -> Result<Filter, SearchError> {
        parse(message, 0)
    }

    /// Whether a flow passes. `scratch` is for texts that have to be written.
    pub fn passes(&self, view: &FlowView<'_>, scratch: &mut String) -> bool {
        match self {
            Filter::All => true,
            Filter::Nothing => false,
            Filter::And(filters) => filters.iter().all(|filter| filter.passes(view, scratch)),
            Filter::Or(filters) => {
                filters.is_empty() || filters.iter().any(|filter| filter.passes(view, scratch))
            }
            Filter::Not(filters) => {
                filters.is_empty() || filters.iter().any(|filter| !filter.passes(view, scratch))
            }
            Filter::Id(field, wanted) => view.id(*field) == Some(*wanted),
            Filter::Mac(field, wanted) => view
                .cold
                .link
                .is_some_and(|link| *wanted == if field.member == 3 { link.a } else { link.b }),
            Filter::V4(field, wanted) => v4(view, *field) == Some(*wanted),
            Filter::V6(field, wanted) => match view.cold.network {
                Endpoints::V6(a, b) => *wanted == if field.member == 3 { a } else { b },
                _ => false,
            },
            Filter::Text(field, wanted) => view.any_text(*field, scratch, |text| *text == **wanted),
            Filter::Number(field, comparison, wanted) => match field.kind {
                Kind::Text | Kind::Named(_) => view.any_text(*field, scratch, |text| {
                    to_integer(text).is_some_and(|value| comparison.holds(value, *wanted))
                }),
                _ => view.any_integer(*field, |value| comparison.holds(value, *wanted)),
            },
            Filter::Pattern(field, pattern) => {
                view.any_text(*field, scratch, |text| pattern.is_match(text))
            }
            Filter::Missing(field) => !view.has(*field),
            Filter::Range(field, network, mask) => {
                let inside = |address: Ipv4Addr| u32::from(address) & mask == *network;
                if field.layer == flow::NETWORK && field.member != 1 {
                    v4(view, *field).is_some_and(inside)
                } else {
                    view.any_text(*field, scratch, |text| address_of(text).is_some_and(inside))
                }
            }
        }
    }
}

#[inline]
fn v4(view: &FlowView<'_>, field: Field) -> Option<Ipv4Addr> {
    match view.cold.network {
        Endpoints::V4(a, b) => Some(if field.member == 3 { a } else { b }),
        _ => None,
    }
}

fn parse(message: &[u8], depth: usize) -> Result<Filter, SearchError> {
    if depth > DEEPEST {
        return Err(SearchError::Deep);
    }
    for member in Reader::new(message) {
        let (number, value) = member?;
        let Some(body) = value.bytes() else {
            continue;
        };
        return match number {
            1 => Leaf::parse(body).map(|leaf| equals_text(&leaf)),
            2 => number_test(body, Comparison::Equal),
            3 => Leaf::parse(body).map(|leaf| match leaf.field() {
                Some(field) if matches!(field.kind, Kind::Boolean) => {
                    Filter::Number(field, Comparison::Equal, leaf.number)
                }
                _ => Filter::Nothing,
            }),
            4 => number_test(body, Comparison::Greater),
            5 => number_test(body, Comparison::Less),
            6 => number_test(body, Comparison::AtLeast),
            7 => number_test(body, Comparison::AtMost),
            8 => group(body, depth),
            9 => pattern(&Leaf::parse(body)?),
            10 => Leaf::parse(body).map(|leaf| match leaf.field() {
                Some(field) => Filter::Missing(field),
                None => Filter::All,
            }),
            11 => range(&Leaf::parse(body)?),
            _ => continue,
        };
    }
    // None is set.
    Ok(Filter::All)
}

fn group(body: &[u8], depth: usize) -> Result<Filter, SearchError> {
    let mut operation = 0;
    let mut filters = Vec::new();
    for member in Reader::new(body) {
        match member? {
            (1, Value::Number(number)) => operation = number,
            (2, Value::Bytes(inner)) => filters.push(parse(inner, depth + 1)?),
            _ => (),
        }
    }
    match operation {
        0 => Ok(Filter::Or(filters)),
        1 => Ok(Filter::And(filters)),
        2 => Ok(Filter::Not(filters)),
        _ => Err(SearchError::Malformed),
    }
}

/// Key and value of a simple filter.
struct Leaf<'a> {
    key: &'a str,
    text: &'a str,
    number: i64,
}

impl<'a> Leaf<'a> {
    fn parse(body: &'a [u8]) -> Result<Leaf<'a>, SearchError> {
        let mut leaf = Leaf {
            key: "",
            text: "",
            number: 0,
        };
        for member in Reader::new(body) {
            match member? {
                (1, value) => leaf.key = value.text().ok_or(SearchError::Malformed)?,
                (2, Value::Number(number)) => leaf.number = number as i64,
                (2, value) => leaf.text = value.text().ok_or(SearchError::Malformed)?,
                _ => (),
            }
        }
        Ok(leaf)
    }

    fn field(&self) -> Option<Field> {
        Field::of_name(self.key)
    }
}

fn equals_text(leaf: &Leaf<'_>) -> Filter {
    let Some(field) = leaf.field() else {
        return Filter::Nothing;
    };
    let found = match (field.layer, field.member) {
        (flow::PARENT_UUID, 0) if leaf.text.is_empty() => Some(Filter::Id(field, None)),
        (flow::UUID | flow::TRACKING_ID | flow::L3_TRACKING_ID | flow::PARENT_UUID, 0) => {
            Hex::parse(leaf.text).map(|id| Filter::Id(field, Some(id)))
        }
        (flow::LINK, 3 | 4) => parse_mac(leaf.text).map(|mac| Filter::Mac(field, mac)),
        (flow::NETWORK, 3 | 4) => address(field, leaf.text),
        _ if matches!(field.kind, Kind::Text | Kind::Named(_)) => {
            Some(Filter::Text(field, leaf.text.into()))
        }
        _ => None,
    };
    // A text that is written otherwise than ours is no flow's; numbers never equal a text.
    found.unwrap_or(Filter::Nothing)
}

/// Equality with an address, if it is written as ours are.
fn address(field: Field, text: &str) -> Option<Filter> {
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Some(Filter::V4(field, v4));
    }
    let v6 = text.parse::<Ipv6Addr>().ok()?;
    (v6.to_string() == text).then_some(Filter::V6(field, v6))
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut digits = text.split(':');
    for slot in &mut mac {
        let pair = digits.next()?;
        let written = pair.len() == 2 && !pair.bytes().any(|byte| byte.is_ascii_uppercase());
        *slot = written.then(|| u8::from_str_radix(pair, 16).ok())??;
    }
    let whole = digits.next().is_none() && !text.contains('+');
    whole.then_some(mac)
}

fn number_test(body: &[u8], comparison: Comparison) -> Result<Filter, SearchError> {
    let leaf = Leaf::parse(body)?;
    Ok(match leaf.field() {
        Some(field) => Filter::Number(field, comparison, leaf.number),
        None => Filter::Nothing,
    })
}

fn pattern(leaf: &Leaf<'_>) -> Result<Filter, SearchError> {
    let compiled = RegexBuilder::new(leaf.text)
        .size_limit(PATTERN_BYTES)
        .build()
        .map_err(|error| SearchError::Pattern(last_line(&error)))?;
    Ok(match leaf.field() {
        Some(field) if matches!(field.kind, Kind::Text | Kind::Named(_)) => {
            Filter::Pattern(field, Box::new(compiled))
        }
        _ => Filter::Nothing,
    })
}

/// The messages of the regex crate draw the pattern; the last line says what is wrong.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

fn range(leaf: &Leaf<'_>) -> Result<Filter, SearchError> {
    let parsed = leaf.text.split_once('/').and_then(|(address, bits)| {
        let address: Ipv4Addr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        Some((u32::from(address) & mask, mask))
    });
    let Some((network, mask)) = parsed else {
        return Err(SearchError::Range(leaf.text.to_owned()));
    };
    Ok(match leaf.field() {
        Some(field) if matches!(field.kind, Kind::Text | Kind::Named(_)) => {
            Filter::Range(field, network, mask)
        }
        _ => Filter::Nothing,
    })
}

/// An IPv4 address, maybe with one or two digits of prefix length behind.
fn address_of(text: &str) -> Option<Ipv4Addr> {
    let (address, bits) = text.split_once('/').unwrap_or((text, "0"));
    let is_prefix = matches!(bits.len(), 1 | 2) && bits.bytes().all(|byte| byte.is_ascii_digit());
    address.parse().ok().filter(|_| is_prefix)
}

/// A text as a number, as filters take it (gremlin.md §4.1): a fraction of zeros is ignored, the base
/// is told by a prefix, digits may be parted by `_`.
pub fn to_integer(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => {
            whole
        }
        Some(_) => return None,
        None => text,
    };
    let (sign, digits) = match whole.as_bytes().first()? {
        b'-' => ("-", whole.get(1..)?),
        b'+' => ("", whole.get(1..)?),
        _ => ("", whole),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_str() {
        "0" => (10, "0"),
        other if other.starts_with("0x") => (16, other.get(2..)?),
        other if other.starts_with("0o") => (8, other.get(2..)?),
        other if other.starts_with("0b") => (2, other.get(2..)?),
        other if other.starts_with('0') => (8, other.get(1..)?),
        other => (10, other),
    };
    let plain = digits.replace('_', "");
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{plain}"), base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_numbers_in_all_the_ways_of_the_language() {
        let rows: &[(&str, Option<i64>)] = &[
            ("456", Some(456)),
            ("-7", Some(-7)),
            ("+7", Some(7)),
            ("1500.000", Some(1500)),
            ("1500.5", None),
            ("1500.", None),
            ("0x1F", Some(31)),
            ("0o17", Some(15)),
            ("017", Some(15)),
            ("0b101", Some(5)),
            ("1_000", Some(1000)),
            ("0", Some(0)),
            ("", None),
            ("-", None),
            ("0x", None),
            ("--1", None),
            ("12a", None),
            ("é", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(to_integer(text), *wanted, "{text:?}");
        }
    }

    #[test]
    fn only_our_spelling_of_an_address_is_one() {
        assert_eq!(parse_mac("02:00:00:00:00:0a"), Some([2, 0, 0, 0, 0, 10]));
        for text in [
            "02:00:00:00:00:0A",
            "02:00:00:00:00",
            "2:0:0:0:0:a",
            "02:00:00:00:00:0a:",
            "",
        ] {
            assert_eq!(parse_mac(text), None, "{text}");
        }
        assert_eq!(address_of("10.0.0.1/24"), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(address_of("10.0.0.1/240"), None);
        assert_eq!(address_of("10.0.0.1/"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_filter_or_an_error(bytes: Vec<u8>) {
            let _ = Filter::parse(&bytes);
        }

        #[test]
        fn arbitrary_patterns_compile_or_say_why_in_one_line(text in "\\PC{0,40}") {
            let leaf = Leaf { key: "Application", text: &text, number: 0 };
            if let Err(error) = pattern(&leaf) {
                prop_assert_eq!(error.to_string().lines().count(), 1);
            }
        }
    }

    #[test]
    fn filters_without_end_are_refused() {
        let mut message = Vec::new();
        for _ in 0..300 {
            let mut inner = crate::wire::Writer::default();
            let body = message.clone();
            inner.message(8, |out| out.message(2, |out| out.raw(&body)));
            message = inner.into_bytes();
        }
        assert_eq!(Filter::parse(&message).err(), Some(SearchError::Deep));
    }
}
