//! Numbered entries: a bounded slab whose free numbers are used again.

use crate::DropReason;
use alloc::vec::Vec;

/// At most `limit` entries, numbered from zero.
#[derive(Debug)]
pub(super) struct Pool<T> {
    entries: Vec<Option<T>>,
    free: Vec<u16>,
    limit: usize,
}

impl<T> Pool<T> {
    /// An empty pool. Numbers are 16 bits, whatever the limit says.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            limit,
        }
    }

    /// Keeps `entry`, if the pool isn't full and there is memory for it.
    pub(super) fn insert(&mut self, entry: T) -> Result<u16, DropReason> {
        if let Some(number) = self.free.pop()
            && let Some(place) = self.entries.get_mut(usize::from(number))
        {
            *place = Some(entry);
            return Ok(number);
        }
        let count = self.entries.len();
        let number = u16::try_from(count).ok().filter(|_| count < self.limit);
        let number = number.ok_or(DropReason::UnderlayFull)?;
        // So much that all can be removed without asking for more.
        let free = self.free.try_reserve(count.saturating_add(1));
        let room = free.and_then(|()| self.entries.try_reserve(1));
        room.map_err(|_| DropReason::NoMemory)?;
        self.entries.push(Some(entry));
        Ok(number)
    }

    /// Takes an entry out; its number is free again.
    pub(super) fn remove(&mut self, number: u16) -> Option<T> {
        let entry = self.entries.get_mut(usize::from(number))?.take()?;
        self.free.push(number);
        Some(entry)
    }

    /// An entry.
    pub(super) fn get(&self, number: u16) -> Option<&T> {
        self.entries.get(usize::from(number))?.as_ref()
    }

    /// An entry, to change.
    pub(super) fn get_mut(&mut self, number: u16) -> Option<&mut T> {
        self.entries.get_mut(usize::from(number))?.as_mut()
    }

    /// How many entries there are.
    pub(super) const fn len(&self) -> usize {
        self.entries.len().saturating_sub(self.free.len())
    }

    /// Numbers are below this.
    pub(super) const fn span(&self) -> usize {
        self.entries.len()
    }

    /// Every entry with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        let numbered = (0..=u16::MAX).zip(&self.entries);
        numbered.filter_map(|(number, entry)| Some((number, entry.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn numbers_are_used_again_and_bounded() {
        let mut pool = Pool::new(2);
        assert_eq!(
            (pool.insert('a'), pool.insert('b'), pool.insert('c')),
            (Ok(0), Ok(1), Err(DropReason::UnderlayFull))
        );
        assert_eq!(pool.remove(0), Some('a'));
        assert_eq!((pool.remove(0), pool.len(), pool.span()), (None, 1, 2));
        assert_eq!(pool.insert('d'), Ok(0));
        assert_eq!(pool.iter().collect::<vec::Vec<_>>(), [(0, &'d'), (1, &'b')]);
        assert_eq!(pool.get(1), Some(&'b'));
        assert_eq!(pool.get_mut(9), None);
    }
}
