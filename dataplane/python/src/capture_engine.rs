//! `CaptureEngine`: capture rings with a flow table each.

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use skydive_core::bpf::Program;
use skydive_core::engine::{Counters, Engine, StartError};
use skydive_core::ring::{adopt, Filter, Instruction};
use skydive_core::table::{FlowTable, Stats};

use crate::flow_table::{detached, parse_search, settings, stats_dict};

/// See the stub.
#[pyclass(module = "skydiver.native", frozen)]
pub struct CaptureEngine {
    engine: Engine<FlowTable>,
}

#[pymethods]
impl CaptureEngine {
    #[new]
    #[pyo3(signature = (*, threads, ring_budget_bytes))]
    fn new(threads: usize, ring_budget_bytes: u64) -> PyResult<Self> {
        let engine = Engine::new(threads, ring_budget_bytes)?;
        Ok(CaptureEngine { engine })
    }

    #[pyo3(signature = (
        fd, *, ifindex, bpf = Vec::new(), bpf_on_wire = false, header_size = 256, **options
    ))]
    #[allow(clippy::too_many_arguments)] // they are the keywords of the stub
    fn start(
        &self,
        py: Python<'_>,
        fd: i32,
        ifindex: i32,
        bpf: Vec<Instruction>,
        bpf_on_wire: bool,
        header_size: u32,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<u64> {
        // Owned first, so that the socket is closed whatever is wrong with the rest.
        let socket = adopt(fd).map_err(|error| os_error(error.into()))?;
        let filter = filter(bpf, bpf_on_wire)?;
        let table = FlowTable::new(settings(options)?);
        let engine = &self.engine;
        detached(py, || {
            engine.start(socket, ifindex, filter, header_size, table)
        })?
        .map_err(os_error)
    }

    fn stop<'py>(
        &self,
        py: Python<'py>,
        handle: u64,
        now_ms: i64,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyDict>)> {
        let _ = now_ms; // all flows end, however young
        let engine = &self.engine;
        let stopped = detached(py, || {
            engine.stop(handle, |table| (table.flush(), table.stats()))
        })?;
        let Some((last, counters)) = stopped else {
            return Err(PyValueError::new_err(format!("no capture {handle}")));
        };
        let (flows, stats) = last.unzip();
        let entry = entry(py, handle, &counters, stats.unwrap_or_default())?;
        Ok((PyBytes::new(py, &flows.unwrap_or_default()), entry))
    }

    fn query<'py>(&self, py: Python<'py>, search: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let search = parse_search(search)?;
        let engine = &self.engine;
        let flow_sets = detached(py, || engine.each(|table| search.run(table.flows())))?;
        Ok(flow_sets
            .iter()
            .filter(|flow_set| !flow_set.is_empty())
            .map(|flow_set| PyBytes::new(py, flow_set))
            .collect())
    }

    fn update<'py>(&self, py: Python<'py>, now_ms: i64) -> PyResult<Bound<'py, PyBytes>> {
        let engine = &self.engine;
        let messages = detached(py, || engine.each(|table| table.update(now_ms)))?;
        Ok(joined(py, &messages))
    }

    fn expire<'py>(&self, py: Python<'py>, now_ms: i64) -> PyResult<Bound<'py, PyBytes>> {
        let engine = &self.engine;
        let messages = detached(py, || engine.each(|table| table.expire(now_ms)))?;
        Ok(joined(py, &messages))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let engine = &self.engine;
        let all = detached(py, || engine.counters(|table| table.stats()))?;
        let out = PyList::empty(py);
        for (handle, counters, stats) in all {
            out.append(entry(py, handle, &counters, stats.unwrap_or_default())?)?;
        }
        Ok(out)
    }

    fn threads(&self) -> usize {
        self.engine.threads()
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let engine = &self.engine;
        detached(py, || engine.close())
    }
}

fn filter(program: Vec<Instruction>, on_wire: bool) -> PyResult<Filter> {
    if program.is_empty() {
        return Ok(Filter::All);
    }
    if !on_wire {
        return Ok(Filter::Kernel(program));
    }
    match Program::new(&program) {
        Some(program) => Ok(Filter::Wire(program)),
        None => Err(PyValueError::new_err("bpf is not a program that ends")),
    }
}

fn os_error(error: StartError) -> PyErr {
    let words = error.to_string();
    match error {
        StartError::Ring(error) => {
            PyOSError::new_err((error.source.raw_os_error().unwrap_or(0), words))
        }
        StartError::Thread(error) => PyOSError::new_err((error.raw_os_error().unwrap_or(0), words)),
        StartError::Budget { .. } | StartError::Closed => PyOSError::new_err(words),
    }
}

/// An entry of `stats`: what the kernel counted, and what the table did.
fn entry<'py>(
    py: Python<'py>,
    handle: u64,
    counters: &Counters,
    stats: Stats,
) -> PyResult<Bound<'py, PyDict>> {
    let out = stats_dict(py, stats)?;
    out.set_item(intern!(py, "handle"), handle)?;
    out.set_item(intern!(py, "packets"), counters.packets)?;
    out.set_item(intern!(py, "dropped"), counters.dropped)?;
    out.set_item(intern!(py, "ring_bytes"), counters.ring_bytes)?;
    out.set_item(intern!(py, "error"), counters.error.as_deref())?;
    Ok(out)
}

/// Messages with repeated members one after the other are one message with all of them.
fn joined<'py>(py: Python<'py>, messages: &[Vec<u8>]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &messages.concat())
}
