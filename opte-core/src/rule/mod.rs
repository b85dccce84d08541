//! Rules: what a policy is made of and how the one that applies is found.
//!
//! Purpose   a port's policy is an immutable snapshot; finding the rule or the
//!           route for a new flow must not cost more because there are many.
//! Terms     prefix     leading bits of an address, see [`crate::api::Prefix`]
//!           query      what rules may ask about a flow's first packet
//!           rule       a [`crate::api::FwRule`] with its id and counters
//!           snapshot   a [`RuleSet`] or an [`Lpm`]
//! Flow      RuleSet::find -> classifier -> dimension (one per thing asked)
//!                         -> lpm
//! Rules     R1  a look-up allocates nothing, takes no lock and cannot panic.
//!           R2  a snapshot never changes; a change builds another one.
//!               Counters are shared by the snapshots that have the rule.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

pub mod address_set;
mod classifier;
mod dimension;
pub mod lpm;
mod pool;
pub mod predicate;
pub mod set;
pub mod stats;
#[cfg(test)]
mod tests;

pub use address_set::AddressSets;
pub use lpm::Lpm;
pub use predicate::Query;
pub use set::{Rule, RuleSet};
pub use stats::RuleStats;
