//! Which multicast configuration makes sense.

use crate::ConfigError;
use crate::api::mapping::{BOUNDARY_VNI, OUTSIDE};
use crate::api::multicast::{is_routable_group, is_source_specific, is_underlay_group};
use crate::api::{ErrorCode, FilterMode, M2p, McastHop, Name, ObjectKind, SourceFilter};
use crate::limits::{MCAST_HOPS_MAX, MCAST_SOURCES_MAX};
use crate::wire::Vni;
use alloc::collections::BTreeSet;
use core::net::{IpAddr, Ipv6Addr};

/// Whether guests may send to a group and join it.
fn group(kind: ObjectKind, group: &IpAddr) -> Result<(), ConfigError> {
    let error = |code| ConfigError::new(code, kind, group).field("group", group);
    if !group.is_multicast() {
        return Err(error(ErrorCode::NotMulticast));
    }
    if !is_routable_group(group) {
        return Err(error(ErrorCode::OutOfRange).hint("a group that leaves its link"));
    }
    Ok(())
}

fn underlay(error: ConfigError, group: &Ipv6Addr) -> Result<(), ConfigError> {
    match is_underlay_group(group) {
        true => Ok(()),
        false => Err(error.field("underlay", group).hint("in ff04::/16")),
    }
}

/// Whether groups can be in a network.
pub(super) fn vni(error: impl Fn(ErrorCode) -> ConfigError, vni: Vni) -> Result<(), ConfigError> {
    match vni.get() == BOUNDARY_VNI {
        true => Err(error(ErrorCode::Conflict).hint(OUTSIDE)),
        false => Ok(()),
    }
}

/// Whether the fleet's groups can be in a network.
pub(super) fn fleet_vni(new: Vni) -> Result<(), ConfigError> {
    let error = |code| ConfigError::new(code, ObjectKind::Host, "").field("multicast vni", new);
    vni(error, new)
}

pub(super) fn m2p(mapping: &M2p) -> Result<(), ConfigError> {
    group(ObjectKind::M2p, &mapping.group)?;
    if let Some(own) = mapping.vni {
        let error = |code| ConfigError::new(code, ObjectKind::M2p, mapping.group);
        vni(|code| error(code).field("vni", own), own)?;
    }
    let error = ConfigError::new(ErrorCode::OutOfRange, ObjectKind::M2p, mapping.group);
    underlay(error, &mapping.underlay)
}

/// Whether an underlay group can have these next hops.
pub(super) fn forward(to: &Ipv6Addr, hops: &[McastHop]) -> Result<(), ConfigError> {
    let error = |code| ConfigError::new(code, ObjectKind::McastForward, to);
    underlay(error(ErrorCode::OutOfRange), to)?;
    if hops.is_empty() || hops.len() > MCAST_HOPS_MAX {
        return Err(error(ErrorCode::OutOfRange)
            .field("hops", hops.len())
            .hint(format_args!("1 to {MCAST_HOPS_MAX}")));
    }
    for hop in hops {
        let address = hop.address;
        if address.is_multicast() && address != *to {
            let error = error(ErrorCode::Conflict).field("hops", hop);
            return Err(error.hint("a host, or the underlay group itself"));
        }
        if address.is_unspecified() || address.is_loopback() {
            return Err(error(ErrorCode::NotUnicast).field("hops", hop));
        }
    }
    let addresses: BTreeSet<_> = hops.iter().map(|hop| hop.address).collect();
    if addresses.len() < hops.len() {
        let error = error(ErrorCode::Conflict).field("hops", "");
        return Err(error.hint("one is given twice"));
    }
    Ok(())
}

/// Whether a port can be in a group with this filter.
pub(super) fn member(port: &Name, to: &IpAddr, filter: &SourceFilter) -> Result<(), ConfigError> {
    group(ObjectKind::McastMember, to)?;
    let error = |code| ConfigError::new(code, ObjectKind::McastMember, format_args!("{port} {to}"));
    let sources = &filter.sources;
    if sources.len() > MCAST_SOURCES_MAX {
        return Err(error(ErrorCode::OutOfRange)
            .field("sources", sources.len())
            .hint(format_args!("at most {MCAST_SOURCES_MAX}")));
    }
    if filter.mode == FilterMode::Include && sources.is_empty() {
        return Err(error(ErrorCode::Missing).hint("include needs a source"));
    }
    if filter.mode == FilterMode::Exclude && is_source_specific(to) {
        return Err(error(ErrorCode::Conflict)
            .field("filter", filter)
            .hint("a source-specific group is heard by include=LIST only"));
    }
    for source in sources {
        if source.is_ipv4() != to.is_ipv4() {
            return Err(error(ErrorCode::FamilyMismatch).field("source", source));
        }
        if source.is_multicast() || source.is_unspecified() {
            return Err(error(ErrorCode::NotUnicast).field("source", source));
        }
    }
    Ok(())
}
