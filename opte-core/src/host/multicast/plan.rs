//! From the multicast configuration that is there to the one that a setup
//! asks for.

use super::{Multicast, check};
use crate::ConfigError;
use crate::api::setup::Change;
use crate::api::{
    ErrorCode, McastHop, MulticastSpec, Name, ObjectKind, PortId, PortSpec, SourceFilter,
};
use crate::host::mapping::{change, difference};
use crate::limits::PORT_GROUPS_MAX;
use crate::wire::{MacAddr, Vni};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use lock_api::RawMutex;

/// A checked change of all multicast configuration.
#[derive(Debug)]
pub(in crate::host) struct Plan {
    /// What will be different.
    pub(in crate::host) changes: Vec<Change>,
    wanted: Flat,
}

/// What observers are told of when a plan is real.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Groups whose way over the underlay is another one: the network, the
    /// group, and what carries it then.
    pub(super) maps: Vec<(Vni, IpAddr, Option<Ipv6Addr>)>,
    /// Ports whose membership of a group is another one.
    pub(super) members: Vec<(Name, IpAddr)>,
}

/// A configuration by what names its parts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flat {
    vni: Vni,
    m2p: BTreeMap<(IpAddr, Vni), Ipv6Addr>,
    forward: BTreeMap<Ipv6Addr, BTreeMap<Ipv6Addr, McastHop>>,
    member: BTreeMap<(Name, IpAddr), SourceFilter>,
    listen: BTreeSet<Name>,
}

impl Flat {
    /// The parts of a checked configuration; refuses what is there twice.
    fn of(spec: &MulticastSpec) -> Result<Self, ConfigError> {
        let twice = |kind, object: &dyn core::fmt::Display| {
            ConfigError::new(ErrorCode::Conflict, kind, object).hint("it is given twice")
        };
        let mut flat = Self {
            vni: spec.vni,
            listen: spec.listen.iter().copied().collect(),
            ..Self::default()
        };
        for mapping in &spec.m2p {
            let key = (mapping.group, mapping.vni.unwrap_or(spec.vni));
            let old = flat.m2p.insert(key, mapping.underlay);
            if old.is_some_and(|old| old != mapping.underlay) {
                return Err(twice(ObjectKind::M2p, &mapping.group));
            }
        }
        for forward in &spec.forward {
            let hops = forward.hops.iter().map(|hop| (hop.address, *hop));
            let old = flat.forward.insert(forward.underlay, hops.collect());
            if old.is_some() {
                return Err(twice(ObjectKind::McastForward, &forward.underlay));
            }
        }
        for member in &spec.member {
            let key = (member.port, member.group);
            let mut filter = member.filter.clone();
            filter.sources.sort_unstable();
            filter.sources.dedup();
            if flat.member.insert(key, filter).is_some() {
                let object = format_args!("{} {}", member.port, member.group);
                return Err(twice(ObjectKind::McastMember, &object));
            }
        }
        Ok(flat)
    }

    fn changes(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for ((group, vni), verb) in difference(&self.m2p, &new.m2p) {
            changes.push(match vni == new.vni {
                true => change(verb, format_args!("m2p {group}")),
                false => change(verb, format_args!("m2p {group} of vni {vni}")),
            });
        }
        for (underlay, verb) in difference(&self.forward, &new.forward) {
            changes.push(change(verb, format_args!("mcast-fwd {underlay}")));
        }
        for ((port, group), verb) in difference(&self.member, &new.member) {
            changes.push(change(verb, format_args!("mcast-sub {port} {group}")));
        }
        let names = |names: &BTreeSet<Name>| names.iter().map(|name| (*name, ())).collect();
        for (port, verb) in difference(&names(&self.listen), &names(&new.listen)) {
            changes.push(change(verb, format_args!("mcast-listen {port}")));
        }
        if self.vni != new.vni {
            let verb = crate::api::ChangeVerb::Change;
            changes.push(change(verb, format_args!("mcast-vni {}", new.vni)));
        }
        changes
    }

    /// What is another way in `new`.
    fn told(&self, new: &Self) -> Told {
        let mut told = Told::default();
        for (key, underlay) in &new.m2p {
            let has_same_hops = self.hops(underlay).eq(new.hops(underlay));
            if self.m2p.get(key) != Some(underlay) || !has_same_hops {
                told.maps.push((key.1, key.0, Some(*underlay)));
            }
        }
        let gone = self.m2p.keys().filter(|key| !new.m2p.contains_key(key));
        told.maps
            .extend(gone.map(|(group, vni)| (*vni, *group, None)));
        let gone = self.member.keys();
        let gone = gone.filter(|key| !new.member.contains_key(key));
        let other = new.member.keys();
        let other = other.filter(|key| !self.has_same_member(new, key));
        told.members.extend(gone.chain(other).copied());
        told
    }

    /// The next hops of an underlay group, by their addresses.
    fn hops(&self, underlay: &Ipv6Addr) -> impl Iterator<Item = (&Ipv6Addr, &McastHop)> {
        self.forward.get(underlay).into_iter().flatten()
    }

    /// Whether a membership that the operator gives is as in `new`.
    fn has_same_member(&self, new: &Self, key: &(Name, IpAddr)) -> bool {
        self.member.get(key) == new.member.get(key)
    }
}

impl<R: RawMutex> Multicast<R> {
    /// What it takes to have exactly this configuration on a host with these
    /// ports. Changes nothing.
    ///
    /// # Errors
    ///
    /// The first thing that makes no sense.
    pub(in crate::host) fn plan(
        &self,
        spec: &MulticastSpec,
        ports: &[PortSpec],
    ) -> Result<Plan, ConfigError> {
        check::fleet_vni(spec.vni)?;
        spec.m2p.iter().try_for_each(check::m2p)?;
        for forward in &spec.forward {
            check::forward(&forward.underlay, &forward.hops)?;
        }
        let mut counts: BTreeMap<Name, usize> = BTreeMap::new();
        for member in &spec.member {
            check::member(&member.port, &member.group, &member.filter)?;
            let object = format_args!("{} {}", member.port, member.group);
            let error = |code| ConfigError::new(code, ObjectKind::McastMember, object);
            let port = ports.iter().find(|port| port.name == member.port);
            let port = port.ok_or_else(|| error(ErrorCode::NotFound).field("port", member.port))?;
            check_family(port, &member.group).map_err(error)?;
            let count = counts.entry(member.port).or_default();
            *count = count.saturating_add(1);
            if *count > PORT_GROUPS_MAX {
                let hint = format_args!("at most {PORT_GROUPS_MAX} groups a port");
                return Err(error(ErrorCode::LimitReached).hint(hint));
            }
        }
        for name in &spec.listen {
            if ports.iter().all(|port| port.name != *name) {
                let error = ConfigError::new(ErrorCode::NotFound, ObjectKind::Port, name);
                return Err(error.hint("multicast.listen names it"));
            }
        }
        let wanted = Flat::of(spec)?;
        let present = Flat::of(&self.tables.lock().spec())?;
        Ok(Plan {
            changes: present.changes(&wanted),
            wanted,
        })
    }

    /// Makes a plan real; `port` knows the ports that there are by now. Cannot
    /// fail. What it returns has to be told.
    pub(super) fn commit(
        &self,
        plan: Plan,
        port: impl Fn(&Name) -> Option<(PortId, MacAddr, Vni)>,
    ) -> Told {
        let mut wanted = plan.wanted;
        let mut tables = self.tables.lock();
        // What is there was checked when it came.
        let present = Flat::of(&tables.spec()).unwrap_or_default();
        let mut told = present.told(&wanted);
        let mut touched: BTreeSet<(Vni, IpAddr)> = BTreeSet::new();
        let keys = tables.m2p.keys().chain(wanted.m2p.keys());
        touched.extend(keys.map(|(group, vni)| (*vni, *group)));
        tables.vni = wanted.vni;
        self.vni
            .store(wanted.vni.get(), core::sync::atomic::Ordering::Relaxed);
        tables.m2p = core::mem::take(&mut wanted.m2p).into_iter().collect();
        let hops = core::mem::take(&mut wanted.forward).into_iter();
        let hops = hops.map(|(underlay, hops)| (underlay, hops.into_values().collect()));
        tables.forward = hops.collect();
        let stations: Vec<_> = tables
            .stations
            .iter()
            .map(|(id, s)| (*id, s.name))
            .collect();
        for (id, group) in tables.subscribed(None, None) {
            let name = stations.iter().find(|(known, _)| *known == id);
            if name.is_none_or(|(_, name)| !wanted.member.contains_key(&(*name, group))) {
                tables.unsubscribe(id, &group);
            }
        }
        for (id, name) in stations {
            if !wanted.listen.contains(&name) {
                let left = tables.listen(id, false).unwrap_or_default();
                let left = left.into_iter().map(|group| (name, group));
                let left = left.filter(|key| present.has_same_member(&wanted, key));
                told.members.extend(left);
            }
        }
        for ((name, group), filter) in &wanted.member {
            if let Some((id, mac, vni)) = port(name) {
                tables.station(id, *name, mac, vni);
                // The plan has counted them.
                _ = tables.subscribe(id, *group, filter.into());
            }
        }
        for name in &wanted.listen {
            if let Some((id, mac, vni)) = port(name) {
                tables.station(id, *name, mac, vni);
                tables.listen(id, true);
            }
        }
        for (vni, group) in touched {
            self.rebuild(&tables, vni, &group);
        }
        told
    }
}

/// Whether a port has addresses of a group's family.
pub(super) fn check_family(port: &PortSpec, group: &IpAddr) -> Result<(), ErrorCode> {
    let has_family = match group {
        IpAddr::V4(_) => port.ipv4.is_some(),
        IpAddr::V6(_) => port.ipv6.is_some(),
    };
    match has_family {
        true => Ok(()),
        false => Err(ErrorCode::FamilyMismatch),
    }
}
