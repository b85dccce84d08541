//! Enumerations that are arguments of events.

use crate::numbered::numbered;

numbered! {
    /// How a decision about a frame was found.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Path {
        /// Before any look-up: the frame was malformed, spoofed or a hairpin.
        None = 0 "none",
        /// In the flow table.
        Hit = 1 "hit",
        /// By the layers.
        Miss = 2 "miss",
    }
}

numbered! {
    /// Which generation made a cached decision stale.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Stale {
        /// The port's rules, routes, addresses or external addresses.
        Policy = 1 "policy",
        /// A virtual to physical or virtual to boundary mapping.
        Mapping = 2 "mapping",
        /// The underlay's links or routes.
        Underlay = 3 "underlay",
        /// Nothing changed: it was not used for too long, or was cleared.
        Idle = 4 "idle",
    }
}

numbered! {
    /// Why a flow ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum FlowEnd {
        /// No packet for as long as its state allows.
        Idle = 1 "idle",
        /// Closed by its protocol.
        Closed = 2 "closed",
        /// Gave way to another flow in a full table.
        Evicted = 3 "evicted",
        /// A changed policy no longer allows it.
        Revoked = 4 "revoked",
        /// An operator cleared it, or its port was deleted.
        Cleared = 5 "cleared",
    }
}
