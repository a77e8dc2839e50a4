//! A capture file into a table.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skydive_core::table::{FlowTable, Settings};

fuzz_target!(|file: &[u8]| {
    let mut table = FlowTable::new(Settings {
        max_flows: 64,
        ..Settings::default()
    });
    let fed = table.feed_file(file);
    let taken = table.stats().packets;
    assert!(taken as usize <= file.len());
    if let Ok(packets) = fed {
        assert_eq!(packets, taken);
    }
    table.flush();
});
