//! The routes and nexthop objects of all namespaces, as the kernel tells them.
//!
//! A table of the internet has a million routes that do a few hundred different things. So what a
//! route does ([`Action`]) is kept once, and a route is its [`Place`] and a number: some 60 bytes.
//!
//! Several routes may have the same place. IPv4 keeps them in an order, in which the first counts;
//! `ip route append` and `prepend` choose the end. An event that replaces one means the first. Of
//! IPv6, those with a gateway are one route with several hops, and each event tells all of these,
//! except that a hop may be deleted alone. Routes without a gateway stay apart.
//!
//! A dump is gathered beside what is known and takes its place at the end, so that a look in
//! between never sees half a table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::route_messages::{told, Action, Hop, Nexthop, Place, Told};

/// NLM_F_REPLACE and NLM_F_APPEND of an event.
const REPLACE: u16 = 0x100;
const APPEND: u16 = 0x800;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const UNICAST: u8 = 1;
/// RTN_BLACKHOLE to RTN_THROW: such packets go nowhere, although IPv6 names the loopback.
const NOWHERE: std::ops::RangeInclusive<u8> = 6..=9;
/// RTPROT_KERNEL, _BOOT, _STATIC, _RA, _DHCP
const LOCAL_PROTOCOLS: [u8; 5] = [2, 3, 4, 9, 16];
/// Stands for the namespace in place of an interface: routes that lead to none.
pub const NO_INTERFACE: u32 = 0;

type Key = (Place, i32);
type Table = BTreeMap<Key, u32>;

/// Routes of all namespaces, by whatever number these have.
#[derive(Debug, Default)]
pub struct Routes {
    actions: Actions,
    spaces: HashMap<i32, Space>,
}

/// Different actions, and how many routes do each.
#[derive(Debug, Default)]
struct Actions {
    numbers: HashMap<Arc<Action>, u32>,
    used: Vec<(Arc<Action>, u32)>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Space {
    routes: Table,
    nexthops: BTreeMap<u32, Nexthop>,
    dumped: Option<(Table, BTreeMap<u32, Nexthop>)>,
    /// Routes by table.
    counts: BTreeMap<u32, u64>,
    /// Hops by interface.
    used: HashMap<u32, u64>,
    /// Routes by nexthop object.
    objects: HashMap<u32, u64>,
    /// Interfaces whose routes changed, and [`NO_INTERFACE`] for anything.
    changed: BTreeSet<u32>,
}

/// What came of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken in.
    Understood,
    /// It does not fit what is known: a dump is needed.
    Doubtful,
    /// Some message contradicts its own lengths.
    Malformed,
}

/// A route as others see it.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// Where it is.
    pub place: &'a Place,
    /// What it does; hops of a nexthop object are not in it.
    pub action: &'a Action,
}

/// Routes of one table through one interface.
#[derive(Debug, Default)]
pub struct Listing<'a> {
    /// The most important ones, the longest prefix first.
    pub routes: Vec<Route<'a>>,
    /// How many there are in all.
    pub count: u64,
}

/// Routes by their importance, and how many there are.
type Ranked<'a> = ([Vec<Route<'a>>; 4], u64);

/// Which routes of a namespace are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question {
    /// Only those with a hop on this interface.
    pub through: Option<u32>,
    /// Only of this table.
    pub table: Option<u32>,
    /// Only those to this network or a part of it.
    pub within: Option<(IpAddr, u8)>,
    /// Only the one of each table that packets to this address take.
    pub lookup: Option<IpAddr>,
}

impl Actions {
    fn hold(&mut self, action: Action) -> u32 {
        if let Some(&number) = self.numbers.get(&action) {
            self.hold_again(number);
            return number;
        }
        let action = Arc::new(action);
        let entry = (Arc::clone(&action), 1);
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(free) = self.used.get_mut(number as usize) {
                    *free = entry;
                }
                number
            }
            None => {
                self.used.push(entry);
                (self.used.len() - 1) as u32
            }
        };
        self.numbers.insert(action, number);
        number
    }

    fn hold_again(&mut self, number: u32) {
        if let Some(entry) = self.used.get_mut(number as usize) {
            entry.1 += 1;
        }
    }

    fn release(&mut self, number: u32) {
        if let Some(entry) = self.used.get_mut(number as usize) {
            entry.1 = entry.1.saturating_sub(1);
            if entry.1 == 0 {
                self.numbers.remove(&entry.0);
                entry.0 = Arc::default();
                self.free.push(number);
            }
        }
    }

    fn get(&self, number: u32) -> Option<&Action> {
        self.used.get(number as usize).map(|entry| &*entry.0)
    }

    fn shared(&self, number: u32) -> Arc<Action> {
        self.used
            .get(number as usize)
            .map(|entry| Arc::clone(&entry.0))
            .unwrap_or_default()
    }
}

/// Routes that share a place, in their order.
fn group(table: &Table, place: Place) -> impl DoubleEndedIterator<Item = (Key, u32)> + '_ {
    table
        .range((place, i32::MIN)..=(place, i32::MAX))
        .map(|(key, number)| (*key, *number))
}

fn hops<'a>(nexthops: &'a BTreeMap<u32, Nexthop>, action: &'a Action) -> Vec<(&'a Hop, u16)> {
    if NOWHERE.contains(&action.kind) {
        return Vec::new();
    }
    if action.nexthop == 0 {
        return action.hops.iter().map(|hop| (hop, hop.weight)).collect();
    }
    let Some(object) = nexthops.get(&action.nexthop) else {
        return Vec::new();
    };
    let members = object.members.iter().filter_map(|(id, weight)| {
        let hop = nexthops.get(id)?.hop.as_ref()?;
        Some((hop, *weight))
    });
    let own = object.hop.as_ref().map(|hop| (hop, 1));
    let mut all: Vec<_> = own.into_iter().chain(members).collect();
    if let [only] = &mut all[..] {
        only.1 = 1;
    }
    all
}

impl Space {
    /// Note that a route with this action has come or gone.
    fn touch(&mut self, action: &Action) {
        let interfaces: Vec<u32> = hops(&self.nexthops, action)
            .iter()
            .map(|(hop, _)| hop.interface)
            .collect();
        self.changed.extend(interfaces);
        self.changed.insert(NO_INTERFACE);
    }

    fn count(&mut self, place: &Place, action: &Action, present: bool) {
        let count = self.counts.entry(place.table).or_default();
        adjust(count, present);
        if *count == 0 {
            self.counts.remove(&place.table);
        }
        for hop in &action.hops {
            let used = self.used.entry(hop.interface).or_default();
            adjust(used, present);
            if *used == 0 {
                self.used.remove(&hop.interface);
            }
        }
        if action.nexthop != 0 {
            let used = self.objects.entry(action.nexthop).or_default();
            adjust(used, present);
            if *used == 0 {
                self.objects.remove(&action.nexthop);
            }
        }
    }

    fn insert(&mut self, key: Key, number: u32, action: &Action) {
        self.count(&key.0, action, true);
        self.touch(action);
        self.routes.insert(key, number);
    }

    fn set_nexthop(&mut self, id: u32, object: Option<Nexthop>) {
        self.touch_users(id);
        match object {
            Some(object) => self.nexthops.insert(id, object),
            None => self.nexthops.remove(&id),
        };
        self.touch_users(id);
    }

    /// The interfaces of an object, and of the groups that it is in.
    fn touch_users(&mut self, id: u32) {
        let groups = self
            .nexthops
            .iter()
            .filter(|(_, object)| object.members.iter().any(|(member, _)| *member == id));
        let objects: Vec<u32> = groups.map(|(group, _)| *group).chain([id]).collect();
        for nexthop in objects {
            let action = Action {
                nexthop,
                kind: UNICAST,
                ..Action::default()
            };
            self.touch(&action);
        }
    }
}

fn adjust(count: &mut u64, up: bool) {
    *count = if up {
        count.saturating_add(1)
    } else {
        count.saturating_sub(1)
    };
}

/// Whether the kernel makes one route of several with such an action.
fn joins_others(place: &Place, action: &Action) -> bool {
    const ROUTER_ADVERTISEMENT: u8 = 9;
    place.family == AF_INET6
        && action.nexthop == 0
        && action.protocol != ROUTER_ADVERTISEMENT
        && action.hops.iter().any(|hop| hop.gateway.is_some())
}

impl Routes {
    /// Take in the messages of an event, or of a dump that began.
    pub fn take(&mut self, nsid: i32, datagram: &[u8]) -> Outcome {
        let space = self.spaces.entry(nsid).or_default();
        let mut outcome = Outcome::Understood;
        for message in told(datagram) {
            let Some(message) = message else {
                return Outcome::Malformed;
            };
            if let Some((routes, nexthops)) = &mut space.dumped {
                match message {
                    Told::Route(place, action, _) => {
                        let order = group(routes, place)
                            .next_back()
                            .map_or(0, |last| last.0 .1.saturating_add(1));
                        let number = self.actions.hold(*action);
                        routes.insert((place, order), number);
                    }
                    Told::Nexthop(id, object) => {
                        nexthops.insert(id, *object);
                    }
                    _ => {}
                }
                continue;
            }
            let understood = match message {
                Told::Route(place, action, flags) => {
                    put(&mut self.actions, space, place, *action, flags);
                    true
                }
                Told::RouteGone(place, action) => remove(&mut self.actions, space, place, &action),
                Told::Nexthop(id, object) => {
                    if space.nexthops.get(&id) != Some(&*object) {
                        space.set_nexthop(id, Some(*object));
                    }
                    true
                }
                Told::NexthopGone(id) => {
                    let had = space.nexthops.contains_key(&id);
                    space.set_nexthop(id, None);
                    // Routes that used it went without a word.
                    !had || space.objects.is_empty()
                }
                Told::Other => true,
            };
            if !understood {
                outcome = Outcome::Doubtful;
            }
        }
        outcome
    }

    /// From now on messages tell of what there is.
    pub fn begin_dump(&mut self, nsid: i32) {
        self.drop_dump(nsid);
        let space = self.spaces.entry(nsid).or_default();
        space.dumped = Some((Table::new(), BTreeMap::new()));
    }

    /// The dump is over; what it did not tell is gone, unless it was not `whole`.
    pub fn end_dump(&mut self, nsid: i32, whole: bool) {
        let Some(space) = self.spaces.get_mut(&nsid) else {
            return;
        };
        let Some((mut routes, mut nexthops)) = space.dumped.take() else {
            return;
        };
        if !whole {
            // Places that it told of are as it told, all others as they were.
            let mut last = None;
            for (key, number) in &space.routes {
                if last != Some(key.0) && group(&routes, key.0).next().is_some() {
                    last = Some(key.0);
                }
                if last != Some(key.0) {
                    self.actions.hold_again(*number);
                    routes.insert(*key, *number);
                }
            }
            for (id, object) in &space.nexthops {
                nexthops.entry(*id).or_insert_with(|| object.clone());
            }
        }
        let ids: BTreeSet<u32> = nexthops
            .keys()
            .chain(space.nexthops.keys())
            .copied()
            .filter(|id| nexthops.get(id) != space.nexthops.get(id))
            .collect();
        for id in ids {
            space.set_nexthop(id, nexthops.remove(&id));
        }
        for number in differences(&space.routes, &routes) {
            let action = self.actions.shared(number);
            space.touch(&action);
        }
        let old = std::mem::replace(&mut space.routes, routes);
        let counted: Vec<(Place, u32)> = space
            .routes
            .iter()
            .map(|(key, number)| (key.0, *number))
            .collect();
        space.counts.clear();
        space.used.clear();
        space.objects.clear();
        for (place, number) in counted {
            let action = self.actions.shared(number);
            space.count(&place, &action, true);
        }
        for number in old.into_values() {
            self.actions.release(number);
        }
    }

    fn drop_dump(&mut self, nsid: i32) {
        let dumped = self
            .spaces
            .get_mut(&nsid)
            .and_then(|space| space.dumped.take());
        for number in dumped
            .into_iter()
            .flat_map(|(routes, _)| routes.into_values())
        {
            self.actions.release(number);
        }
    }

    /// The namespace is gone.
    pub fn forget(&mut self, nsid: i32) {
        self.drop_dump(nsid);
        if let Some(space) = self.spaces.remove(&nsid) {
            for number in space.routes.into_values() {
                self.actions.release(number);
            }
        }
    }

    /// Namespaces and interfaces whose routes changed since the last call, [`NO_INTERFACE`] for
    /// anything that changed in a namespace.
    pub fn changed(&mut self) -> Vec<(i32, u32)> {
        let mut all = Vec::new();
        for (nsid, space) in &mut self.spaces {
            let changed = std::mem::take(&mut space.changed);
            all.extend(changed.into_iter().map(|interface| (*nsid, interface)));
        }
        all
    }

    /// Whether a route or nexthop object leads through an interface.
    pub fn uses(&self, nsid: i32, interface: u32) -> bool {
        self.spaces.get(&nsid).is_some_and(|space| {
            space.used.contains_key(&interface)
                || space.nexthops.values().any(|object| {
                    object
                        .hop
                        .as_ref()
                        .is_some_and(|hop| hop.interface == interface)
                })
        })
    }

    /// Number of routes by table.
    pub fn counts(&self, nsid: i32) -> impl Iterator<Item = (u32, u64)> + '_ {
        let counts = self.spaces.get(&nsid).map(|space| &space.counts);
        counts
            .into_iter()
            .flatten()
            .map(|(table, count)| (*table, *count))
    }

    /// Number of routes in all namespaces.
    pub fn len(&self) -> usize {
        self.spaces.values().map(|space| space.routes.len()).sum()
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nexthop objects of a namespace.
    pub fn nexthops(&self, nsid: i32) -> impl Iterator<Item = (u32, &Nexthop)> {
        let nexthops = self.spaces.get(&nsid).map(|space| &space.nexthops);
        nexthops
            .into_iter()
            .flatten()
            .map(|(id, object)| (*id, object))
    }

    /// The hops of a route, with their weights, also those of a nexthop object.
    pub fn hops<'a>(&'a self, nsid: i32, action: &'a Action) -> Vec<(&'a Hop, u16)> {
        self.spaces
            .get(&nsid)
            .map(|space| hops(&space.nexthops, action))
            .unwrap_or_default()
    }

    /// Routes through each of these interfaces by table, at most `most` of each table: default
    /// routes first, then connected ones, then those that the host itself made, then any. With
    /// [`NO_INTERFACE`], those that lead nowhere.
    pub fn listings(
        &self,
        nsid: i32,
        interfaces: &[u32],
        most: usize,
    ) -> BTreeMap<u32, BTreeMap<u32, Listing<'_>>> {
        let mut found: BTreeMap<u32, BTreeMap<u32, Ranked<'_>>> = interfaces
            .iter()
            .map(|index| (*index, BTreeMap::new()))
            .collect();
        let Some(space) = self.spaces.get(&nsid) else {
            return BTreeMap::new();
        };
        // Of each action once: many routes share it.
        let mut known = HashMap::new();
        for ((place, _), number) in &space.routes {
            let Some((action, through, rank)) = known.entry(*number).or_insert_with(|| {
                let action = self.actions.get(*number)?;
                let hops = hops(&space.nexthops, action);
                let mut through: Vec<u32> = hops.iter().map(|(hop, _)| hop.interface).collect();
                if through.is_empty() {
                    through.push(NO_INTERFACE);
                }
                through.sort_unstable();
                through.dedup();
                through.retain(|interface| found.contains_key(interface));
                let rank = if hops.iter().all(|(hop, _)| hop.gateway.is_none()) {
                    1
                } else if LOCAL_PROTOCOLS.contains(&action.protocol) {
                    2
                } else {
                    3
                };
                Some((action, through, rank))
            }) else {
                continue;
            };
            let rank = if place.length == 0 { 0 } else { *rank };
            for interface in through {
                let Some(tables) = found.get_mut(interface) else {
                    continue;
                };
                let (ranks, count) = tables.entry(place.table).or_default();
                *count += 1;
                if let Some(rank) = ranks.get_mut(rank).filter(|rank| rank.len() < most) {
                    rank.push(Route { place, action });
                }
            }
        }
        found
            .into_iter()
            .map(|(interface, tables)| {
                let tables = tables.into_iter();
                (
                    interface,
                    tables
                        .map(|(table, (ranks, count))| (table, listing(ranks, count, most)))
                        .collect(),
                )
            })
            .collect()
    }

    /// Routes that answer a question, in order of table and prefix; `skip` of them are left out,
    /// then `most` are told. And how many there are.
    pub fn page(
        &self,
        nsid: i32,
        question: &Question,
        skip: usize,
        most: usize,
    ) -> (Vec<Route<'_>>, usize) {
        let Some(space) = self.spaces.get(&nsid) else {
            return (Vec::new(), 0);
        };
        let mut page = Vec::new();
        let mut count = 0;
        let mut tell = |place, number| {
            let action = self.actions.get(number).filter(|action| {
                question.through.is_none_or(|interface| {
                    let hops = hops(&space.nexthops, action);
                    hops.iter().any(|(hop, _)| hop.interface == interface)
                })
            });
            if let Some(action) = action {
                if count >= skip && page.len() < most {
                    page.push(Route { place, action });
                }
                count += 1;
            }
        };
        if let Some(address) = question.lookup {
            for table in space.counts.keys() {
                if question.table.is_none_or(|wanted| wanted == *table) {
                    for ((place, _), number) in longest(&space.routes, *table, address) {
                        tell(place, *number);
                    }
                }
            }
        } else {
            for ((place, _), number) in &space.routes {
                let fits = question.table.is_none_or(|table| table == place.table)
                    && question.within.is_none_or(|(address, length)| {
                        place.length >= length
                            && place.family == family(address)
                            && masked(bytes(place.destination()), length)
                                == masked(bytes(address), length)
                    });
                if fits {
                    tell(place, *number);
                }
            }
        }
        (page, count)
    }
}

fn listing(ranks: [Vec<Route<'_>>; 4], count: u64, most: usize) -> Listing<'_> {
    let mut routes: Vec<_> = ranks.into_iter().flatten().take(most).collect();
    routes.sort_by_key(|route| (route.place.family, std::cmp::Reverse(route.place.length)));
    Listing { routes, count }
}

fn put(actions: &mut Actions, space: &mut Space, place: Place, action: Action, flags: u16) {
    let present: Vec<(Key, u32)> = group(&space.routes, place).collect();
    let same = |number: &u32| actions.get(*number) == Some(&action);
    if present.iter().any(|(_, number)| same(number)) {
        return; // the kernel has no two routes that are equal
    }
    let joins = joins_others(&place, &action);
    let replaceable = |number: u32| {
        actions.get(number).is_some_and(|known| {
            known.from == action.from
                && (place.family == AF_INET || joins_others(&place, known) == joins)
                && (action.nexthop == 0 || place.family == AF_INET || known.nexthop != 0)
        })
    };
    let replaced = if flags & REPLACE != 0 {
        // A route of a nexthop object that changed is told like this too.
        present
            .iter()
            .find(|(_, number)| {
                let known = actions.get(*number);
                action.nexthop != 0 && known.is_some_and(|known| known.nexthop == action.nexthop)
            })
            .or_else(|| present.iter().find(|(_, number)| replaceable(*number)))
            .or_else(|| present.first())
    } else if joins {
        present.iter().find(|(_, number)| replaceable(*number))
    } else {
        None
    };
    let key = match (replaced, present.first(), present.last()) {
        (Some((key, _)), _, _) => *key,
        (_, Some(_), Some((last, _))) if flags & APPEND != 0 || place.family == AF_INET6 => {
            (place, last.1.saturating_add(1))
        }
        (_, Some((first, _)), _) => (place, first.1.saturating_sub(1)),
        _ => (place, 0),
    };
    if let Some((key, number)) = replaced.copied() {
        withdraw(actions, space, key, number);
    }
    let number = actions.hold(action);
    let action = actions.shared(number);
    space.insert(key, number, &action);
}

/// Whether the route, or the hop, was found.
fn remove(actions: &mut Actions, space: &mut Space, place: Place, action: &Action) -> bool {
    let present: Vec<(Key, u32)> = group(&space.routes, place).collect();
    if present.is_empty() {
        return true;
    }
    let equal = present
        .iter()
        .find(|(_, number)| actions.get(*number) == Some(action))
        .or_else(|| {
            present.iter().find(|(_, number)| {
                actions.get(*number).is_some_and(|known| {
                    (known.kind, known.protocol, known.nexthop, &known.from)
                        == (action.kind, action.protocol, action.nexthop, &action.from)
                        && same_hops(known, action)
                })
            })
        });
    if let Some((key, number)) = equal.copied() {
        withdraw(actions, space, key, number);
        return true;
    }
    let [gone] = &action.hops[..] else {
        return false;
    };
    let with_hop = present.iter().copied().find(|(_, number)| {
        actions.get(*number).is_some_and(|known| {
            known.hops.len() > 1
                && known.from == action.from
                && known.hops.iter().any(|hop| same_way(hop, gone))
        })
    });
    let Some((key, number)) = with_hop.filter(|_| joins_others(&place, action)) else {
        return false;
    };
    let mut left = (*actions.shared(number)).clone();
    left.hops.retain(|hop| !same_way(hop, gone));
    if let [only] = &mut left.hops[..] {
        only.weight = 1;
    }
    withdraw(actions, space, key, number);
    if !left.hops.is_empty() {
        let number = actions.hold(left);
        let left = actions.shared(number);
        space.insert(key, number, &left);
    }
    true
}

fn withdraw(actions: &mut Actions, space: &mut Space, key: Key, number: u32) {
    let action = actions.shared(number);
    space.routes.remove(&key);
    space.count(&key.0, &action, false);
    space.touch(&action);
    actions.release(number);
}

/// Of IPv6 the order of hops is not fixed.
fn same_hops(one: &Action, other: &Action) -> bool {
    let ways = |action: &Action| {
        let mut ways: Vec<_> = action
            .hops
            .iter()
            .map(|hop| (hop.interface, hop.gateway))
            .collect();
        ways.sort_unstable();
        ways
    };
    ways(one) == ways(other)
}

fn same_way(one: &Hop, other: &Hop) -> bool {
    (one.interface, one.gateway) == (other.interface, other.gateway)
}

/// Actions of the routes that are in one of both tables only.
fn differences(one: &Table, other: &Table) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut left = one
        .iter()
        .map(|((place, _), number)| (place, *number))
        .peekable();
    let mut right = other
        .iter()
        .map(|((place, _), number)| (place, *number))
        .peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return found,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => one.0.cmp(other.0),
        };
        let one = order.is_le().then(|| left.next()).flatten();
        let other = order.is_ge().then(|| right.next()).flatten();
        if one != other {
            found.extend(one.iter().chain(&other).map(|route| route.1));
        }
    }
}

/// All routes of the longest prefix that an address is in, the first ones those that count.
fn longest(table: &Table, number: u32, address: IpAddr) -> impl Iterator<Item = (&Key, &u32)> {
    let octets = bytes(address);
    let bits = if address.is_ipv4() { 32u8 } else { 128 };
    (0..=bits)
        .rev()
        .map(move |length| {
            let place = |tos, priority| Place {
                family: family(address),
                table: number,
                address: masked(octets, length),
                length,
                tos,
                priority,
            };
            table.range((place(0, 0), i32::MIN)..=(place(u8::MAX, u32::MAX), i32::MAX))
        })
        .find(|range| range.clone().next().is_some())
        .into_iter()
        .flatten()
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() {
        AF_INET
    } else {
        AF_INET6
    }
}

fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn masked(octets: [u8; 16], length: u8) -> [u8; 16] {
    let mask = u128::MAX
        .checked_shl(128 - u32::from(length.min(128)))
        .unwrap_or(0);
    (u128::from_be_bytes(octets) & mask).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEW: u16 = 24;
    const DELETE: u16 = 25;
    const CREATE: u16 = 0x400;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(((value.len() + 4) as u16).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(value);
        out.resize((out.len() + 3) & !3, 0);
        out
    }

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(((payload.len() + 16) as u32).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(flags.to_ne_bytes());
        out.extend([0; 8]);
        out.extend(payload);
        out
    }

    /// 10.`net`.0.0/16 via 10.0.0.`gateway` on interface 3.
    fn ipv4(kind: u16, flags: u16, net: u8, gateway: u8) -> Vec<u8> {
        let payload = [
            &[2, 16, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0][..],
            &attribute(1, &[10, net, 0, 0]),
            &attribute(5, &[10, 0, 0, gateway]),
            &attribute(4, &3u32.to_ne_bytes()),
        ];
        message(kind, flags, &payload.concat())
    }

    /// 2001:`net`::/32 by hops on interface 3, or without a gateway.
    fn ipv6(kind: u16, flags: u16, net: u8, gateways: &[u8], interface: u32) -> Vec<u8> {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[0x20, 1, 0, net]);
        let mut payload = vec![10, 32, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        payload.extend(attribute(1, &address));
        let gateway = |last: u8| {
            let mut gateway = [0; 16];
            gateway[15] = last;
            attribute(5, &gateway)
        };
        match gateways {
            [] => payload.extend(attribute(4, &interface.to_ne_bytes())),
            [one] => {
                payload.extend(gateway(*one));
                payload.extend(attribute(4, &interface.to_ne_bytes()));
            }
            several => {
                let mut hops = Vec::new();
                for one in several {
                    hops.extend(28u16.to_ne_bytes());
                    hops.extend([0, 0]);
                    hops.extend(interface.to_ne_bytes());
                    hops.extend(gateway(*one));
                }
                payload.extend(attribute(9, &hops));
            }
        }
        message(kind, flags, &payload)
    }

    fn gateways(routes: &Routes) -> Vec<String> {
        let (page, _) = routes.page(7, &Question::default(), 0, 100);
        page.iter()
            .map(|route| {
                let hops = route.action.hops.iter().map(|hop| match hop.gateway {
                    Some(gateway) => gateway.to_string(),
                    None => hop.interface.to_string(),
                });
                hops.collect::<Vec<_>>().join("+")
            })
            .collect()
    }

    fn after(events: &[Vec<u8>]) -> Routes {
        let mut routes = Routes::default();
        for event in events {
            assert_eq!(routes.take(7, event), Outcome::Understood);
        }
        routes
    }

    #[test]
    fn equal_places_of_ipv4_keep_the_order_of_the_kernel() {
        let mut events = vec![
            ipv4(NEW, CREATE, 1, 1),
            ipv4(NEW, CREATE | APPEND, 1, 2),
            ipv4(NEW, CREATE, 1, 3),
        ];
        assert_eq!(
            gateways(&after(&events)),
            ["10.0.0.3", "10.0.0.1", "10.0.0.2"]
        );
        events.push(ipv4(NEW, REPLACE, 1, 4));
        assert_eq!(
            gateways(&after(&events)),
            ["10.0.0.4", "10.0.0.1", "10.0.0.2"]
        );
        events.push(ipv4(DELETE, 0, 1, 1));
        assert_eq!(gateways(&after(&events)), ["10.0.0.4", "10.0.0.2"]);
    }

    #[test]
    fn a_hop_of_an_ipv6_route_comes_with_all_and_goes_alone() {
        let mut events = vec![
            ipv6(NEW, CREATE, 1, &[1], 3),
            ipv6(NEW, CREATE | APPEND, 1, &[2, 1], 3),
        ];
        assert_eq!(gateways(&after(&events)), ["::2+::1"]);
        events.push(ipv6(DELETE, 0, 1, &[2], 3));
        assert_eq!(gateways(&after(&events)), ["::1"]);
        events.push(ipv6(DELETE, 0, 1, &[1], 3));
        assert!(after(&events).is_empty());
    }

    #[test]
    fn ipv6_routes_without_gateway_stay_apart() {
        let mut events = vec![ipv6(NEW, CREATE, 1, &[], 3), ipv6(NEW, CREATE, 1, &[], 4)];
        assert_eq!(gateways(&after(&events)), ["3", "4"]);
        events.push(ipv6(DELETE, 0, 1, &[], 3));
        assert_eq!(gateways(&after(&events)), ["4"]);
    }

    #[test]
    fn an_event_that_is_told_twice_changes_nothing() {
        let event = ipv4(NEW, CREATE | APPEND, 1, 1);
        assert_eq!(gateways(&after(&[event.clone(), event])), ["10.0.0.1"]);
    }

    #[test]
    fn a_deletion_of_something_else_is_doubtful() {
        let mut routes = after(&[ipv4(NEW, CREATE, 1, 1)]);
        assert_eq!(routes.take(7, &ipv4(DELETE, 0, 1, 9)), Outcome::Doubtful);
        assert_eq!(routes.take(7, &ipv4(DELETE, 0, 2, 9)), Outcome::Understood);
        assert_eq!(routes.len(), 1);
    }

    #[test]
    fn what_a_whole_dump_does_not_tell_is_gone() {
        for (whole, left) in [(true, 1), (false, 2)] {
            let mut routes = after(&[ipv4(NEW, CREATE, 1, 1), ipv4(NEW, CREATE, 2, 1)]);
            routes.changed();
            routes.begin_dump(7);
            routes.take(7, &ipv4(NEW, 2, 1, 1));
            assert_eq!(routes.len(), 2);
            routes.end_dump(7, whole);
            assert_eq!(routes.len(), left);
            let changed: &[(i32, u32)] = if whole { &[(7, 0), (7, 3)] } else { &[] };
            assert_eq!(routes.changed(), changed);
            assert_eq!(routes.counts(7).collect::<Vec<_>>(), [(254, left as u64)]);
        }
    }

    #[test]
    fn routes_of_a_nexthop_object_follow_it() {
        let object = |interface: u32| {
            let payload = [
                &[2, 0, 0, 0, 0, 0, 0, 0][..],
                &attribute(1, &5u32.to_ne_bytes()),
                &attribute(5, &interface.to_ne_bytes()),
            ];
            message(104, 0, &payload.concat())
        };
        let route = [
            &[2, 16, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0][..],
            &attribute(1, &[10, 1, 0, 0]),
            &attribute(30, &5u32.to_ne_bytes()),
        ];
        let mut routes = after(&[object(3), message(NEW, CREATE, &route.concat())]);
        assert!(routes.uses(7, 3));
        routes.changed();
        routes.take(7, &object(4));
        assert_eq!(routes.changed(), [(7, 0), (7, 3), (7, 4)]);
        let listings = routes.listings(7, &[3, 4], 10);
        assert!(listings[&3].is_empty());
        assert_eq!(listings[&4][&254].count, 1);
    }

    #[test]
    fn a_cut_list_keeps_what_matters_and_the_true_number() {
        let mut events: Vec<_> = (0..100).map(|net| ipv4(NEW, CREATE, net, 1)).collect();
        let default = [
            &[2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0][..],
            &attribute(5, &[10, 0, 0, 1]),
            &attribute(4, &3u32.to_ne_bytes()),
        ];
        events.push(message(NEW, CREATE, &default.concat()));
        let routes = after(&events);
        let listing = &routes.listings(7, &[3], 5)[&3][&254];
        assert_eq!((listing.count, listing.routes.len()), (101, 5));
        assert_eq!(listing.routes[4].place.length, 0);
    }

    #[test]
    fn the_longest_prefix_is_found() {
        let routes = after(&[ipv4(NEW, CREATE, 1, 1), ipv4(NEW, CREATE, 2, 2)]);
        let lookup = |address: &str| {
            let question = Question {
                lookup: address.parse().ok(),
                ..Question::default()
            };
            routes.page(7, &question, 0, 10).1
        };
        assert_eq!(
            (lookup("10.1.2.3"), lookup("10.3.0.0"), lookup("::1")),
            (1, 0, 0)
        );
    }

    #[test]
    fn a_hundred_thousand_routes_are_small() {
        let mut routes = Routes::default();
        for number in 0..100_000u32 {
            let [_, a, b, c] = number.to_be_bytes();
            let payload = [
                &[2, 32, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0][..],
                &attribute(1, &[10, a, b, c]),
                &attribute(5, &[10, 0, 0, c]),
                &attribute(4, &3u32.to_ne_bytes()),
            ];
            routes.take(7, &message(NEW, CREATE, &payload.concat()));
        }
        assert_eq!(routes.len(), 100_000);
        assert_eq!(routes.actions.used.len(), 256);
        assert!(size_of::<(Key, u32)>() <= 40);
    }

    proptest! {
        #[test]
        fn nothing_is_left_of_actions_without_routes(
            events in proptest::collection::vec(
                (any::<bool>(), prop_oneof![Just(NEW), Just(DELETE)], 0u16..16, 0u8..2,
                 proptest::collection::vec(0u8..3, 0..4), 3u32..5),
                0..60),
            dump in 0usize..60,
        ) {
            let mut routes = Routes::default();
            for (position, (old, kind, flags, net, gateways, interface)) in
                events.iter().enumerate()
            {
                if position == dump {
                    routes.begin_dump(7);
                }
                let flags = flags << 8;
                let event = if *old {
                    ipv4(*kind, flags, *net, gateways.len() as u8)
                } else {
                    ipv6(*kind, flags, *net, gateways, *interface)
                };
                prop_assert!(routes.take(7, &event) != Outcome::Malformed);
            }
            routes.end_dump(7, dump % 2 == 0);
            let total: u64 = routes.counts(7).map(|(_, count)| count).sum();
            prop_assert_eq!(total as usize, routes.len());
            let held: u32 = routes.actions.used.iter().map(|entry| entry.1).sum();
            prop_assert_eq!(held as usize, routes.len());
            routes.forget(7);
            prop_assert!(routes.actions.numbers.is_empty());
        }

        #[test]
        fn any_bytes_are_taken_without_panic(
            data in proptest::collection::vec(any::<u8>(), 0..400)
        ) {
            let mut routes = Routes::default();
            routes.take(1, &data);
            routes.listings(1, &[0, 1], 10);
        }
    }
}
