//! A port's configuration, as decisions are made from it.

mod prefix;
mod service;

pub(crate) use prefix::check_transit;

use super::Dropped;
use crate::api::mapping::{BOUNDARY_VNI, OUTSIDE};
use crate::api::setting::check_ranges;
use crate::api::{ConfigError, ErrorCode, HostFilter, ObjectKind, PortOptions, PortSpec, Prefix};
use crate::hairpin;
use crate::layer::firewall::{self, DefaultStats};
use crate::layer::router::{self, Route, RouteTable};
use crate::limits::{PORT_MSS_MIN, PORT_MTU_MAX};
use crate::rule::{AddressSets, Rule, RuleSet, RuleStats};
use crate::{Direction, Instant};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

/// A snapshot of a port's configuration. Never changes; a change makes a new
/// one with the next generation (decision D3).
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Counts the policies that decide differently, from one.
    pub(crate) generation: u32,
    /// Counts all of the port's policies, from one.
    pub(crate) revision: u64,
    /// What the port was made from and changed to since. Its rules and routes
    /// are in `rules` and `routes` and empty here.
    pub(crate) spec: PortSpec,
    pub(crate) hairpin: hairpin::Config,
    pub(crate) rules: Arc<RuleSet>,
    pub(crate) routes: Arc<RouteTable>,
    /// Counters of the firewall's defaults: one set for the port's life.
    pub(crate) defaults: Arc<DefaultStats>,
    /// The id that the next new rule or route gets.
    pub(crate) next_id: u32,
    /// Whether an outbound rule asks for the far side's VPC.
    pub(crate) asks_vni: bool,
}

impl Policy {
    /// A new port's policy.
    pub(crate) fn first(spec: &PortSpec, sets: &AddressSets) -> Result<Self, ConfigError> {
        let nothing = Self {
            generation: 0,
            revision: 0,
            hairpin: hairpin_config(spec),
            spec: stripped(spec),
            rules: Arc::default(),
            routes: Arc::default(),
            defaults: Arc::default(),
            next_id: 1,
            asks_vni: false,
        };
        nothing.planned(spec, sets)
    }

    /// The policy that follows this one and is as `spec` says.
    pub(crate) fn planned(&self, spec: &PortSpec, sets: &AddressSets) -> Result<Self, ConfigError> {
        check(spec)?;
        let of_port = |error: ConfigError| of_port(error, spec);
        router::check_gateways(&spec.routes, &spec.external).map_err(of_port)?;
        let (rules, next_id) =
            firewall::plan_replace(&self.rules, spec.rules.clone(), self.next_id)
                .map_err(of_port)?;
        let (routes, next_id) =
            router::plan_replace(&self.routes, spec.routes.clone(), next_id).map_err(of_port)?;
        let next = self.with_rules(rules, next_id, sets)?;
        let next = next.with_routes(routes, next_id);
        Ok(Self {
            generation: self.generation.wrapping_add(1),
            revision: self.revision.saturating_add(1),
            hairpin: hairpin_config(spec),
            spec: stripped(spec),
            ..next
        })
    }

    /// The policy that follows this one, with another configuration but for
    /// rules and routes.
    pub(crate) fn with_spec(&self, spec: PortSpec) -> Result<Self, ConfigError> {
        check(&spec)?;
        Ok(Self {
            hairpin: hairpin_config(&spec),
            spec,
            ..self.next()
        })
    }

    /// The policy that follows this one, with other options or another MTU. It
    /// decides the same, so what was decided stays good.
    pub(crate) fn with_limits(&self, spec: PortSpec) -> Result<Self, ConfigError> {
        Ok(Self {
            generation: self.generation,
            ..self.with_spec(spec)?
        })
    }

    /// The policy that follows this one, with other rules.
    pub(crate) fn with_rules(
        &self,
        rules: Vec<Rule>,
        next_id: u32,
        sets: &AddressSets,
    ) -> Result<Self, ConfigError> {
        let specs = rules.iter().map(|rule| &*rule.spec);
        sets.check(specs.clone())
            .map_err(|error| of_port(error, &self.spec))?;
        let is_vni = |host: &HostFilter| matches!(host, HostFilter::Vni(_));
        let asks_vni = specs
            .filter(|rule| rule.dir == Direction::Out)
            .any(|rule| rule.hosts.iter().any(is_vni));
        Ok(Self {
            rules: Arc::new(RuleSet::build_with(rules, sets)),
            next_id,
            asks_vni,
            ..self.next()
        })
    }

    /// The policy that follows this one when address sets have changed; none
    /// when its rules name none of those.
    pub(crate) fn with_sets(&self, sets: &AddressSets) -> Result<Option<Self>, ConfigError> {
        if !self.rules.is_outdated(sets) {
            return Ok(None);
        }
        let rules = self.rules.iter().cloned().collect();
        self.with_rules(rules, self.next_id, sets).map(Some)
    }

    /// The policy that follows this one, with other routes.
    pub(crate) fn with_routes(&self, routes: Vec<Route>, next_id: u32) -> Self {
        Self {
            routes: Arc::new(RouteTable::build(routes)),
            next_id,
            ..self.next()
        }
    }

    /// This policy as another one.
    fn next(&self) -> Self {
        Self {
            generation: self.generation.wrapping_add(1),
            revision: self.revision.saturating_add(1),
            ..self.clone()
        }
    }

    /// Whether this is what `spec` says, so that nothing would change.
    pub(crate) fn is(&self, spec: &PortSpec) -> bool {
        let mut rules: Vec<_> = spec.rules.iter().collect();
        // As the rule set does: first by this, then as they were given.
        rules.sort_by_key(|rule| (rule.dir, rule.priority, rule.action));
        let mut routes: Vec<_> = spec.routes.iter().collect();
        routes.sort();
        let mut ours: Vec<_> = self.routes.iter().map(|route| &route.spec).collect();
        ours.sort();
        stripped(spec) == self.spec
            && routes == ours
            && self.rules.iter().map(|rule| &*rule.spec).eq(rules)
    }

    /// The counters of the rule that refused, or of the default, if one did.
    pub(crate) fn denied_by(&self, dropped: &Dropped) -> Option<&RuleStats> {
        match dropped.layer? {
            // Only inbound flows are refused by default.
            crate::LayerId::Firewall if dropped.rule == 0 => Some(self.defaults.of(Direction::In)),
            crate::LayerId::Firewall => self.rule_stats(dropped.rule),
            crate::LayerId::Router => self.route_stats(dropped.rule),
            _ => None,
        }
    }

    fn rule_stats(&self, id: u32) -> Option<&RuleStats> {
        self.rules.get(id).map(|rule| &*rule.stats)
    }

    fn route_stats(&self, id: u32) -> Option<&RuleStats> {
        self.routes.get(id).map(|route| &*route.stats)
    }

    /// Adds to the counters of the rules that let a flow pass.
    pub(crate) fn count(
        &self,
        opened: Direction,
        fw_rule: u32,
        route: u32,
        packets: u64,
        bytes: u64,
        last: Instant,
    ) {
        let firewall = match fw_rule {
            0 => Some(self.defaults.of(opened)),
            id => self.rule_stats(id),
        };
        for stats in [firewall, self.route_stats(route)].into_iter().flatten() {
            stats.record(packets, bytes, last);
        }
    }
}

/// The configuration without what a policy keeps in its own form.
fn stripped(spec: &PortSpec) -> PortSpec {
    PortSpec {
        rules: Vec::new(),
        routes: Vec::new(),
        ..spec.clone()
    }
}

/// Says of which port a refused rule or route is.
pub(crate) fn of_port(error: ConfigError, spec: &PortSpec) -> ConfigError {
    let hint = match error.hint.as_str() {
        "" => alloc::format!("port {}", spec.name),
        hint => alloc::format!("port {}, {hint}", spec.name),
    };
    error.hint(hint)
}

fn hairpin_config(spec: &PortSpec) -> hairpin::Config {
    hairpin::Config {
        mac: spec.mac,
        gateway_mac: spec.gateway_mac,
        ipv4: spec.ipv4,
        ipv6: spec.ipv6,
        mtu: spec.mtu,
        dhcp: spec.dhcp.clone(),
        advertise: spec.advertise,
        sources: own_sources(spec).collect(),
    }
}

/// Prefixes that the guest may send from besides its own addresses.
fn own_sources(spec: &PortSpec) -> impl Iterator<Item = Prefix> {
    let transit = spec.transit.iter().filter(|transit| transit.outbound);
    spec.attached_subnets
        .iter()
        .copied()
        .chain(transit.map(|transit| transit.prefix))
}

/// Checks what a port's configuration says of itself, rules, routes and
/// external addresses aside.
pub(crate) fn check(spec: &PortSpec) -> Result<(), ConfigError> {
    let bad = |code, field: &str, value: &dyn core::fmt::Display| {
        ConfigError::new(code, ObjectKind::Port, spec.name).field(field, value)
    };
    if spec.ipv4.is_none() && spec.ipv6.is_none() {
        return Err(bad(ErrorCode::Missing, "ipv4", &"").hint("a port needs ipv4, ipv6 or both"));
    }
    for (field, mac) in [("mac", spec.mac), ("gateway_mac", spec.gateway_mac)] {
        if mac.is_multicast() || mac == crate::wire::MacAddr::ZERO {
            return Err(bad(ErrorCode::NotUnicast, field, &mac));
        }
    }
    if spec.vni.get() == BOUNDARY_VNI {
        return Err(bad(ErrorCode::Conflict, "vni", &spec.vni).hint(OUTSIDE));
    }
    if spec.mac == spec.gateway_mac {
        return Err(bad(ErrorCode::Conflict, "mac", &spec.mac).hint("it is the gateway's"));
    }
    let range = spec.mtu_range();
    if !range.contains(&spec.mtu) {
        let hint = alloc::format!("{} to {}", range.start(), range.end());
        return Err(bad(ErrorCode::OutOfRange, "mtu", &spec.mtu).hint(hint));
    }
    check_addresses(spec)?;
    check_options(spec)?;
    service::check_dhcp(spec)?;
    service::check_advertise(spec)
}

fn check_addresses(spec: &PortSpec) -> Result<(), ConfigError> {
    let bad = |code, field: &str, value: &dyn core::fmt::Display| {
        ConfigError::new(code, ObjectKind::Port, spec.name).field(field, value)
    };
    let v4 = spec
        .ipv4
        .map(|c| (IpAddr::V4(c.address), IpAddr::V4(c.gateway), "ipv4"));
    let v6 = spec
        .ipv6
        .map(|c| (IpAddr::V6(c.address), IpAddr::V6(c.gateway), "ipv6"));
    for (address, gateway, field) in [v4, v6].into_iter().flatten() {
        for (part, ip) in [("address", address), ("gateway", gateway)] {
            let field = alloc::format!("{field}.{part}");
            if !is_unicast(&ip) {
                return Err(bad(ErrorCode::NotUnicast, &field, &ip));
            }
            if crate::layer::gateway::is_mapped(&ip) {
                let hint = "an IPv4 address in IPv6's clothes is nobody's";
                return Err(bad(ErrorCode::OutOfRange, &field, &ip).hint(hint));
            }
            if part == "address" && crate::layer::gateway::is_on_link_only(&ip) {
                let hint = "a link-local address ends at the gateway";
                return Err(bad(ErrorCode::OutOfRange, &field, &ip).hint(hint));
            }
        }
        if address == gateway {
            let field = alloc::format!("{field}.gateway");
            return Err(
                bad(ErrorCode::Conflict, &field, &gateway).hint("it is the guest's address")
            );
        }
    }
    prefix::check(spec)
}

fn check_options(spec: &PortSpec) -> Result<(), ConfigError> {
    let o = &spec.options;
    let error = |code| ConfigError::new(code, ObjectKind::Port, spec.name);
    check_ranges(&o.ranges(), "options.", error)?;
    let mss_max = o.mss_max;
    if mss_max != 0 && !(PORT_MSS_MIN..=PORT_MTU_MAX).contains(&mss_max) {
        let (field, hint) = ("options.mss_max", PortOptions::mss_range());
        return Err(error(ErrorCode::OutOfRange)
            .field(field, mss_max)
            .hint(hint));
    }
    Ok(())
}

/// Whether an address can be one host's.
pub(crate) fn is_unicast(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => {
            !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast() && !v4.is_loopback()
        }
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && !v6.is_loopback(),
    }
}
