//! Time as the engine sees it: handed in by the shell, never read here.

/// A point in time to about a quarter of a second, in half the space. Good
/// for 36 years of the shell's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coarse(u32);

/// The unit is 2^28 nanoseconds, 268 ms: a shift makes one from the other.
const COARSE_SHIFT: u32 = 28;

impl Coarse {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// A duration in seconds in these units, rounded up.
    #[must_use]
    pub fn units_of_s(seconds: u32) -> u32 {
        let units = (u64::from(seconds).saturating_mul(1_000_000_000)).div_ceil(1 << COARSE_SHIFT);
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    /// Units from `earlier` to this point; zero when `earlier` is later.
    #[must_use]
    #[inline]
    pub const fn units_since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// The first moment that is later than all that this point can mean.
    #[must_use]
    pub fn after(self) -> Instant {
        Instant::from(Self(self.0.saturating_add(1)))
    }
}

impl From<Instant> for Coarse {
    #[inline]
    fn from(instant: Instant) -> Self {
        // Cut, not checked: every packet does this.
        let [a, b, c, d, ..] = (instant.as_nanos() >> COARSE_SHIFT).to_le_bytes();
        Self(u32::from_le_bytes([a, b, c, d]))
    }
}

impl From<Coarse> for Instant {
    fn from(coarse: Coarse) -> Self {
        Self::from_nanos(u64::from(coarse.0) << COARSE_SHIFT)
    }
}

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
