//! The router: where an outbound flow leads.
//!
//! Purpose   the longest prefix that holds the destination decides; at equal
//!           length a custom route wins over a system route. Several routes
//!           with the same destination and class and an `ip` target each
//!           share the flows.
//! Terms     target   where a route leads, see [`RouteTarget`]
//!           share    the routes that flows to one prefix are spread over
//! Flow      find: longest-prefix match -> share -> rendezvous by flow hash
//!
//! Spreading is by rendezvous: each target has a score for each flow and the
//! highest one wins, so taking a target away moves only the flows it had.
//!
//! Rules     R1  routes are sorted by destination, class and target, so the
//!               first ones of a destination are its share.
//!           R2  a share has one route, or `ip` targets only.

use crate::api::{ConfigError, ErrorCode, ExternalIps, ObjectKind, Prefix, RouteSpec, RouteTarget};
use crate::flow::Family;
use crate::flow::tuple::from_ip;
use crate::limits::{ROUTE_TARGETS_MAX, ROUTES_MAX};
use crate::rule::{Lpm, RuleStats};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::num::NonZeroU8;

/// A route of a port.
#[derive(Clone, Debug)]
pub struct Route {
    /// Stable for the route's life and unique in its port.
    pub id: u32,
    /// What it matches and where it leads.
    pub spec: RouteSpec,
    /// Its counters.
    pub stats: Arc<RuleStats>,
}

impl Route {
    /// A route that nothing has taken yet.
    #[must_use]
    pub fn new(id: u32, spec: RouteSpec) -> Self {
        Self {
            id,
            spec,
            stats: Arc::default(),
        }
    }
}

/// The routes that flows to a prefix are spread over.
#[derive(Clone, Copy)]
struct Share {
    start: u32,
    len: NonZeroU8,
}

/// An immutable set of routes.
#[derive(Default)]
pub struct RouteTable {
    /// In the order of R1.
    routes: Vec<Route>,
    shares: Lpm<Share>,
    /// Id and position of each route, by id.
    ids: Vec<(u32, usize)>,
}

impl RouteTable {
    /// The table of `routes`, in any order. They should come from a plan:
    /// what a plan refuses is not looked for again.
    #[must_use]
    pub fn build(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| order(&route.spec));
        let mut shares = Vec::new();
        let mut start = 0_u32;
        for same_dest in routes.chunk_by(|a, b| a.spec.dest == b.spec.dest) {
            if let Some(first) = same_dest.first() {
                let class = first.spec.class;
                let share = same_dest.iter().take_while(|r| r.spec.class == class);
                let len = u8::try_from(share.count()).unwrap_or(u8::MAX);
                if let Some(len) = NonZeroU8::new(len) {
                    shares.push((first.spec.dest, Share { start, len }));
                }
            }
            let len = u32::try_from(same_dest.len()).unwrap_or(u32::MAX);
            start = start.saturating_add(len);
        }
        let mut ids: Vec<_> = routes.iter().map(|route| route.id).zip(0..).collect();
        ids.sort_unstable();
        Self {
            shares: Lpm::build(shares),
            routes,
            ids,
        }
    }

    /// The route of a flow to `dest`. `flow_hash` spreads flows over targets
    /// of equal cost; a flow should always come with the same one.
    #[must_use]
    #[inline]
    pub fn find(&self, dest: &IpAddr, flow_hash: u32) -> Option<&Route> {
        let share = self.shares.lookup(dest)?;
        let start = usize::try_from(share.start).ok()?;
        let end = start.checked_add(usize::from(share.len.get()))?;
        match self.routes.get(start..end)? {
            [only] => Some(only),
            several => several
                .iter()
                .max_by_key(|route| score(&route.spec.target, flow_hash)),
        }
    }

    /// The route with this id.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Route> {
        let at = self.ids.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let (_, position) = self.ids.get(at)?;
        self.routes.get(*position)
    }

    /// Every route, by destination, class and target.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// How many routes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Where a route like `spec` is, or would be.
    fn search(&self, spec: &RouteSpec) -> Result<usize, usize> {
        self.routes
            .binary_search_by(|route| order(&route.spec).cmp(&order(spec)))
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The order of R1.
fn order(spec: &RouteSpec) -> impl Ord + use<> {
    (spec.dest, spec.class, spec.target)
}

/// How much a flow likes a target: a hash of both.
fn score(target: &RouteTarget, flow_hash: u32) -> u64 {
    let addr = match target {
        RouteTarget::Ip(ip) => from_ip(*ip),
        // Never one of several (R2).
        _ => return 0,
    };
    let (words, _) = addr.as_chunks::<8>();
    let target = words
        .iter()
        .fold(0, |hash, word| mix(hash ^ u64::from_be_bytes(*word)));
    mix(target ^ u64::from(flow_hash))
}

/// Spreads every bit of `n` over all bits (the finaliser of SplitMix64).
const fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The routes with one more, which gets `id`.
///
/// # Errors
///
/// When the route makes no sense, is there already, can't stand beside
/// another one, or when there are too many.
pub fn plan_add(table: &RouteTable, id: u32, spec: RouteSpec) -> Result<Vec<Route>, ConfigError> {
    check(&spec)?;
    check_count(table.len().saturating_add(1))?;
    let Err(at) = table.search(&spec) else {
        return Err(refuse(ErrorCode::Exists, &spec));
    };
    let (before, after) = table.routes.split_at_checked(at).unwrap_or_default();
    let same = |route: &&Route| is_same_share(&route.spec, &spec);
    let beside = before.iter().rev().take_while(same);
    let beside = beside.chain(after.iter().take_while(same));
    check_share(&spec, beside.map(|route| &route.spec))?;
    let mut list = Vec::with_capacity(table.len().saturating_add(1));
    list.extend_from_slice(before);
    list.push(Route::new(id, spec));
    list.extend_from_slice(after);
    Ok(list)
}

/// The routes without the one that is `spec`.
///
/// # Errors
///
/// When there is none.
pub fn plan_remove(table: &RouteTable, spec: &RouteSpec) -> Result<Vec<Route>, ConfigError> {
    let at = table
        .search(spec)
        .map_err(|_| refuse(ErrorCode::NotFound, spec))?;
    let numbered = table.routes.iter().enumerate();
    let others = numbered.filter(|(position, _)| *position != at);
    Ok(others.map(|(_, route)| route.clone()).collect())
}

/// The routes that `specs` ask for, and the next id. A route that is there
/// already keeps its id and its counters; others get ids from `next_id` on.
///
/// # Errors
///
/// As for [`plan_add`].
pub fn plan_replace(
    table: &RouteTable,
    mut specs: Vec<RouteSpec>,
    mut next_id: u32,
) -> Result<(Vec<Route>, u32), ConfigError> {
    check_count(specs.len())?;
    specs.iter().try_for_each(check)?;
    specs.sort_by_key(order);
    for share in specs.chunk_by(is_same_share) {
        let pairs = share.iter().zip(share.iter().skip(1));
        for (one, other) in pairs {
            if one == other {
                return Err(refuse(ErrorCode::Exists, other));
            }
        }
        if let Some((first, others)) = share.split_first() {
            check_share(first, others.iter())?;
        }
    }
    let mut list = Vec::with_capacity(specs.len());
    for spec in specs {
        let same = table.search(&spec).ok().and_then(|at| table.routes.get(at));
        list.push(match same {
            Some(route) => route.clone(),
            None => {
                let id = next_id;
                next_id = next_id
                    .checked_add(1)
                    .ok_or_else(|| refuse(ErrorCode::LimitReached, &spec).field("id", id))?;
                Route::new(id, spec)
            }
        });
    }
    Ok((list, next_id))
}

/// Checks that the gateways which routes name are known: that one of the port's
/// floating addresses belongs to each.
///
/// Only asked when a route is added. An address may go before the route does;
/// what takes the route then is dropped for want of an address.
///
/// # Errors
///
/// When there is no such address.
pub fn check_gateways<'r>(
    routes: impl IntoIterator<Item = &'r RouteSpec>,
    external: &ExternalIps,
) -> Result<(), ConfigError> {
    for route in routes {
        let RouteTarget::Gateway(Some(_)) = route.target else {
            continue;
        };
        let is_it = |gateway| route.target == RouteTarget::Gateway(gateway);
        if !external.floating.iter().any(|f| is_it(f.gateway)) {
            return Err(refuse(ErrorCode::NotFound, route)
                .field("target", route.target)
                .hint("no floating address of the port belongs to this gateway"));
        }
    }
    Ok(())
}

fn is_same_share(a: &RouteSpec, b: &RouteSpec) -> bool {
    (a.dest, a.class) == (b.dest, b.class)
}

fn refuse(code: ErrorCode, spec: &RouteSpec) -> ConfigError {
    ConfigError::new(code, ObjectKind::Route, spec)
}

fn check_count(count: usize) -> Result<(), ConfigError> {
    if count <= ROUTES_MAX {
        return Ok(());
    }
    let error = ConfigError::new(ErrorCode::LimitReached, ObjectKind::Route, "");
    Err(error
        .field("routes", count)
        .hint(alloc::format!("{ROUTES_MAX} for one port")))
}

/// Whether `spec` can stand beside `others` of the same share (R2).
fn check_share<'a>(
    spec: &RouteSpec,
    others: impl Iterator<Item = &'a RouteSpec>,
) -> Result<(), ConfigError> {
    let is_ip = |spec: &RouteSpec| matches!(spec.target, RouteTarget::Ip(_));
    let mut count = 1_usize;
    for other in others {
        count = count.saturating_add(1);
        if !is_ip(spec) || !is_ip(other) {
            return Err(refuse(ErrorCode::Conflict, spec)
                .field("target", spec.target)
                .hint(alloc::format!(
                    "only ip targets can share a destination and class, and there is {}",
                    other.target
                )));
        }
    }
    if count > ROUTE_TARGETS_MAX {
        let error = refuse(ErrorCode::LimitReached, spec).field("target", spec.target);
        return Err(error.hint(alloc::format!(
            "{ROUTE_TARGETS_MAX} targets for one destination and class"
        )));
    }
    Ok(())
}

/// Whether a route makes sense by itself.
fn check(spec: &RouteSpec) -> Result<(), ConfigError> {
    if is_multicast(&spec.dest) {
        return Err(refuse(ErrorCode::NotUnicast, spec).field("destination", spec.dest));
    }
    let (family, unicast) = match spec.target {
        RouteTarget::Drop | RouteTarget::Gateway(_) => return Ok(()),
        RouteTarget::Ip(ip) => (Family::of(&ip), is_unicast(&ip)),
        RouteTarget::Subnet(subnet) => (subnet.family(), !is_multicast(&subnet)),
    };
    let code = if family != spec.dest.family() {
        ErrorCode::FamilyMismatch
    } else if !unicast {
        ErrorCode::NotUnicast
    } else {
        return Ok(());
    };
    Err(refuse(code, spec).field("target", spec.target))
}

/// Whether all addresses of a prefix are multicast (RFC 5771, RFC 4291
/// section 2.7). A default route holds such addresses, among others.
fn is_multicast(prefix: &Prefix) -> bool {
    let bits_min = match prefix.family() {
        Family::V4 => 4,
        Family::V6 => 8,
    };
    prefix.addr().is_multicast() && prefix.bits() >= bits_min
}

/// Whether a host can have this address.
fn is_unicast(ip: &IpAddr) -> bool {
    let broadcast = *ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(ip.is_multicast() || ip.is_unspecified() || ip.is_loopback() || broadcast)
}

#[cfg(test)]
mod tests;
