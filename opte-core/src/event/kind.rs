//! Enumerations that are arguments of events.

/// How a decision about a frame was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Path {
    /// Before any look-up: the frame was malformed, spoofed or a hairpin.
    None = 0,
    /// In the flow table.
    Hit = 1,
    /// By the layers.
    Miss = 2,
}

impl Path {
    /// Every path.
    pub const ALL: [Self; 3] = [Self::None, Self::Hit, Self::Miss];

    /// The number in probes.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The path's one spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

/// Which generation made a cached decision stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stale {
    /// The port's rules, routes, addresses or external addresses.
    Policy = 1,
    /// A virtual to physical or virtual to boundary mapping.
    Mapping = 2,
    /// The underlay's links or routes.
    Underlay = 3,
    /// Nothing changed: it was not used for too long, or was cleared.
    Idle = 4,
}

impl Stale {
    /// Every cause.
    pub const ALL: [Self; 4] = [Self::Policy, Self::Mapping, Self::Underlay, Self::Idle];

    /// The number in probes.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The cause's one spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Mapping => "mapping",
            Self::Underlay => "underlay",
            Self::Idle => "idle",
        }
    }
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowEnd {
    /// No packet for as long as its state allows.
    Idle = 1,
    /// Closed by its protocol.
    Closed = 2,
    /// Gave way to another flow in a full table.
    Evicted = 3,
    /// A changed policy no longer allows it.
    Revoked = 4,
    /// An operator cleared it, or its port was deleted.
    Cleared = 5,
}

impl FlowEnd {
    /// Every end.
    pub const ALL: [Self; 5] = [
        Self::Idle,
        Self::Closed,
        Self::Evicted,
        Self::Revoked,
        Self::Cleared,
    ];

    /// The number in probes.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The end's one spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Closed => "closed",
            Self::Evicted => "evicted",
            Self::Revoked => "revoked",
            Self::Cleared => "cleared",
        }
    }
}
