//! What is configured and asked for: the tables behind the snapshots.

use super::filter::Filter;
use super::group::{Group, Hop, Member};
use super::listener::Listener;
use crate::ConfigError;
use crate::Instant;
use crate::api::multicast::MULTICAST_VNI;
use crate::api::{
    ErrorCode, M2p, McastForward, McastHop, McastMember, McastOrigin, McastSub, MulticastSpec,
    Name, ObjectKind, PortId,
};
use crate::limits::{M2P_MAX, MCAST_FORWARD_MAX, PORT_GROUPS_MAX};
use crate::ordered::{OrderedMap, OrderedSet};
use crate::wire::{MacAddr, Vni};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

/// Everything that groups are made from.
#[derive(Debug)]
pub(super) struct Tables {
    /// The network of the fleet's groups.
    pub(super) vni: Vni,
    pub(super) m2p: OrderedMap<(IpAddr, Vni), Ipv6Addr>,
    pub(super) forward: OrderedMap<Ipv6Addr, Vec<McastHop>>,
    /// Who may hear a group, whatever network it is in.
    members: OrderedMap<(IpAddr, PortId), Membership>,
    pub(super) stations: OrderedMap<PortId, Station>,
    /// When listeners have to be looked after.
    due: OrderedSet<(Instant, PortId)>,
}

/// Why a port is in a group.
#[derive(Debug, Default)]
struct Membership {
    operator: Option<Filter>,
    guest: Option<Filter>,
    /// What both hear together. Made when one changes: a group is rebuilt
    /// for every member's changes.
    heard: Option<Arc<Filter>>,
}

/// A port with memberships, or whose guest may have some.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) name: Name,
    pub(super) mac: MacAddr,
    pub(super) vni: Vni,
    /// Groups that the operator put it in.
    operator: usize,
    /// What its guest listens to, if it may join groups.
    pub(super) listener: Option<Listener>,
    /// Its place in `Tables::due`.
    due: Instant,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            vni: Vni::new(MULTICAST_VNI).unwrap_or_default(),
            m2p: OrderedMap::new(),
            forward: OrderedMap::new(),
            members: OrderedMap::new(),
            stations: OrderedMap::new(),
            due: OrderedSet::new(),
        }
    }
}

impl Tables {
    /// A group as frames are to find it; none without a mapping.
    pub(super) fn build(&self, vni: Vni, group: &IpAddr) -> Option<Group> {
        let underlay = *self.m2p.get(&(*group, vni))?;
        let hops = self.forward.get(&underlay).map_or(&[][..], Vec::as_slice);
        let members = self.members_of(group).filter_map(|(port, membership)| {
            let station = self.stations.get(&port)?;
            (self.network(station.vni, group) == vni).then_some(Member {
                port,
                mac: station.mac,
                filter: Arc::clone(membership.heard.as_ref()?),
            })
        });
        Some(Group {
            vni,
            underlay,
            hops: grown(hops.iter().map(|hop| Hop::new(hop.address, hop.mode))),
            members: grown(members),
        })
    }

    /// The network that a group is in for a VPC.
    fn network(&self, vni: Vni, group: &IpAddr) -> Vni {
        match self.m2p.contains_key(&(*group, vni)) {
            true => vni,
            false => self.vni,
        }
    }

    fn members_of(&self, group: &IpAddr) -> impl Iterator<Item = (PortId, &Membership)> {
        let all = (*group, PortId(0))..=(*group, PortId(u32::MAX));
        let members = self.members.range(all);
        members.map(|((_, port), membership)| (*port, membership))
    }

    /// The network that a mapping is for.
    pub(super) fn vni_of(&self, vni: Option<Vni>) -> Vni {
        vni.unwrap_or(self.vni)
    }

    /// Adds or changes a mapping; whether that made a difference.
    pub(super) fn put_m2p(&mut self, mapping: &M2p) -> bool {
        let key = (mapping.group, self.vni_of(mapping.vni));
        self.m2p.insert(key, mapping.underlay) != Some(mapping.underlay)
    }

    /// Whether so many mappings more fit.
    pub(super) fn check_room(&self, mappings: &[M2p]) -> Result<(), ConfigError> {
        let keys = mappings.iter().map(|m| (m.group, self.vni_of(m.vni)));
        let new: BTreeSet<_> = keys.filter(|key| !self.m2p.contains_key(key)).collect();
        if self.m2p.len().saturating_add(new.len()) > M2P_MAX {
            let error = ConfigError::new(ErrorCode::LimitReached, ObjectKind::M2p, "");
            return Err(error.hint(format_args!("at most {M2P_MAX}")));
        }
        Ok(())
    }

    /// Adds or changes next hops, checked before; how many made a difference.
    pub(super) fn put_hops(
        &mut self,
        underlay: Ipv6Addr,
        hops: &[McastHop],
    ) -> Result<usize, ConfigError> {
        let error = |object: Ipv6Addr| {
            ConfigError::new(ErrorCode::LimitReached, ObjectKind::McastForward, object)
        };
        if !self.forward.contains_key(&underlay) && self.forward.len() >= MCAST_FORWARD_MAX {
            let hint = format_args!("at most {MCAST_FORWARD_MAX} underlay groups");
            return Err(error(underlay).hint(hint));
        }
        let old = self.forward.get(&underlay).map_or(&[][..], Vec::as_slice);
        let is_kept = |hop: &&McastHop| hops.iter().all(|new| new.address != hop.address);
        let mut all: Vec<McastHop> = old.iter().filter(is_kept).copied().collect();
        all.extend(hops);
        super::check::forward(&underlay, &all)?;
        let changed = hops.iter().filter(|hop| !old.contains(hop)).count();
        if changed > 0 {
            self.forward.insert(underlay, all);
        }
        Ok(changed)
    }

    /// Removes next hops, all of them if none is named; how many there were.
    pub(super) fn remove_hops(
        &mut self,
        underlay: &Ipv6Addr,
        addresses: &[Ipv6Addr],
    ) -> Result<usize, ConfigError> {
        let error = || ConfigError::new(ErrorCode::NotFound, ObjectKind::McastForward, underlay);
        let hops = self.forward.get_mut(underlay).ok_or_else(error)?;
        let has = |address: &Ipv6Addr| hops.iter().any(|hop| hop.address == *address);
        if let Some(unknown) = addresses.iter().find(|address| !has(address)) {
            return Err(error().field("hops", unknown));
        }
        let before = hops.len();
        hops.retain(|hop| !addresses.is_empty() && !addresses.contains(&hop.address));
        let gone = before.saturating_sub(hops.len());
        if hops.is_empty() {
            self.forward.remove(underlay);
        }
        Ok(gone)
    }

    /// The groups that an underlay group carries.
    pub(super) fn carried_by(&self, underlay: &Ipv6Addr) -> Vec<(Vni, IpAddr)> {
        let carried = self.m2p.iter().filter(|(_, to)| *to == underlay);
        carried.map(|((group, vni), _)| (*vni, *group)).collect()
    }

    /// Makes sure that a port is known.
    pub(super) fn station(&mut self, id: PortId, name: Name, mac: MacAddr, vni: Vni) {
        self.stations.get_or_insert(id, || Station {
            name,
            mac,
            vni,
            operator: 0,
            listener: None,
            due: Instant::ZERO,
        });
    }

    /// Puts a known port in a group; whether that made a difference.
    pub(super) fn subscribe(
        &mut self,
        id: PortId,
        group: IpAddr,
        filter: Filter,
    ) -> Result<bool, ConfigError> {
        let Some(station) = self.stations.get_mut(&id) else {
            return Ok(false);
        };
        let Some(membership) = self.members.get_or_insert((group, id), Membership::default) else {
            return Ok(false);
        };
        if membership.operator.is_none() {
            if station.operator >= PORT_GROUPS_MAX {
                let object = format_args!("{} {group}", station.name);
                let error =
                    ConfigError::new(ErrorCode::LimitReached, ObjectKind::McastMember, object);
                self.tidy(&group, id);
                return Err(error.hint(format_args!("at most {PORT_GROUPS_MAX} groups a port")));
            }
            station.operator = station.operator.saturating_add(1);
        }
        let old = membership.operator.replace(filter);
        membership.settle();
        Ok(old != membership.operator)
    }

    /// Takes a port out of a group that the operator put it in.
    pub(super) fn unsubscribe(&mut self, id: PortId, group: &IpAddr) -> bool {
        let membership = self.members.get_mut(&(*group, id));
        let was_in = membership.is_some_and(|membership| {
            let was_in = membership.operator.take().is_some();
            membership.settle();
            was_in
        });
        if was_in && let Some(station) = self.stations.get_mut(&id) {
            station.operator = station.operator.saturating_sub(1);
        }
        self.tidy(group, id);
        was_in
    }

    /// The operator's memberships of a port, a group, or both.
    pub(super) fn subscribed(
        &self,
        port: Option<PortId>,
        group: Option<IpAddr>,
    ) -> Vec<(PortId, IpAddr)> {
        let all = self.members.iter();
        let wanted = all.filter(|((g, id), membership)| {
            membership.operator.is_some()
                && port.is_none_or(|port| port == *id)
                && group.is_none_or(|group| group == *g)
        });
        wanted.map(|((group, id), _)| (*id, *group)).collect()
    }

    /// Lets a known port's guest join groups, or no longer; the groups that
    /// it leaves by that. None when it was so already.
    pub(super) fn listen(&mut self, id: PortId, on: bool) -> Option<Vec<IpAddr>> {
        let station = self.stations.get_mut(&id)?;
        if station.listener.is_some() == on {
            return None;
        }
        let old = station.listener.take();
        self.due.remove(&(station.due, id));
        if on {
            station.listener = Some(Listener::default());
            station.due = Instant::ZERO;
            self.due.insert((station.due, id));
        }
        let left: Vec<_> = old.iter().flat_map(Listener::groups).collect();
        for group in &left {
            if let Some(membership) = self.members.get_mut(&(*group, id)) {
                membership.guest = None;
                membership.settle();
            }
            self.tidy(group, id);
        }
        Some(left)
    }

    /// Takes over what a guest's listener says of some groups.
    pub(super) fn follow(&mut self, id: PortId, groups: &[IpAddr]) {
        for group in groups {
            let listener = self.stations.get(&id).and_then(|s| s.listener.as_ref());
            let filter = listener.and_then(|listener| listener.filter(group));
            if let Some(membership) = self
                .members
                .get_or_insert((*group, id), Membership::default)
            {
                membership.guest = filter;
                membership.settle();
            }
            self.tidy(group, id);
        }
    }

    /// Forgets a port; the groups that it was in.
    pub(super) fn forget(&mut self, id: PortId) -> Option<(Vni, Vec<IpAddr>)> {
        let station = self.stations.remove(&id)?;
        self.due.remove(&(station.due, id));
        let keys = self.members.keys().filter(|(_, port)| *port == id);
        let groups: Vec<_> = keys.map(|(group, _)| *group).collect();
        for group in &groups {
            self.members.remove(&(*group, id));
        }
        Some((station.vni, groups))
    }

    /// The next listener that is due, if one is.
    pub(super) fn next_due(&self, now: Instant) -> Option<PortId> {
        let (due, id) = self.due.first()?;
        (*due <= now).then_some(*id)
    }

    /// Wakes a listener: whether its guest is to be asked, and the groups in
    /// which its interest has ended.
    pub(super) fn wake(&mut self, id: PortId, now: Instant) -> (bool, Vec<IpAddr>) {
        let woken = self.stations.get_mut(&id).and_then(|station| {
            let listener = station.listener.as_mut()?;
            let woken = listener.wake(now);
            self.due.remove(&(station.due, id));
            station.due = listener.due(now);
            self.due.insert((station.due, id));
            Some(woken)
        });
        woken.unwrap_or_default()
    }

    /// Looks after a listener in time for what it has just heard.
    pub(super) fn reschedule(&mut self, id: PortId, now: Instant) {
        if let Some(station) = self.stations.get_mut(&id)
            && let Some(listener) = &station.listener
        {
            self.due.remove(&(station.due, id));
            station.due = station.due.min(listener.due(now));
            self.due.insert((station.due, id));
        }
    }

    /// Removes a membership that nobody asks for any more.
    fn tidy(&mut self, group: &IpAddr, id: PortId) {
        let key = (*group, id);
        let is_over = |m: &Membership| m.operator.is_none() && m.guest.is_none();
        if self.members.get(&key).is_some_and(is_over) {
            self.members.remove(&key);
        }
    }

    /// What the operator configured.
    pub(super) fn spec(&self) -> MulticastSpec {
        let member = self.members.iter().filter_map(|((group, id), membership)| {
            Some(McastMember {
                port: self.stations.get(id)?.name,
                group: *group,
                filter: membership.operator.as_ref()?.to_api(),
            })
        });
        let listening = self.stations.values().filter(|s| s.listener.is_some());
        MulticastSpec {
            vni: self.vni,
            m2p: self.mappings().collect(),
            forward: self.forwarding().collect(),
            member: member.collect(),
            listen: listening.map(|station| station.name).collect(),
        }
    }

    /// Every mapping; a fleet's group has no VNI.
    pub(super) fn mappings(&self) -> impl Iterator<Item = M2p> {
        self.m2p.iter().map(|((group, vni), underlay)| M2p {
            group: *group,
            underlay: *underlay,
            vni: Some(*vni).filter(|vni| *vni != self.vni),
        })
    }

    /// Every underlay group with next hops.
    pub(super) fn forwarding(&self) -> impl Iterator<Item = McastForward> {
        self.forward.iter().map(|(underlay, hops)| McastForward {
            underlay: *underlay,
            hops: hops.clone(),
        })
    }

    /// Every membership, by group and port.
    pub(super) fn subscriptions(&self, now: Instant) -> impl Iterator<Item = McastSub> {
        self.members
            .iter()
            .flat_map(move |((group, id), membership)| {
                let station = self.stations.get(id);
                let sub = move |filter: &Filter, by, expires_ms| {
                    Some(McastSub {
                        port: station?.name,
                        group: *group,
                        filter: filter.to_api(),
                        by,
                        expires_ms,
                    })
                };
                let listener = station.and_then(|station| station.listener.as_ref());
                let expires_ms = listener.and_then(|l| l.expires_ms(group, now));
                let operator = membership.operator.as_ref();
                let operator = operator.and_then(|f| sub(f, McastOrigin::Operator, None));
                let guest = membership.guest.as_ref();
                let guest = guest.and_then(|f| sub(f, McastOrigin::Guest, expires_ms));
                operator.into_iter().chain(guest)
            })
    }
}

/// A list of what comes. It grows: the library's `collect` asks first how much
/// that is, and panics if it is too much.
fn grown<T>(values: impl Iterator<Item = T>) -> Box<[T]> {
    let mut list = Vec::new();
    values.for_each(|value| list.push(value));
    list.into_boxed_slice()
}

impl Membership {
    /// Brings what is heard in line with who asked for what.
    fn settle(&mut self) {
        let heard = match (&self.operator, &self.guest) {
            (Some(operator), Some(guest)) => Some(operator.union(guest)),
            (one, other) => one.as_ref().or(other.as_ref()).cloned(),
        };
        self.heard = heard.map(Arc::new);
    }
}
