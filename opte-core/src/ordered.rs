//! Maps and sets in the order of their keys, whose operations can't panic.
//!
//! Purpose   what packets change and somebody reads in order, or in ranges:
//!           timers, who uses what, members of a group. The standard library's
//!           trees do the same, but check themselves by assertions, and a
//!           kernel that fails one stops; they also take much more of its
//!           small stacks.
//! Shape     a list of leaves, each a sorted list of entries.
//! Rules     O1  the keys of a leaf are below those of the next one.
//!           O2  no leaf is empty, or larger than [`LEAF_BYTES`]: with so much,
//!               an insertion takes one small block (rule M3 of `fallible`).
//!           O3  a leaf and the next one have more entries together than half
//!               of what fits one, so that memory follows the entries also when
//!               they go.
//!           O4  of many entries also the list of leaves is large. A packet that
//!               adds to them asks for room there first ([`OrderedMap::reserve`]).
//! Cost      finding takes two binary searches. A change moves at most a leaf's
//!           entries, and the list of leaves when a leaf comes or goes.
//! Failure   none but that of the allocator, as of any collection.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

mod set;

pub(crate) use set::OrderedSet;

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::iter::Flatten;
use core::mem::{replace, swap};
use core::ops::{Bound, RangeBounds};

/// Bytes of a leaf's entries, unless there are but a few large ones.
const LEAF_BYTES: usize = 2_048;
/// Entries that any leaf may have.
const FEW: usize = 4;

/// A map in the order of its keys.
#[derive(Clone)]
pub(crate) struct OrderedMap<K, V> {
    leaves: Vec<Vec<(K, V)>>,
}

/// A leaf, and a place in it.
type Place = (usize, usize);

impl<K, V> OrderedMap<K, V> {
    /// Entries of a leaf: a power of two, as lists grow.
    const LEAF: usize = match LEAF_BYTES.checked_div(size_of::<(K, V)>()) {
        Some(fit) if fit > FEW => 1 << fit.ilog2(),
        _ => FEW,
    };
    const HALF: usize = Self::LEAF / 2;

    /// Nothing, and no memory.
    pub(crate) const fn new() -> Self {
        Self { leaves: Vec::new() }
    }

    /// How many entries there are. Costs a look at each leaf: a map stays as
    /// small as the library's, and most of them have one leaf.
    pub(crate) fn len(&self) -> usize {
        self.leaves.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Makes sure of memory for the list of leaves, for so many entries more;
    /// false when there is none (rule O4).
    pub(crate) fn reserve(&mut self, entries: usize) -> bool {
        self.leaves.try_reserve(entries).is_ok()
    }

    /// Removes all.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// All entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.leaves
            .iter()
            .flatten()
            .map(|(key, value)| (key, value))
    }

    /// All entries, their values to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        let entries = self.leaves.iter_mut().flatten();
        entries.map(|(key, value)| (&*key, value))
    }

    /// All keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Keeps the entries that `is_kept` says.
    #[inline(never)]
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&K, &mut V) -> bool) {
        for leaf in &mut self.leaves {
            leaf.retain_mut(|(key, value)| is_kept(key, value));
        }
        self.leaves.retain(|leaf| !leaf.is_empty());
        let mut at = 0_usize;
        while at < self.leaves.len() {
            if !self.join(at) {
                at = at.saturating_add(1);
            }
        }
    }

    /// Makes one leaf of two that have few entries; whether it did (rule O3).
    fn join(&mut self, at: usize) -> bool {
        let next = at.saturating_add(1);
        let len = |at: usize| self.leaves.get(at).map(Vec::len);
        let (Some(one), Some(other)) = (len(at), len(next)) else {
            return false;
        };
        if one.saturating_add(other) > Self::HALF {
            return false;
        }
        let other = take(&mut self.leaves, next);
        if let (Some(leaf), Some(other)) = (self.leaves.get_mut(at), other) {
            // Not to grow in odd steps beyond a leaf.
            leaf.reserve_exact(Self::LEAF.saturating_sub(leaf.len()));
            leaf.extend(other);
        }
        true
    }
}

impl<K: Ord, V> OrderedMap<K, V> {
    /// Where a key is, or where it would be.
    fn search(&self, key: &K) -> Result<Place, Place> {
        let begins_before =
            |leaf: &Vec<(K, V)>| leaf.first().is_some_and(|(first, _)| first <= key);
        let leaf = match self.leaves.len() {
            // As in most maps: a comparison less.
            0 | 1 => 0,
            _ => self.leaves.partition_point(begins_before).saturating_sub(1),
        };
        let entries = self.leaves.get(leaf).map_or(&[][..], Vec::as_slice);
        match entries.binary_search_by(|(known, _)| known.cmp(key)) {
            Ok(at) => Ok((leaf, at)),
            Err(at) => Err((leaf, at)),
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let (leaf, at) = self.search(key).ok()?;
        Some(&self.leaves.get(leaf)?.get(at)?.1)
    }

    /// The value of a key, to be changed.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.search(key).ok()?;
        self.at(place)
    }

    fn at(&mut self, (leaf, at): Place) -> Option<&mut V> {
        Some(&mut self.leaves.get_mut(leaf)?.get_mut(at)?.1)
    }

    /// Whether there is such a key.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.search(key).is_ok()
    }

    /// The entries with these keys.
    pub(crate) fn range(&self, keys: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        let (leaf, at) = match keys.start_bound() {
            Bound::Unbounded => (0, 0),
            Bound::Included(first) => self.search(first).unwrap_or_else(|place| place),
            Bound::Excluded(before) => match self.search(before) {
                Ok((leaf, at)) => (leaf, at.saturating_add(1)),
                Err(place) => place,
            },
        };
        let leaves = self.leaves.get(leaf..).unwrap_or_default();
        let all = leaves.split_first().map(|(leaf, others)| {
            let entries = leaf.get(at..).unwrap_or_default();
            entries.iter().chain(others.iter().flatten())
        });
        let all = all.into_iter().flatten();
        let is_within = move |key: &K| match keys.end_bound() {
            Bound::Unbounded => true,
            Bound::Included(last) => key <= last,
            Bound::Excluded(end) => key < end,
        };
        all.take_while(move |(key, _)| is_within(key))
            .map(|(key, value)| (key, value))
    }

    /// The last entry of those with keys up to this one.
    pub(crate) fn last_until(&self, key: &K) -> Option<(&K, &V)> {
        let (leaf, at) = match self.search(key) {
            Ok(place) => place,
            // No leaf but the first one begins behind the key.
            Err((leaf, at)) => (leaf, at.checked_sub(1)?),
        };
        let (key, value) = self.leaves.get(leaf)?.get(at)?;
        Some((key, value))
    }

    /// Gives a key a value; the one that it had.
    #[inline(never)]
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.search(&key) {
            Ok(place) => Some(replace(self.at(place)?, value)),
            Err(place) => {
                self.add(place, (key, value));
                None
            }
        }
    }

    /// The value of a key, which there is from now on.
    pub(crate) fn get_or_insert(&mut self, key: K, make: impl FnOnce() -> V) -> Option<&mut V>
    where
        K: Copy,
    {
        if !self.contains_key(&key) {
            self.insert(key, make());
        }
        self.get_mut(&key)
    }

    /// Adds an entry where [`OrderedMap::search`] says that it would be.
    fn add(&mut self, (leaf, at): Place, entry: (K, V)) {
        let next = leaf.saturating_add(1);
        match self.leaves.get_mut(leaf) {
            None => put(&mut self.leaves, next, vec![entry]),
            Some(entries) if entries.len() < Self::LEAF => put(entries, at, entry),
            // Keys that come in order fill leaves.
            Some(_) if at >= Self::LEAF => {
                put(&mut self.leaves, next, vec![entry]);
                self.join(next);
            }
            Some(entries) => {
                let mut upper = Vec::with_capacity(Self::LEAF);
                while entries.len() > Self::HALF {
                    upper.extend(entries.pop());
                }
                upper.reverse();
                match at.checked_sub(Self::HALF) {
                    Some(at) => put(&mut upper, at, entry),
                    None => put(entries, at, entry),
                }
                put(&mut self.leaves, next, upper);
            }
        }
    }

    /// Removes a key; the value that it had.
    #[inline(never)]
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (leaf, at) = self.search(key).ok()?;
        let entries = self.leaves.get_mut(leaf)?;
        let (_, value) = take(entries, at)?;
        if entries.is_empty() {
            take(&mut self.leaves, leaf);
        } else {
            self.join(leaf);
        }
        if let Some(before) = leaf.checked_sub(1) {
            self.join(before);
        }
        Some(value)
    }
}

/// Puts a value in a list, before the one at `at`. Without the checks of
/// [`Vec::insert`], which panic.
fn put<T>(list: &mut Vec<T>, at: usize, value: T) {
    let mut last = value;
    for place in list.iter_mut().skip(at) {
        swap(place, &mut last);
    }
    list.push(last);
}

/// Takes the value at `at` out of a list. Without the checks of
/// [`Vec::remove`], which panic.
fn take<T>(list: &mut Vec<T>, at: usize) -> Option<T> {
    let mut places = list.get_mut(at..)?.iter_mut();
    let mut place = places.next()?;
    for next in places {
        swap(place, next);
        place = next;
    }
    list.pop()
}

impl<K, V> Default for OrderedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for OrderedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for OrderedMap<K, V> {}

impl<K, V> IntoIterator for OrderedMap<K, V> {
    type Item = (K, V);
    type IntoIter = Flatten<vec::IntoIter<Vec<(K, V)>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.leaves.into_iter().flatten()
    }
}

impl<K: Ord, V> Extend<(K, V)> for OrderedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

/// One after another: collecting into the standard library's maps sorts first,
/// on a buffer of 4 KiB, which is more stack than a packet may take in a
/// kernel.
impl<K: Ord, V> FromIterator<(K, V)> for OrderedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for OrderedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
