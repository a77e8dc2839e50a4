//! `decode_netlink`: messages of an rtnetlink datagram as dicts.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use skydive_core::netlink::{messages, Address, Body, Link, Message, Value, STATS};

/// Decode the messages of one rtnetlink datagram; see the stub.
#[pyfunction]
pub fn decode_netlink<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyList>> {
    let out = PyList::empty(py);
    for message in messages(data) {
        out.append(message_dict(py, &message)?)?;
    }
    Ok(out)
}

fn message_dict<'py>(py: Python<'py>, message: &Message<'_>) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    let kind = match &message.body {
        Body::NewLink(link) => {
            set_link(&out, link)?;
            intern!(py, "newlink")
        }
        Body::DelLink(link) => {
            set_link(&out, link)?;
            out.set_item(intern!(py, "bridge_port_del"), link.is_bridge_port())?;
            intern!(py, "dellink")
        }
        Body::NewAddress(address) => {
            set_address(&out, address)?;
            intern!(py, "newaddr")
        }
        Body::DelAddress(address) => {
            set_address(&out, address)?;
            intern!(py, "deladdr")
        }
        Body::NewNsid(nsid) => {
            out.set_item(intern!(py, "nsid"), nsid)?;
            intern!(py, "newnsid")
        }
        Body::DelNsid(nsid) => {
            out.set_item(intern!(py, "nsid"), nsid)?;
            intern!(py, "delnsid")
        }
        Body::Done { errno } => {
            out.set_item(intern!(py, "errno"), errno)?;
            intern!(py, "done")
        }
        Body::Error { errno, message } => {
            out.set_item(intern!(py, "errno"), errno)?;
            out.set_item(intern!(py, "message"), message.as_ref())?;
            intern!(py, "error")
        }
        Body::Other => intern!(py, "other"),
        Body::Invalid => intern!(py, "invalid"),
    };
    out.set_item(intern!(py, "kind"), kind)?;
    out.set_item(intern!(py, "type"), message.kind)?;
    out.set_item(intern!(py, "seq"), message.seq)?;
    out.set_item(intern!(py, "flags"), message.flags)?;
    Ok(out)
}

fn set_link(out: &Bound<'_, PyDict>, link: &Link<'_>) -> PyResult<()> {
    let py = out.py();
    out.set_item(intern!(py, "family"), link.family)?;
    out.set_item(intern!(py, "index"), link.index)?;
    out.set_item(intern!(py, "name"), link.name.as_ref())?;
    out.set_item(intern!(py, "arphrd"), link.arphrd)?;
    out.set_item(intern!(py, "link_flags"), link.link_flags)?;
    out.set_item(intern!(py, "mtu"), link.mtu)?;
    out.set_item(intern!(py, "mac"), link.mac.as_str())?;
    out.set_item(intern!(py, "kind_name"), link.kind.as_ref())?;
    out.set_item(intern!(py, "slave_kind"), link.slave_kind.as_ref())?;
    out.set_item(intern!(py, "master"), link.master)?;
    out.set_item(intern!(py, "link"), link.link)?;
    out.set_item(intern!(py, "link_netnsid"), link.link_netnsid)?;
    out.set_item(intern!(py, "new_netnsid"), link.new_netnsid)?;
    out.set_item(intern!(py, "new_index"), link.new_index)?;
    out.set_item(intern!(py, "operstate"), link.operstate)?;
    out.set_item(intern!(py, "alias"), link.alias.as_ref())?;
    let stats = PyDict::new(py);
    for (name, value) in STATS.iter().zip(link.stats.iter().flatten()) {
        if *value != 0 {
            stats.set_item(*name, *value)?;
        }
    }
    out.set_item(intern!(py, "stats"), stats)?;
    out.set_item(intern!(py, "info"), values_dict(py, &link.info)?)?;
    out.set_item(
        intern!(py, "slave_info"),
        values_dict(py, &link.slave_info)?,
    )
}

fn values_dict<'py>(
    py: Python<'py>,
    values: &[(&'static str, Value)],
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (name, value) in values {
        match value {
            Value::Number(number) => out.set_item(*name, *number)?,
            Value::Flag(flag) => out.set_item(*name, *flag)?,
            Value::Text(text) => out.set_item(*name, text.as_str())?,
        }
    }
    Ok(out)
}

fn set_address(out: &Bound<'_, PyDict>, address: &Address) -> PyResult<()> {
    let py = out.py();
    out.set_item(intern!(py, "family"), address.family)?;
    out.set_item(intern!(py, "index"), address.index)?;
    out.set_item(intern!(py, "address"), address.address.as_str())?;
    out.set_item(intern!(py, "local"), address.local.as_str())?;
    out.set_item(intern!(py, "prefix_len"), address.prefix_len)
}
