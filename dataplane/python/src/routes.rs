//! `Routes`: the routes of all namespaces, told as metadata of the graph.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use skydive_core::route_messages::{Action, Hop, Place};
use skydive_core::routes::{Listing, Outcome, Question, Route, Routes as Core};

/// RTN_UNICAST; all others are named.
const UNICAST: u8 = 1;
const TYPES: [&str; 12] = [
    "unspec",
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
    "nat",
    "xresolve",
];
/// RTAX_* of linux/rtnetlink.h
const METRICS: [&str; 18] = [
    "",
    "Lock",
    "MTU",
    "Window",
    "RTT",
    "RTTVar",
    "SSThresh",
    "Cwnd",
    "AdvMSS",
    "Reordering",
    "HopLimit",
    "InitCwnd",
    "Features",
    "RTOMin",
    "InitRwnd",
    "QuickAck",
    "",
    "FastOpenNoCookie",
];
/// LWTUNNEL_ENCAP_*
const ENCAPSULATIONS: [&str; 11] = [
    "none",
    "mpls",
    "ip",
    "ila",
    "ip6",
    "seg6",
    "bpf",
    "seg6local",
    "rpl",
    "ioam6",
    "xfrm",
];

/// Routes and nexthop objects; see the stub.
#[pyclass(frozen, module = "skydiver.native._native")]
pub struct Routes {
    core: Mutex<Core>,
}

#[pymethods]
impl Routes {
    #[new]
    fn new() -> Self {
        Self {
            core: Mutex::default(),
        }
    }

    fn take(&self, nsid: i32, datagram: &[u8]) -> PyResult<bool> {
        let taken = catch_unwind(AssertUnwindSafe(|| self.lock().take(nsid, datagram)));
        let panicked = |_| PyRuntimeError::new_err("the route table failed; this is a bug");
        match taken.map_err(panicked)? {
            Outcome::Understood => Ok(true),
            Outcome::Doubtful => Ok(false),
            Outcome::Malformed => Err(PyValueError::new_err(
                "a message about a route contradicts its own lengths",
            )),
        }
    }

    fn begin_dump(&self, nsid: i32) {
        self.lock().begin_dump(nsid);
    }

    fn end_dump(&self, nsid: i32, whole: bool) {
        self.lock().end_dump(nsid, whole);
    }

    fn forget(&self, nsid: i32) {
        self.lock().forget(nsid);
    }

    fn changed(&self) -> Vec<(i32, u32)> {
        self.lock().changed()
    }

    fn uses(&self, nsid: i32, index: u32) -> bool {
        self.lock().uses(nsid, index)
    }

    fn total(&self) -> usize {
        self.lock().len()
    }

    fn counts<'py>(&self, py: Python<'py>, nsid: i32) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for (table, count) in self.lock().counts(nsid) {
            out.set_item(table.to_string(), count)?;
        }
        Ok(out)
    }

    fn nexthops<'py>(
        &self,
        py: Python<'py>,
        nsid: i32,
        most: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let out = PyList::empty(py);
        let core = self.lock();
        for (id, object) in core.nexthops(nsid).take(most) {
            let told = PyDict::new(py);
            told.set_item(intern!(py, "ID"), id)?;
            told.set_item(intern!(py, "Protocol"), object.protocol)?;
            if let Some(hop) = &object.hop {
                set_hop(&told, hop)?;
            }
            if !object.members.is_empty() {
                let members = PyList::empty(py);
                for (id, weight) in &object.members {
                    let member = PyDict::new(py);
                    member.set_item(intern!(py, "ID"), id)?;
                    member.set_item(intern!(py, "Weight"), weight)?;
                    members.append(member)?;
                }
                told.set_item(intern!(py, "Group"), members)?;
            }
            for (name, on) in [
                (intern!(py, "Blackhole"), object.blackhole),
                (intern!(py, "FDB"), object.fdb),
                (intern!(py, "Resilient"), object.resilient),
            ] {
                if on {
                    told.set_item(name, true)?;
                }
            }
            out.append(told)?;
        }
        Ok(out)
    }

    fn tables<'py>(
        &self,
        py: Python<'py>,
        nsid: i32,
        indexes: Vec<u32>,
        most: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        let core = self.lock();
        let out = PyDict::new(py);
        for (index, tables) in core.listings(nsid, &indexes, most) {
            out.set_item(index, tables_list(py, &core, nsid, index, &tables)?)?;
        }
        Ok(out)
    }

    #[pyo3(signature = (nsid, *, through=None, table=None, within=None, lookup=None, skip=0, most=1000))]
    #[allow(clippy::too_many_arguments)] // each is a keyword
    fn page<'py>(
        &self,
        py: Python<'py>,
        nsid: i32,
        through: Option<u32>,
        table: Option<u32>,
        within: Option<(IpAddr, u8)>,
        lookup: Option<IpAddr>,
        skip: usize,
        most: usize,
    ) -> PyResult<(Bound<'py, PyList>, usize)> {
        let core = self.lock();
        let question = Question {
            through,
            table,
            within,
            lookup,
        };
        let (routes, count) = core.page(nsid, &question, skip, most);
        let out = PyList::empty(py);
        for route in routes {
            let told = route_dict(py, &route)?;
            told.set_item(intern!(py, "Table"), route.place.table)?;
            let hops = PyList::empty(py);
            for (hop, weight) in core.hops(nsid, route.action) {
                hops.append(hop_dict(py, &route, hop, weight)?)?;
            }
            told.set_item(intern!(py, "NextHops"), hops)?;
            out.append(told)?;
        }
        Ok((out, count))
    }
}

impl Routes {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tables as `RoutingTables` has them, in the order in which the kernel looks at them unless rules
/// say otherwise.
fn tables_list<'py>(
    py: Python<'py>,
    core: &Core,
    nsid: i32,
    index: u32,
    tables: &BTreeMap<u32, Listing<'_>>,
) -> PyResult<Bound<'py, PyList>> {
    let mut ordered: Vec<_> = tables.iter().collect();
    ordered.sort_by_key(|(table, _)| match table {
        253..=255 => (0, 255 - **table),
        _ => (1, **table),
    });
    let out = PyList::empty(py);
    for (table, listing) in ordered {
        let told = PyDict::new(py);
        told.set_item(intern!(py, "ID"), table)?;
        let source = listing.routes.iter().find_map(|route| route.action.source);
        told.set_item(
            intern!(py, "Src"),
            source.map(|source| source.to_string()).unwrap_or_default(),
        )?;
        told.set_item(intern!(py, "Count"), listing.count)?;
        told.set_item(
            intern!(py, "Routes"),
            routes_list(py, core, nsid, index, &listing.routes)?,
        )?;
        out.append(told)?;
    }
    Ok(out)
}

/// Routes that differ only in their hops and metric are one.
fn routes_list<'py>(
    py: Python<'py>,
    core: &Core,
    nsid: i32,
    index: u32,
    routes: &[Route<'_>],
) -> PyResult<Bound<'py, PyList>> {
    let out = PyList::empty(py);
    let mut told: Vec<(&Route<'_>, Bound<'py, PyList>)> = Vec::new();
    for route in routes {
        told.retain(|(earlier, _)| same_network(earlier.place, route.place));
        let all = core.hops(nsid, route.action);
        let through = all.iter().filter(|(hop, _)| hop.interface == index);
        let mut hops = Vec::new();
        for (hop, weight) in through {
            hops.push(hop_dict(py, route, hop, *weight)?);
        }
        let earlier = told
            .iter()
            .find(|(earlier, _)| !hops.is_empty() && same_deed(earlier, route));
        let list = match earlier {
            Some((_, list)) => list.clone(),
            None => {
                let one = route_dict(py, route)?;
                let list = PyList::empty(py);
                one.set_item(intern!(py, "NextHops"), &list)?;
                out.append(one)?;
                told.push((route, list.clone()));
                list
            }
        };
        for hop in hops {
            list.append(hop)?;
        }
    }
    Ok(out)
}

fn same_network(one: &Place, other: &Place) -> bool {
    (one.family, one.address, one.length) == (other.family, other.address, other.length)
}

fn same_deed(one: &Route<'_>, other: &Route<'_>) -> bool {
    let deed = |action: &Action| Action {
        nexthop: 0,
        hops: Vec::new(),
        ..action.clone()
    };
    one.place.tos == other.place.tos && deed(one.action) == deed(other.action)
}

/// A route without its hops.
fn route_dict<'py>(py: Python<'py>, route: &Route<'_>) -> PyResult<Bound<'py, PyDict>> {
    let Route { place, action } = route;
    let out = PyDict::new(py);
    out.set_item(intern!(py, "Protocol"), action.protocol)?;
    out.set_item(intern!(py, "Prefix"), prefix(py, place))?;
    if action.kind != UNICAST {
        out.set_item(intern!(py, "Type"), word(py, &TYPES, action.kind.into()))?;
    }
    if let Some(source) = action.source {
        out.set_item(intern!(py, "Src"), source.to_string())?;
    }
    if let Some((address, length)) = action.from {
        out.set_item(intern!(py, "From"), format!("{address}/{length}"))?;
    }
    if place.priority != 0 && action.hops.is_empty() && action.nexthop == 0 {
        out.set_item(intern!(py, "Priority"), place.priority)?;
    }
    for (name, value) in [
        (intern!(py, "TOS"), u32::from(place.tos)),
        (intern!(py, "Realm"), action.flow),
        (intern!(py, "NextHopID"), action.nexthop),
    ] {
        if value != 0 {
            out.set_item(name, value)?;
        }
    }
    if !action.metrics.is_empty() || !action.congestion.is_empty() {
        let metrics = PyDict::new(py);
        for (kind, value) in &action.metrics {
            metrics.set_item(word(py, &METRICS, *kind), value)?;
        }
        if !action.congestion.is_empty() {
            metrics.set_item(intern!(py, "Congestion"), action.congestion.as_str())?;
        }
        out.set_item(intern!(py, "Metrics"), metrics)?;
    }
    Ok(out)
}

fn hop_dict<'py>(
    py: Python<'py>,
    route: &Route<'_>,
    hop: &Hop,
    weight: u16,
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item(intern!(py, "Priority"), route.place.priority)?;
    set_hop(&out, hop)?;
    if weight > 1 {
        out.set_item(intern!(py, "Weight"), weight)?;
    }
    Ok(out)
}

fn set_hop(out: &Bound<'_, PyDict>, hop: &Hop) -> PyResult<()> {
    let py = out.py();
    if let Some(gateway) = hop.gateway {
        out.set_item(intern!(py, "IP"), gateway.to_string())?;
    }
    out.set_item(intern!(py, "IfIndex"), hop.interface)?;
    if hop.onlink {
        out.set_item(intern!(py, "OnLink"), true)?;
    }
    if hop.encapsulation.0 != 0 {
        let name = word(py, &ENCAPSULATIONS, hop.encapsulation.0);
        out.set_item(intern!(py, "Encap"), name)?;
    }
    Ok(())
}

/// The networks that every interface has are one string for all of them.
fn prefix<'py>(py: Python<'py>, place: &Place) -> Bound<'py, PyString> {
    let text = format!("{}/{}", place.destination(), place.length);
    if matches!(text.as_str(), "fe80::/64" | "ff00::/8") {
        PyString::intern(py, &text)
    } else {
        PyString::new(py, &text)
    }
}

fn word<'py>(py: Python<'py>, words: &[&str], number: u16) -> Bound<'py, PyString> {
    match words.get(usize::from(number)) {
        Some(word) if !word.is_empty() => PyString::intern(py, word),
        _ => PyString::new(py, &number.to_string()),
    }
}
