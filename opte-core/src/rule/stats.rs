//! What is counted for a rule or a route.

use crate::Instant;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of a rule or a route.
///
/// They are shared by all snapshots that have the rule, so replacing other
/// rules doesn't reset them. Each is right by itself; the three of them are
/// not read at one moment.
#[derive(Debug, Default)]
pub struct RuleStats {
    packets: AtomicU64,
    bytes: AtomicU64,
    /// Milliseconds on the shell's clock plus one; zero for never.
    last_hit: AtomicU64,
}

impl RuleStats {
    /// Counts `packets` packets with `bytes` bytes in total, the last at `now`.
    pub fn record(&self, packets: u64, bytes: u64, now: Instant) {
        self.packets.fetch_add(packets, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.last_hit
            .fetch_max(now.as_millis().saturating_add(1), Relaxed);
    }

    /// Packets that were counted.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }

    /// Bytes of the packets that were counted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// When a packet was counted last, in milliseconds on the shell's clock.
    #[must_use]
    pub fn last_hit_ms(&self) -> Option<u64> {
        self.last_hit.load(Relaxed).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hit_never_goes_back() {
        let stats = RuleStats::default();
        assert_eq!(stats.last_hit_ms(), None);
        stats.record(1, 60, Instant::from_millis(0));
        assert_eq!(stats.last_hit_ms(), Some(0));
        stats.record(2, 40, Instant::from_millis(7));
        stats.record(1, 1, Instant::from_millis(5));
        assert_eq!(
            (stats.packets(), stats.bytes(), stats.last_hit_ms()),
            (4, 101, Some(7))
        );
    }
}
