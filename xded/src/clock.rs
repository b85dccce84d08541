//! The engine's clock: monotonic time since the driver started.

use opte_core::Instant;

/// Reads the time that the engine is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }

    /// The time.
    pub(crate) fn now(self) -> Instant {
        // 64 bits of nanoseconds last for 584 years.
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
