//! `decode_netlink`: messages of an rtnetlink datagram as dicts.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
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
    let stats = PyDict::new(py);
    for (name, value) in STATS.iter().zip(link.stats.iter().flatten()) {
        if *value != 0 {
            stats.set_item(PyString::intern(py, name), *value)?;
        }
    }
    out.set_item(intern!(py, "stats"), stats)?;
    for (key, section) in [
        (intern!(py, "info"), &link.info),
        (intern!(py, "slave_info"), &link.slave_info),
        (intern!(py, "details"), &link.details),
        (intern!(py, "xdp"), &link.xdp),
    ] {
        if !section.is_empty() {
            out.set_item(key, section_dict(py, section)?)?;
        }
    }
    if !link.altnames.is_empty() {
        let names = link.altnames.iter().map(AsRef::as_ref);
        out.set_item(intern!(py, "altnames"), names.collect::<Vec<&str>>())?;
    }
    if !link.vfs.is_empty() {
        let functions = PyList::empty(py);
        for function in &link.vfs {
            functions.append(section_dict(py, function)?)?;
        }
        out.set_item(intern!(py, "vfs"), functions)?;
    }
    Ok(())
}

/// Names are interned: the same few stay with every interface of the graph.
fn section_dict<'py>(
    py: Python<'py>,
    section: &[(&'static str, Value)],
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (name, value) in section {
        let name = PyString::intern(py, name);
        match value {
            Value::Number(number) => out.set_item(name, *number)?,
            Value::On => out.set_item(name, true)?,
            Value::Name(word) => out.set_item(name, PyString::intern(py, word))?,
            Value::Text(text) => out.set_item(name, text.as_str())?,
            Value::Names(words) => {
                let words = words.iter().map(|word| PyString::intern(py, word));
                out.set_item(name, words.collect::<Vec<_>>())?;
            }
            Value::Texts(texts) => out.set_item(name, texts)?,
            Value::Section(section) => out.set_item(name, section_dict(py, section)?)?,
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
