//! Commands about one port.

use super::device::Devices;
use super::{Control, Host, mtu, option};
use crate::api::port::TransitPrefix;
use crate::api::{
    ConfigError, ErrorCode, ExternalIps, FwRule, Name, ObjectKind, PortId, PortSpec, Prefix,
    Response, RouteSpec,
};
use crate::event::{FlowEnd, Observer};
use crate::flow::record::NatKind;
use crate::layer::nat;
use crate::layer::{firewall, router};
use crate::limits::PORTS_MAX;
use crate::port::errand::Errands;
use crate::port::policy::{check_transit, of_port};
use crate::port::{Policy, Port};
use crate::rule::AddressSets;
use crate::{Direction, Instant, LayerId};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use lock_api::RawMutex;

/// What changes when a port's configuration does; made by planning, which may
/// fail, and committed, which can't.
#[derive(Debug)]
pub(super) struct PortChange {
    policy: Policy,
    nat: nat::Plan,
}

impl<R: RawMutex, O: Observer> Host<R, O> {
    pub(super) fn create_port(
        &self,
        _control: &mut Control,
        spec: PortSpec,
        now: Instant,
        devices: &mut impl Devices,
    ) -> Result<Response, ConfigError> {
        let view = self.view();
        let mut places = view.places().to_vec();
        let id = free_place(&mut places).ok_or_else(|| {
            ConfigError::new(ErrorCode::LimitReached, ObjectKind::Port, spec.name)
                .hint(alloc::format!("{PORTS_MAX} ports at most"))
        })?;
        let policies: Vec<_> = view.ports().map(|port| port.policy()).collect();
        unique(&spec, policies.iter().map(|policy| &policy.spec))?;
        mtu::check_port(&spec, self.underlay.spec().ok().as_ref())?;
        let port = self.build_port(id, &spec, &self.address_sets(), now)?;
        devices.open_port(id, &spec)?;
        put(&mut places, id, Some(Arc::clone(&port)));
        self.commit_view(places);
        self.touch(&port);
        self.mappings.claim(id, &spec.external);
        Ok(Response::Id(id.0))
    }

    pub(super) fn delete_port(
        &self,
        name: &Name,
        now: Instant,
        devices: &mut impl Devices,
    ) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        devices.may_close_port(port.id)?;
        let mut places = self.view().places().to_vec();
        put(&mut places, port.id, None);
        self.commit_view(places);
        self.retire_port(&port, now, devices);
        Ok(Response::Done)
    }

    /// Ends a port that is no longer in the view.
    pub(super) fn retire_port(&self, port: &Port<R>, now: Instant, devices: &mut impl Devices) {
        let view = self.view();
        let errands = Errands::default();
        let env = self.env_of(&view, &errands, 0, now);
        self.touch(port);
        self.mappings.claim(port.id, &ExternalIps::default());
        self.multicast.forget(port.id);
        port.table
            .clear(|_| true, |flow| port.ended(&env, flow, FlowEnd::Cleared));
        devices.close_port(port.id);
    }

    /// Checks a new port's configuration and makes the port, which nobody sees yet.
    pub(super) fn build_port(
        &self,
        id: PortId,
        spec: &PortSpec,
        sets: &AddressSets,
        now: Instant,
    ) -> Result<Arc<Port<R>>, ConfigError> {
        let policy = Policy::first(spec, sets)?;
        let (budget, lanes) = (Arc::clone(&self.budget), self.lanes.len());
        let port = Port::new(id, policy, self.seed, lanes, budget, now);
        let plan = port.nat.plan(&spec.name, &spec.external)?;
        port.nat.commit(plan);
        Ok(Arc::new(port))
    }

    /// Checks a port's new configuration, all of it.
    pub(super) fn plan_port(
        &self,
        port: &Port<R>,
        spec: &PortSpec,
        sets: &AddressSets,
    ) -> Result<PortChange, ConfigError> {
        option::check_room(port, spec)?;
        let old = port.policy();
        let but_limits = PortSpec {
            mtu: old.spec.mtu,
            options: old.spec.options,
            ..spec.clone()
        };
        let policy = if old.is(&but_limits) && !old.rules.is_outdated(sets) {
            old.with_limits(PortSpec {
                mtu: spec.mtu,
                options: spec.options,
                ..old.spec.clone()
            })?
        } else {
            old.planned(spec, sets)?
        };
        let nat = port.nat.plan(&spec.name, &spec.external)?;
        Ok(PortChange { policy, nat })
    }

    pub(super) fn commit_port(&self, port: &Port<R>, change: PortChange) {
        port.nat.commit(change.nat);
        self.mappings.claim(port.id, &change.policy.spec.external);
        self.commit_policy(port, change.policy);
    }

    /// Tells a port's device about its MTU, if that was another one.
    pub(super) fn tell_mtu(&self, port: &Port<R>, before: u16, devices: &mut impl Devices) {
        let mtu = port.policy().spec.mtu;
        if mtu != before {
            devices.set_port_mtu(port.id, mtu);
        }
    }

    /// Makes a view of these ports the present one.
    pub(super) fn commit_view(&self, places: Vec<Option<Arc<Port<R>>>>) {
        let key = crate::keyed::Keyed::new(self.seed, "view");
        let view = Arc::new(self.view().next(places, key));
        let generation = view.generation;
        let old = core::mem::replace(&mut *self.view.lock(), view);
        self.view_generation
            .store(generation, core::sync::atomic::Ordering::Release);
        drop(old);
    }

    /// Makes flows to a port that has come or gone look for it again.
    pub(super) fn touch(&self, port: &Port<R>) {
        for addr in addresses(&port.policy().spec) {
            self.mappings.touch(port.vni, &addr);
        }
    }

    pub(super) fn add_rule(&self, name: &Name, rule: FwRule) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        let old = port.policy();
        let (id, next) = take_id(&old, name)?;
        let rules = firewall::plan_add(&old.rules, id, rule).map_err(|e| of_port(e, &old.spec))?;
        port.commit(old.with_rules(rules, next, &self.address_sets())?);
        Ok(Response::Id(id))
    }

    pub(super) fn remove_rule(
        &self,
        name: &Name,
        dir: Direction,
        id: u32,
    ) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        let old = port.policy();
        let rules =
            firewall::plan_remove(&old.rules, dir, id).map_err(|e| of_port(e, &old.spec))?;
        port.commit(old.with_rules(rules, old.next_id, &self.address_sets())?);
        Ok(Response::Done)
    }

    pub(super) fn set_rules(
        &self,
        name: &Name,
        rules: Vec<FwRule>,
    ) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        let old = port.policy();
        let (rules, next) = firewall::plan_replace(&old.rules, rules, old.next_id)
            .map_err(|e| of_port(e, &old.spec))?;
        port.commit(old.with_rules(rules, next, &self.address_sets())?);
        Ok(Response::Done)
    }

    pub(super) fn add_route(&self, name: &Name, route: RouteSpec) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        let old = port.policy();
        let (id, next) = take_id(&old, name)?;
        router::check_gateways([&route], &old.spec.external).map_err(|e| of_port(e, &old.spec))?;
        let routes = router::plan_add(&old.routes, id, route).map_err(|e| of_port(e, &old.spec))?;
        port.commit(old.with_routes(routes, next));
        Ok(Response::Id(id))
    }

    pub(super) fn remove_route(
        &self,
        name: &Name,
        route: &RouteSpec,
    ) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        let old = port.policy();
        let routes = router::plan_remove(&old.routes, route).map_err(|e| of_port(e, &old.spec))?;
        port.commit(old.with_routes(routes, old.next_id));
        Ok(Response::Done)
    }

    pub(super) fn set_external(
        &self,
        name: &Name,
        external: ExternalIps,
    ) -> Result<Response, ConfigError> {
        // How they are used stays as it is.
        self.change_external(name, |old| ExternalIps {
            nat: old.nat,
            ..external
        })
    }

    /// Commits other external addresses, or another use of them.
    pub(super) fn change_external(
        &self,
        name: &Name,
        change: impl FnOnce(&ExternalIps) -> ExternalIps,
    ) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        let old = port.policy();
        let external = change(&old.spec.external);
        let nat = port.nat.plan(name, &external)?;
        let spec = PortSpec {
            external,
            ..old.spec.clone()
        };
        let policy = old.with_spec(spec)?;
        self.commit_port(&port, PortChange { policy, nat });
        Ok(Response::Done)
    }

    pub(super) fn allow_transit(
        &self,
        name: &Name,
        new: TransitPrefix,
    ) -> Result<Response, ConfigError> {
        check_transit(name, &new)?;
        let port = self.named(name)?;
        self.respec(&port, |spec| {
            match spec.transit.iter_mut().find(|old| old.prefix == new.prefix) {
                Some(old) => {
                    old.inbound |= new.inbound;
                    old.outbound |= new.outbound;
                }
                None => spec.transit.push(new),
            }
        })
    }

    pub(super) fn remove_transit(
        &self,
        name: &Name,
        gone: TransitPrefix,
    ) -> Result<Response, ConfigError> {
        check_transit(name, &gone)?;
        let port = self.named(name)?;
        let policy = port.policy();
        let mut transit = policy.spec.transit.iter();
        let Some(old) = transit.find(|old| old.prefix == gone.prefix) else {
            return Err(not_there(name, "transit", &gone.prefix));
        };
        if !(old.inbound && gone.inbound || old.outbound && gone.outbound) {
            let hint = if old.inbound {
                "it is allowed in only"
            } else {
                "it is allowed out only"
            };
            return Err(not_there(name, "transit", &gone.prefix).hint(hint));
        }
        self.respec(&port, |spec| {
            for old in spec
                .transit
                .iter_mut()
                .filter(|old| old.prefix == gone.prefix)
            {
                old.inbound &= !gone.inbound;
                old.outbound &= !gone.outbound;
            }
            spec.transit.retain(|old| old.inbound || old.outbound);
        })
    }

    pub(super) fn attach(&self, name: &Name, prefix: Prefix) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        if port.policy().spec.attached_subnets.contains(&prefix) {
            return Err(ConfigError::new(ErrorCode::Exists, ObjectKind::Port, name)
                .field("attached_subnets", prefix));
        }
        self.respec(&port, |spec| spec.attached_subnets.push(prefix))
    }

    pub(super) fn detach(&self, name: &Name, prefix: Prefix) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        if !port.policy().spec.attached_subnets.contains(&prefix) {
            return Err(not_there(name, "attached_subnets", &prefix));
        }
        self.respec(&port, |spec| {
            spec.attached_subnets.retain(|old| *old != prefix)
        })
    }

    /// Commits a port's configuration with a change to it, if it is right.
    fn respec(
        &self,
        port: &Port<R>,
        change: impl FnOnce(&mut PortSpec),
    ) -> Result<Response, ConfigError> {
        let old = port.policy();
        let mut spec = old.spec.clone();
        change(&mut spec);
        port.commit(old.with_spec(spec)?);
        Ok(Response::Done)
    }

    pub(super) fn clear_uft(&self, name: &Name) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        let mut cleared = 0_u64;
        port.table.scan(0, |flow| {
            cleared = cleared.saturating_add(flow.forget_rewrites().into());
            true
        });
        Ok(Response::Count(cleared))
    }

    pub(super) fn clear_lft(
        &self,
        name: &Name,
        layer: LayerId,
        now: Instant,
    ) -> Result<Response, ConfigError> {
        let port = self.named(name)?;
        let nat_only = match layer {
            LayerId::Firewall => false,
            LayerId::Nat => true,
            _ => {
                return Err(
                    ConfigError::new(ErrorCode::Unsupported, ObjectKind::Port, name)
                        .field("layer", layer)
                        .hint("only firewall and nat remember flows"),
                );
            }
        };
        let view = self.view();
        let errands = Errands::default();
        let env = self.env_of(&view, &errands, 0, now);
        let cleared = port.table.clear(
            |flow| !nat_only || flow.nat != NatKind::None,
            |flow| port.ended(&env, flow, FlowEnd::Cleared),
        );
        Ok(Response::Count(cleared))
    }
}

/// The id for a new rule or route, and the next one.
fn take_id(policy: &Policy, name: &Name) -> Result<(u32, u32), ConfigError> {
    let next = policy.next_id.checked_add(1).ok_or_else(|| {
        ConfigError::new(ErrorCode::LimitReached, ObjectKind::Port, name).field("id", u32::MAX)
    })?;
    Ok((policy.next_id, next))
}

/// The first place without a port.
pub(super) fn free_place<T>(places: &mut Vec<Option<T>>) -> Option<PortId> {
    let at = places
        .iter()
        .position(Option::is_none)
        .unwrap_or(places.len());
    if at >= PORTS_MAX {
        return None;
    }
    if at == places.len() {
        places.push(None);
    }
    u32::try_from(at).ok().map(PortId)
}

/// Puts a port in its place.
pub(super) fn put<T>(places: &mut [Option<T>], id: PortId, port: Option<T>) {
    let place = usize::try_from(id.0).ok().and_then(|at| places.get_mut(at));
    if let Some(place) = place {
        *place = port;
    }
}

/// Checks that a new port's name, MAC address and addresses are nobody else's.
pub(super) fn unique<'s>(
    spec: &PortSpec,
    others: impl Iterator<Item = &'s PortSpec>,
) -> Result<(), ConfigError> {
    let error = ConfigError::new(ErrorCode::Exists, ObjectKind::Port, spec.name);
    for other in others {
        let whose = |error: ConfigError| error.hint(alloc::format!("it is port {}'s", other.name));
        if other.name == spec.name {
            return Err(error);
        }
        if other.mac == spec.mac {
            return Err(whose(error.field("mac", spec.mac)));
        }
        for addr in addresses(spec) {
            if other.vni == spec.vni && addresses(other).any(|o| o == addr) {
                return Err(whose(error.field("address", addr)));
            }
        }
    }
    Ok(())
}

/// A port's own addresses.
fn addresses(spec: &PortSpec) -> impl Iterator<Item = IpAddr> {
    let v4 = spec.ipv4.map(|c| IpAddr::V4(c.address));
    let v6 = spec.ipv6.map(|c| IpAddr::V6(c.address));
    [v4, v6].into_iter().flatten()
}

fn not_there(name: &Name, field: &str, prefix: &Prefix) -> ConfigError {
    ConfigError::new(ErrorCode::NotFound, ObjectKind::Port, name).field(field, prefix)
}
