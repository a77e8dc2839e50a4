//! Many records of one type by number, without holes and without ever moving the others to grow.
//!
//! Memory comes in pieces that double: growing copies nothing, and a small table is small. The
//! last record takes the place of one that is removed.

/// Records in the first piece.
const FIRST: usize = 64;
/// More pieces than 32 bit numbers need.
const PIECES: usize = 27;

/// A growing and shrinking list of records.
#[derive(Debug)]
pub struct Records<T> {
    pieces: [Vec<T>; PIECES],
    length: usize,
}

impl<T> Default for Records<T> {
    fn default() -> Self {
        Records {
            pieces: std::array::from_fn(|_| Vec::new()),
            length: 0,
        }
    }
}

/// Piece and place in it of a record.
#[inline]
fn place(number: u32) -> (usize, usize) {
    let position = number as usize + FIRST;
    let piece = (position / FIRST).ilog2() as usize;
    (piece, position - (FIRST << piece))
}

impl<T> Records<T> {
    /// Number of records.
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// No records.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The record with this number.
    #[inline]
    pub fn get(&self, number: u32) -> Option<&T> {
        let (piece, at) = place(number);
        self.pieces.get(piece)?.get(at)
    }

    /// The record with this number.
    #[inline]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (piece, at) = place(number);
        self.pieces.get_mut(piece)?.get_mut(at)
    }

    /// Appends a record.
    pub fn push(&mut self, record: T) {
        let (piece, _) = place(self.length as u32);
        if let Some(piece_records) = self.pieces.get_mut(piece) {
            if piece_records.capacity() == 0 {
                piece_records.reserve_exact(FIRST << piece);
            }
            piece_records.push(record);
            self.length += 1;
        }
    }

    /// Removes a record; the last one takes its number.
    pub fn swap_remove(&mut self, number: u32) -> Option<T> {
        let last = self.length.checked_sub(1)? as u32;
        if number > last {
            return None;
        }
        let (piece, at) = place(last);
        let records = self.pieces.get_mut(piece)?;
        let record = records.pop()?;
        self.length -= 1;
        // One empty piece is kept, so that a table at its edge does not get and give it all the time.
        if at == 0 {
            if let Some(beyond) = self.pieces.get_mut(piece + 1) {
                *beyond = Vec::new();
            }
        }
        if self.length == 0 {
            *self = Records::default();
            return Some(record);
        }
        if number == last {
            return Some(record);
        }
        Some(std::mem::replace(self.get_mut(number)?, record))
    }

    /// All records in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    /// All records in the order of their numbers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pieces.iter_mut().flatten()
    }

    /// Memory reserved for records.
    pub fn memory_bytes(&self) -> usize {
        let reserved: usize = self.pieces.iter().map(Vec::capacity).sum();
        reserved * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_as_a_vector(operations in prop::collection::vec(any::<Option<u8>>(), 0..600)) {
            let mut records = Records::default();
            let mut model = Vec::new();
            for (step, operation) in operations.into_iter().enumerate() {
                match operation {
                    Some(number) if usize::from(number) < model.len() => {
                        let removed = model.swap_remove(usize::from(number));
                        prop_assert_eq!(records.swap_remove(u32::from(number)), Some(removed));
                    }
                    Some(number) => prop_assert_eq!(records.swap_remove(u32::from(number)), None),
                    None => {
                        records.push(step);
                        model.push(step);
                    }
                }
                prop_assert_eq!(records.len(), model.len());
            }
            prop_assert!(records.iter().eq(model.iter()));
            for (number, record) in model.iter().enumerate() {
                prop_assert_eq!(records.get(number as u32), Some(record));
            }
        }
    }

    #[test]
    fn an_empty_list_has_no_memory() {
        let mut records = Records::default();
        for number in 0..1000u32 {
            records.push(number);
        }
        assert!(records.memory_bytes() >= 4000);
        while records.swap_remove(0).is_some() {}
        assert_eq!(records.memory_bytes(), 0);
    }
}
