//! `FlowTable`, and the options that tables of captures have too.

use std::collections::HashMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use skydive_core::applications::Applications;
use skydive_core::flow::Protocol;
use skydive_core::json;
use skydive_core::keys::KeyMode;
use skydive_core::layers::FirstLayer;
use skydive_core::merge::merge;
use skydive_core::query::Search;
use skydive_core::ring::Frame;
use skydive_core::table::{FlowTable as Table, Settings, Stats};
use skydive_core::wire::Malformed;

/// Most raw packets kept of a flow.
const MOST_RAW_PACKETS: u32 = 10;

/// The settings of a table from keyword arguments; those of `FlowTable` in the stub.
pub fn settings(options: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
    let mut settings = Settings::default();
    let mut timeouts: HashMap<String, u64> = HashMap::new();
    let mut ports: HashMap<String, HashMap<u16, String>> = HashMap::new();
    for (name, value) in options.into_iter().flatten() {
        let name = name.cast::<PyString>()?.to_cow()?;
        match name.as_ref() {
            "node_tid" => settings.node_tid = value.extract()?,
            "capture_id" => settings.capture_id = value.extract()?,
            "first_layer" => {
                settings.first_layer = FirstLayer::of_encapsulation(value.extract()?);
            }
            "key_mode" => {
                let mode: &str = value.extract()?;
                settings.key_mode = KeyMode::of_name(mode).ok_or_else(|| {
                    PyValueError::new_err(format!("key_mode is L2 or L3, not {mode:?}"))
                })?;
            }
            "max_flows" => settings.max_flows = value.extract()?,
            "raw_packet_limit" => {
                settings.raw_packet_limit = value.extract()?;
                if settings.raw_packet_limit > MOST_RAW_PACKETS {
                    let message = format!("raw_packet_limit is at most {MOST_RAW_PACKETS}");
                    return Err(PyValueError::new_err(message));
                }
            }
            "extra_tcp_metric" => settings.extra_tcp_metric = value.extract()?,
            "ip_defrag" => settings.ip_defrag = value.extract()?,
            "reassemble_tcp" => settings.reassemble_tcp = value.extract()?,
            "extra_layers" => settings.extra_layers = value.extract()?,
            "mpls_udp_port" => {
                let port: u16 = value.extract()?;
                settings.mpls_udp_port = (port != 0).then_some(port);
            }
            "application_timeouts_ms" => timeouts = optional(&value)?,
            "application_ports" => ports = optional(&value)?,
            other => {
                let message = format!("unexpected keyword argument '{other}'");
                return Err(PyTypeError::new_err(message));
            }
        }
    }
    settings.applications = applications(&timeouts, &ports)?;
    Ok(settings)
}

/// None is the same as nothing in it.
fn optional<'py, T: Default + FromPyObjectOwned<'py>>(value: &Bound<'py, PyAny>) -> PyResult<T> {
    if value.is_none() {
        return Ok(T::default());
    }
    value.extract().map_err(Into::into)
}

fn applications(
    timeouts: &HashMap<String, u64>,
    ports: &HashMap<String, HashMap<u16, String>>,
) -> PyResult<Applications> {
    let mut applications = Applications::default();
    for (protocol, names) in ports {
        let protocol = match protocol.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => {
                let message = format!("application_ports is by tcp and udp, not {other:?}");
                return Err(PyValueError::new_err(message));
            }
        };
        for (port, name) in names {
            applications.name_port(protocol, *port, name);
        }
    }
    for (name, timeout_ms) in timeouts {
        applications.end_after(name, i64::try_from(*timeout_ms).unwrap_or(i64::MAX));
    }
    Ok(applications)
}

/// Runs `work` without the interpreter; a panic in it becomes a `RuntimeError`.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .map_err(|panic| defect(panic.as_ref()))
}

/// A panic as a `RuntimeError`: what PyO3 would make of it passes by `except Exception`.
fn defect(panic: &(dyn std::any::Any + Send)) -> PyErr {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_default();
    PyRuntimeError::new_err(format!("a defect of the data plane: {text}"))
}

/// A serialized `filters.SearchQuery`, ready to be run.
pub fn parse_search(search: &[u8]) -> PyResult<Search> {
    catch_unwind(AssertUnwindSafe(|| Search::parse(search)))
        .map_err(|panic| defect(panic.as_ref()))?
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// See the stub.
#[pyfunction]
pub fn merge_flow_sets<'py>(
    py: Python<'py>,
    flow_sets: Vec<Bound<'py, PyBytes>>,
    search: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let search = parse_search(search)?;
    let parts: Vec<&[u8]> = flow_sets.iter().map(|part| part.as_bytes()).collect();
    let merged = detached(py, || merge(&parts, &search))?.map_err(malformed)?;
    Ok(PyBytes::new(py, &merged))
}

/// See the stub.
#[pyfunction]
pub fn flow_set_json<'py>(py: Python<'py>, flow_set: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let text = detached(py, || json::flows(flow_set))?.map_err(malformed)?;
    Ok(PyBytes::new(py, &text))
}

/// See the stub.
#[pyfunction]
pub fn flow_message_json<'py>(py: Python<'py>, message: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    // Both hold their flows as member 1.
    flow_set_json(py, message)
}

pub fn malformed(error: Malformed) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Stats as a dict.
pub fn stats_dict<'py>(py: Python<'py>, stats: Stats) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("flows", stats.flows)?;
    out.set_item("packets", stats.packets)?;
    out.set_item("decode_errors", stats.decode_errors)?;
    out.set_item("evicted", stats.evicted)?;
    out.set_item("memory_bytes", stats.memory_bytes)?;
    out.set_item("fragments_joined", stats.fragments.joined)?;
    out.set_item("fragments_waiting", stats.fragments_waiting)?;
    out.set_item("fragments_invalid", stats.fragments.invalid)?;
    out.set_item("fragments_incomplete", stats.fragments.incomplete)?;
    out.set_item("fragments_crowded", stats.fragments.crowded)?;
    out.set_item("layers_left_out", stats.layers_left_out)?;
    Ok(out)
}

/// See the stub.
#[pyclass(module = "skydiver.native", frozen)]
pub struct FlowTable {
    /// None once it panicked: what it held may be inconsistent.
    table: Mutex<Option<Table>>,
}

impl FlowTable {
    /// Runs `work` on the table without the interpreter.
    pub fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Table) -> T + Send,
    ) -> PyResult<T> {
        let done = detached(py, || {
            let mut held = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            let mut table = held.take()?;
            let done = work(&mut table);
            *held = Some(table);
            Some(done)
        })?;
        done.ok_or_else(|| PyRuntimeError::new_err("the flow table is lost to an earlier defect"))
    }
}

#[pymethods]
impl FlowTable {
    #[new]
    #[pyo3(signature = (**options))]
    fn new(options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Ok(FlowTable {
            table: Mutex::new(Some(Table::new(settings(options)?))),
        })
    }

    #[pyo3(signature = (frame, *, at_ns, wire_bytes = 0))]
    fn feed(&self, py: Python<'_>, frame: &[u8], at_ns: i64, wire_bytes: u32) -> PyResult<()> {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let frame = Frame {
            data: frame,
            at_ns,
            wire_bytes: if wire_bytes == 0 { length } else { wire_bytes },
        };
        self.with(py, |table| table.feed(&[frame]))
    }

    fn feed_pcap(&self, py: Python<'_>, data: &[u8]) -> PyResult<u64> {
        self.with(py, |table| table.feed_file(data))?
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn query<'py>(&self, py: Python<'py>, search: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let search = parse_search(search)?;
        let flow_set = self.with(py, |table| search.run(table.flows()))?;
        Ok(PyBytes::new(py, &flow_set))
    }

    fn update<'py>(&self, py: Python<'py>, now_ms: i64) -> PyResult<Bound<'py, PyBytes>> {
        let message = self.with(py, |table| table.update(now_ms))?;
        Ok(PyBytes::new(py, &message))
    }

    fn expire<'py>(&self, py: Python<'py>, now_ms: i64) -> PyResult<Bound<'py, PyBytes>> {
        let message = self.with(py, |table| table.expire(now_ms))?;
        Ok(PyBytes::new(py, &message))
    }

    fn flush<'py>(&self, py: Python<'py>, now_ms: i64) -> PyResult<Bound<'py, PyBytes>> {
        let _ = now_ms; // all flows end, however young
        let message = self.with(py, Table::flush)?;
        Ok(PyBytes::new(py, &message))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.with(py, |table| table.stats())?;
        stats_dict(py, stats)
    }
}
