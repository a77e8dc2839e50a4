//! From the key of a flow to the number of its record.
//!
//! Open addressing with linear probing over 8-byte entries: the upper half of a hash of the key, and the
//! number. The place of an entry follows from that half, so growing reads no record. A key is
//! an XXH64 already; it is multiplied by an odd number that no outsider knows, or a stranger
//! could send packets that all fall into one place.

use std::hash::{BuildHasher, RandomState};

use crate::prefetch;

const FEWEST_BITS: u32 = 6;

/// Numbers by key.
#[derive(Debug)]
pub struct Index {
    /// `hash >> 32 << 32 | number + 1`; 0 = empty.
    entries: Vec<u64>,
    bits: u32,
    length: usize,
    secret: u64,
}

impl Default for Index {
    fn default() -> Self {
        Index {
            entries: vec![0; 1 << FEWEST_BITS],
            bits: FEWEST_BITS,
            length: 0,
            secret: RandomState::new().hash_one(0) | 1,
        }
    }
}

impl Index {
    #[inline]
    fn hash(&self, key: u64) -> u64 {
        key.wrapping_mul(self.secret)
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> (64 - self.bits)) as usize
    }

    #[inline]
    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.entries.len() - 1)
    }

    #[inline]
    fn entry(&self, place: usize) -> u64 {
        self.entries.get(place).copied().unwrap_or(0)
    }

    /// The number for `key`, of those that `is_it` accepts.
    #[inline]
    pub fn find(&self, key: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.place_of(key, is_it).map(|(_, number)| number)
    }

    #[inline]
    fn place_of(&self, key: u64, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let hash = self.hash(key);
        let mut place = self.home(hash);
        loop {
            let entry = self.entry(place);
            if entry == 0 {
                return None;
            }
            if entry >> 32 == hash >> 32 {
                let number = (entry as u32).wrapping_sub(1);
                if is_it(number) {
                    return Some((place, number));
                }
            }
            place = self.next(place);
        }
    }

    /// Has the first entry for `key` come into the cache.
    #[inline]
    pub fn prefetch(&self, key: u64) {
        if let Some(entry) = self.entries.get(self.home(self.hash(key))) {
            prefetch::soon(entry);
        }
    }

    /// A number that may be the one for `key`.
    #[inline]
    pub fn guess(&self, key: u64) -> Option<u32> {
        self.find(key, |_| true)
    }

    /// Adds a number for a key that has none.
    pub fn insert(&mut self, key: u64, number: u32) {
        // At most two thirds full.
        if (self.length + 1) * 3 > self.entries.len() * 2 {
            self.resize(self.bits + 1);
        }
        let hash = self.hash(key);
        self.put(hash >> 32 << 32 | u64::from(number.wrapping_add(1)));
        self.length += 1;
    }

    fn put(&mut self, entry: u64) {
        let mut place = self.home(entry);
        while self.entry(place) != 0 {
            place = self.next(place);
        }
        if let Some(slot) = self.entries.get_mut(place) {
            *slot = entry;
        }
    }

    /// Takes away `number`, which is there for `key`.
    pub fn remove(&mut self, key: u64, number: u32) {
        let Some((mut hole, _)) = self.place_of(key, |found| found == number) else {
            return;
        };
        self.length -= 1;
        // Close the gap: whoever is not at home and may sit in the hole moves there.
        let mask = self.entries.len() - 1;
        let mut place = hole;
        loop {
            place = self.next(place);
            let entry = self.entry(place);
            if entry == 0 {
                break;
            }
            let from_home = place.wrapping_sub(self.home(entry)) & mask;
            if from_home >= place.wrapping_sub(hole) & mask {
                self.set(hole, entry);
                hole = place;
            }
        }
        self.set(hole, 0);
        if self.bits > FEWEST_BITS && self.length * 8 < self.entries.len() {
            self.resize(self.bits - 1);
        }
    }

    /// The record for `key` changed its number.
    pub fn renumber(&mut self, key: u64, old: u32, new: u32) {
        if let Some((place, _)) = self.place_of(key, |found| found == old) {
            let entry = self.entry(place) >> 32 << 32 | u64::from(new.wrapping_add(1));
            self.set(place, entry);
        }
    }

    fn set(&mut self, place: usize, entry: u64) {
        if let Some(slot) = self.entries.get_mut(place) {
            *slot = entry;
        }
    }

    fn resize(&mut self, bits: u32) {
        // 32 bits of hash are kept, and a place takes no more.
        if bits > 32 {
            return;
        }
        let old = std::mem::replace(&mut self.entries, vec![0; 1 << bits]);
        self.bits = bits;
        for entry in old {
            if entry != 0 {
                self.put(entry);
            }
        }
    }

    /// Memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        self.entries.len() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_as_a_map(operations in prop::collection::vec((0u64..200, any::<bool>()), 0..800)) {
            let mut index = Index { secret: 1, ..Index::default() };
            let mut model: HashMap<u64, u32> = HashMap::new();
            // Keys that differ in few upper bits crowd around few places.
            let spread = |key: u64| (key / 8) << 58 | key << 33;
            for (number, (key, add)) in operations.into_iter().enumerate() {
                let number = number as u32;
                match model.get(&key).copied() {
                    None if add => {
                        index.insert(spread(key), number);
                        model.insert(key, number);
                    }
                    Some(old) if add => {
                        index.renumber(spread(key), old, number);
                        model.insert(key, number);
                    }
                    Some(old) => {
                        index.remove(spread(key), old);
                        model.remove(&key);
                    }
                    None => (),
                }
                prop_assert_eq!(index.length, model.len());
            }
            for key in 0..200 {
                let wanted = model.get(&key).copied();
                let found = index.find(spread(key), |number| Some(number) == wanted);
                prop_assert_eq!(found, wanted);
            }
        }
    }

    #[test]
    fn memory_goes_back_when_flows_end() {
        let mut index = Index::default();
        for key in 0..10_000u64 {
            index.insert(key.wrapping_mul(0x9E37_79B9_7F4A_7C15), key as u32);
        }
        let grown = index.memory_bytes();
        for key in 0..10_000u64 {
            index.remove(key.wrapping_mul(0x9E37_79B9_7F4A_7C15), key as u32);
        }
        assert!(grown > 100_000);
        assert_eq!(index.memory_bytes(), 512);
    }
}
