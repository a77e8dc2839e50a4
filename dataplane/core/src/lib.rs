//! Packets to flows, without Python: decoding, flow tables, filters, capture rings, netlink.

pub mod bpf;
pub mod engine;
pub mod netlink;
pub mod ring;
