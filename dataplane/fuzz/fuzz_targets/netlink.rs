//! What a netlink socket delivers, routes among it; and the same bytes as a filter program over themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skydive_core::bpf::Program;
use skydive_core::netlink::{messages, Body};
use skydive_core::routes::{Question, Routes};

fuzz_target!(|datagram: &[u8]| {
    let bodies: Vec<_> = messages(datagram).map(|message| message.body).collect();
    assert!(bodies.len() <= datagram.len() / 16 + 1);
    let invalid = bodies.iter().filter(|body| **body == Body::Invalid);
    assert!(invalid.count() <= 1);

    let mut routes = Routes::default();
    routes.take(0, datagram);
    routes.begin_dump(0);
    routes.take(0, datagram);
    routes.end_dump(0, datagram.len() % 2 == 0);
    let counted: u64 = routes.counts(0).map(|(_, count)| count).sum();
    assert_eq!(counted, routes.len() as u64);
    assert!(routes.page(0, &Question::default(), 0, 1).0.len() <= routes.len());
    routes.listings(0, &[0, 1], 2);

    let instructions: Vec<_> = datagram
        .chunks_exact(8)
        .map(|bytes| {
            let code = u16::from_le_bytes([bytes[0], bytes[1]]);
            let k = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            (code, bytes[2], bytes[3], k)
        })
        .collect();
    if let Some(program) = Program::new(&instructions) {
        program.run(datagram, datagram.len() as u32);
    }
});
