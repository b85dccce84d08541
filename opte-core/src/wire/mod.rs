//! Headers on the wire, one per file.
//!
//! Each file has a strict reader (`parse`: every length checked, holding the
//! value is the proof) and a writer (`emit`). Where a header may be all that
//! is at hand of a long packet, `read` checks what can be seen of it and
//! `parse` the whole. Nothing here keeps state.
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

pub mod arp;
pub mod checksum;
pub mod dhcpv4;
pub mod dhcpv6;
pub mod ethernet;
pub mod geneve;
pub mod icmp;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod membership;
pub mod name;
pub mod ndp;
pub mod notice;
pub mod offload;
mod option;
pub mod outer;
pub mod packet;
pub mod quote;
pub mod tcp;
#[cfg(test)]
pub(crate) mod testing;
pub mod udp;
pub mod writer;

pub use ethernet::MacAddr;
pub use geneve::Vni;
pub use writer::Writer;
