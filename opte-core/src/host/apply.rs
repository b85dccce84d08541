//! Bringing the host to the state that a setup describes, all or nothing.

use super::Host;
use super::address_set::Policies;
use super::device::{Devices, LinkDevice};
use super::port_command::{PortChange, free_place, put, unique};
use super::{address_set, claim, mapping, mtu, multicast, option, underlay};
use crate::Instant;
use crate::api::setup::{Applied, Change, ChangeVerb};
use crate::api::{
    ConfigError, ErrorCode, HostOptions, ObjectKind, PortId, PortSpec, Response, Setup,
    UnderlaySpec,
};
use crate::event::Observer;
use crate::limits::CHANGES_MAX;
use crate::port::Port;
use crate::rule::AddressSets;
use crate::verdict::{LinkId, Output};
use alloc::sync::Arc;
use alloc::vec::Vec;
use lock_api::RawMutex;

/// Everything that applying a setup does, checked and ready.
struct Plan<R: RawMutex> {
    host: HostOptions,
    sets: AddressSets,
    /// Of ports that change in nothing but what the sets that they name hold.
    recompiled: Policies<R>,
    underlay: underlay::Plan,
    mappings: mapping::Plan,
    multicast: multicast::Plan,
    /// Ports that go, also those that come back with another identity.
    gone: Vec<Arc<Port<R>>>,
    new: Vec<(Arc<Port<R>>, PortSpec)>,
    changed: Vec<(Arc<Port<R>>, PortChange)>,
    places: Vec<Option<Arc<Port<R>>>>,
    changes: Vec<Change>,
}

impl<R: RawMutex, O: Observer> Host<R, O> {
    pub(super) fn apply(
        &self,
        setup: Setup,
        now: Instant,
        devices: &mut impl Devices,
        out: &mut impl Output,
    ) -> Result<Response, ConfigError> {
        let plan = self.plan(&setup, now)?;
        if plan.changes.is_empty() {
            let generation = self.host_generation();
            return Ok(Response::Applied(Applied {
                generation,
                ..Applied::default()
            }));
        }
        let links = self.open_devices(&plan, devices)?;
        let Plan {
            host,
            sets,
            recompiled,
            underlay,
            mappings,
            multicast,
            gone,
            changed,
            places,
            changes,
            new,
        } = plan;
        let closing: Vec<LinkId> = underlay.closes().collect();
        self.underlay
            .commit(underlay, &links, now, out, &self.observer);
        self.mappings.commit(mappings);
        self.commit_host_options(host);
        self.commit_sets(sets, recompiled);
        for (port, change) in changed {
            let mtu = port.policy().spec.mtu;
            self.commit_port(&port, change);
            self.tell_mtu(&port, mtu, devices);
        }
        self.commit_view(places);
        for port in &gone {
            self.retire_port(port, now, devices);
        }
        for (port, spec) in &new {
            self.touch(port);
            self.mappings.claim(port.id, &spec.external);
        }
        self.commit_multicast(multicast);
        for link in closing {
            devices.close_link(link);
        }
        // The command's own commit is the next one (`Control::generation`).
        let generation = self.host_generation().wrapping_add(1);
        let more = changes.len().saturating_sub(CHANGES_MAX);
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        let changes = changes.into_iter().take(CHANGES_MAX).collect();
        Ok(Response::Applied(Applied {
            generation,
            changes,
            more,
        }))
    }

    pub(super) fn set_underlay(
        &self,
        spec: Option<&UnderlaySpec>,
        now: Instant,
        devices: &mut impl Devices,
        out: &mut impl Output,
    ) -> Result<Response, ConfigError> {
        let plan = self.underlay.plan(spec)?;
        if let Some(spec) = spec {
            let view = self.view();
            let mut ports = view.ports();
            ports.try_for_each(|port| mtu::check_underlay(&port.policy().spec, spec))?;
        }
        let links = open_links(&plan, devices)?;
        let closing: Vec<LinkId> = plan.closes().collect();
        self.underlay.commit(plan, &links, now, out, &self.observer);
        for link in closing {
            devices.close_link(link);
        }
        Ok(Response::Done)
    }

    /// Checks all of a setup against what is there. Changes nothing.
    fn plan(&self, setup: &Setup, now: Instant) -> Result<Plan<R>, ConfigError> {
        let view = self.view();
        let underlay = self.underlay.plan(setup.underlay.as_ref())?;
        let mappings = self.mappings.plan_replace(&setup.v2p, &setup.v2b)?;
        let multicast = self.multicast.plan(&setup.multicast, &setup.ports)?;
        option::check_host(&setup.host)?;
        let (sets, set_changes) =
            address_set::plan_replace(&self.address_sets(), &setup.address_sets)?;
        let mut plan = Plan {
            changes: host_change(self.host_options(), setup.host)
                .into_iter()
                .chain(underlay_change(&underlay, setup))
                .chain(mappings.changes.clone())
                .chain(multicast.changes.clone())
                .chain(set_changes)
                .collect(),
            multicast,
            host: setup.host,
            sets,
            recompiled: Vec::new(),
            underlay,
            mappings,
            gone: Vec::new(),
            new: Vec::new(),
            changed: Vec::new(),
            places: view.places().to_vec(),
        };
        for port in view.ports() {
            let wanted = setup.ports.iter().find(|spec| spec.name == port.name);
            if wanted.is_none_or(|spec| !is_same(port, spec)) {
                put(&mut plan.places, port.id, None);
                plan.gone.push(Arc::clone(port));
                if wanted.is_none() {
                    plan.changes.push(change(ChangeVerb::Remove, &port.name));
                }
            }
        }
        claim::check(&setup.ports)?;
        for (at, spec) in setup.ports.iter().enumerate() {
            let before = setup.ports.get(..at).unwrap_or_default();
            unique(spec, before.iter())?;
            mtu::check_port(spec, setup.underlay.as_ref())?;
            self.plan_one(&mut plan, spec, now)?;
        }
        Ok(plan)
    }

    /// Plans one port of a setup.
    fn plan_one(
        &self,
        plan: &mut Plan<R>,
        spec: &PortSpec,
        now: Instant,
    ) -> Result<(), ConfigError> {
        let is_it = |port: &&Arc<Port<R>>| port.name == spec.name;
        if let Some(port) = plan.places.iter().flatten().find(is_it).map(Arc::clone) {
            if !port.policy().is(spec) {
                let planned = self.plan_port(&port, spec, &plan.sets)?;
                plan.changed.push((port, planned));
                plan.changes.push(change(ChangeVerb::Change, &spec.name));
            } else if let Some(policy) = port.policy().with_sets(&plan.sets)? {
                plan.recompiled.push((port, policy));
            }
            return Ok(());
        }
        let replaced = plan.gone.iter().any(|port| port.name == spec.name);
        let id = self.place_for(plan).ok_or_else(|| {
            ConfigError::new(ErrorCode::LimitReached, ObjectKind::Port, spec.name)
        })?;
        let port = self.build_port(id, spec, &plan.sets, now)?;
        put(&mut plan.places, id, Some(Arc::clone(&port)));
        plan.new.push((port, spec.clone()));
        let verb = if replaced {
            ChangeVerb::Change
        } else {
            ChangeVerb::Add
        };
        plan.changes.push(change(verb, &spec.name));
        Ok(())
    }

    /// A number for a new port: not one of a port that goes in the same
    /// breath, whose device is still open under it.
    fn place_for(&self, plan: &mut Plan<R>) -> Option<PortId> {
        let mut places: Vec<Option<()>> =
            plan.places.iter().map(|p| p.as_ref().map(drop)).collect();
        for port in &plan.gone {
            put(&mut places, port.id, Some(()));
        }
        let id = free_place(&mut places)?;
        plan.places.resize(places.len(), None);
        Some(id)
    }

    /// Opens every device that a plan needs, or none.
    fn open_devices(
        &self,
        plan: &Plan<R>,
        devices: &mut impl Devices,
    ) -> Result<Vec<(LinkId, LinkDevice)>, ConfigError> {
        // A port that is replaced hands its device on.
        let is_replaced =
            |port: &&Arc<Port<R>>| plan.new.iter().any(|(_, spec)| spec.name == port.name);
        for port in plan.gone.iter().filter(|port| !is_replaced(port)) {
            devices.may_close_port(port.id)?;
        }
        let links = open_links(&plan.underlay, devices)?;
        for (at, (port, spec)) in plan.new.iter().enumerate() {
            if let Err(error) = devices.open_port(port.id, spec) {
                for (port, _) in plan.new.get(..at).unwrap_or_default() {
                    devices.close_port(port.id);
                }
                for (link, _) in links {
                    devices.close_link(link);
                }
                return Err(error);
            }
        }
        Ok(links)
    }
}

/// Opens the links that are new in a plan, or none.
fn open_links(
    plan: &underlay::Plan,
    devices: &mut impl Devices,
) -> Result<Vec<(LinkId, LinkDevice)>, ConfigError> {
    let mut open = Vec::new();
    for (id, spec) in plan.opens() {
        match devices.open_link(id, spec) {
            Ok(device) => open.push((id, device)),
            Err(error) => {
                for (id, _) in open {
                    devices.close_link(id);
                }
                return Err(error);
            }
        }
    }
    plan.admit(&open).inspect_err(|_| {
        for (id, _) in &open {
            devices.close_link(*id);
        }
    })?;
    Ok(open)
}

/// What a setup does to the underlay, if anything.
fn underlay_change(plan: &underlay::Plan, setup: &Setup) -> Option<Change> {
    let verb = match setup.underlay {
        Some(_) => ChangeVerb::Change,
        None => ChangeVerb::Remove,
    };
    plan.changes().then(|| Change {
        verb,
        object: "underlay".into(),
    })
}

/// What a setup does to the host's limits, if anything.
fn host_change(old: HostOptions, new: HostOptions) -> Option<Change> {
    (old != new).then(|| Change {
        verb: ChangeVerb::Change,
        object: "host".into(),
    })
}

/// A port is the same one, and keeps its flows, while these don't change and
/// its table has room.
fn is_same<R: RawMutex>(port: &Port<R>, new: &PortSpec) -> bool {
    let policy = port.policy();
    let old = &policy.spec;
    (old.mac, old.gateway_mac, old.vni) == (new.mac, new.gateway_mac, new.vni)
        && old.ipv4.map(|c| c.address) == new.ipv4.map(|c| c.address)
        && old.ipv6.map(|c| c.address) == new.ipv6.map(|c| c.address)
        && new.options.flows_max <= port.table.room()
}

fn change(verb: ChangeVerb, name: &crate::api::Name) -> Change {
    Change {
        verb,
        object: alloc::format!("port {name}"),
    }
}
