//! How many flows several tables may have together.

use core::sync::atomic::{AtomicU32, Ordering};

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

    pub(super) fn take(&self) -> bool {
        let taken = self.used.fetch_add(1, Ordering::Relaxed) < self.max();
        if !taken {
            self.give();
        }
        taken
    }

    pub(super) fn give(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }
}
