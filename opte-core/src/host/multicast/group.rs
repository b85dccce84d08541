//! A group as frames find it: a snapshot, made anew for each change.

use super::filter::Filter;
use crate::DropReason;
use crate::api::PortId;
use crate::event::Observer;
use crate::host::underlay::PathId;
use crate::port::Env;
use crate::wire::geneve::Replication;
use crate::wire::{MacAddr, Vni};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicU64, Ordering};
use lock_api::RawMutex;

/// Where frames for a group go.
#[derive(Debug)]
pub(super) struct Group {
    /// The network that the group is in.
    pub(super) vni: Vni,
    /// The underlay group.
    pub(super) underlay: Ipv6Addr,
    /// Next hops of the underlay group.
    pub(super) hops: Box<[Hop]>,
    /// Members on this host.
    pub(super) members: Box<[Member]>,
}

/// A port that hears the group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) port: PortId,
    /// The port's MAC address: its number may be another port's by now.
    pub(super) mac: MacAddr,
    pub(super) filter: Arc<Filter>,
}

/// Somebody on the underlay who is to have a copy.
#[derive(Debug)]
pub(super) struct Hop {
    /// Whose route says which link the copy leaves by.
    address: Ipv6Addr,
    /// What the copy is for.
    pub(super) mode: Replication,
    /// The underlay's generation (high half) and the path that was found in
    /// it: asking again takes the underlay's lock.
    found: AtomicU64,
}

impl Hop {
    pub(super) const fn new(address: Ipv6Addr, mode: Replication) -> Self {
        Self {
            address,
            mode,
            found: AtomicU64::new(0),
        }
    }

    /// The path of copies for underlay group `group`.
    pub(super) fn path<R: RawMutex, O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        group: &Ipv6Addr,
    ) -> Result<PathId, DropReason> {
        // Before the question, so that a change in between asks again.
        let generation = env.underlay.generation();
        let found = self.found.load(Ordering::Relaxed);
        let [a, b, c, d, e, f, g, h] = found.to_be_bytes();
        let id = PathId(u32::from_be_bytes([e, f, g, h]));
        let is_current = u32::from_be_bytes([a, b, c, d]) == generation;
        if is_current && env.underlay.path(id).is_some() {
            return Ok(id);
        }
        // All flows to a group take one way, so that it can be remembered.
        let id = env
            .underlay
            .path_toward(group, &self.address, 0, env.now, env.observer)?;
        let found = u64::from(generation) << 32 | u64::from(id.0);
        self.found.store(found, Ordering::Relaxed);
        Ok(id)
    }
}
