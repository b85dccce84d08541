//! Flows: what they are called and what is remembered of them.
//!
//! Purpose   remembers a decision, so that the next packet of the flow skips
//!           the rules, and the state that decisions depend on.
//! Terms     flow    both directions, one [`record::Flow`]
//!           table   all flows of one port
//!           shard   a part of a table that is changed under one lock
//! Shape     the unified flow table, the layers' flow tables and the TCP table
//!           are views of one record per flow: what a layer remembers and the
//!           cached rewrite of each direction lie side by side, so a packet
//!           costs one look-up and a flow costs about 230 bytes in all.
//!           Decision and state stay apart inside of it: a rewrite carries the
//!           generations that it was made from and can be thrown away by
//!           itself, which loses no state (decision D4).
//! Flow      tuple -> store (lock-free) -> record (own lock) -- current --> hit
//!                                                 `-- stale, none --> miss
//!           Records are placed by the name that guests use. Translated flows
//!           have another name, by which the far end's packets find them: an
//!           index from it to their numbers. Most flows have one name.
//! Rules     L1  a hit takes its flow's lock and no other (decision D2), but
//!               for once in a gigabyte (rule F1 in [`record`]).
//!           L2  lock order: shard, then flow. A hit that has to change a
//!               timer lets go of the flow first.
//!           L3  a flow's keys and number change, and its rewrites are made,
//!               under its shard's lock and its own; counters, times and TCP
//!               state change, and rewrites are thrown away, under its own.
//! Failure   full: a flow that is half open or finished gives way; if there is
//!           none, the new flow is refused with `DropReason::PortFlowsFull`.
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
pub(crate) mod fragment;
mod hash;
mod index;
pub mod record;
pub mod sctp;
mod store;
pub mod table;
pub mod tcp;
pub mod tuple;
mod wheel;

pub use record::Flow;
pub use table::Table;
pub use tuple::{Family, Proto, Tuple};

/// A number as a position in a slice: 32 bits fit every platform we run on.
#[inline]
#[expect(
    clippy::as_conversions,
    reason = "`From` isn't there for every platform"
)]
const fn position(number: u32) -> usize {
    number as usize
}
