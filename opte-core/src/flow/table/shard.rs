//! A shard of a table: the flows that are added and ended under one lock.

use super::expiry::{deadline, due, fate, seconds};
use super::{FlowId, Found, Table};
use crate::api::PortOptions;
use crate::flow::record::Flow;
use crate::flow::store::Lack;
use crate::flow::wheel::{Fate, Wheel};
use crate::flow::{Tuple, position};
use crate::{Direction, DropReason, Instant};
use alloc::boxed::Box;
use core::sync::atomic::Ordering;
use lock_api::{Mutex, MutexGuard, RawMutex};

/// Flows that are looked at to find one that gives way.
const EVICT_TRIES: usize = 4;

/// The part of a table that is changed under one lock: the flows whose inside
/// keys' hashes begin alike.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) wheel: Wheel,
}

impl Shard {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            wheel: Wheel::new(seconds(now)),
        }
    }
}

/// The shards of a table. There is one at least, so that any number finds one
/// without a check that could fail.
#[derive(Debug)]
pub(super) struct Shards<R: RawMutex> {
    first: Mutex<R, Shard>,
    others: Box<[Mutex<R, Shard>]>,
}

impl<R: RawMutex> Shards<R> {
    pub(super) fn new(count: u32, now: Instant) -> Self {
        let shard = |_| Mutex::new(Shard::new(now));
        Self {
            first: shard(0),
            others: (1..count).map(shard).collect(),
        }
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.others.len()).map_or(u32::MAX, |others| others.saturating_add(1))
    }

    /// Shard number `at`, which is below their count.
    pub(super) fn get(&self, at: u32) -> &Mutex<R, Shard> {
        let other = at
            .checked_sub(1)
            .and_then(|at| self.others.get(position(at)));
        other.unwrap_or(&self.first)
    }
}

/// A locked shard.
#[derive(Debug)]
pub struct ShardGuard<'t, R: RawMutex> {
    pub(super) table: &'t Table<R>,
    pub(super) at: u32,
    pub(super) shard: MutexGuard<'t, R, Shard>,
}

impl<'t, R: RawMutex> ShardGuard<'t, R> {
    /// As [`Table::find`], and never misses. The key must be of this shard:
    /// an inside key, or one of a flow whose inside key is.
    pub fn find(&mut self, dir: Direction, key: &Tuple, hash: u64) -> Option<Found<'t, R>> {
        let table = self.table;
        // Inside names that are another shard's are none of ours.
        let ours = table.store.shard_of(hash) == self.at;
        let inside = ours.then(|| table.find_inside(dir, key, hash)).flatten();
        match dir {
            Direction::Out => inside,
            Direction::In => inside.or_else(|| self.find_outside(key, hash)),
        }
    }

    fn find_outside(&self, key: &Tuple, hash: u64) -> Option<Found<'t, R>> {
        // Another shard's flow may have the same outside key: one whose
        // external port was given to somebody else meanwhile.
        let ours = |number| self.table.store.place(number).0 == self.at;
        let found = self.table.find_outside(key, hash, ours)?;
        self.table.outside.get()?.bring_home(hash, found.0.0);
        Some(found)
    }

    /// Asks for the memory that adding a flow with this inside key's hash needs.
    pub fn expect(&self, hash: u64) {
        let table = self.table;
        table.store.prefetch_vacancy(hash);
        if table.is_full() {
            let expect = |local| table.store.prefetch_record(self.at, local);
            self.shard.wheel.expect_soonest(expect);
        }
    }

    /// Adds a flow. In a full table a flow that is half open or finished gives
    /// way; `ended` is called with it.
    ///
    /// # Errors
    ///
    /// When the port or the host has as many flows as it may have, or there is
    /// no memory for one more.
    // A kernel's stack is small: what is needed here isn't below who calls it.
    #[inline(never)]
    pub fn insert(
        &mut self,
        flow: Flow,
        options: &PortOptions,
        mut ended: impl FnMut(&mut Flow),
    ) -> Result<FlowId, DropReason> {
        let table = self.table;
        if table.is_full() {
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
        let hash = table.hash(&flow.inside);
        let number = self
            .vacancy(hash, &mut ended)
            .and_then(|number| self.publish(number, hash, flow))
            .inspect_err(|_| table.budget.give())?;
        let (_, local) = table.store.place(number);
        self.shard
            .wheel
            .schedule(local, due(&flow, options), fate(&flow));
        table.flows.fetch_add(1, Ordering::Relaxed);
        Ok(FlowId(number))
    }

    /// Makes a flow of this shard come due by what its state allows now.
    pub fn reschedule(&mut self, id: FlowId, options: &PortOptions) {
        let (_, local) = self.table.store.place(id.0);
        let flow = self.table.get(id);
        let timer = flow.map(|flow| (due(&flow, options), fate(&flow)));
        if let Some((due, fate)) = timer {
            self.shard.wheel.schedule(local, due, fate);
        }
    }

    /// Ends a flow of this shard that was found.
    pub fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let (at, local) = self.table.store.place(id.0);
        debug_assert_eq!(at, self.at, "a flow is removed under its own shard's lock");
        self.table.take(&mut self.shard, id.0, local)
    }

    /// Writes the record, then makes it findable.
    fn publish(&self, number: u32, hash: u64, flow: Flow) -> Result<u32, DropReason> {
        let table = self.table;
        let record = table.record(number).ok_or(DropReason::PortFlowsFull)?;
        *record.lock() = flow;
        if let Some(hash) = table.outside_hash(&flow)
            && !table.outside().insert(hash, number)
        {
            *record.lock() = Flow::VACANT;
            return Err(DropReason::PortFlowsFull);
        }
        table.store.publish(number, hash);
        Ok(number)
    }

    /// A way for a flow with this hash that is empty, or is made so by a flow
    /// that gives way.
    fn vacancy(&mut self, hash: u64, ended: impl FnMut(&mut Flow)) -> Result<u32, DropReason> {
        let table = self.table;
        let number = match table.store.vacancy(hash, table.len()) {
            Ok(number) => number,
            Err(lack) => self.vacate(hash, ended).ok_or(match lack {
                Lack::Room => DropReason::PortFlowsFull,
                Lack::Memory => DropReason::NoMemory,
            })?,
        };
        let numbers = table.store.part(table.store.capacity());
        let grown = self.shard.wheel.grow(numbers);
        grown.ok_or(DropReason::NoMemory)?;
        Ok(number)
    }

    /// Makes a flow give way that is where one with this hash may be.
    fn vacate(&mut self, hash: u64, mut ended: impl FnMut(&mut Flow)) -> Option<u32> {
        let table = self.table;
        let mut around = table.store.around(hash);
        let number = around.find(|number| {
            let flow = table.get(FlowId(*number));
            flow.is_some_and(|flow| flow.gives_way())
        })?;
        ended(&mut self.remove(FlowId(number))?);
        Some(number)
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
            let Some(flow) = table.get(FlowId(table.store.number(at, local))) else {
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
        let expect = |local| table.store.prefetch_record(at, local);
        let found = self.shard.wheel.soonest(EVICT_TRIES, expect, fits);
        // Flows aren't moved while packets come (rule W1), so those that were
        // answered hide others; they go where they belong, and are looked at
        // no more.
        for (local, due) in stay.into_iter().flatten() {
            self.shard.wheel.schedule(local, due, Fate::Stays);
        }
        let local = found?;
        let mut flow = table.take(&mut self.shard, table.store.number(at, local), local)?;
        ended(&mut flow);
        Some(())
    }
}
