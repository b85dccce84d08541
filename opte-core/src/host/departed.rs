//! What ports counted that are no more.
//!
//! Purpose   a host's totals never go back, whatever ports are deleted.
//! Terms     leaving   a port that was deleted while a lane may still take a
//!                     frame through it, which counts
//! Flow      a port goes -> leaving -> nobody has it any more -> sum
//! Rules     T1  a view has each port that ever was exactly once: as a port,
//!               among those that are leaving, or in the sum. So whoever adds
//!               up one view misses nothing and counts nothing twice.

use crate::port::Port;
use crate::stats::{PortStats, Totals};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};
use lock_api::RawMutex;

/// The counters of all ports that were deleted.
#[derive(Debug)]
pub(crate) struct Departed<R: RawMutex> {
    sum: Totals,
    /// At most as many as all lanes' views have, because a port that comes
    /// later is in no older view.
    leaving: Vec<(Weak<Port<R>>, PortStats)>,
}

impl<R: RawMutex> Departed<R> {
    /// No port was deleted yet.
    pub(crate) const fn new() -> Self {
        Self {
            sum: Totals::ZERO,
            leaving: Vec::new(),
        }
    }

    /// The same when these have gone, too.
    pub(crate) fn with<'p>(&self, gone: impl Iterator<Item = &'p Arc<Port<R>>>) -> Self
    where
        R: 'p,
    {
        let mut next = Self {
            sum: self.sum.clone(),
            leaving: Vec::new(),
        };
        for (port, stats) in &self.leaving {
            if port.strong_count() == 0 {
                // Pairs with the release of the last that had it: all that
                // was counted is seen.
                fence(Ordering::Acquire);
                next.sum.add(stats);
            } else {
                next.leaving.push((Weak::clone(port), stats.clone()));
            }
        }
        next.leaving
            .extend(gone.map(|port| (Arc::downgrade(port), port.stats.clone())));
        next
    }

    /// What all of them counted.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.sum.clone();
        for (_, stats) in &self.leaving {
            totals.add(stats);
        }
        totals
    }
}
