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
//!           R3  nothing is said unasked of the groups of neighbour discovery.
//!               A network without a querier floods them, and in one with it
//!               the first question comes soon.

use super::control::{Context, Control};
use crate::Instant;
use crate::keyed::Keyed;
use crate::verdict::LinkId;
use crate::wire::ipv6::solicited_node;
use crate::wire::membership::{Change, report};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::Ipv6Addr;

/// Tellings of a change (`Robustness Variable`).
const TOLD: u8 = 2;
/// Between two of them (`Unsolicited Report Interval`).
const AGAIN_MS: u64 = 1_000;
/// Records of one report: a packet with so many fits every link.
const RECORDS_MAX: usize = 60;

/// The groups that are heard.
#[derive(Debug, Default)]
pub(super) struct Listener {
    groups: BTreeSet<Ipv6Addr>,
    /// Groups that came or went, and how often that is still to be told.
    changes: BTreeMap<Ipv6Addr, u8>,
    change_at: Instant,
}

/// When a link's querier is answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer {
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Listener {
    /// For a link that was just opened: it hasn't heard of any group.
    pub(super) fn first_answer(&self, now: Instant) -> Answer {
        Answer {
            due: Some(now).filter(|_| !self.groups.is_empty()),
            last: None,
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
        let told = self.changes.keys().map(|group| (change(group), *group));
        let told = told.collect();
        self.change_at = now.plus_millis(AGAIN_MS);
        self.changes.retain(|_, left| {
            *left = left.saturating_sub(1);
            *left > 0
        });
        told
    }
}

impl Control {
    /// Takes over the groups that are heard from now on.
    pub(super) fn listen(&mut self, groups: BTreeSet<Ipv6Addr>, now: Instant) {
        let listener = &mut self.listener;
        let changed: Vec<_> = groups
            .symmetric_difference(&listener.groups)
            .copied()
            .collect();
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
        link.answer.due = Some(link.answer.due.map_or(due, |other| other.min(due)));
    }

    /// Tells what there is to tell.
    pub(super) fn report(&mut self, cx: &mut Context<'_>) {
        let Some(tunnel) = self.address() else {
            return;
        };
        let changes = self.listener.changes(cx.now);
        for (id, link) in &mut self.links {
            let mac = link.device.mac;
            let mut records = changes.clone();
            if link.answer.due.is_some_and(|due| due <= cx.now) {
                link.answer = Answer {
                    due: None,
                    last: Some(cx.now),
                };
                let own = [tunnel, mac.link_local()].map(solicited_node);
                let own = BTreeSet::from(own);
                let all = own.iter().chain(&self.listener.groups);
                records.extend(all.map(|group| (Change::IsExclude, *group)));
            }
            for records in records.chunks(RECORDS_MAX) {
                cx.outbox.send(*id, report(mac, records).into_boxed_slice());
            }
        }
    }
}
