//! Where addresses are: mappings that all ports of a host share.
//!
//! Purpose   V2P: from a guest's address to its MAC address and host. V2B: from
//!           an address outside to the boundary tunnel end point for a flow,
//!           unless it is an external address of a guest of this host (near).
//!
//! Terms     slot         a counter that the mappings with the same hash share
//!           generation   a slot's count of changes
//!           stamp        the slot and generation that an answer was found at;
//!                        kept with a cached decision, it tells whether the
//!                        answer may have changed
//!
//! Flow      miss -> resolve, boundary -> decision with a stamp
//!           hit -> `current`: one load
//!           command -> check -> set, clear; setup -> plan_replace -> commit
//!
//! Rules     M1  lock order: `writer`, then a V2P shard, the V2B table or
//!               `near`. Packets take the latter only, one at a time, for one
//!               look-up.
//!           M2  a generation moves while the lock of what it stands for is
//!               held, after the change; a stamp is taken under the same lock.
//!               So a stamp is never newer than the answer that it comes with.
//!           M3  a change moves the slots of the mappings that it changes and
//!               no others: decisions about anything else stay valid, but for
//!               the few that hash to the same slot and are made again. One
//!               more slot moves with every change, for decisions that depend
//!               on several mappings.
//!           M4  what can fail (checks, limits, memory) comes before the first
//!               change.
//!
//! Failure   packets: no answer, and the caller's `DropReason` (`NoV2p`,
//!           `NoV2b`). Commands: a `ConfigError`, and nothing has changed.
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

mod near;
mod replace;
#[cfg(test)]
mod tests;
mod v2b;
mod v2p;

use crate::ConfigError;
use crate::api::mapping::BOUNDARY_VNI;
use crate::api::{ExternalIps, PortId, Prefix, TunnelEndpoint, V2b, V2p};
use crate::flow::Tuple;
use crate::keyed::Keyed;
use crate::wire::{MacAddr, Vni};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::sync::atomic::{AtomicU32, Ordering};
use lock_api::{Mutex, RawMutex};
pub use replace::Plan;
pub(super) use replace::{change, difference};

/// Names a counter of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u16);

/// When an answer was found: see [`Mappings::current`].
///
/// Packed, for there is one in every flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(Rust, packed(2))]
pub struct Stamp {
    /// The counter of what the answer depends on.
    pub slot: Slot,
    /// Its count then.
    pub generation: u32,
}

impl Stamp {
    /// The stamp of no answer. Never looked at without one.
    pub const NEVER: Self = Self {
        slot: Slot(0),
        generation: 0,
    };
}

/// Where a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The guest's MAC address.
    pub mac: MacAddr,
    /// Tunnel address of its host.
    pub sled: Ipv6Addr,
    /// When this was so.
    pub stamp: Stamp,
}

/// The mappings of a host.
pub struct Mappings<R> {
    key: Keyed,
    generations: Generations,
    // How many V2P mappings there are. Held by whoever changes anything.
    writer: Mutex<R, usize>,
    v2p: Box<[Mutex<R, v2p::Shard>]>,
    v2b: Mutex<R, v2b::Table>,
    near: Mutex<R, near::Claims>,
}

impl<R: RawMutex> Mappings<R> {
    /// No mappings. `seed` is the boot's secret.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let shards = (0..v2p::SHARDS).map(|_| Mutex::new(v2p::Shard::default()));
        Self {
            key: Keyed::new(seed, "mapping"),
            generations: Generations::new(),
            writer: Mutex::new(0),
            v2p: shards.collect(),
            v2b: Mutex::new(v2b::Table::default()),
            near: Mutex::new(near::Claims::default()),
        }
    }

    /// Where a guest's address is.
    pub fn resolve(&self, vni: Vni, addr: &IpAddr) -> Option<Resolved> {
        let place = v2p::Place::of(&self.key, vni, addr);
        let shard = self.v2p.get(place.shard)?.lock();
        let found = shard.get(&place, vni, addr)?;
        Some(Resolved {
            mac: found.mac,
            sled: found.sled,
            stamp: self.generations.stamp(place.slot), // M2
        })
    }

    /// The tunnel end point for a flow to an address outside: of the longest
    /// prefix, the one that `flow_hash` chooses. Removing an end point moves
    /// only the flows that had chosen it.
    pub fn boundary(&self, addr: &IpAddr, flow_hash: u32) -> Option<(TunnelEndpoint, Stamp)> {
        let table = self.v2b.lock();
        let group = table.lookup(addr)?;
        let endpoints = group.endpoints.iter().copied();
        let chosen = self.key.rendezvous(flow_hash, endpoints)?;
        let slot = v2b::slot(&self.key, &group.prefix);
        Some((chosen, self.generations.stamp(slot))) // M2
    }

    /// The port of this host that has the far end of a flow to an internet
    /// gateway for an external address of its own.
    pub fn near(&self, flow: &Tuple) -> Option<(PortId, Stamp)> {
        let claims = self.near.lock();
        let port = claims.whose(flow)?;
        let vni = Vni::new(BOUNDARY_VNI)?;
        Some((port, self.stamp(vni, &flow.remote_ip()))) // M2
    }

    /// Makes these the external addresses of a port of this host. Flows that
    /// go to the boundary now find the short way when they are decided next.
    pub fn claim(&self, port: PortId, ips: &ExternalIps) {
        let mut claims = self.near.lock();
        for addr in claims.set(port, ips) {
            if let Some(vni) = Vni::new(BOUNDARY_VNI) {
                self.touch(vni, &addr); // M2, M3
            }
        }
    }

    /// The present state of whatever is, or isn't, mapped for an address.
    #[must_use]
    pub fn stamp(&self, vni: Vni, addr: &IpAddr) -> Stamp {
        self.generations
            .stamp(v2p::Place::of(&self.key, vni, addr).slot)
    }

    /// The present state of all mappings together.
    #[must_use]
    pub fn stamp_of_all(&self) -> Stamp {
        self.generations.stamp(ALL)
    }

    /// Makes every decision about an address be made again: something else
    /// that it depends on has changed, such as a port of this host.
    pub fn touch(&self, vni: Vni, addr: &IpAddr) {
        self.generations
            .bump(v2p::Place::of(&self.key, vni, addr).slot);
    }

    /// Whether an answer with this stamp is still the right one. One load.
    #[must_use]
    #[inline]
    pub fn current(&self, stamp: Stamp) -> bool {
        self.generation(stamp.slot) == stamp.generation
    }

    /// A slot's count of changes. One load.
    #[must_use]
    #[inline]
    pub fn generation(&self, slot: Slot) -> u32 {
        self.generations.stamp(slot).generation
    }

    /// Adds or changes V2P mappings, all of them or none. Returns how many
    /// were not there in the same form already.
    ///
    /// # Errors
    ///
    /// An address that makes no sense, one address with two meanings, too
    /// many mappings, or no memory.
    pub fn set_v2p(&self, mappings: &[V2p]) -> Result<usize, ConfigError> {
        let mappings = v2p::check(mappings)?;
        let mut count = self.writer.lock();
        let added = mappings.values().filter(|m| !self.has_v2p(m)).count();
        v2p::check_count(count.saturating_add(added))?;
        self.reserve_v2p(mappings.values().copied())?;
        let changed = mappings.values().filter(|m| self.put_v2p(m)).count();
        *count = count.saturating_add(added);
        Ok(changed)
    }

    /// Removes a V2P mapping.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn clear_v2p(&self, vni: Vni, addr: IpAddr) -> Result<(), ConfigError> {
        let mut count = self.writer.lock();
        if !self.remove_v2p(vni, &addr) {
            return Err(v2p::not_found(vni, &addr));
        }
        *count = count.saturating_sub(1);
        Ok(())
    }

    /// V2P mappings from `cursor` on, at most `max` of them. A mapping that is
    /// there from the first page to the last is in exactly one of them.
    pub fn dump_v2p(&self, cursor: u64, max: u32) -> (Vec<V2p>, Option<u64>) {
        v2p::page(&self.v2p, cursor, max)
    }

    /// Adds end points to a prefix. Returns how many it did not have.
    ///
    /// # Errors
    ///
    /// An end point or prefix that makes no sense, or too many of them.
    pub fn set_v2b(
        &self,
        prefix: Prefix,
        endpoints: &[TunnelEndpoint],
    ) -> Result<usize, ConfigError> {
        v2b::check(&prefix, endpoints)?;
        let _writer = self.writer.lock();
        let (groups, changed) = v2b::with(self.v2b_groups(), &prefix, endpoints)?;
        self.swap_v2b(v2b::Table::build(groups));
        Ok(changed)
    }

    /// Removes end points from a prefix, all of them if `endpoints` is empty,
    /// and the prefix with the last. Returns how many were removed.
    ///
    /// # Errors
    ///
    /// The prefix or one of the end points isn't there.
    pub fn clear_v2b(
        &self,
        prefix: Prefix,
        endpoints: &[TunnelEndpoint],
    ) -> Result<usize, ConfigError> {
        let _writer = self.writer.lock();
        let (groups, changed) = v2b::without(self.v2b_groups(), &prefix, endpoints)?;
        self.swap_v2b(v2b::Table::build(groups));
        Ok(changed)
    }

    /// Every V2B mapping, in the order of prefixes.
    pub fn dump_v2b(&self) -> Vec<V2b> {
        let groups = self.v2b_groups();
        groups.iter().map(v2b::Group::to_api).collect()
    }

    /// What it takes to have exactly these mappings. Changes nothing, and
    /// nothing else may change anything before the plan is committed.
    ///
    /// # Errors
    ///
    /// As [`Mappings::set_v2p`] and [`Mappings::set_v2b`].
    pub fn plan_replace(&self, v2p: &[V2p], v2b: &[V2b]) -> Result<Plan, ConfigError> {
        let v2p = v2p::check(v2p)?;
        let v2b = v2b::check_all(v2b)?;
        let _writer = self.writer.lock();
        let plan = Plan::new(v2p::all(&self.v2p), v2p, &self.v2b_groups(), v2b);
        self.reserve_v2p(plan.set.iter())?;
        Ok(plan)
    }

    /// Makes a plan real. Cannot fail.
    pub fn commit(&self, plan: Plan) {
        let mut count = self.writer.lock();
        // Put first: a shard that becomes empty gives its room back (M4).
        for new in &plan.set {
            self.put_v2p(new);
        }
        for old in &plan.clear {
            self.remove_v2p(old.vni, &old.address);
        }
        *count = plan.v2p_count;
        self.swap_v2b(plan.v2b);
    }

    fn has_v2p(&self, mapping: &V2p) -> bool {
        self.resolve(mapping.vni, &mapping.address).is_some()
    }

    /// Makes room for mappings, so that putting them can't fail (M4).
    fn reserve_v2p<'a>(&self, new: impl Iterator<Item = &'a V2p>) -> Result<(), ConfigError> {
        v2p::reserve(&self.key, &self.v2p, new)
    }

    /// Adds or changes a mapping; whether that made a difference.
    fn put_v2p(&self, mapping: &V2p) -> bool {
        let place = v2p::Place::of(&self.key, mapping.vni, &mapping.address);
        let Some(shard) = self.v2p.get(place.shard) else {
            return false;
        };
        let mut shard = shard.lock();
        let changed = shard.put(&self.key, &place, mapping);
        if changed {
            self.generations.bump(place.slot); // M2, M3
        }
        changed
    }

    /// Removes a mapping; whether there was one.
    fn remove_v2p(&self, vni: Vni, addr: &IpAddr) -> bool {
        let place = v2p::Place::of(&self.key, vni, addr);
        let Some(shard) = self.v2p.get(place.shard) else {
            return false;
        };
        let mut shard = shard.lock();
        let removed = shard.remove(&place, vni, addr);
        if removed {
            self.generations.bump(place.slot); // M2, M3
        }
        removed
    }

    fn v2b_groups(&self) -> Vec<v2b::Group> {
        self.v2b.lock().groups().to_vec()
    }

    /// Puts another V2B table in place. The old one is freed without the lock.
    fn swap_v2b(&self, new: v2b::Table) {
        let slots = v2b::changed_slots(&self.key, &self.v2b_groups(), new.groups());
        let mut table = self.v2b.lock();
        let old = core::mem::replace(&mut *table, new);
        for slot in slots {
            self.generations.bump(slot); // M2, M3
        }
        drop(table);
        drop(old);
    }
}

impl<R> fmt::Debug for Mappings<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mappings").finish_non_exhaustive()
    }
}

/// A slot that every change moves, after those of the mappings.
const ALL: Slot = Slot(v2b::SLOTS.end);

/// The counters of changes.
struct Generations(Box<[AtomicU32]>);

impl Generations {
    fn new() -> Self {
        let slots = (0..=ALL.0).map(|_| AtomicU32::new(0));
        Self(slots.collect())
    }

    #[inline]
    fn stamp(&self, slot: Slot) -> Stamp {
        let counter = self.0.get(usize::from(slot.0));
        Stamp {
            slot,
            // Pairs with `bump`: who sees the count sees the change before it.
            generation: counter.map_or(0, |counter| counter.load(Ordering::Acquire)),
        }
    }

    fn bump(&self, slot: Slot) {
        for slot in [slot, ALL] {
            if let Some(counter) = self.0.get(usize::from(slot.0)) {
                counter.fetch_add(1, Ordering::Release);
            }
        }
    }
}

impl Slot {
    /// One of the slots `range`, by a hash.
    fn of(hash: u64, range: &core::ops::Range<u16>) -> Self {
        let len = u64::from(range.end.saturating_sub(range.start));
        let at = hash.checked_rem(len).and_then(|at| u16::try_from(at).ok());
        Self(range.start.saturating_add(at.unwrap_or(0)))
    }
}
