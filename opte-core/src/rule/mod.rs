//! Rules: what a policy is made of and how the one that applies is found.
//!
//! Purpose   a port's policy is an immutable snapshot; finding the rule or the
//!           route for a new flow must not cost more because there are many.
//! Terms     prefix   leading bits of an address, see [`crate::api::Prefix`]
//! Rules     R1  a look-up allocates nothing, takes no lock and cannot panic.
//!           R2  a snapshot never changes; a change builds another one.
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

pub mod lpm;

pub use lpm::Lpm;
