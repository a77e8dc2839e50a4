//! Capture files in pieces, packets kept with flows, and filters over them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use skydive_core::bpf::Program;
use skydive_core::import::Import;
use skydive_core::pcap::FileError;
use skydive_core::raw_packets;
use skydive_core::ring::Instruction;

use crate::flow_table::{detached, malformed, FlowTable};

/// See the stub.
#[pyclass(module = "skydiver.native", frozen)]
pub struct PcapFeed {
    table: Py<FlowTable>,
    import: Mutex<Import>,
}

#[pymethods]
impl PcapFeed {
    #[new]
    #[pyo3(signature = (table, *, filters = None, replay = false))]
    fn new(
        table: Py<FlowTable>,
        filters: Option<HashMap<u16, Vec<Instruction>>>,
        replay: bool,
    ) -> PyResult<Self> {
        let filters: Option<Vec<_>> = filters
            .map(|filters| {
                let compiled = filters.into_iter();
                let compiled = compiled.map(|(type_, code)| Ok((type_, program(&code)?)));
                compiled.collect::<PyResult<_>>()
            })
            .transpose()?;
        Ok(PcapFeed {
            table,
            import: Mutex::new(Import::new(filters, replay)),
        })
    }

    #[pyo3(signature = (data, *, now_ns = 0))]
    fn push(&self, py: Python<'_>, data: &[u8], now_ns: i64) -> PyResult<Option<i64>> {
        let import = &self.import;
        let table = self.table.get();
        table
            .with(py, |table| {
                let mut import = import.lock().unwrap_or_else(PoisonError::into_inner);
                import.push(table, data, now_ns)
            })?
            .map_err(refused)
    }

    fn end(&self) -> PyResult<()> {
        let import = self.import.lock().unwrap_or_else(PoisonError::into_inner);
        import.end().map_err(refused)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = {
            let import = self.import.lock().unwrap_or_else(PoisonError::into_inner);
            import.counters()
        };
        let out = PyDict::new(py);
        out.set_item("packets", counters.packets)?;
        out.set_item("bytes", counters.bytes)?;
        out.set_item("refused", counters.refused)?;
        Ok(out)
    }
}

fn refused(error: FileError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn program(instructions: &[Instruction]) -> PyResult<Program> {
    Program::new(instructions).ok_or_else(|| PyValueError::new_err("not a valid BPF program"))
}

/// Milliseconds, number inside the flow, octets, link type.
type RawPacket<'py> = (i64, i64, Bound<'py, PyBytes>, u32);

/// See the stub.
#[pyfunction]
pub fn flow_set_packets<'py>(
    py: Python<'py>,
    flow_set: &[u8],
) -> PyResult<Vec<(String, Vec<RawPacket<'py>>)>> {
    let flows = detached(py, || raw_packets::of_flows(flow_set))?.map_err(malformed)?;
    let of_flow = |flow: raw_packets::OfFlow<'_>| {
        let packets = flow.packets.into_iter();
        let packets = packets.map(|packet| {
            let data = PyBytes::new(py, packet.data);
            (packet.at_ms, packet.index, data, packet.link_type)
        });
        (flow.uuid, packets.collect())
    };
    Ok(flows.into_iter().map(of_flow).collect())
}

/// See the stub.
#[pyfunction]
pub fn bpf_matches(
    py: Python<'_>,
    instructions: Vec<Instruction>,
    frames: Vec<Bound<'_, PyBytes>>,
) -> PyResult<Vec<bool>> {
    let program = program(&instructions)?;
    let frames: Vec<&[u8]> = frames.iter().map(|frame| frame.as_bytes()).collect();
    detached(py, || {
        let length = |frame: &[u8]| u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let matches = frames
            .iter()
            .map(|frame| program.run(frame, length(frame)) != 0);
        matches.collect()
    })
}
