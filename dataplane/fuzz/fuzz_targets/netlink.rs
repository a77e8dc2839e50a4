//! What a netlink socket delivers; and the same bytes as a filter program over themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skydive_core::bpf::Program;
use skydive_core::netlink::{messages, Body};

fuzz_target!(|datagram: &[u8]| {
    let bodies: Vec<_> = messages(datagram).map(|message| message.body).collect();
    assert!(bodies.len() <= datagram.len() / 16 + 1);
    let invalid = bodies.iter().filter(|body| **body == Body::Invalid);
    assert!(invalid.count() <= 1);

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
