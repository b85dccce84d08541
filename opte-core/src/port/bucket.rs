//! A token bucket without a lock.

use crate::Instant;
use core::sync::atomic::{AtomicU64, Ordering};

/// Lets so many things happen in a second, and so many at once.
///
/// It remembers one time: when the bucket will be full again. Each token takes
/// that one interval further away, and when it is a whole burst away the
/// bucket is empty (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug)]
pub(super) struct Bucket {
    /// Nanoseconds.
    full_at: AtomicU64,
    interval_ns: u64,
    burst_ns: u64,
}

impl Bucket {
    /// A full bucket of `burst` tokens that gets `per_s` new ones a second.
    pub(super) const fn new(per_s: u64, burst: u64) -> Self {
        let interval_ns = match 1_000_000_000_u64.checked_div(per_s) {
            Some(interval_ns) => interval_ns,
            None => u64::MAX,
        };
        Self {
            full_at: AtomicU64::new(0),
            interval_ns,
            burst_ns: interval_ns.saturating_mul(burst),
        }
    }

    /// Whether there is a token.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.after(self.full_at.load(Ordering::Relaxed), now)
            .is_some()
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&self, now: Instant) -> bool {
        self.take_many(1, now)
    }

    /// Takes so many tokens, if there is one: those that aren't there are owed,
    /// so that what costs more than a whole burst comes to pass at all.
    pub(super) fn take_many(&self, tokens: u64, now: Instant) -> bool {
        let more = self.interval_ns.saturating_mul(tokens.saturating_sub(1));
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        self.full_at
            .fetch_update(set, get, |full_at| {
                Some(self.after(full_at, now)?.saturating_add(more))
            })
            .is_ok()
    }

    /// When it is full again after one more token is taken; `None` when there
    /// is none.
    fn after(&self, full_at: u64, now: Instant) -> Option<u64> {
        let now = now.as_nanos();
        let full_at = full_at.max(now).checked_add(self.interval_ns)?;
        (full_at.saturating_sub(now) <= self.burst_ns).then_some(full_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let bucket = Bucket::new(100, 5);
        let start = Instant::from_millis(1_000);
        let taken = |ms: u64| {
            (0..50)
                .filter(|_| bucket.take(start.plus_millis(ms)))
                .count()
        };
        assert_eq!(taken(0), 5);
        assert!(!bucket.is_ready(start));
        assert_eq!(taken(9), 0);
        assert!(bucket.is_ready(start.plus_millis(10)));
        assert_eq!(taken(10), 1);
        assert_eq!(taken(30), 2);
        assert_eq!(
            taken(10_000),
            5,
            "no more than a burst, however long it rested"
        );
        assert_eq!(taken(9_000), 0, "time that goes back brings nothing");
    }

    #[test]
    fn what_is_taken_beyond_the_burst_is_owed() {
        let bucket = Bucket::new(100, 5);
        let start = Instant::from_millis(1_000);
        assert!(bucket.take_many(3, start));
        // Two are left: eighteen are owed, at ten milliseconds each.
        assert!(bucket.take_many(20, start));
        assert!(!bucket.take_many(1, start.plus_millis(189)));
        assert!(bucket.take_many(1, start.plus_millis(190)));
        assert!(bucket.take_many(0, start.plus_millis(200)), "as one");
        assert!(!bucket.take(start.plus_millis(200)));
    }

    #[test]
    fn a_rate_of_zero_is_never() {
        assert!(!Bucket::new(0, 5).take(Instant::from_millis(1)));
    }
}
