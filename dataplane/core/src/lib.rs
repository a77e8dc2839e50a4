//! Packets to flows, without Python: decoding, flow tables, filters, capture rings, netlink.

pub mod application;
pub mod applications;
pub mod bpf;
pub mod encode;
pub mod engine;
pub mod fields;
pub mod filter;
pub mod flow;
pub mod icmp;
pub mod index;
pub mod json;
pub mod keys;
pub mod layers;
pub mod merge;
pub mod netlink;
pub mod packet;
pub mod paths;
pub mod pcap;
pub mod prefetch;
pub mod query;
pub mod records;
pub mod ring;
pub mod schema;
pub mod table;
pub mod wire;
