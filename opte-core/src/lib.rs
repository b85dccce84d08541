//! OPTE's engine: decides what happens to every frame of a guest.
//!
//! Purpose   bytes, a direction and the time go in; a verdict comes out. No
//!           clock, thread, global, kernel type or operating system `cfg` is
//!           in here, and no unsafe code: a shell (`xded`, `xde`, a test)
//!           owns buffers, devices, threads and time.
//!
//! Terms     port       one guest vNIC and everything decided for it
//!           outbound   from the guest; inbound: towards the guest
//!           layer      a stage of policy: gateway, firewall, router, nat, overlay
//!           rule       priority, predicates, action, id, counters
//!           flow       packets that share a [`flow::Tuple`], both directions
//!           hit        a packet whose flow is known: one look-up, one edit
//!           miss       a packet that the layers have to decide about
//!           hairpin    a reply that the engine makes itself
//!           underlay   the physical IPv6 network between hosts (sleds)
//!           lane       one CPU's (or thread's) private view of the host
//!
//! Flow      frame -> wire::packet -> flow::Table -- hit --> edit -> verdict
//!                                        `-- miss -> port::miss: layers -> flow::Table
//!           command -> host: plan (may fail, changes nothing) -> commit
//!
//! Failure   every frame that goes nowhere has one [`DropReason`], counted
//!           once and seen by the [`event::Observer`]. A refused command is a
//!           [`ConfigError`] and leaves everything as it was.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod api;
pub mod direction;
pub mod drop;
pub mod event;
mod fallible;
pub mod flow;
pub mod frame;
pub mod hairpin;
pub mod host;
pub mod keyed;
pub mod layer;
pub mod limits;
mod numbered;
mod ordered;
mod port;
#[cfg(test)]
mod rng;
pub mod rule;
mod stats;
pub mod time;
pub mod verdict;
pub mod wire;

pub use api::error::{ConfigError, ErrorCode};
pub use direction::{Direction, LayerId};
pub use drop::DropReason;
pub use time::Instant;
