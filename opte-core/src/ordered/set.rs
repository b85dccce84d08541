//! Sets in order.

use super::OrderedMap;
use core::fmt;
use core::ops::RangeBounds;

/// A set in order.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OrderedSet<K>(OrderedMap<K, ()>);

impl<K> OrderedSet<K> {
    /// Nothing, and no memory.
    pub(crate) const fn new() -> Self {
        Self(OrderedMap::new())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// As [`OrderedMap::reserve`].
    pub(crate) fn reserve(&mut self, keys: usize) -> bool {
        self.0.reserve(keys)
    }

    /// Removes all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// The least one.
    pub(crate) fn first(&self) -> Option<&K> {
        self.iter().next()
    }
}

impl<K: Ord> OrderedSet<K> {
    /// Whether it is there.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// Those of a range.
    pub(crate) fn range(&self, keys: impl RangeBounds<K>) -> impl Iterator<Item = &K> {
        self.0.range(keys).map(|(key, ())| key)
    }

    /// Those that aren't in another set.
    pub(crate) fn difference<'s>(&'s self, other: &'s Self) -> impl Iterator<Item = &'s K> {
        self.iter().filter(|key| !other.contains(key))
    }

    /// Those that are in another set, too.
    pub(crate) fn intersection<'s>(&'s self, other: &'s Self) -> impl Iterator<Item = &'s K> {
        self.iter().filter(|key| other.contains(key))
    }

    /// Adds one; whether it is new.
    pub(crate) fn insert(&mut self, key: K) -> bool {
        self.0.insert(key, ()).is_none()
    }

    /// Removes one; whether it was there.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        self.0.remove(key).is_some()
    }
}

impl<K> Default for OrderedSet<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord> FromIterator<K> for OrderedSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key, ())).collect())
    }
}

impl<K: fmt::Debug> fmt::Debug for OrderedSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
