//! What the control side knows of paths, and how they are found.

use super::path::{PathId, Slab};
use super::pool::Pool;
use crate::limits::UNDERLAY_PATHS_MAX;
use crate::ordered::{OrderedMap, OrderedSet};
use crate::verdict::LinkId;
use crate::{DropReason, Instant};
use alloc::vec::Vec;
use core::net::Ipv6Addr;

/// A path that nobody uses for so long is forgotten; a flow that asks for it
/// afterwards gets another.
pub(super) const IDLE_MS: u64 = 600_000;
/// The same while the table is nearly full.
pub(super) const IDLE_FULL_MS: u64 = 60_000;

/// What a path is found by: its far end and the next hop chosen for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The tunnel end point.
    pub(super) dest: Ipv6Addr,
    /// The link.
    pub(super) link: LinkId,
    /// The neighbour on it; for a group the group itself.
    pub(super) neighbour: Ipv6Addr,
}

/// How a path's frames leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// To a group, whose MAC address follows from its address (RFC 2464
    /// section 7).
    Group,
    /// To a neighbour.
    Neighbour {
        /// Number of the one that the routes chose.
        chosen: u16,
        /// Number of the one that stands in while `chosen` doesn't answer;
        /// otherwise the same.
        current: u16,
    },
}

/// One path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: PathId,
    pub(super) key: Key,
    pub(super) via: Via,
    /// When somebody last used it, to within a sweep.
    pub(super) used_at: Instant,
}

/// Every path, by slot, by key, and by the neighbours that it depends on.
#[derive(Debug)]
pub(super) struct Table {
    pool: Pool<Entry>,
    slots: OrderedMap<Key, u16>,
    /// (neighbour, slot), for chosen and current neighbours alike.
    users: OrderedSet<(u16, u16)>,
    /// Where the next sweep goes on.
    cursor: u16,
}

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            pool: Pool::new(UNDERLAY_PATHS_MAX),
            slots: OrderedMap::new(),
            users: OrderedSet::new(),
            cursor: 0,
        }
    }

    /// The path of a key, which is in use from now on.
    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Option<PathId> {
        let slot = *self.slots.get(key)?;
        let entry = self.pool.get_mut(slot)?;
        entry.used_at = now;
        Some(entry.id)
    }

    /// A path, if it is the one that its slot is used for now.
    pub(super) fn get(&self, id: PathId) -> Option<Entry> {
        let entry = self.at(id.slot())?;
        (entry.id == id).then_some(entry)
    }

    /// The path in a slot.
    pub(super) fn at(&self, slot: u16) -> Option<Entry> {
        self.pool.get(slot).copied()
    }

    /// Adds a path, unless there are as many as there may be, or there is no
    /// memory for it.
    pub(super) fn insert(
        &mut self,
        slab: &Slab,
        key: Key,
        via: Via,
        now: Instant,
    ) -> Result<PathId, DropReason> {
        let slot = self.pool.insert(Entry {
            id: PathId(0),
            key,
            via,
            used_at: now,
        })?;
        let made = slab.make(slot).and_then(|()| self.pool.get_mut(slot));
        let Some(entry) = made else {
            self.pool.remove(slot);
            return Err(DropReason::NoMemory);
        };
        let id = slab.current(slot);
        entry.id = id;
        self.slots.insert(key, slot);
        self.link(slot, via);
        Ok(id)
    }

    /// Removes a path. The caller releases its neighbours.
    pub(super) fn remove(&mut self, slab: &Slab, slot: u16) -> Option<Entry> {
        let entry = self.pool.remove(slot)?;
        slab.retire(entry.id);
        self.slots.remove(&entry.key);
        self.unlink(slot, entry.via);
        Some(entry)
    }

    /// Changes how a path's frames leave.
    pub(super) fn set_via(&mut self, slot: u16, via: Via) {
        let Some(entry) = self.pool.get_mut(slot) else {
            return;
        };
        let old = core::mem::replace(&mut entry.via, via);
        self.unlink(slot, old);
        self.link(slot, via);
    }

    /// Notes that a path is in use.
    pub(super) fn set_used(&mut self, slot: u16, now: Instant) {
        if let Some(entry) = self.pool.get_mut(slot) {
            entry.used_at = now;
        }
    }

    /// The first slot from `from` on of a path that depends on a neighbour.
    pub(super) fn user_of(&self, neighbour: u16, from: u16) -> Option<u16> {
        let range = (neighbour, from)..=(neighbour, u16::MAX);
        self.users.range(range).map(|(_, slot)| *slot).next()
    }

    /// The slots of all paths.
    pub(super) fn all(&self) -> Vec<u16> {
        self.pool.iter().map(|(slot, _)| slot).collect()
    }

    /// For how long a path may be unused.
    pub(super) const fn idle_ms(&self) -> u64 {
        if self.pool.len() < UNDERLAY_PATHS_MAX / 8 * 7 {
            IDLE_MS
        } else {
            IDLE_FULL_MS
        }
    }

    /// The next slot of the sweep, which starts over after the last one.
    pub(super) fn sweep(&mut self) -> Option<u16> {
        if usize::from(self.cursor) >= self.pool.span() {
            self.cursor = 0;
            return None;
        }
        let slot = self.cursor;
        // With 65,536 slots the cursor wraps where it would start over.
        self.cursor = self.cursor.wrapping_add(1);
        Some(slot)
    }

    fn link(&mut self, slot: u16, via: Via) {
        if let Via::Neighbour { chosen, current } = via {
            self.users.insert((chosen, slot));
            self.users.insert((current, slot));
        }
    }

    fn unlink(&mut self, slot: u16, via: Via) {
        if let Via::Neighbour { chosen, current } = via {
            self.users.remove(&(chosen, slot));
            self.users.remove(&(current, slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    fn key(i: usize) -> Key {
        Key {
            dest: Ipv6Addr::from_bits(i as u128),
            link: LinkId(0),
            neighbour: Ipv6Addr::UNSPECIFIED,
        }
    }

    #[test]
    fn a_full_table_refuses_and_forgets_sooner() {
        let (slab, mut table) = (Slab::new(), Table::new());
        for i in 0..UNDERLAY_PATHS_MAX {
            let id = table.insert(&slab, key(i), Via::Group, Instant::ZERO);
            assert_eq!(usize::from(id.unwrap().slot()), i);
        }
        assert_eq!(table.idle_ms(), IDLE_FULL_MS);
        let more = key(UNDERLAY_PATHS_MAX);
        let refused = table.insert(&slab, more, Via::Group, Instant::ZERO);
        assert_eq!(refused, Err(DropReason::UnderlayFull));
        // The sweep goes round through every slot.
        let swept: BTreeSet<u16> = (0..UNDERLAY_PATHS_MAX)
            .filter_map(|_| table.sweep())
            .collect();
        assert_eq!(swept.len(), UNDERLAY_PATHS_MAX);

        let old = table.find(&key(9), Instant::ZERO).unwrap();
        table.remove(&slab, 9);
        assert!(table.get(old).is_none());
        let new = table
            .insert(&slab, more, Via::Group, Instant::ZERO)
            .unwrap();
        assert_eq!(new.slot(), 9);
        assert_ne!(new, old);
    }

    #[test]
    fn paths_are_found_by_the_neighbours_that_they_depend_on() {
        let (slab, mut table) = (Slab::new(), Table::new());
        let via = |chosen, current| Via::Neighbour { chosen, current };
        let id = table
            .insert(&slab, key(1), via(3, 3), Instant::ZERO)
            .unwrap();
        let slot = id.slot();
        table.set_via(slot, via(3, 4));
        let users = |table: &Table| [3, 4].map(|neighbour| table.user_of(neighbour, 0));
        assert_eq!(users(&table), [Some(slot), Some(slot)]);
        assert_eq!(table.user_of(3, slot + 1), None);
        table.set_via(slot, via(3, 3));
        assert_eq!(users(&table), [Some(slot), None]);
        table.remove(&slab, slot);
        assert_eq!(users(&table), [None, None]);
    }
}
