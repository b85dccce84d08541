//! All flows of one port.

use super::hash::Hasher;
use super::index::Index;
use super::position;
use super::record::Flow;
use super::tuple::Tuple;
use super::wheel::Wheel;
use crate::api::PortOptions;
use crate::event::FlowEnd;
use crate::{Direction, DropReason, Instant};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use lock_api::{Mutex, MutexGuard, RawMutex};
use once_cell::race::OnceBox;
use prefetch::prefetch;

/// Records are allocated so many at a time, never freed one by one.
const CHUNK: u32 = 16;
const CHUNK_LEN: usize = position(CHUNK);
/// Shards of a table large enough for them.
const SHARDS_MAX: u32 = 64;
/// Flows that are worked on under one hold of a shard's lock.
const BATCH: u32 = 8;
/// Work per shard and tick, in flows.
const TICK_BUDGET: u32 = 4_096;
/// Flows that are looked at to find one that gives way.
const EVICT_TRIES: usize = 16;

/// A flow's number in its table: stable while the flow lives, then reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId(u32);

/// A record in cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Slot<R: RawMutex>(Mutex<R, Flow>);

type Chunk<R> = [Slot<R>; CHUNK_LEN];

/// One of the two names that a translated flow has; others have one name,
/// which is `Inside`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// As the guest's packets name it.
    Inside,
    /// As the far end's packets name it.
    Outside,
}

/// The flow table of one port.
#[derive(Debug)]
pub struct Table<R: RawMutex> {
    inside: Index,
    outside: Index,
    chunks: Box<[OnceBox<Chunk<R>>]>,
    shards: Box<[Mutex<R, Shard>]>,
    hasher: Hasher,
    flows: AtomicU32,
    flows_max: AtomicU32,
    /// What it was made for: `flows_max` may be less, never more.
    room: u32,
    budget: Arc<Budget>,
}

/// The part of a table that is changed under one lock. Chunk `c` belongs to
/// shard `c % shards`.
#[derive(Debug)]
struct Shard {
    wheel: Wheel,
    chunks: u32,
}

/// A budget of flows that several tables share.
#[derive(Debug)]
pub struct Budget {
    used: AtomicU32,
    max: AtomicU32,
}

impl Budget {
    /// A budget of `max` flows.
    #[must_use]
    pub const fn new(max: u32) -> Self {
        Self {
            used: AtomicU32::new(0),
            max: AtomicU32::new(max),
        }
    }

    /// Flows now.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// Flows that there may be.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.max.load(Ordering::Relaxed)
    }

    /// Changes how many flows there may be. Those that are there stay.
    pub fn set_max(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        let taken = self.used.fetch_add(1, Ordering::Relaxed) < self.max();
        if !taken {
            self.give();
        }
        taken
    }

    fn give(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<R: RawMutex> Table<R> {
    /// A table for `flows_max` flows whose hash is keyed with `seed`, and whose
    /// flows count against `budget` too.
    #[must_use]
    pub fn new(flows_max: u32, seed: u64, budget: Arc<Budget>, now: Instant) -> Self {
        let shards = (flows_max / 1_024).next_power_of_two().clamp(1, SHARDS_MAX);
        // Keys don't spread perfectly: a quarter more room than flows.
        let chunks = (flows_max.saturating_add(flows_max / 4) / CHUNK).saturating_add(shards);
        let chunks = chunks.min(Index::FLOWS_MAX / CHUNK);
        let second = seconds(now);
        let shard = |_| {
            Mutex::new(Shard {
                wheel: Wheel::new(second),
                chunks: 0,
            })
        };
        Self {
            inside: Index::new(flows_max),
            outside: Index::new(flows_max),
            chunks: (0..chunks).map(|_| OnceBox::new()).collect(),
            shards: (0..shards).map(shard).collect(),
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
    pub fn find(
        &self,
        dir: Direction,
        name: Name,
        key: &Tuple,
        hash: u64,
    ) -> Option<(FlowId, MutexGuard<'_, R, Flow>)> {
        let home = self.index(name).home(hash)?;
        for number in home.meant(hash) {
            if let Some(found) = self.locked_if_named(number, dir, key) {
                return Some(found);
            }
        }
        self.find_elsewhere(dir, name, key, hash)
    }

    /// Asks for the part of the index that a key with this hash is in.
    #[inline]
    pub fn prefetch_index(&self, name: Name, hash: u64) {
        if let Some(home) = self.index(name).home(hash) {
            prefetch(home);
        }
    }

    /// Asks for the flow that a key with this hash most probably means.
    #[inline]
    pub fn prefetch_flow(&self, name: Name, hash: u64) {
        let number = self
            .index(name)
            .home(hash)
            .and_then(|home| home.meant(hash).next());
        if let Some(slot) = number.and_then(|number| self.slot(number)) {
            prefetch(slot);
        }
    }

    /// Looks where keys are that overflowed, and among the other names.
    #[inline(never)]
    fn find_elsewhere(
        &self,
        dir: Direction,
        name: Name,
        key: &Tuple,
        hash: u64,
    ) -> Option<(FlowId, MutexGuard<'_, R, Flow>)> {
        let overflowed = |index: &Index| index.home(hash).is_none_or(|home| !home.has_room());
        let index = self.index(name);
        if overflowed(index)
            && let Some(found) = self.find_everywhere(index, dir, key, hash)
        {
            return Some(found);
        }
        let other = match (dir, name) {
            (Direction::Out, _) => return None,
            (Direction::In, Name::Inside) => &self.outside,
            (Direction::In, Name::Outside) => &self.inside,
        };
        self.find_everywhere(other, dir, key, hash)
    }

    fn find_everywhere(
        &self,
        index: &Index,
        dir: Direction,
        key: &Tuple,
        hash: u64,
    ) -> Option<(FlowId, MutexGuard<'_, R, Flow>)> {
        index
            .everywhere(hash)
            .find_map(|number| self.locked_if_named(number, dir, key))
    }

    #[inline(always)]
    const fn index(&self, name: Name) -> &Index {
        match name {
            Name::Inside => &self.inside,
            Name::Outside => &self.outside,
        }
    }

    #[inline(always)]
    fn locked_if_named(
        &self,
        number: u32,
        dir: Direction,
        key: &Tuple,
    ) -> Option<(FlowId, MutexGuard<'_, R, Flow>)> {
        let slot = self.slot(number)?;
        // The lock waits for the first line; the others come meanwhile.
        prefetch(slot);
        let flow = slot.0.lock();
        flow.is_named(dir, key).then_some((FlowId(number), flow))
    }

    /// Locks the shard that flows with this inside key are in, to look for
    /// the flow again and to insert it. Insertions of one key exclude each other.
    pub fn lock(&self, inside_hash: u64) -> ShardGuard<'_, R> {
        let shards = u64::from(self.shard_count());
        // The index uses the low bits and the high half; take others.
        let at = (inside_hash >> 20).checked_rem(shards).unwrap_or(0);
        let at = u32::try_from(at).unwrap_or(0);
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

    /// Makes a flow come due by what its state allows now. Takes its shard's
    /// lock, so the flow must not be locked.
    pub fn reschedule(&self, id: FlowId, options: &PortOptions) {
        let (at, _) = self.place(id.0);
        ShardGuard {
            table: self,
            at,
            shard: self.shard(at),
        }
        .reschedule(id, options);
    }

    /// Ends the flows that are due. `ended` is called with each, under its
    /// shard's lock. Bounded work per call, in short holds of a lock.
    pub fn expire(
        &self,
        now: Instant,
        options: &PortOptions,
        mut ended: impl FnMut(&mut Flow, FlowEnd),
    ) {
        // Round after round, so that who waits for a shard gets it while the
        // others are worked on: a lock that is taken again at once would
        // hardly ever be had by somebody who sleeps for it.
        let mut done = [false; position(SHARDS_MAX)];
        for _ in 0..TICK_BUDGET / BATCH {
            let mut shards = (0..self.shard_count()).zip(&mut done);
            for (at, done) in shards.by_ref().filter(|(_, done)| !**done) {
                let mut shard = self.shard(at);
                let mut left = BATCH;
                while let Some(local) = shard.wheel.pop_due(seconds(now), &mut left) {
                    self.expire_one(&mut shard, at, local, now, options, &mut ended);
                }
                *done = left > 0;
            }
            if done
                .iter()
                .take(position(self.shard_count()))
                .all(|done| *done)
            {
                break;
            }
        }
    }

    fn expire_one(
        &self,
        shard: &mut Shard,
        at: u32,
        local: u32,
        now: Instant,
        options: &PortOptions,
        ended: &mut impl FnMut(&mut Flow, FlowEnd),
    ) {
        let number = self.number(at, local);
        let Some(record) = self.record(number) else {
            return;
        };
        let (due, over) = {
            let flow = record.lock();
            (deadline(&flow, options), flow.tcp.state().is_over())
        };
        if due > seconds(now) {
            shard.wheel.schedule(local, due);
        } else if let Some(mut flow) = self.take(shard, number, local) {
            let tcp = flow.inside.proto == super::Proto::TCP;
            ended(
                &mut flow,
                if tcp && over {
                    FlowEnd::Closed
                } else {
                    FlowEnd::Idle
                },
            );
        }
    }

    /// Makes every flow come due by these timeouts, after they have changed.
    pub fn reschedule_all(&self, options: &PortOptions) {
        for number in 0..self.capacity() {
            if self.get(FlowId(number)).is_some() {
                self.reschedule(FlowId(number), options);
            }
        }
    }

    /// Ends every flow that `which` names. `ended` is called with each.
    pub fn clear(
        &self,
        mut which: impl FnMut(&Flow) -> bool,
        mut ended: impl FnMut(&mut Flow),
    ) -> u64 {
        let mut count = 0_u64;
        for number in 0..self.capacity() {
            let Some(record) = self.record(number) else {
                continue;
            };
            let wanted =
                |flow: &Flow, which: &mut dyn FnMut(&Flow) -> bool| flow.live && which(flow);
            if !wanted(&record.lock(), &mut which) {
                continue;
            }
            let (at, local) = self.place(number);
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
        let mut number = u32::try_from(cursor).ok()?;
        while number < self.capacity() {
            let Some(record) = self.record(number) else {
                // The rest of a chunk that isn't there isn't there either.
                number = (number / CHUNK).saturating_add(1).saturating_mul(CHUNK);
                continue;
            };
            let mut flow = record.lock();
            if flow.live && !each(&mut flow) {
                return Some(u64::from(number));
            }
            number = number.saturating_add(1);
        }
        None
    }

    /// Ends a flow: off the index, off the wheel, number unused.
    fn take(&self, shard: &mut Shard, number: u32, local: u32) -> Option<Flow> {
        let flow = {
            let mut record = self.record(number)?.lock();
            if !record.live {
                return None;
            }
            core::mem::replace(&mut *record, Flow::VACANT)
        };
        for (index, hash) in self.names(&flow) {
            index.remove(hash, number);
        }
        shard.wheel.give_back(local);
        self.flows.fetch_sub(1, Ordering::Relaxed);
        self.budget.give();
        Some(flow)
    }

    /// Where a flow's names belong.
    fn names(&self, flow: &Flow) -> impl Iterator<Item = (&Index, u64)> {
        let outside = flow.outside();
        let second = (outside != flow.inside).then(|| (&self.outside, self.hash(&outside)));
        core::iter::once((&self.inside, self.hash(&flow.inside))).chain(second)
    }

    #[inline(always)]
    fn slot(&self, number: u32) -> Option<&Slot<R>> {
        let chunk = self.chunks.get(position(number / CHUNK))?.get()?;
        chunk.get(position(number % CHUNK))
    }

    #[inline(always)]
    fn record(&self, number: u32) -> Option<&Mutex<R, Flow>> {
        Some(&self.slot(number)?.0)
    }

    fn capacity(&self) -> u32 {
        u32::try_from(self.chunks.len())
            .unwrap_or(u32::MAX)
            .saturating_mul(CHUNK)
    }

    fn shard_count(&self) -> u32 {
        u32::try_from(self.shards.len()).unwrap_or(1).max(1)
    }

    fn shard(&self, at: u32) -> MutexGuard<'_, R, Shard> {
        // There is at least one shard, and `at` is always below their number.
        #[expect(
            clippy::indexing_slicing,
            reason = "there is one shard at least, and none goes away"
        )]
        let shard = self.shards.get(position(at)).unwrap_or(&self.shards[0]);
        shard.lock()
    }

    /// Shard of a flow number, and its number there.
    fn place(&self, number: u32) -> (u32, u32) {
        let shards = self.shard_count();
        let chunk = number / CHUNK;
        (
            chunk.checked_rem(shards).unwrap_or(0),
            (chunk.checked_div(shards).unwrap_or(0))
                .wrapping_mul(CHUNK)
                .wrapping_add(number % CHUNK),
        )
    }

    /// The reverse of [`Table::place`].
    fn number(&self, at: u32, local: u32) -> u32 {
        let chunk = (local / CHUNK)
            .wrapping_mul(self.shard_count())
            .wrapping_add(at);
        chunk.wrapping_mul(CHUNK).wrapping_add(local % CHUNK)
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

/// A locked shard.
#[derive(Debug)]
pub struct ShardGuard<'t, R: RawMutex> {
    table: &'t Table<R>,
    at: u32,
    shard: MutexGuard<'t, R, Shard>,
}

impl<'t, R: RawMutex> ShardGuard<'t, R> {
    /// As [`Table::find`], and never misses. The key must be of this shard:
    /// an inside key, or one of a flow whose inside key is.
    pub fn find(
        &mut self,
        dir: Direction,
        key: &Tuple,
        hash: u64,
    ) -> Option<(FlowId, MutexGuard<'t, R, Flow>)> {
        let table = self.table;
        let among = |index: &'t Index| {
            let found = index.everywhere(hash).find_map(|number| {
                // Another shard's flow may have the same outside key: one whose
                // external port was given to somebody else meanwhile.
                let ours = table.place(number).0 == self.at;
                ours.then(|| table.locked_if_named(number, dir, key))?
            })?;
            index.bring_home(hash, found.0.0);
            Some(found)
        };
        match dir {
            Direction::Out => among(&table.inside),
            Direction::In => among(&table.inside).or_else(|| among(&table.outside)),
        }
    }

    /// Adds a flow. In a full table a flow that is half open or finished gives
    /// way; `ended` is called with it.
    ///
    /// # Errors
    ///
    /// When the port or the host has as many flows as it may have.
    pub fn insert(
        &mut self,
        flow: Flow,
        options: &PortOptions,
        mut ended: impl FnMut(&mut Flow),
    ) -> Result<FlowId, DropReason> {
        let table = self.table;
        if table.flows.load(Ordering::Relaxed) >= table.flows_max.load(Ordering::Relaxed) {
            self.evict(options, Flow::gives_way, &mut ended)
                .ok_or(DropReason::PortFlowsFull)?;
        }
        if !table.budget.take() {
            self.evict(options, Flow::gives_way, &mut ended)
                .ok_or(DropReason::HostFlowsFull)?;
            if !table.budget.take() {
                return Err(DropReason::HostFlowsFull);
            }
        }
        let Some(local) = self.unused(options, &mut ended) else {
            table.budget.give();
            return Err(DropReason::PortFlowsFull);
        };
        let number = table.number(self.at, local);
        match self.publish(number, flow) {
            true => {
                self.shard.wheel.schedule(local, due(&flow, options));
                table.flows.fetch_add(1, Ordering::Relaxed);
                Ok(FlowId(number))
            }
            false => {
                self.shard.wheel.give_back(local);
                table.budget.give();
                Err(DropReason::PortFlowsFull)
            }
        }
    }

    /// Makes a flow of this shard come due by what its state allows now.
    pub fn reschedule(&mut self, id: FlowId, options: &PortOptions) {
        let (_, local) = self.table.place(id.0);
        let due = self.table.get(id).map(|flow| due(&flow, options));
        if let Some(due) = due {
            self.shard.wheel.schedule(local, due);
        }
    }

    /// Ends a flow of this shard that was found.
    pub fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let (at, local) = self.table.place(id.0);
        debug_assert_eq!(at, self.at, "a flow is removed under its own shard's lock");
        self.table.take(&mut self.shard, id.0, local)
    }

    /// Writes the record, then makes it findable.
    fn publish(&self, number: u32, flow: Flow) -> bool {
        let table = self.table;
        let Some(record) = table.record(number) else {
            return false;
        };
        *record.lock() = flow;
        if table
            .names(&flow)
            .all(|(index, hash)| index.insert(hash, number))
        {
            return true;
        }
        // Removing what isn't there does nothing.
        for (index, hash) in table.names(&flow) {
            index.remove(hash, number);
        }
        *record.lock() = Flow::VACANT;
        false
    }

    /// A number that isn't in use: one given back, one of a new chunk, or
    /// that of a flow that gives way.
    fn unused(&mut self, options: &PortOptions, ended: &mut impl FnMut(&mut Flow)) -> Option<u32> {
        if let Some(local) = self.shard.wheel.take_unused() {
            return Some(local);
        }
        if !self.grow() {
            self.evict(options, Flow::gives_way, ended)?;
        }
        self.shard.wheel.take_unused()
    }

    /// Adds a chunk of records to this shard, if there may be one more.
    fn grow(&mut self) -> bool {
        let chunk = self
            .shard
            .chunks
            .wrapping_mul(self.table.shard_count())
            .wrapping_add(self.at);
        let Some(cell) = self.table.chunks.get(position(chunk)) else {
            return false;
        };
        // Made where it stays: a kernel's stack has no room for a chunk.
        let records: Box<[_]> = (0..CHUNK).map(|_| Slot(Mutex::new(Flow::VACANT))).collect();
        let new = Box::try_from(records).is_ok_and(|chunk| cell.set(chunk).is_ok());
        if new {
            self.shard.chunks = self.shard.chunks.wrapping_add(1);
            self.shard.wheel.grow(CHUNK);
        }
        new
    }

    /// Ends a flow that gives way and that is of use to somebody, if there is
    /// one among those that come due soonest; `ended` is called with it.
    pub fn make_way(
        &mut self,
        options: &PortOptions,
        of_use: impl Fn(&Flow) -> bool,
        mut ended: impl FnMut(&mut Flow),
    ) -> bool {
        let which = |flow: &Flow| flow.gives_way() && of_use(flow);
        self.evict(options, which, &mut ended).is_some()
    }

    /// Ends a flow that `fits`, of those that come due soonest.
    fn evict(
        &mut self,
        options: &PortOptions,
        fits: impl Fn(&Flow) -> bool,
        ended: &mut impl FnMut(&mut Flow),
    ) -> Option<()> {
        let (table, at) = (self.table, self.at);
        let mut stay = [None; EVICT_TRIES];
        let mut places = stay.iter_mut();
        let fits = |local| {
            let Some(flow) = table.get(FlowId(table.number(at, local))) else {
                return false;
            };
            let due = deadline(&flow, options);
            if !flow.gives_way()
                && let Some(place) = places.next()
            {
                *place = Some((local, due));
            }
            fits(&flow)
        };
        let found = self.shard.wheel.soonest(EVICT_TRIES, fits);
        // Live flows aren't moved while packets come (rule W1), so those that
        // are seemingly due hide others; they go where they belong.
        for (local, due) in stay.into_iter().flatten() {
            self.shard.wheel.schedule(local, due);
        }
        let local = found?;
        let mut flow = table.take(&mut self.shard, table.number(at, local), local)?;
        ended(&mut flow);
        Some(())
    }
}

/// The second at which a flow is over unless a packet comes.
fn deadline(flow: &Flow, options: &PortOptions) -> u32 {
    second_after(flow, flow.timeout_s(options))
}

/// The second at which a flow has to be looked at.
fn due(flow: &Flow, options: &PortOptions) -> u32 {
    second_after(flow, flow.timeout_min_s(options))
}

fn second_after(flow: &Flow, timeout_s: u32) -> u32 {
    let end = flow
        .last
        .after()
        .plus_millis(u64::from(timeout_s).saturating_mul(1_000));
    seconds(end).saturating_add(1)
}

/// A time in whole seconds, as the wheel counts.
fn seconds(now: Instant) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
