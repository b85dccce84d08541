//! What one guest says that it listens to.
//!
//! Purpose   the router's side of IGMP and MLD (RFC 3376 section 6, RFC 3810
//!           section 7) for a link with one host on it, the guest. There is
//!           nobody else whom a change could hurt, so what the guest says
//!           counts at once: no questions about a group are needed before
//!           somebody leaves, and no compatibility mode for older versions.
//! Rules     E1  an interest ends when the guest doesn't renew it; a general
//!               query asks it to every [`QUERY_INTERVAL_S`].
//!           E2  groups that stay on the link aren't kept, nor older versions'
//!               and exclude-mode interest in source-specific groups (RFC 4604
//!               section 2.2).
//!           E3  a guest sends [`REPORTS_PER_S`] reports, and
//!               [`REPORTS_BURST`] at once; each group that one changes
//!               counts as another, for it costs as much as its members.

use super::filter::Filter;
use crate::Instant;
use crate::api::multicast::{is_routable_group, is_source_specific};
use crate::limits::{MCAST_SOURCES_MAX, PORT_GROUPS_MAX};
use crate::ordered::{OrderedMap, OrderedSet};
use crate::wire::membership::{Change, GeneralQuery, Record};
use alloc::vec::Vec;
use core::net::IpAddr;

/// Defaults of RFC 3376 section 8 and RFC 3810 section 9.
const QUERY_INTERVAL_S: u8 = 125;
const ANSWER_MS: u16 = 10_000;
const ROBUSTNESS: u8 = 2;
/// How long an interest lasts: robustness times the interval, and an answer.
const INTEREST_MS: u64 = 260_000;
/// The first queries come quickly, as many as the robustness.
const STARTUP_INTERVAL_MS: u64 = 31_250;
const INTERVAL_MS: u64 = 125_000;
/// Reports that a guest may send. One with a join for each of its groups,
/// repeated for robustness, fits the burst many times.
const REPORTS_PER_S: u64 = 64;
const REPORTS_BURST: u32 = 512;
/// How late an interest may end.
const EXPIRY_GRAIN_MS: u64 = 5_000;

/// The question that guests are asked.
pub(super) const QUERY: GeneralQuery = GeneralQuery {
    answer_ms: ANSWER_MS,
    interval_s: QUERY_INTERVAL_S,
    robustness: ROBUSTNESS,
};

/// A guest's interests.
#[derive(Debug)]
pub(super) struct Listener {
    groups: OrderedMap<IpAddr, Interest>,
    queries: u64,
    next_query: Instant,
    /// Reports that the guest may send now, and since when that is right.
    credit: u32,
    credit_at: Instant,
}

/// What a report came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Groups whose sources, or membership, are others now.
    pub(super) changed: OrderedSet<IpAddr>,
    /// Whether something was left out for want of room.
    pub(super) full: bool,
}

/// What one record came to.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    changed: bool,
    full: bool,
}

/// A guest's interest in one group.
#[derive(Debug, Default)]
struct Interest {
    /// In exclude mode until then.
    exclude_until: Option<Instant>,
    /// Sources that aren't heard in exclude mode.
    excluded: OrderedSet<IpAddr>,
    /// Sources that are heard in include mode, and until when.
    included: OrderedMap<IpAddr, Instant>,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            groups: OrderedMap::new(),
            queries: 0,
            next_query: Instant::ZERO,
            credit: REPORTS_BURST,
            credit_at: Instant::ZERO,
        }
    }
}

impl Listener {
    /// Takes the records of a report.
    pub(super) fn take<'p>(
        &mut self,
        records: impl Iterator<Item = Record<'p>>,
        now: Instant,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for record in records {
            self.take_one(&record, now, &mut outcome);
        }
        let cost = u32::try_from(outcome.changed.len()).unwrap_or(u32::MAX);
        self.credit = self.credit.saturating_sub(cost);
        outcome
    }

    fn take_one(&mut self, record: &Record<'_>, now: Instant, outcome: &mut Outcome) {
        let (group, change) = (record.group, record.change);
        let is_exclude = matches!(change, Change::IsExclude | Change::ToExclude);
        // E2
        if !is_routable_group(&group) || is_exclude && is_source_specific(&group) {
            return;
        }
        let is_full = self.groups.len() >= PORT_GROUPS_MAX;
        let mut new = Interest::default();
        let known = self.groups.get_mut(&group);
        let is_known = known.is_some();
        let taken = known
            .unwrap_or(&mut new)
            .take(change, record.sources(), now);
        outcome.full |= taken.full;
        if !is_known && !new.is_none() {
            if is_full {
                outcome.full = true;
                return;
            }
            self.groups.insert(group, new);
        } else if is_known && self.groups.get(&group).is_some_and(Interest::is_none) {
            self.groups.remove(&group);
        }
        if taken.changed {
            outcome.changed.insert(group);
        }
    }

    /// Whether the guest may send another report now: changes cost everybody
    /// on the host, so they have a rate (rule E3).
    pub(super) fn may_report(&mut self, now: Instant) -> bool {
        let since = now.millis_since(self.credit_at);
        let more = u32::try_from(since.saturating_mul(REPORTS_PER_S) / 1_000).unwrap_or(u32::MAX);
        if more > 0 {
            self.credit = self.credit.saturating_add(more).min(REPORTS_BURST);
            self.credit_at = now;
        }
        let left = self.credit.checked_sub(1);
        self.credit = left.unwrap_or(0);
        left.is_some()
    }

    /// What time asks for: whether a query is due, and the groups in which
    /// interest has ended.
    pub(super) fn wake(&mut self, now: Instant) -> (bool, Vec<IpAddr>) {
        let mut changed = Vec::new();
        self.groups.retain(|group, interest| {
            if interest.expire(now) {
                changed.push(*group);
            }
            !interest.is_none()
        });
        let is_due = now >= self.next_query;
        if is_due {
            self.queries = self.queries.saturating_add(1);
            let wait = match self.queries < u64::from(ROBUSTNESS) {
                true => STARTUP_INTERVAL_MS,
                false => INTERVAL_MS,
            };
            self.next_query = now.plus_millis(wait);
        }
        (is_due, changed)
    }

    /// When to wake it again.
    pub(super) fn due(&self, now: Instant) -> Instant {
        match self.groups.is_empty() {
            true => self.next_query,
            false => self.next_query.min(now.plus_millis(EXPIRY_GRAIN_MS)),
        }
    }

    /// What the guest hears of a group; none when it isn't a member.
    pub(super) fn filter(&self, group: &IpAddr) -> Option<Filter> {
        self.groups.get(group).map(Interest::filter)
    }

    /// Milliseconds until the last of the interest in a group ends.
    pub(super) fn expires_ms(&self, group: &IpAddr, now: Instant) -> Option<u64> {
        let interest = self.groups.get(group)?;
        let last = interest.included.values().copied().max();
        let until = interest.exclude_until.or(last)?;
        Some(until.millis_since(now))
    }

    /// The groups that the guest is in.
    pub(super) fn groups(&self) -> impl Iterator<Item = IpAddr> {
        self.groups.keys().copied()
    }
}

impl Interest {
    /// RFC 3376 section 6.4, with nobody but the guest to ask.
    fn take(
        &mut self,
        change: Change,
        sources: impl Iterator<Item = IpAddr>,
        now: Instant,
    ) -> Taken {
        let until = now.plus_millis(INTEREST_MS);
        let mut sources = sources.peekable();
        let is_exclude = self.exclude_until.is_some();
        match change {
            Change::IsExclude | Change::ToExclude => {
                self.included.clear();
                self.exclude_until = Some(until);
                let before = core::mem::take(&mut self.excluded);
                let taken = self.exclude(sources);
                Taken {
                    changed: !is_exclude || before != self.excluded,
                    ..taken
                }
            }
            Change::IsInclude | Change::ToInclude => {
                // A long list comes as several records, so a list adds to
                // what there is, and only an empty one says that it was all.
                let ends = sources.peek().is_none();
                let was_any = is_exclude || ends && !self.included.is_empty();
                if is_exclude || ends {
                    *self = Self::default();
                }
                let taken = self.include(sources, until);
                Taken {
                    changed: was_any || taken.changed,
                    ..taken
                }
            }
            Change::Allow if is_exclude => Taken {
                // Every one of them, not just the first.
                changed: sources.fold(false, |any, source| self.excluded.remove(&source) | any),
                full: false,
            },
            Change::Allow => self.include(sources, until),
            Change::Block if is_exclude => self.exclude(sources),
            Change::Block => Taken {
                changed: sources.fold(false, |any, source| {
                    self.included.remove(&source).is_some() | any
                }),
                full: false,
            },
        }
    }

    fn include(&mut self, sources: impl Iterator<Item = IpAddr>, until: Instant) -> Taken {
        let mut taken = Taken::default();
        for source in sources {
            if self.included.len() < MCAST_SOURCES_MAX || self.included.contains_key(&source) {
                taken.changed |= self.included.insert(source, until).is_none();
            } else {
                taken.full = true;
            }
        }
        taken
    }

    fn exclude(&mut self, sources: impl Iterator<Item = IpAddr>) -> Taken {
        let mut taken = Taken::default();
        for source in sources {
            if self.excluded.len() < MCAST_SOURCES_MAX || self.excluded.contains(&source) {
                taken.changed |= self.excluded.insert(source);
            } else {
                taken.full = true;
            }
        }
        taken
    }

    /// Ends what wasn't renewed; whether anything ended.
    fn expire(&mut self, now: Instant) -> bool {
        let before = self.included.len();
        self.included.retain(|_, until| *until > now);
        let is_over = self.exclude_until.is_some_and(|until| until <= now);
        if is_over {
            self.exclude_until = None;
            self.excluded.clear();
        }
        is_over || self.included.len() != before
    }

    /// Whether nothing is heard.
    fn is_none(&self) -> bool {
        self.exclude_until.is_none() && self.included.is_empty()
    }

    fn filter(&self) -> Filter {
        match self.exclude_until {
            Some(_) => Filter::Exclude(self.excluded.clone()),
            None => Filter::Include(self.included.keys().copied().collect()),
        }
    }
}
