//! All flows of one port.

mod budget;
mod expiry;
mod shard;

pub use self::budget::Budget;
pub use self::shard::ShardGuard;

use self::shard::{Shard, Shards};
use super::hash::Hasher;
use super::index::Index;
use super::record::Flow;
use super::store::{Slot, Store};
use super::tuple::Tuple;
use crate::{Direction, Instant};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use lock_api::{Mutex, MutexGuard, RawMutex};
use once_cell::race::OnceBox;
use prefetch::prefetch;

/// Shards of a table large enough for them.
const SHARDS_MAX: u32 = 64;

/// A flow's number in its table: stable while the flow lives, then reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId(u32);

/// One of the two names that a translated flow has; others have one name,
/// which is `Inside`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// As the guest's packets name it.
    Inside,
    /// As the far end's packets name it.
    Outside,
}

/// A flow that was found, locked, and its number.
type Found<'t, R> = (FlowId, MutexGuard<'t, R, Flow>);

/// The flow table of one port.
#[derive(Debug)]
pub struct Table<R: RawMutex> {
    /// The flows, by their inside names.
    store: Store<R>,
    /// The numbers of translated flows, by their outside names. Most tables
    /// have none.
    outside: OnceBox<Index>,
    shards: Shards<R>,
    hasher: Hasher,
    flows: AtomicU32,
    flows_max: AtomicU32,
    /// What it was made for: `flows_max` may be less, never more.
    room: u32,
    budget: Arc<Budget>,
}

impl<R: RawMutex> Table<R> {
    /// A table for `flows_max` flows whose hash is keyed with `seed`, and whose
    /// flows count against `budget` too.
    #[must_use]
    pub fn new(flows_max: u32, seed: u64, budget: Arc<Budget>, now: Instant) -> Self {
        let shards = (flows_max / 1_024).next_power_of_two().clamp(1, SHARDS_MAX);
        Self {
            store: Store::new(flows_max.min(Index::FLOWS_MAX / 2), shards),
            outside: OnceBox::new(),
            shards: Shards::new(shards, now),
            hasher: Hasher::new(seed),
            flows: AtomicU32::new(0),
            flows_max: AtomicU32::new(flows_max),
            room: flows_max,
            budget,
        }
    }

    /// Flows now.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.flows.load(Ordering::Relaxed)
    }

    /// Flows that the table was made for.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.room
    }

    /// Changes how many flows there may be, up to [`Table::room`]. Those that
    /// are there stay.
    pub fn limit(&self, flows_max: u32) {
        self.flows_max
            .store(flows_max.min(self.room), Ordering::Relaxed);
    }

    /// Whether there may be no more flows in this table.
    fn is_full(&self) -> bool {
        self.len() >= self.flows_max.load(Ordering::Relaxed)
    }

    /// Whether there is no flow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keyed hash of a flow key.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &Tuple) -> u64 {
        self.hasher.hash(key)
    }

    /// The flow that a packet going `dir` with `key` belongs to, locked. Looks
    /// first among the names that `name` says, which only costs or saves time.
    ///
    /// May miss a flow that another CPU is just inserting or moving; the slow
    /// path looks again under the shard's lock.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, dir: Direction, name: Name, key: &Tuple, hash: u64) -> Option<Found<'_, R>> {
        let meant = self.first_meant(name, hash);
        if let Some((number, slot)) = meant
            && let Some(found) = locked_if_named(number, slot, dir, key)
        {
            return Some(found);
        }
        match (dir, meant) {
            (Direction::Out, None) if !self.store.strays() => None,
            _ => self.find_elsewhere(dir, name, key, hash),
        }
    }

    /// The flow that a key with this hash most probably means.
    #[inline(always)]
    fn first_meant(&self, name: Name, hash: u64) -> Option<(u32, &Slot<R>)> {
        match name {
            Name::Inside => self.store.first_meant(hash),
            Name::Outside => {
                let number = self.outside.get()?.home(hash)?.meant(hash).next()?;
                Some((number, self.store.slot(number)?))
            }
        }
    }

    /// Asks for the memory that tells where a key with this hash is.
    #[inline]
    pub fn prefetch_index(&self, name: Name, hash: u64) {
        match name {
            Name::Inside => self.store.prefetch(hash),
            Name::Outside => {
                if let Some(home) = self.outside.get().and_then(|index| index.home(hash)) {
                    prefetch(home);
                }
            }
        }
    }

    /// Asks for the flow that a key with this hash most probably means.
    #[inline]
    pub fn prefetch_flow(&self, name: Name, hash: u64) {
        if let Some((_, slot)) = self.first_meant(name, hash) {
            prefetch(slot);
        }
    }

    /// Looks at all flows that a key may mean.
    #[inline(never)]
    fn find_elsewhere(
        &self,
        dir: Direction,
        name: Name,
        key: &Tuple,
        hash: u64,
    ) -> Option<Found<'_, R>> {
        let inside = || self.find_inside(dir, key, hash);
        let outside = || self.find_outside(key, hash, |_| true);
        match (dir, name) {
            (Direction::Out, _) => inside(),
            (Direction::In, Name::Inside) => inside().or_else(outside),
            (Direction::In, Name::Outside) => outside().or_else(inside),
        }
    }

    fn find_inside(&self, dir: Direction, key: &Tuple, hash: u64) -> Option<Found<'_, R>> {
        let found = |number, slot| locked_if_named(number, slot, dir, key);
        self.store.find(hash, found)
    }

    /// The flow with this outside name, among the numbers that `may` be looked at.
    fn find_outside(
        &self,
        key: &Tuple,
        hash: u64,
        may: impl Fn(u32) -> bool,
    ) -> Option<Found<'_, R>> {
        let mut numbers = self.outside.get()?.everywhere(hash);
        numbers.find_map(|number| {
            let slot = may(number).then(|| self.store.slot(number))??;
            locked_if_named(number, slot, Direction::In, key)
        })
    }

    /// Locks the shard that flows with this inside key are in, to look for
    /// the flow again and to insert it. Insertions of one key exclude each other.
    pub fn lock(&self, inside_hash: u64) -> ShardGuard<'_, R> {
        let at = self.store.shard_of(inside_hash);
        ShardGuard {
            table: self,
            at,
            shard: self.shard(at),
        }
    }

    /// Locks a flow by its number, if it lives.
    #[must_use]
    pub fn get(&self, id: FlowId) -> Option<MutexGuard<'_, R, Flow>> {
        Some(self.record(id.0)?.lock()).filter(|flow| flow.live)
    }

    /// Ends every flow that `which` names. `ended` is called with each.
    pub fn clear(
        &self,
        mut which: impl FnMut(&Flow) -> bool,
        mut ended: impl FnMut(&mut Flow),
    ) -> u64 {
        let mut count = 0_u64;
        for (number, Slot(record)) in self.store.slots(0) {
            let wanted =
                |flow: &Flow, which: &mut dyn FnMut(&Flow) -> bool| flow.live && which(flow);
            if !wanted(&record.lock(), &mut which) {
                continue;
            }
            let (at, local) = self.store.place(number);
            let mut shard = self.shard(at);
            // Not locked in between: it may be another flow by now.
            if wanted(&record.lock(), &mut which)
                && let Some(mut flow) = self.take(&mut shard, number, local)
            {
                ended(&mut flow);
                count = count.wrapping_add(1);
            }
        }
        count
    }

    /// Calls `each` with live flows, locked one at a time, from number
    /// `cursor` on, until it says stop; returns where to go on.
    pub fn scan(&self, cursor: u64, mut each: impl FnMut(&mut Flow) -> bool) -> Option<u64> {
        for (number, Slot(record)) in self.store.slots(u32::try_from(cursor).ok()?) {
            let mut flow = record.lock();
            if flow.live && !each(&mut flow) {
                return Some(u64::from(number));
            }
        }
        None
    }

    /// Ends a flow: its way is empty, its outside name and its timer are gone.
    fn take(&self, shard: &mut Shard, number: u32, local: u32) -> Option<Flow> {
        let flow = {
            let mut record = self.record(number)?.lock();
            if !record.live {
                return None;
            }
            core::mem::replace(&mut *record, Flow::VACANT)
        };
        self.store.vacate(number);
        if let (Some(hash), Some(index)) = (self.outside_hash(&flow), self.outside.get()) {
            index.remove(hash, number);
        }
        shard.wheel.cancel(local);
        self.flows.fetch_sub(1, Ordering::Relaxed);
        self.budget.give();
        Some(flow)
    }

    /// Makes what finds translated flows, so that no packet has to wait for it.
    pub fn expect_translation(&self) {
        self.outside();
    }

    fn outside(&self) -> &Index {
        self.outside.get_or_init(|| Box::new(Index::new(self.room)))
    }

    /// The hash of a flow's outside name, if that is another than its inside name.
    fn outside_hash(&self, flow: &Flow) -> Option<u64> {
        let outside = flow.outside();
        (outside != flow.inside).then(|| self.hash(&outside))
    }

    fn record(&self, number: u32) -> Option<&Mutex<R, Flow>> {
        Some(&self.store.slot(number)?.0)
    }

    fn shard_count(&self) -> u32 {
        self.shards.count()
    }

    fn shard(&self, at: u32) -> MutexGuard<'_, R, Shard> {
        self.shards.get(at).lock()
    }
}

impl<R: RawMutex> Drop for Table<R> {
    fn drop(&mut self) {
        // A lane with an old view may have added flows after the last `clear`.
        for _ in 0..self.len() {
            self.budget.give();
        }
    }
}

/// The flow, if it has this name.
#[inline(always)]
fn locked_if_named<'t, R: RawMutex>(
    number: u32,
    slot: &'t Slot<R>,
    dir: Direction,
    key: &Tuple,
) -> Option<Found<'t, R>> {
    // The lock waits for the first line; the others come meanwhile.
    prefetch(slot);
    let flow = slot.0.lock();
    flow.is_named(dir, key).then_some((FlowId(number), flow))
}

#[cfg(test)]
mod tests;
