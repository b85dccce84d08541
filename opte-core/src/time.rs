//! Time as the engine sees it: handed in by the shell, never read here.

/// A point in time to a sixteenth of a second, in half the space. Good for
/// eight years of the shell's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coarse(u32);

impl Coarse {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);
}

impl From<Instant> for Coarse {
    fn from(instant: Instant) -> Self {
        Self(u32::try_from(instant.as_millis() / COARSE_MS).unwrap_or(u32::MAX))
    }
}

impl From<Coarse> for Instant {
    fn from(coarse: Coarse) -> Self {
        Self::from_millis(u64::from(coarse.0).saturating_mul(COARSE_MS))
    }
}

/// Nearly a sixteenth of a second.
const COARSE_MS: u64 = 62;

/// A point on the shell's monotonic clock, in nanoseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// The point `nanos` nanoseconds after the clock's start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The point `millis` milliseconds after the clock's start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the clock's start.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole seconds since the clock's start.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// This point moved `millis` milliseconds into the future.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1_000_000)))
    }

    /// Milliseconds from `earlier` to this point; zero when `earlier` is later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}
