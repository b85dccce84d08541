//! Says on the links which groups are heard here (RFC 3810, a listener's
//! side), so that switches which look into MLD send us what we want.
//!
//! Flow      the host: `listen` -> what changed is told on every link
//!           a router's or switch's query: `asked` -> all of it is told there
//! Rules     R1  a change is told [`TOLD`] times, [`AGAIN_MS`] apart.
//!           R2  a query is answered within the time that it gives, at a
//!               moment that is chosen at random, and once in [`AGAIN_MS`] at
//!               most: who forges queries gains little. The answer to a
//!               question about one group names all of them, which says as
//!               much.
//!           R3  a tick tells [`REPORTS_PER_TICK`] reports at most of changes, and
//!               as many of an answer on each link; the next tick goes on where
//!               it ended. All groups that there may be take a few seconds.
//!           R4  nothing is said unasked of the groups of neighbour discovery.
//!               A network without a querier floods them, and in one with it
//!               the first question comes soon.

use super::control::{Context, Control};
use crate::Instant;
use crate::keyed::Keyed;
use crate::ordered::{OrderedMap, OrderedSet};
use crate::verdict::LinkId;
use crate::wire::ipv6::solicited_node;
use crate::wire::membership::{Change, report};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::ops::Bound;

/// Tellings of a change (`Robustness Variable`).
const TOLD: u8 = 2;
/// Between two of them (`Unsolicited Report Interval`).
const AGAIN_MS: u64 = 1_000;
/// Records of one report: a packet with so many fits every link.
const RECORDS_MAX: usize = 60;
/// Reports of one kind that one tick sends on a link.
const REPORTS_PER_TICK: usize = 8;
/// Records in them.
const RECORDS_PER_TICK: usize = RECORDS_MAX * REPORTS_PER_TICK;

/// The groups that are heard.
#[derive(Debug, Default)]
pub(super) struct Listener {
    groups: OrderedSet<Ipv6Addr>,
    /// Groups that came or went, and how often that is still to be told.
    changes: OrderedMap<Ipv6Addr, u8>,
    change_at: Instant,
    /// The last group of this round of telling, while it isn't done.
    change_told: Option<Ipv6Addr>,
}

/// When a link's querier is answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer {
    due: Option<Instant>,
    last: Option<Instant>,
    /// The last group of the answer that is being given.
    told: Option<Ipv6Addr>,
}

impl Listener {
    /// For a link that was just opened: it hasn't heard of any group.
    pub(super) fn first_answer(&self, now: Instant) -> Answer {
        Answer {
            due: Some(now).filter(|_| !self.groups.is_empty()),
            ..Answer::default()
        }
    }

    /// What is to be told of changes now.
    fn changes(&mut self, now: Instant) -> Vec<(Change, Ipv6Addr)> {
        if self.changes.is_empty() || self.change_at > now {
            return Vec::new();
        }
        let groups = &self.groups;
        let change = |group: &Ipv6Addr| match groups.contains(group) {
            true => Change::ToExclude,
            false => Change::ToInclude,
        };
        let rest = self.changes.range(after(self.change_told));
        let rest = rest.take(RECORDS_PER_TICK);
        let told: Vec<_> = rest.map(|(group, _)| (change(group), *group)).collect();
        for (_, group) in &told {
            if let Some(left) = self.changes.get_mut(group) {
                *left = left.saturating_sub(1);
            }
        }
        // R3
        self.change_told = last_of(&told);
        if self.change_told.is_none() {
            self.change_at = now.plus_millis(AGAIN_MS);
            self.changes.retain(|_, left| *left > 0);
        }
        told
    }

    /// What is to be told next of the groups that are heard.
    fn all(&self, told: Option<Ipv6Addr>) -> Vec<(Change, Ipv6Addr)> {
        let rest = self.groups.range(after(told)).take(RECORDS_PER_TICK);
        rest.map(|group| (Change::IsExclude, *group)).collect()
    }
}

/// The groups after one, or all.
fn after(group: Option<Ipv6Addr>) -> (Bound<Ipv6Addr>, Bound<Ipv6Addr>) {
    let first = group.map_or(Bound::Unbounded, Bound::Excluded);
    (first, Bound::Unbounded)
}

/// Where the next tick goes on: nowhere when there was room for more.
fn last_of(told: &[(Change, Ipv6Addr)]) -> Option<Ipv6Addr> {
    let last = told.get(RECORDS_PER_TICK.checked_sub(1)?)?;
    Some(last.1)
}

impl Control {
    /// Takes over the groups that are heard from now on.
    pub(super) fn listen(&mut self, groups: OrderedSet<Ipv6Addr>, now: Instant) {
        let listener = &mut self.listener;
        let new = groups.difference(&listener.groups);
        let gone = listener.groups.difference(&groups);
        let changed: Vec<_> = new.chain(gone).copied().collect();
        if !changed.is_empty() {
            listener.change_at = now;
        }
        listener
            .changes
            .extend(changed.into_iter().map(|group| (group, TOLD)));
        listener.groups = groups;
    }

    /// A querier asks on a link, and wants an answer within so long.
    pub(super) fn asked(&mut self, cx: &Context<'_>, link: LinkId, answer_ms: u32) {
        let key = Keyed::new(self.key, "listener");
        let Some(link) = self.links.get_mut(&link) else {
            return;
        };
        let wait = key.hash((cx.now, link.device.mac));
        let wait = wait.checked_rem(u64::from(answer_ms)).unwrap_or(0);
        let mut due = cx.now.plus_millis(wait);
        if let Some(last) = link.answer.last {
            due = due.max(last.plus_millis(AGAIN_MS));
        }
        if link.answer.told.is_some() {
            // It is being told.
            return;
        }
        link.answer.due = Some(link.answer.due.map_or(due, |other| other.min(due)));
    }

    /// Tells what there is to tell.
    pub(super) fn report(&mut self, cx: &mut Context<'_>) {
        let Some(tunnel) = self.address() else {
            return;
        };
        let changes = self.listener.changes(cx.now);
        for (id, link) in self.links.iter_mut() {
            let mac = link.device.mac;
            let mut records = changes.clone();
            if link.answer.due.is_some_and(|due| due <= cx.now) {
                if link.answer.told.is_none() {
                    let own = [tunnel, mac.link_local()].map(solicited_node);
                    let own = BTreeSet::from(own);
                    records.extend(own.into_iter().map(|group| (Change::IsExclude, group)));
                }
                let more = self.listener.all(link.answer.told);
                let told = last_of(&more);
                records.extend(more);
                link.answer = Answer {
                    due: told.map(|_| cx.now),
                    last: Some(cx.now),
                    told,
                };
            }
            for records in records.chunks(RECORDS_MAX) {
                cx.outbox.send(*id, report(mac, records).into_boxed_slice());
            }
        }
    }
}
