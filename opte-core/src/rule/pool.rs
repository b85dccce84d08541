//! Stores each sequence of items once, all in one piece of memory.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use rapidhash::fast::RapidHasher;

/// Sequences of `T`, named by where they start.
pub(super) struct Pool<T> {
    items: Vec<T>,
    /// Start of a sequence by its hash. A tree, because the hash isn't keyed:
    /// whoever finds sequences with equal hashes makes them be stored twice
    /// and nothing worse.
    starts: BTreeMap<u64, u32>,
}

impl<T: Copy + Eq + Hash> Pool<T> {
    pub(super) const fn new() -> Self {
        Self {
            items: Vec::new(),
            starts: BTreeMap::new(),
        }
    }

    /// Where `items` start; adds them if they aren't there.
    pub(super) fn store(&mut self, items: &[T]) -> u32 {
        let mut hasher = RapidHasher::default();
        items.hash(&mut hasher);
        let end = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let start = *self.starts.entry(hasher.finish()).or_insert(end);
        if start != end && self.get(start, items.len()) == Some(items) {
            return start;
        }
        self.items.extend_from_slice(items);
        end
    }

    /// The `len` items at `start`.
    pub(super) fn get(&self, start: u32, len: usize) -> Option<&[T]> {
        let start = usize::try_from(start).ok()?;
        self.items.get(start..start.checked_add(len)?)
    }

    /// Bytes of the stored items.
    pub(super) const fn bytes(&self) -> usize {
        size_of_val(self.items.as_slice())
    }

    /// The stored items.
    pub(super) fn into_items(mut self) -> Vec<T> {
        self.items.shrink_to_fit();
        self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sequences_share_their_place() {
        let mut pool = Pool::new();
        let a = pool.store(&[1_u16, 2, 3]);
        let b = pool.store(&[1, 2]);
        assert_eq!(pool.store(&[1, 2, 3]), a);
        assert_ne!(a, b);
        assert_eq!(pool.get(b, 2), Some([1, 2].as_slice()));
        assert_eq!(pool.bytes(), 10);
        assert_eq!(pool.get(4, 2), None);
    }
}
