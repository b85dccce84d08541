//! A host's ports, as lanes look them up.

use super::by_mac::ByMac;
use super::departed::Departed;
use crate::api::{Name, PortId};
use crate::keyed::Keyed;
use crate::port::Port;
use crate::stats::Totals;
use crate::wire::{MacAddr, Vni};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use hashbrown::HashMap;
use lock_api::RawMutex;

/// A snapshot of which ports there are. Never changes; creating or deleting a
/// port makes a new one.
#[derive(Debug)]
pub(crate) struct View<R: RawMutex> {
    /// Counts snapshots, so that a lane sees that it has an old one.
    pub(crate) generation: u64,
    /// Ports by number.
    ports: Vec<Option<Arc<Port<R>>>>,
    /// A MAC address is unique on a host, whatever VPC it is in.
    by_mac: ByMac<Arc<Port<R>>>,
    by_addr: HashMap<(Vni, IpAddr), Arc<Port<R>>, Keyed>,
    /// What ports counted that are no more.
    departed: Departed<R>,
}

impl<R: RawMutex> View<R> {
    /// A view of these ports.
    pub(crate) fn new(
        generation: u64,
        ports: Vec<Option<Arc<Port<R>>>>,
        departed: Departed<R>,
        key: Keyed,
    ) -> Self {
        let present: Vec<_> = ports.iter().flatten().collect();
        let macs = present.iter().map(|port| (port.mac, Arc::clone(port)));
        let by_mac = ByMac::new(key, macs);
        let mut by_addr = HashMap::with_hasher(key);
        for port in present {
            let policy = port.policy();
            let v4 = policy.spec.ipv4.map(|c| IpAddr::V4(c.address));
            let v6 = policy.spec.ipv6.map(|c| IpAddr::V6(c.address));
            for addr in [v4, v6].into_iter().flatten() {
                by_addr.insert((port.vni, addr), Arc::clone(port));
            }
        }
        Self {
            generation,
            ports,
            by_mac,
            by_addr,
            departed,
        }
    }

    /// The view of the ports in `places` that follows this one.
    pub(crate) fn next(&self, places: Vec<Option<Arc<Port<R>>>>, key: Keyed) -> Self {
        let stays = |port: &Arc<Port<R>>| {
            let place = usize::try_from(port.id.0).ok();
            let there = place.and_then(|at| places.get(at)?.as_ref());
            there.is_some_and(|there| Arc::ptr_eq(there, port))
        };
        let departed = self.departed.with(self.ports().filter(|port| !stays(port)));
        Self::new(self.generation.wrapping_add(1), places, departed, key)
    }

    /// What all ports counted, those included that are no more.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.departed.totals();
        for port in self.ports() {
            totals.add(&port.stats);
        }
        totals
    }

    /// The port with this number.
    #[inline]
    pub(crate) fn port(&self, id: PortId) -> Option<&Arc<Port<R>>> {
        self.ports.get(usize::try_from(id.0).ok()?)?.as_ref()
    }

    /// The port with this MAC address, if it is in this VPC.
    #[inline]
    pub(crate) fn port_by_mac(&self, mac: MacAddr, vni: Vni) -> Option<&Arc<Port<R>>> {
        self.by_mac.get(mac).filter(|port| port.vni == vni)
    }

    /// The port with this MAC address, whatever VPC it is in.
    #[inline]
    pub(crate) fn port_with_mac(&self, mac: MacAddr) -> Option<&Arc<Port<R>>> {
        self.by_mac.get(mac)
    }

    /// The port with this address in this VPC.
    pub(crate) fn port_by_addr(&self, addr: &IpAddr, vni: Vni) -> Option<&Arc<Port<R>>> {
        self.by_addr.get(&(vni, *addr))
    }

    /// The port with this name.
    pub(crate) fn port_by_name(&self, name: &Name) -> Option<&Arc<Port<R>>> {
        self.ports().find(|port| port.name == *name)
    }

    /// All ports, by number.
    pub(crate) fn ports(&self) -> impl Iterator<Item = &Arc<Port<R>>> {
        self.ports.iter().flatten()
    }

    /// The places of ports by number, to make the next view from.
    pub(crate) fn places(&self) -> &[Option<Arc<Port<R>>>] {
        &self.ports
    }
}
