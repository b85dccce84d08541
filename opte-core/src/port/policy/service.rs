//! Checks what the gateway is to tell a guest by DHCP and router
//! advertisements.

use super::is_unicast;
use crate::api::{Advertise, ConfigError, ErrorCode, ObjectKind, PortSpec, Prefix};
use crate::flow::Family;
use crate::limits::{
    ADVERTISE_INTERVAL_S_MAX, ADVERTISE_INTERVAL_S_MIN, DHCP_LEASE_S_MIN, DHCP_LIST_MAX,
};
use crate::wire::name;
use core::net::IpAddr;

pub(super) fn check_dhcp(spec: &PortSpec) -> Result<(), ConfigError> {
    let bad = |code, field: &str, value: &dyn core::fmt::Display| {
        ConfigError::new(code, ObjectKind::Port, spec.name)
            .field(&alloc::format!("dhcp.{field}"), value)
    };
    let dhcp = &spec.dhcp;
    let lists = [
        ("search", dhcp.search.len()),
        ("dns4", dhcp.dns4.len()),
        ("dns6", dhcp.dns6.len()),
        ("ntp4", dhcp.ntp4.len()),
        ("ntp6", dhcp.ntp6.len()),
    ];
    for (field, len) in lists {
        if len > DHCP_LIST_MAX {
            let hint = alloc::format!("{DHCP_LIST_MAX} at most");
            return Err(bad(ErrorCode::LimitReached, field, &len).hint(hint));
        }
    }
    let v4 = dhcp.dns4.iter().map(|ip| ("dns4", IpAddr::V4(*ip)));
    let v6 = dhcp.dns6.iter().map(|ip| ("dns6", IpAddr::V6(*ip)));
    for (field, ip) in v4.chain(v6) {
        if !is_unicast(&ip) {
            return Err(bad(ErrorCode::NotUnicast, field, &ip));
        }
    }
    let names = dhcp.hostname.iter().map(|n| ("hostname", n));
    let names = names.chain(dhcp.domain.iter().map(|n| ("domain", n)));
    for (field, name) in names.chain(dhcp.search.iter().map(|n| ("search", n))) {
        if !is_domain(name) || (field == "hostname" && name.contains('.')) {
            return Err(bad(ErrorCode::Malformed, field, name)
                .hint("letters, digits and hyphens, 63 at most between dots"));
        }
    }
    match dhcp.lease_s {
        Some(lease_s) if lease_s < DHCP_LEASE_S_MIN => {
            let hint = alloc::format!("{DHCP_LEASE_S_MIN} or more");
            Err(bad(ErrorCode::OutOfRange, "lease_s", &lease_s).hint(hint))
        }
        _ => Ok(()),
    }
}

/// The ranges of RFC 4861 section 6.2.1.
pub(super) fn check_advertise(spec: &PortSpec) -> Result<(), ConfigError> {
    const LIFETIME_S_MAX: u16 = 9_000;
    let bad = |code, field: &str, value: &dyn core::fmt::Display| {
        ConfigError::new(code, ObjectKind::Port, spec.name)
            .field(&alloc::format!("advertise.{field}"), value)
    };
    let advertise = &spec.advertise;
    let interval_s = advertise.interval_s;
    if !(ADVERTISE_INTERVAL_S_MIN..=ADVERTISE_INTERVAL_S_MAX).contains(&interval_s) {
        let hint = Advertise::interval_range();
        return Err(bad(ErrorCode::OutOfRange, "interval_s", &interval_s).hint(hint));
    }
    let lifetime_s = advertise.lifetime_s();
    if lifetime_s != 0 && !(interval_s..=LIFETIME_S_MAX).contains(&lifetime_s) {
        let hint = alloc::format!("0, or interval_s to {LIFETIME_S_MAX}");
        return Err(bad(ErrorCode::OutOfRange, "lifetime_s", &lifetime_s).hint(hint));
    }
    let Some(option) = &advertise.prefix else {
        return Ok(());
    };
    let prefix = &option.prefix;
    if prefix.family() != Family::V6 {
        return Err(bad(ErrorCode::FamilyMismatch, "prefix.prefix", prefix));
    }
    if !is_unicast(&prefix.addr()) || is_link_local(prefix) {
        return Err(bad(ErrorCode::NotUnicast, "prefix.prefix", prefix));
    }
    if option.preferred_s > option.valid_s {
        let hint = "not more than valid_s";
        let value = &option.preferred_s;
        return Err(bad(ErrorCode::OutOfRange, "prefix.preferred_s", value).hint(hint));
    }
    Ok(())
}

/// A host or domain name (RFC 1123 section 2.1).
fn is_domain(name: &str) -> bool {
    let label = |label: &[u8]| !label.starts_with(b"-") && !label.ends_with(b"-");
    let has_fine_labels = name.as_bytes().split(|b| *b == b'.').all(label);
    name::is_valid(name) && has_fine_labels && !name.ends_with('.') && !name.contains('_')
}

/// Whether addresses of the prefix are good on one link only (RFC 4861 section
/// 4.6.2: routers don't advertise it).
fn is_link_local(prefix: &Prefix) -> bool {
    matches!(prefix.addr(), IpAddr::V6(v6) if v6.is_unicast_link_local())
}
