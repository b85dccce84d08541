//! Checking external addresses, and preparing the change to them.

use super::pool::Mode;
use crate::api::external::{EPHEMERAL, FLOATING, SNAT};
use crate::api::{ErrorCode, ExternalIps, Floating, Name, ObjectKind, Pooling, Snat};
use crate::flow::Family;
use crate::layer::gateway::is_routable;
use crate::limits::FLOATING_MAX;
use crate::{ConfigError, api};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

/// A checked change of external addresses, for [`super::Nat::commit`].
#[derive(Debug)]
pub struct Plan {
    pub(super) v4: Side,
    pub(super) v6: Side,
}

/// The plan for one family.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) floating: Vec<Floating>,
    pub(super) ephemeral: Option<IpAddr>,
    pub(super) snat: Option<Snat>,
    pub(super) mode: Mode,
    pub(super) pooling: Pooling,
}

impl Plan {
    /// The change to addresses that [`check`] has found right.
    pub(super) fn new(ips: &ExternalIps) -> Self {
        Self {
            v4: Side::new(ips, Family::V4),
            v6: Side::new(ips, Family::V6),
        }
    }
}

impl Side {
    fn new(ips: &ExternalIps, family: Family) -> Self {
        let of_family = |addr: &IpAddr| Family::of(addr) == family;
        let floating = ips.floating.iter().filter(|f| of_family(&f.address));
        Self {
            floating: floating.copied().collect(),
            ephemeral: ips.ephemeral.iter().find(|a| of_family(a)).copied(),
            snat: ips.snat.iter().find(|s| of_family(&s.address)).copied(),
            mode: Mode {
                mapping: ips.nat.mapping,
                filtering: ips.nat.filtering,
            },
            pooling: ips.nat.pooling,
        }
    }
}

/// Whether external addresses make sense for a port with the addresses
/// `inside`, IPv4 and IPv6.
pub(super) fn check(
    port: &Name,
    ips: &ExternalIps,
    inside: [Option<IpAddr>; 2],
) -> Result<(), ConfigError> {
    // Before anything else, so that the rest of the work has a bound.
    for (field, len, max) in [
        (SNAT, ips.snat.len(), 2),
        (EPHEMERAL, ips.ephemeral.len(), 2),
        (FLOATING, ips.floating.len(), FLOATING_MAX),
    ] {
        if len > max {
            let error = refuse(ErrorCode::LimitReached, port, field, len);
            return Err(error.hint(format_args!("at most {max}")));
        }
    }
    for api::Snat {
        address,
        first_port,
        last_port,
    } in &ips.snat
    {
        if first_port > last_port || *last_port == 0 {
            let range = format_args!("{address} {first_port}-{last_port}");
            return Err(refuse(ErrorCode::OutOfRange, port, SNAT, range)
                .hint("the first port is at most the last; port 0 alone is no range"));
        }
    }
    let mut seen = BTreeMap::new();
    for claim in ips.claims() {
        let (field, addr) = (claim.field, claim.address);
        let error = |code| refuse(code, port, field, addr);
        if !is_routable(&addr) {
            return Err(error(ErrorCode::NotUnicast));
        }
        if !inside.iter().flatten().any(|a| same_family(a, &addr)) {
            return Err(error(ErrorCode::FamilyMismatch)
                .hint("the port has no address of this family of its own"));
        }
        if inside.contains(&Some(addr)) {
            return Err(error(ErrorCode::Conflict).hint("it is the port's own address"));
        }
        if let Some(other) = seen.insert(addr, field) {
            return Err(error(ErrorCode::Conflict).hint(format_args!("it is in {other} already")));
        }
        let one_only = field != FLOATING;
        let of_field = |(a, f): &(&IpAddr, &&str)| **f == field && same_family(a, &addr);
        if one_only && seen.iter().filter(of_field).count() > 1 {
            return Err(error(ErrorCode::LimitReached).hint("at most one of each family"));
        }
    }
    Ok(())
}

fn refuse(
    code: ErrorCode,
    port: &Name,
    field: &str,
    value: impl core::fmt::Display,
) -> ConfigError {
    ConfigError::new(code, ObjectKind::Port, port).field(field, value)
}

fn same_family(one: &IpAddr, other: &IpAddr) -> bool {
    Family::of(one) == Family::of(other)
}
