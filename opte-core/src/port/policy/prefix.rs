//! Checks the prefixes that a guest may have and forward for besides its own
//! addresses.

use super::is_unicast;
use crate::api::{ConfigError, ErrorCode, Name, ObjectKind, PortSpec, Prefix, TransitPrefix};
use crate::flow::Family;
use crate::limits::PORT_PREFIXES_MAX;
use alloc::collections::BTreeSet;
use core::net::IpAddr;

const ATTACHED: &str = "attached_subnets";
const TRANSIT: &str = "transit";

pub(super) fn check(spec: &PortSpec) -> Result<(), ConfigError> {
    let attached = spec.attached_subnets.iter();
    check_list(spec, ATTACHED, attached)?;
    let transit = spec.transit.iter().map(|transit| &transit.prefix);
    check_list(spec, TRANSIT, transit)?;
    let mut transit = spec.transit.iter();
    transit.try_for_each(|transit| check_transit(&spec.name, transit))?;
    check_translated(spec)
}

fn check_list<'p>(
    spec: &PortSpec,
    field: &str,
    prefixes: impl ExactSizeIterator<Item = &'p Prefix>,
) -> Result<(), ConfigError> {
    let bad = |code, value: &dyn core::fmt::Display| {
        ConfigError::new(code, ObjectKind::Port, spec.name).field(field, value)
    };
    if prefixes.len() > PORT_PREFIXES_MAX {
        let hint = alloc::format!("{PORT_PREFIXES_MAX} at most");
        return Err(bad(ErrorCode::LimitReached, &prefixes.len()).hint(hint));
    }
    let mut seen = BTreeSet::new();
    for prefix in prefixes {
        let has = match prefix.family() {
            Family::V4 => spec.ipv4.is_some(),
            Family::V6 => spec.ipv6.is_some(),
        };
        if !has {
            return Err(bad(ErrorCode::FamilyMismatch, prefix));
        }
        if !has_hosts(prefix) {
            return Err(bad(ErrorCode::NotUnicast, prefix));
        }
        if !seen.insert(prefix) {
            return Err(bad(ErrorCode::Conflict, prefix).hint("it is given twice"));
        }
    }
    Ok(())
}

/// Whether addresses of a prefix can be hosts'. What begins with a multicast or
/// a loopback address has no others; what begins with the unspecified address
/// has, unless it is just that.
fn has_hosts(prefix: &Prefix) -> bool {
    let first = prefix.addr();
    is_unicast(&first) || (first.is_unspecified() && *prefix != Prefix::host(first))
}

/// A transit prefix that may be used in neither direction allows nothing, and
/// whoever asks for one meant something else.
pub(crate) fn check_transit(port: &Name, transit: &TransitPrefix) -> Result<(), ConfigError> {
    if transit.inbound || transit.outbound {
        return Ok(());
    }
    Err(
        ConfigError::new(ErrorCode::Malformed, ObjectKind::Port, port)
            .field(TRANSIT, transit.prefix)
            .hint("neither inbound nor outbound is set"),
    )
}

/// An attached subnet is the guest's without translation, so it can't have an
/// address in it that is translated.
fn check_translated(spec: &PortSpec) -> Result<(), ConfigError> {
    let external = &spec.external;
    let snat = external.snat.iter().map(|snat| snat.address);
    let floating = external.floating.iter().map(|floating| floating.address);
    let ephemeral = external.ephemeral.iter().copied();
    let within = |address: &IpAddr| {
        let mut attached = spec.attached_subnets.iter();
        attached.find(|prefix| prefix.contains(address))
    };
    for address in snat.chain(ephemeral).chain(floating) {
        if let Some(prefix) = within(&address) {
            return Err(
                ConfigError::new(ErrorCode::Conflict, ObjectKind::Port, spec.name)
                    .field(ATTACHED, prefix)
                    .hint(alloc::format!(
                        "external address {address} is in it, which is translated"
                    )),
            );
        }
    }
    Ok(())
}
