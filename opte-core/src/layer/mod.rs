//! Layers: the stages of policy that decide about a flow.
//!
//! Purpose   a layer is asked once for each new flow, and again when its
//!           policy has changed. It sees an immutable snapshot and answers
//!           with typed values; it never sees another layer or a frame.
//! Flow      port::miss -> firewall -> router -> nat -> overlay, inbound reversed
//!           command -> `plan_*`: a new list or a [`ConfigError`]; the caller
//!           builds a snapshot from the list and swaps it in
//! Rules     P1  planning is pure: what it is given stays as it is.
//!           P2  an id is given once in a port's life; the caller keeps the
//!               next one and starts at 1, for zero means "no rule".
//!
//! [`ConfigError`]: crate::ConfigError
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

pub mod firewall;
pub(crate) mod gateway;
pub mod nat;
pub(crate) mod overlay;
pub mod router;
