//! Answers of several tables made into one (flows.md §9.3).
//!
//! Flows stay as they were serialized: only the field that they are ordered by, or the same by, is
//! read. What another release wrote into them is kept.

use std::collections::HashSet;

use crate::query::Search;
use crate::schema::{Field, Kind};
use crate::wire::{Malformed, Reader, Value, Writer};

/// Merges serialized `flow.FlowSet`s, honouring sort, dedup and range of `search`, into one.
pub fn merge(flow_sets: &[&[u8]], search: &Search) -> Result<Vec<u8>, Malformed> {
    let mut flows: Vec<&[u8]> = Vec::new();
    let (mut start_ms, mut end_ms) = (0, 0);
    let mut flow_sets = flow_sets.to_vec();
    if search.sort.is_some_and(|sort| sort.descending) {
        // Descending is ascending backwards, and so are equals of several tables.
        flow_sets.reverse();
    }
    for flow_set in flow_sets {
        for member in Reader::new(flow_set) {
            match member? {
                (1, Value::Bytes(flow)) => flows.push(flow),
                // 0 is not set.
                (2, Value::Number(number)) if start_ms == 0 => start_ms = number as i64,
                (2, Value::Number(number)) => start_ms = start_ms.min(number as i64),
                (3, Value::Number(number)) => end_ms = end_ms.max(number as i64),
                _ => (),
            }
        }
    }
    if let Some(sort) = search.sort {
        let mut keyed = flows
            .into_iter()
            .map(|flow| Ok((key(flow, sort.field)?, flow)))
            .collect::<Result<Vec<_>, Malformed>>()?;
        // Stable, and quick on runs that are sorted already.
        if sort.descending {
            keyed.sort_by(|(a, _), (b, _)| b.cmp(a));
        } else {
            keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        flows = keyed.into_iter().map(|(_, flow)| flow).collect();
    }
    if let Some(field) = search.dedup {
        let mut seen = HashSet::new();
        let mut kept = Vec::with_capacity(flows.len());
        for flow in flows {
            let key = key(flow, field)?;
            if key == Key::Missing || seen.insert(key) {
                kept.push(flow);
            }
        }
        flows = kept;
    }
    let (first, last) = search.range;
    flows.truncate(last);
    let flows = flows.get(first..).unwrap_or(&[]);
    let mut out = Writer::with_capacity(flows.iter().map(|flow| flow.len() + 4).sum());
    for flow in flows {
        out.message(1, |out| out.raw(flow));
    }
    out.integer(2, start_ms);
    out.integer(3, end_ms);
    Ok(out.into_bytes())
}

/// The value of a field. Flows that lack it come first.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key<'a> {
    Missing,
    Number(i64),
    Text(&'a [u8]),
}

fn key(flow: &[u8], field: Field) -> Result<Key<'_>, Malformed> {
    let Some(value) = last(flow, field.layer)? else {
        // Of the flow itself empty members are left out; a layer that is not there has no fields.
        return Ok(match (field.member, field.kind) {
            (0, Kind::Text) => Key::Text(b""),
            (0, _) => Key::Number(0),
            _ => Key::Missing,
        });
    };
    let value = match field.member {
        0 => Some(value),
        member => last(value.bytes().ok_or(Malformed)?, member)?,
    };
    let number = match value {
        None => 0,
        Some(Value::Number(number)) => number,
        Some(value) => return value.bytes().map(Key::Text).ok_or(Malformed),
    };
    Ok(match field.kind {
        Kind::Text => Key::Text(b""),
        Kind::Named(names) => {
            let name = usize::try_from(number)
                .ok()
                .and_then(|place| names.get(place));
            Key::Text(name.map_or(b"", |name| name.as_bytes()))
        }
        _ => Key::Number(number as i64),
    })
}

/// The last member with this number, which is the one that counts.
fn last(message: &[u8], wanted: u32) -> Result<Option<Value<'_>>, Malformed> {
    let mut found = None;
    for member in Reader::new(message) {
        let (number, value) = member?;
        if number == wanted {
            found = Some(value);
        }
    }
    Ok(found)
}
