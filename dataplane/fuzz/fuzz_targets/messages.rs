//! What peers send: searches, sets of flows. Input: length of the search in one byte, the search,
//! a set of flows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skydive_core::json;
use skydive_core::merge::merge;
use skydive_core::query::Search;
use skydive_core::ring::Frame;
use skydive_core::table::{FlowTable, Settings};

/// An echo request.
const PING: &[u8] = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\0\x45\0\0\x1C\0\x01\0\0\x40\x01\0\0\
    \x0A\0\0\x01\x0A\0\0\x02\x08\0\0\0\0\x07\0\0";

fuzz_target!(|input: &[u8]| {
    let Some((length, rest)) = input.split_first() else {
        return;
    };
    let (search, set) = rest.split_at(usize::from(*length).min(rest.len()));
    if let Ok(text) = json::flows(set) {
        assert!(std::str::from_utf8(&text).is_ok());
    }
    let Ok(search) = Search::parse(search) else {
        return;
    };
    if let Ok(merged) = merge(&[set, set], &search) {
        assert!(merged.len() <= 2 * set.len() + 64);
    }
    let mut table = FlowTable::new(Settings::default());
    table.feed(&[Frame {
        data: PING,
        at_ns: 1,
        wire_bytes: 98,
    }]);
    assert!(json::flows(&search.run(table.flows())).is_ok());
});
