//! The compiled module `skydiver.native._native`: conversions between Python and `skydive_core`.

use pyo3::prelude::*;

mod capture_engine;
mod flow_table;
mod messages;
mod netlink;
mod pcap;
mod routes;

#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use crate::capture_engine::CaptureEngine;
    #[pymodule_export]
    use crate::flow_table::{flow_message_json, flow_set_json, merge_flow_sets, FlowTable};
    #[pymodule_export]
    use crate::messages::{
        flow_message_pieces, flow_stats_json, flow_stats_message, flows_of_capture,
        join_flow_messages,
    };
    #[pymodule_export]
    use crate::netlink::decode_netlink;
    #[pymodule_export]
    use crate::pcap::{bpf_matches, flow_set_packets, PcapFeed};
    #[pymodule_export]
    use crate::routes::Routes;

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        Ok(())
    }
}
