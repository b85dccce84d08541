//! The engine's own presence on the underlay.
#![expect(dead_code, reason = "what uses it comes next")]
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

mod path;
mod plan;
mod route;
mod seq;

pub use path::{Path, PathId};
pub use plan::Plan;
