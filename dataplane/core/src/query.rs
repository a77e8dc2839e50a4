//! Searches over a table: filter, sort, deduplicate, cut (flows.md §9).

use std::cmp::Ordering;
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
        let mut scratch = String::new();
        let mut distinct = Distinct::new(self.dedup);
        let mut numbers: Vec<u32> = match self.sort {
            // Of a sorted answer nothing behind its end is needed, unless some of it is repeated.
            Some(sort) => self
                .sorted(
                    flows,
                    sort,
                    if self.dedup.is_none() {
                        last
                    } else {
                        usize::MAX
                    },
                )
                .into_iter()
                .filter(|number| distinct.is_new(flows, *number))
                .take(last)
                .collect(),
            None => (0u32..)
                .zip(flows.iter())
                .filter(|(_, view)| self.filter.passes(view, &mut scratch))
                .map(|(number, _)| number)
                .filter(|number| distinct.is_new(flows, *number))
                .take(last)
                .collect(),
        };
        numbers.drain(..first.min(numbers.len()));
        numbers
    }

    /// The first `wanted` of the flows that pass, in order.
    fn sorted(&self, flows: &Flows, sort: Sort, wanted: usize) -> Vec<u32> {
        let mut scratch = String::new();
        match sort.field.kind {
            Kind::Text | Kind::Named(_) => {
                let mut first = First::new(sort.descending, wanted);
                for (number, view) in (0u32..).zip(flows.iter()) {
                    if self.filter.passes(&view, &mut scratch) {
                        let text = view.text(sort.field, &mut scratch);
                        first.offer(text.map(Box::<str>::from), number);
                    }
                }
                first.into_numbers()
            }
            _ => {
                let mut first = First::new(sort.descending, wanted);
                for (number, view) in (0u32..).zip(flows.iter()) {
                    if self.filter.passes(&view, &mut scratch) {
                        first.offer(view.integer(sort.field), number);
                    }
                }
                first.into_numbers()
            }
        }
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
    // Of a list nobody can say which of its values comes first.
    let field = Field::of_name(name).filter(|field| !field.many);
    field.ok_or_else(|| SearchError::Field {
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

/// Lets the first flow of each value pass, and all that lack the field.
struct Distinct {
    field: Option<Field>,
    seen: HashSet<Key>,
    scratch: String,
}

impl Distinct {
    fn new(field: Option<Field>) -> Distinct {
        Distinct {
            field,
            seen: HashSet::new(),
            scratch: String::new(),
        }
    }

    fn is_new(&mut self, flows: &Flows, number: u32) -> bool {
        let Some(field) = self.field else {
            return true;
        };
        let key = flows
            .get(number)
            .and_then(|view| Key::of(&view, field, &mut self.scratch));
        key.is_none_or(|key| self.seen.insert(key))
    }
}

/// Collects the first `wanted` of what it is offered. What cannot be among them is forgotten now
/// and then, so that a short answer takes little memory however many flows there are.
struct First<K> {
    descending: bool,
    wanted: usize,
    /// Key and number. None is less than any value.
    kept: Vec<(Option<K>, u32)>,
    /// Nobody behind this one is among the first.
    last: Option<(Option<K>, u32)>,
}

impl<K: Ord + Clone> First<K> {
    fn new(descending: bool, wanted: usize) -> First<K> {
        First {
            descending,
            wanted,
            kept: Vec::new(),
            last: None,
        }
    }

    fn offer(&mut self, key: Option<K>, number: u32) {
        let offered = (key, number);
        if let Some(last) = &self.last {
            if order(self.descending, &offered, last).is_gt() {
                return;
            }
        }
        self.kept.push(offered);
        if self.kept.len() / 2 > self.wanted.max(512) {
            self.forget();
            self.last = self.kept.last().cloned();
        }
    }

    /// Leaves the first, the last of them at the end.
    fn forget(&mut self) {
        let descending = self.descending;
        if self.wanted < self.kept.len() {
            let place = self.wanted.saturating_sub(1);
            self.kept
                .select_nth_unstable_by(place, |a, b| order(descending, a, b));
            self.kept.truncate(self.wanted);
        }
    }

    fn into_numbers(mut self) -> Vec<u32> {
        self.forget();
        let descending = self.descending;
        self.kept.sort_unstable_by(|a, b| order(descending, a, b));
        self.kept.into_iter().map(|(_, number)| number).collect()
    }
}

/// Among equals the number decides, so that an answer is the same whether it is cut or not.
/// Descending is ascending backwards, equals included, as the original answers.
#[inline]
fn order<K: Ord>(descending: bool, a: &(Option<K>, u32), b: &(Option<K>, u32)) -> Ordering {
    if descending {
        b.cmp(a)
    } else {
        a.cmp(b)
    }
}
