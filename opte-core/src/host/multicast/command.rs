//! Commands about groups.

use super::plan::{Plan, check_family};
use super::{Multicast, check};
use crate::Instant;
use crate::api::page::{Page, Pager, Weight};
use crate::api::{
    Command, ConfigError, ErrorCode, M2p, McastForward, McastSub, Name, ObjectKind, PortId,
    Response, SourceFilter,
};
use crate::event::{Observer, observe};
use crate::flow::tuple::from_ip;
use crate::host::Host;
use crate::wire::Vni;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::sync::atomic::Ordering;
use lock_api::RawMutex;

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// Carries out a command about groups.
    pub(in crate::host) fn change_multicast(
        &self,
        command: Command,
    ) -> Result<Response, ConfigError> {
        let count = |changed: Result<usize, _>| {
            changed.map(|count| Response::Count(u64::try_from(count).unwrap_or(u64::MAX)))
        };
        match command {
            Command::SetM2p(mappings) => count(self.set_m2p(&mappings)),
            Command::ClearM2p(vni, group) => self.clear_m2p(vni, &group),
            Command::SetMcastFwd(underlay, hops) => {
                count(self.change_forward(&underlay, |tables| tables.put_hops(underlay, &hops)))
            }
            Command::ClearMcastFwd(underlay, addresses) => {
                count(self.change_forward(&underlay, |tables| {
                    tables.remove_hops(&underlay, &addresses)
                }))
            }
            Command::McastSubscribe(port, group, filter) => self.subscribe(&port, group, &filter),
            Command::McastUnsubscribe(port, group) => self.unsubscribe(&port, group),
            Command::McastUnsubscribeAll(port, group) => {
                count(self.unsubscribe_all(port.as_ref(), group))
            }
            Command::SetMcastListen(port, on) => self.set_listen(&port, on),
            Command::SetMcastVni(vni) => self.set_multicast_vni(vni),
            _ => Err(ConfigError::new(
                ErrorCode::UnknownCommand,
                ObjectKind::Request,
                "",
            )),
        }
    }

    fn set_m2p(&self, mappings: &[M2p]) -> Result<usize, ConfigError> {
        mappings.iter().try_for_each(check::m2p)?;
        let mut tables = self.multicast.tables.lock();
        tables.check_room(mappings)?;
        let mut changed = Vec::new();
        for mapping in mappings {
            if tables.put_m2p(mapping) {
                let vni = tables.vni_of(mapping.vni);
                self.multicast.rebuild(&tables, vni, &mapping.group);
                changed.push((vni, mapping));
            }
        }
        drop(tables);
        for (vni, mapping) in &changed {
            self.mapping_changed(*vni, mapping.group, Some(mapping.underlay));
        }
        Ok(changed.len())
    }

    fn clear_m2p(&self, vni: Option<Vni>, group: &IpAddr) -> Result<Response, ConfigError> {
        let mut tables = self.multicast.tables.lock();
        let vni = tables.vni_of(vni);
        if tables.m2p.remove(&(*group, vni)).is_none() {
            let error = ConfigError::new(ErrorCode::NotFound, ObjectKind::M2p, group);
            return Err(error.field("vni", vni));
        }
        self.multicast.rebuild(&tables, vni, group);
        drop(tables);
        self.mapping_changed(vni, *group, None);
        Ok(Response::Done)
    }

    fn change_forward(
        &self,
        underlay: &Ipv6Addr,
        change: impl FnOnce(&mut super::Tables) -> Result<usize, ConfigError>,
    ) -> Result<usize, ConfigError> {
        let mut tables = self.multicast.tables.lock();
        let changed = change(&mut tables)?;
        let carried = tables.carried_by(underlay);
        for (vni, group) in &carried {
            self.multicast.rebuild(&tables, *vni, group);
        }
        drop(tables);
        for (vni, group) in carried {
            self.mapping_changed(vni, group, Some(*underlay));
        }
        Ok(changed)
    }

    fn subscribe(
        &self,
        name: &Name,
        group: IpAddr,
        filter: &SourceFilter,
    ) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        check::member(name, &group, filter)?;
        check_family(&port.policy().spec, &group).map_err(|code| {
            let object = format_args!("{name} {group}");
            ConfigError::new(code, ObjectKind::McastMember, object)
        })?;
        let mut tables = self.multicast.tables.lock();
        tables.station(port.id, *name, port.mac, port.vni);
        let is_new = tables.subscribe(port.id, group, filter.into())?;
        self.multicast.rebuild_for(&tables, port.vni, &[group]);
        drop(tables);
        if is_new {
            self.member_changed(&port, group);
        }
        Ok(Response::Done)
    }

    fn unsubscribe(&self, name: &Name, group: IpAddr) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        let mut tables = self.multicast.tables.lock();
        if !tables.unsubscribe(port.id, &group) {
            let object = format_args!("{name} {group}");
            let error = ConfigError::new(ErrorCode::NotFound, ObjectKind::McastMember, object);
            return Err(error);
        }
        self.multicast.rebuild_for(&tables, port.vni, &[group]);
        drop(tables);
        self.member_changed(&port, group);
        Ok(Response::Done)
    }

    fn unsubscribe_all(
        &self,
        name: Option<&Name>,
        group: Option<IpAddr>,
    ) -> Result<usize, ConfigError> {
        let port = name.map(|name| self.named(name)).transpose()?;
        let view = self.view();
        let mut tables = self.multicast.tables.lock();
        let all = tables.subscribed(port.map(|port| port.id), group);
        for (id, group) in &all {
            tables.unsubscribe(*id, group);
            if let Some(port) = view.port(*id) {
                self.multicast.rebuild_for(&tables, port.vni, &[*group]);
            }
        }
        drop(tables);
        for (id, group) in &all {
            if let Some(port) = view.port(*id) {
                self.member_changed(port, *group);
            }
        }
        Ok(all.len())
    }

    fn set_listen(&self, name: &Name, on: bool) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        let mut tables = self.multicast.tables.lock();
        tables.station(port.id, *name, port.mac, port.vni);
        let left = tables.listen(port.id, on).unwrap_or_default();
        self.multicast.rebuild_for(&tables, port.vni, &left);
        drop(tables);
        for group in left {
            self.member_changed(&port, group);
        }
        Ok(Response::Done)
    }

    /// Changes the network of the fleet's groups while there are none.
    fn set_multicast_vni(&self, vni: Vni) -> Result<Response, ConfigError> {
        check::fleet_vni(vni)?;
        let mut tables = self.multicast.tables.lock();
        let old = tables.vni;
        let is_used = tables
            .m2p
            .keys()
            .any(|(_, used)| *used == old || *used == vni);
        if old != vni && is_used {
            let error = ConfigError::new(ErrorCode::InUse, ObjectKind::Host, "");
            let hint = "there are groups in the old network or in the new one";
            return Err(error.field("multicast vni", vni).hint(hint));
        }
        tables.vni = vni;
        self.multicast.vni.store(vni.get(), Ordering::Relaxed);
        Ok(Response::Done)
    }

    /// Makes a plan real, and says what is another way by it. On a stack frame of
    /// its own, for a kernel's is small.
    #[inline(never)]
    pub(in crate::host) fn commit_multicast(&self, plan: Plan) {
        let view = self.view();
        let told = self.multicast.commit(plan, |name| {
            let port = view.port_by_name(name)?;
            Some((port.id, port.mac, port.vni))
        });
        for (vni, group, underlay) in told.maps {
            self.mapping_changed(vni, group, underlay);
        }
        for (name, group) in told.members {
            if let Some(port) = view.port_by_name(&name) {
                self.member_changed(port, group);
            }
        }
    }

    /// Says that a group has another way over the underlay.
    fn mapping_changed(&self, vni: Vni, group: IpAddr, underlay: Option<Ipv6Addr>) {
        observe!(
            &self.observer,
            McastMap {
                vni,
                group: from_ip(group),
                underlay: underlay.map(|group| group.octets())
            }
        );
    }

    /// A page of groups.
    pub(in crate::host) fn dump_m2p(&self, cursor: u64) -> Page<M2p> {
        let tables = self.multicast.tables.lock();
        page(tables.mappings(), cursor, self.host_generation())
    }

    /// A page of underlay groups.
    pub(in crate::host) fn dump_mcast_fwd(&self, cursor: u64) -> Page<McastForward> {
        let tables = self.multicast.tables.lock();
        page(tables.forwarding(), cursor, self.host_generation())
    }

    /// A page of memberships.
    pub(in crate::host) fn dump_mcast_subs(&self, cursor: u64, now: Instant) -> Page<McastSub> {
        let tables = self.multicast.tables.lock();
        page(tables.subscriptions(now), cursor, self.host_generation())
    }
}

impl<R: RawMutex> Multicast<R> {
    /// Ends the memberships of a port that is no more.
    pub(in crate::host) fn forget(&self, id: PortId) {
        let mut tables = self.tables.lock();
        if let Some((vni, groups)) = tables.forget(id) {
            self.rebuild_for(&tables, vni, &groups);
        }
    }
}

/// One page; cursors count entries. On a stack frame of its own, for a kernel's
/// is small.
#[inline(never)]
fn page<T: Weight>(entries: impl Iterator<Item = T>, cursor: u64, generation: u64) -> Page<T> {
    let mut pager = Pager::new();
    let skip = usize::try_from(cursor).unwrap_or(usize::MAX);
    for (number, entry) in (0_u64..).zip(entries).skip(skip) {
        if pager.push(entry).is_err() {
            return pager.finish(Some(number), generation);
        }
    }
    pager.finish(None, generation)
}
