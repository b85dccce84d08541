//! Headers on the wire, one per file.
//!
//! Each file has a strict reader (`parse`: every length checked, holding the
//! value is the proof) and a writer (`emit`). Nothing here keeps state.
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

pub mod ethernet;
pub mod geneve;
pub mod packet;

pub use ethernet::MacAddr;
pub use geneve::Vni;
