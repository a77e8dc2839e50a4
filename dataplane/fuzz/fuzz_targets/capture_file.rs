//! A capture file into a table, as a whole and in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skydive_core::import::Import;
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

    // The first octet says where it is cut; a file in pieces is the same file.
    let size = usize::from(file.first().copied().unwrap_or(0)) + 1;
    let mut import = Import::default();
    let pushed = file
        .chunks(size)
        .try_for_each(|piece| import.push(&mut table, piece, 0).map(|_| ()));
    assert_eq!(pushed.and_then(|()| import.end()).is_ok(), fed.is_ok());
    assert_eq!(import.counters().packets, taken);
});
