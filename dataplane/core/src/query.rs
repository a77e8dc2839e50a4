//! Searches over a table: filter, sort, deduplicate, cut (flows.md §9).

use std::collections::HashSet;

use crate::encode;
use crate::filter::{Filter, SearchError};
use crate::schema::{Field, Kind};
use crate::table::{FlowView, Flows};
use crate::wire::{Reader, Value, Writer};

/// A search, ready to be run over any number of tables.
#[derive(Debug)]
pub struct Search {
    /// Which flows.
    pub filter: Filter,
    /// In which order; None = none.
    pub sort: Option<Sort>,
    /// One flow for each value of a field; None = all.
    pub dedup: Option<Field>,
    /// First flow, and the one after the last.
    pub range: (usize, usize),
}

/// An order of flows.
#[derive(Debug, Clone, Copy)]
pub struct Sort {
    /// By this field. Flows that lack it come before all others.
    pub field: Field,
    /// The other way round.
    pub descending: bool,
}

impl Search {
    /// Reads a serialized `filters.SearchQuery`.
    pub fn parse(message: &[u8]) -> Result<Search, SearchError> {
        let mut filter = Filter::All;
        let mut range = (0, usize::MAX);
        let (mut sorted, mut sort_by, mut order) = (false, "", 0);
        let (mut deduplicated, mut dedup_by) = (false, "");
        for member in Reader::new(message) {
            match member? {
                (1, Value::Bytes(body)) => filter = Filter::parse(body)?,
                (2, Value::Bytes(body)) => range = parse_range(body)?,
                (3, Value::Number(number)) => sorted = number != 0,
                (4, Value::Number(number)) => deduplicated = number != 0,
                (5, value) => dedup_by = value.text().ok_or(SearchError::Malformed)?,
                (6, value) => sort_by = value.text().ok_or(SearchError::Malformed)?,
                (7, Value::Number(number)) => order = number,
                _ => (),
            }
        }
        let sort = Sort {
            field: field(sort_by, "Last", "sort")?,
            // No order at all is descending, as upstream.
            descending: order != 1,
        };
        let dedup = field(dedup_by, "TrackingID", "dedup")?;
        Ok(Search {
            filter,
            sort: sorted.then_some(sort),
            dedup: deduplicated.then_some(dedup),
            range,
        })
    }

    /// The flows of a table that are searched for, as a serialized `flow.FlowSet`; empty when there
    /// are none.
    pub fn run(&self, flows: &Flows) -> Vec<u8> {
        let numbers = self.select(flows);
        let mut out = Writer::with_capacity(numbers.len() * encode::USUAL_BYTES);
        let (mut start_ms, mut end_ms) = (0, 0);
        for view in numbers.iter().filter_map(|number| flows.get(*number)) {
            let start = view.cold.start_ms;
            start_ms = if start_ms == 0 {
                start
            } else {
                start.min(start_ms)
            };
            end_ms = end_ms.max(view.last_ms());
            encode::flow(&mut out, &view, view.window());
        }
        out.integer(2, start_ms);
        out.integer(3, end_ms);
        out.into_bytes()
    }

    /// Their numbers, in order.
    pub fn select(&self, flows: &Flows) -> Vec<u32> {
        let (first, last) = self.range;
        let enough = match (self.sort, self.dedup) {
            (None, None) => last,
            _ => usize::MAX,
        };
        let mut scratch = String::new();
        let mut numbers: Vec<u32> = (0u32..)
            .zip(flows.iter())
            .filter(|(_, view)| self.filter.passes(view, &mut scratch))
            .map(|(number, _)| number)
            .take(enough)
            .collect();
        if let Some(sort) = self.sort {
            // Of a sorted answer nothing behind its end is needed, unless some of it is repeated.
            let wanted = if self.dedup.is_none() {
                last
            } else {
                usize::MAX
            };
            numbers = sorted(flows, numbers, sort, wanted);
        }
        if let Some(field) = self.dedup {
            let mut seen = HashSet::new();
            numbers.retain(|number| match flows.get(*number) {
                Some(view) => match Key::of(&view, field, &mut scratch) {
                    Some(key) => seen.insert(key),
                    None => true,
                },
                None => false,
            });
        }
        numbers.truncate(last);
        numbers.drain(..first.min(numbers.len()));
        numbers
    }
}

fn parse_range(body: &[u8]) -> Result<(usize, usize), SearchError> {
    let (mut from, mut to) = (0, 0);
    for member in Reader::new(body) {
        match member? {
            (1, Value::Number(number)) => from = number as i64,
            (2, Value::Number(number)) => to = number as i64,
            _ => (),
        }
    }
    let clip = |number: i64| usize::try_from(number.max(0)).unwrap_or(usize::MAX);
    Ok((clip(from), clip(to)))
}

fn field(name: &str, default: &str, purpose: &'static str) -> Result<Field, SearchError> {
    let name = if name.is_empty() { default } else { name };
    Field::of_name(name).ok_or_else(|| SearchError::Field {
        purpose,
        name: name.to_owned(),
    })
}

/// What a flow is ordered by, or the same by.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Number(i64),
    Id(Option<u64>),
    Text(Box<str>),
}

impl Key {
    fn of(view: &FlowView<'_>, field: Field, scratch: &mut String) -> Option<Key> {
        if let Some(id) = view.id(field) {
            return Some(Key::Id(id));
        }
        match field.kind {
            Kind::Text | Kind::Named(_) => {
                view.text(field, scratch).map(|text| Key::Text(text.into()))
            }
            _ => view.integer(field).map(Key::Number),
        }
    }
}

/// The first `wanted` of the flows in order.
fn sorted(flows: &Flows, numbers: Vec<u32>, sort: Sort, wanted: usize) -> Vec<u32> {
    let views = numbers
        .into_iter()
        .filter_map(|number| flows.get(number).map(|view| (number, view)));
    match sort.field.kind {
        Kind::Text | Kind::Named(_) => {
            let mut scratch = String::new();
            let text = |view: &FlowView<'_>| {
                let text = view.text(sort.field, &mut scratch);
                text.map(Box::<str>::from)
            };
            in_order(views, text, sort.descending, wanted)
        }
        _ => {
            let number = |view: &FlowView<'_>| view.integer(sort.field);
            in_order(views, number, sort.descending, wanted)
        }
    }
}

fn in_order<'a, K: Ord>(
    views: impl Iterator<Item = (u32, FlowView<'a>)>,
    mut key: impl FnMut(&FlowView<'a>) -> Option<K>,
    descending: bool,
    wanted: usize,
) -> Vec<u32> {
    // None is less than any value. Among equals the number decides, so that an answer is the same
    // whether it is cut or not.
    let mut keyed: Vec<(Option<K>, u32)> =
        views.map(|(number, view)| (key(&view), number)).collect();
    let order = |a: &(Option<K>, u32), b: &(Option<K>, u32)| {
        let by_key = if descending {
            b.0.cmp(&a.0)
        } else {
            a.0.cmp(&b.0)
        };
        by_key.then(a.1.cmp(&b.1))
    };
    if wanted < keyed.len() {
        keyed.select_nth_unstable_by(wanted, order);
        keyed.truncate(wanted);
    }
    keyed.sort_unstable_by(order);
    keyed.into_iter().map(|(_, number)| number).collect()
}
