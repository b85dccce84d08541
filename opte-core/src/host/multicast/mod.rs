//! Groups: who is sent a copy of what (vpc: overlay, multicast).
//!
//! Purpose   a guest's frame to a group goes to the group's members on this
//!           host and, once a link, to the underlay group that carries it to
//!           other hosts; a frame from there goes to the members here.
//!
//! Terms     as in [`crate::api::multicast`], and
//!           network   the VNI that a group is in. A VPC that has a mapping
//!                     for a group of its own means that one, any other the
//!                     fleet's
//!           station   what is known here of a port with memberships
//!           listener  what its guest said that it listens to
//!
//! Flow      tx: gateway, firewall (`port::group`) -> `sent_to_group`
//!                 -- IGMP, MLD --> `reported` -> listener -> memberships
//!                 `- group --> a copy per link, then one per member: its
//!                    port's inbound pipeline, to the guest
//!           rx: `arrived_for_group` -> as above, but for the links
//!           command -> tables -> `rebuild` -> what frames find
//!           tick: queries to guests; memberships that they don't renew end;
//!               underlay groups that bring something for members are made
//!               known on the links (`underlay::listen`)
//!
//! Rules     G1  a frame that came to an underlay group is copied already: it
//!               goes to members of this host and nowhere else. Only a frame
//!               to the host's own address that asks for it (mode `underlay`
//!               or `both`) goes on to the underlay, to groups, so that no
//!               copy of it goes on a second time.
//!           G2  a frame goes back neither to the port that sent it nor to
//!               the host: one whose sender is a guest of this host and that
//!               comes from the underlay is dropped.
//!           G3  one copy per link, whatever the number of next hops on it.
//!           G4  frames take the lock of one shard for one look-up (`find`);
//!               `tables` is for commands, guests' reports and the tick. Lock
//!               order: the host's control, tables, then shard or heard.
//!           G5  what a guest may make grow is bounded: groups per port,
//!               sources per group. A copy is made in the frame's own buffer.
//!           G6  what a guest's frames cost others is bounded: the copies that
//!               they make have a rate, links and members together.
//!
//! Failure   a copy that can't be made is a drop of its own, with a reason; a
//!           frame of which none is made is dropped.
//!
//! Left out  large segments, which nobody would cut (a guest's device isn't
//!           told to leave them whole).
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

mod check;
mod command;
mod copy;
mod filter;
mod group;
mod listener;
mod plan;
mod report;
mod table;

use crate::keyed::Keyed;
use crate::ordered::{OrderedMap, OrderedSet};
use crate::wire::Vni;
use alloc::boxed::Box;

use alloc::sync::Arc;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::sync::atomic::{AtomicU32, Ordering};
use group::Group;
use lock_api::{Mutex, RawMutex};
pub(super) use plan::Plan;
use table::Tables;

/// Shards of what frames look groups up in.
const SHARDS: u64 = 64;

type Shard = OrderedMap<(Vni, IpAddr), Arc<Group>>;

/// The multicast side of a host.
pub(crate) struct Multicast<R> {
    key: Keyed,
    /// The VNI of the fleet's groups.
    vni: AtomicU32,
    shards: Box<[Mutex<R, Shard>]>,
    tables: Mutex<R, Tables>,
    heard: Mutex<R, Heard>,
}

/// Which underlay groups bring frames that somebody here hears.
#[derive(Debug, Default)]
struct Heard {
    carriers: OrderedMap<(Vni, IpAddr), Ipv6Addr>,
    changed: bool,
}

impl Heard {
    fn set(&mut self, key: (Vni, IpAddr), carrier: Option<Ipv6Addr>) {
        let old = match carrier {
            Some(carrier) => self.carriers.insert(key, carrier),
            None => self.carriers.remove(&key),
        };
        self.changed |= old != carrier;
    }

    /// All of them, when they are others than the last time.
    fn news(&mut self) -> Option<OrderedSet<Ipv6Addr>> {
        let changed = core::mem::take(&mut self.changed);
        changed.then(|| self.carriers.values().copied().collect())
    }
}

impl<R: RawMutex> Multicast<R> {
    /// No groups. `seed` is the boot's secret.
    pub(super) fn new(seed: u64) -> Self {
        let key = Keyed::new(seed, "multicast");
        let tables = Tables::default();
        Self {
            key,
            vni: AtomicU32::new(tables.vni.get()),
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            tables: Mutex::new(tables),
            heard: Mutex::new(Heard::default()),
        }
    }

    /// The group that a guest of VPC `vni` means.
    fn find(&self, vni: Vni, group: &IpAddr) -> Option<Arc<Group>> {
        let fleet = Vni::new(self.vni.load(Ordering::Relaxed))?;
        self.find_in(vni, group)
            .or_else(|| self.find_in(fleet, group))
    }

    /// The group of this network.
    fn find_in(&self, vni: Vni, group: &IpAddr) -> Option<Arc<Group>> {
        self.shard(vni, group)?
            .lock()
            .get(&(vni, *group))
            .map(Arc::clone)
    }

    fn shard(&self, vni: Vni, group: &IpAddr) -> Option<&Mutex<R, Shard>> {
        let at = usize::try_from(self.key.hash((vni, group)) % SHARDS).ok()?;
        self.shards.get(at)
    }

    /// Shows frames a group as it is in `tables`: in a VPC's own network and
    /// in the fleet's, for a change of the one moves the VPC's members.
    fn rebuild(&self, tables: &Tables, vni: Vni, group: &IpAddr) {
        for vni in [Some(vni), Some(tables.vni).filter(|fleet| *fleet != vni)] {
            let Some(vni) = vni else { continue };
            let built = tables.build(vni, group).map(Arc::new);
            let heard = built.as_ref().filter(|built| !built.members.is_empty());
            let carrier = heard.map(|built| built.underlay);
            self.heard.lock().set((vni, *group), carrier);
            let Some(shard) = self.shard(vni, group) else {
                continue;
            };
            let mut shard = shard.lock();
            let old = match built {
                Some(built) => shard.insert((vni, *group), built),
                None => shard.remove(&(vni, *group)),
            };
            drop(shard);
            drop(old);
        }
    }

    /// As [`Multicast::rebuild`], for a group that a port joined or left.
    fn rebuild_for(&self, tables: &Tables, vni: Vni, groups: &[IpAddr]) {
        for group in groups {
            self.rebuild(tables, vni, group);
        }
    }
}

impl<R> fmt::Debug for Multicast<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multicast").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
