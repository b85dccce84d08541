//! What `kstat` shows: the host's and each port's counters, drops by reason.

use crate::ddi::kstat::Source;
use crate::driver::Driver;
use alloc::sync::{Arc, Weak};
use core::ffi::CStr;
use opte_core::DropReason;
use opte_core::api::Name;
use opte_core::api::dump::Stats;

/// Counters that hosts and ports have besides drops.
const COMMON: [&CStr; 10] = [
    c"flows",
    c"in_packets",
    c"in_bytes",
    c"in_hits",
    c"in_misses",
    c"out_packets",
    c"out_bytes",
    c"out_hits",
    c"out_misses",
    c"hairpins",
];
/// What only hosts have.
const HOST: [&CStr; 2] = [c"ports", c"no_memory"];

/// The host's counters.
pub(crate) struct HostStats(Weak<Driver>);

impl HostStats {
    /// Of a driver.
    pub(crate) fn new(driver: &Arc<Driver>) -> Self {
        Self(Arc::downgrade(driver))
    }

    /// Their names.
    pub(crate) fn names() -> impl ExactSizeIterator<Item = &'static CStr> {
        Names::new(&HOST)
    }
}

impl Source for HostStats {
    fn tell(&self, set: &mut dyn FnMut(&str, u64)) {
        let Some(driver) = self.0.upgrade() else {
            return;
        };
        set("no_memory", driver.no_memory());
        if let Some(stats) = driver.engine.counted(None) {
            tell(&stats, set);
        }
    }
}

/// A port's counters.
pub(crate) struct PortStats(Weak<Driver>, Name);

impl PortStats {
    /// Of a port of a driver.
    pub(crate) fn new(driver: &Arc<Driver>, port: Name) -> Self {
        Self(Arc::downgrade(driver), port)
    }

    /// Their names.
    pub(crate) fn names() -> impl ExactSizeIterator<Item = &'static CStr> {
        Names::new(&[])
    }
}

impl Source for PortStats {
    fn tell(&self, set: &mut dyn FnMut(&str, u64)) {
        let Some(driver) = self.0.upgrade() else {
            return;
        };
        if let Some(stats) = driver.engine.counted(Some(&self.1)) {
            tell(&stats, set);
        }
    }
}

fn tell(stats: &Stats, set: &mut dyn FnMut(&str, u64)) {
    set("flows", stats.flows.into());
    for counter in stats.counters.iter().chain(&stats.drops) {
        set(&counter.name, counter.value);
    }
}

/// Names of common counters, more of them, and of drops.
struct Names {
    more: &'static [&'static CStr],
    next: usize,
}

impl Names {
    fn new(more: &'static [&'static CStr]) -> Self {
        Self { more, next: 0 }
    }

    fn total(&self) -> usize {
        COMMON.len() + self.more.len() + DropReason::COUNT
    }
}

impl Iterator for Names {
    type Item = &'static CStr;

    fn next(&mut self) -> Option<Self::Item> {
        let drops = DropReason::ALL.iter().map(|reason| reason.c_name());
        let mut all = COMMON.iter().chain(self.more).copied().chain(drops);
        let name = all.nth(self.next)?;
        self.next += 1;
        Some(name)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.total() - self.next.min(self.total());
        (left, Some(left))
    }
}

impl ExactSizeIterator for Names {}
