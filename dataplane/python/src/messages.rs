//! Flow messages between agents and analyzers.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use skydive_core::messages::{self, Counts};

use crate::flow_table::{detached, malformed};

/// Flows as a message, their number, each `flow.Stats`, messages left out.
type Joined<'py> = (Bound<'py, PyBytes>, usize, Vec<Bound<'py, PyBytes>>, usize);

/// See the stub.
#[pyfunction]
pub fn flow_message_pieces(
    py: Python<'_>,
    message: &[u8],
    most_flows: usize,
    most_bytes: usize,
) -> PyResult<Vec<(usize, usize, usize)>> {
    let pieces =
        detached(py, || messages::pieces(message, most_flows, most_bytes))?.map_err(malformed)?;
    Ok(pieces
        .into_iter()
        .map(|piece| (piece.start, piece.end, piece.flows))
        .collect())
}

/// See the stub.
#[pyfunction]
pub fn join_flow_messages<'py>(
    py: Python<'py>,
    messages: Vec<Bound<'py, PyBytes>>,
) -> PyResult<Joined<'py>> {
    let parts: Vec<&[u8]> = messages.iter().map(|part| part.as_bytes()).collect();
    let joined = detached(py, || messages::join(&parts))?;
    let stats = joined.stats.iter().map(|one| PyBytes::new(py, one));
    Ok((
        PyBytes::new(py, &joined.message),
        joined.flows,
        stats.collect(),
        joined.refused,
    ))
}

/// See the stub.
#[pyfunction]
pub fn flows_of_capture<'py>(
    py: Python<'py>,
    message: &[u8],
    capture_id: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let found = detached(py, || messages::of_capture(message, capture_id))?.map_err(malformed)?;
    Ok(PyBytes::new(py, &found))
}

/// See the stub.
#[pyfunction]
pub fn flow_stats_message<'py>(
    py: Python<'py>,
    capture_id: &str,
    counts: Counts,
) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &messages::stats_message(capture_id, counts))
}

/// See the stub.
#[pyfunction]
pub fn flow_stats_json<'py>(py: Python<'py>, stats: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let text =
        messages::stats_json(stats).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &text))
}
