//! How flows of a table end by time.

use super::shard::{Shard, ShardGuard};
use super::{FlowId, SHARDS_MAX, Table};
use crate::Instant;
use crate::api::PortOptions;
use crate::event::FlowEnd;
use crate::flow::record::Flow;
use crate::flow::wheel::Fate;
use crate::flow::{Proto, position};
use lock_api::RawMutex;

/// Flows that are worked on under one hold of a shard's lock.
const BATCH: u32 = 8;
/// Work per shard and tick, in flows.
const TICK_BUDGET: u32 = 4_096;

impl<R: RawMutex> Table<R> {
    /// Makes a flow come due by what its state allows now. Takes its shard's
    /// lock, so the flow must not be locked.
    pub fn reschedule(&self, id: FlowId, options: &PortOptions) {
        let (at, _) = self.store.place(id.0);
        ShardGuard {
            table: self,
            at,
            shard: self.shard(at),
        }
        .reschedule(id, options);
    }

    /// Makes every flow come due by these timeouts, after they have changed.
    pub fn reschedule_all(&self, options: &PortOptions) {
        for (number, _) in self.store.slots(0) {
            if self.get(FlowId(number)).is_some() {
                self.reschedule(FlowId(number), options);
            }
        }
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
        let number = self.store.number(at, local);
        let Some(record) = self.record(number) else {
            return;
        };
        let (due, fate, over) = {
            let flow = record.lock();
            let over = flow.tcp.state().is_over();
            (deadline(&flow, options), fate(&flow), over)
        };
        if due > seconds(now) {
            shard.wheel.schedule(local, due, fate);
        } else if let Some(mut flow) = self.take(shard, number, local) {
            let tcp = flow.inside.proto == Proto::TCP;
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
}

/// What becomes of a flow when its table is full.
pub(super) fn fate(flow: &Flow) -> Fate {
    match flow.gives_way() {
        true => Fate::MayGiveWay,
        false => Fate::Stays,
    }
}

/// The second at which a flow is over unless a packet comes.
pub(super) fn deadline(flow: &Flow, options: &PortOptions) -> u32 {
    second_after(flow, flow.timeout_s(options))
}

/// The second at which a flow has to be looked at.
pub(super) fn due(flow: &Flow, options: &PortOptions) -> u32 {
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
pub(super) fn seconds(now: Instant) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}
