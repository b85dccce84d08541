//! Virtual to boundary: prefixes with their tunnel end points.
//!
//! The table is immutable and made anew for each change: boundary prefixes are
//! few and seldom change, look-ups are many.

use super::{Slot, v2p};
use crate::ConfigError;
use crate::api::{ErrorCode, ObjectKind, Prefix, TunnelEndpoint, V2b};
use crate::keyed::Keyed;
use crate::limits::{V2B_ENDPOINTS_MAX, V2B_MAX};
use crate::rule::Lpm;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU32;
use core::ops::Range;

/// Counters of changes; a V2B change touches no decision about a guest.
pub(super) const SLOTS: Range<u16> = v2p::SLOTS.end..v2p::SLOTS.end + 256;

/// The slot of a prefix.
pub(super) fn slot(key: &Keyed, prefix: &Prefix) -> Slot {
    Slot::of(key.hash(prefix), &SLOTS)
}

/// A prefix with its end points, which are sorted and at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) prefix: Prefix,
    pub(super) endpoints: Arc<[TunnelEndpoint]>,
}

impl Group {
    pub(super) fn to_api(&self) -> V2b {
        V2b {
            prefix: self.prefix,
            endpoints: self.endpoints.to_vec(),
        }
    }
}

/// Every prefix.
#[derive(Debug, Default)]
pub(super) struct Table {
    // Sorted by prefix.
    groups: Vec<Group>,
    // Positions in `groups`, counted from one.
    by_prefix: Lpm<NonZeroU32>,
}

impl Table {
    /// The table of `groups`, which are sorted.
    pub(super) fn build(groups: Vec<Group>) -> Self {
        let number = (1..).filter_map(NonZeroU32::new);
        let by_prefix = Lpm::build(groups.iter().map(|group| group.prefix).zip(number));
        Self { groups, by_prefix }
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The longest prefix that holds an address.
    pub(super) fn lookup(&self, addr: &IpAddr) -> Option<&Group> {
        let number = usize::try_from(self.by_prefix.lookup(addr)?.get()).ok()?;
        self.groups.get(number.checked_sub(1)?)
    }
}

/// Whether end points and prefix make sense.
pub(super) fn check(prefix: &Prefix, endpoints: &[TunnelEndpoint]) -> Result<(), ConfigError> {
    let error = |code| ConfigError::new(code, ObjectKind::V2b, prefix);
    if prefix.addr().is_multicast() {
        return Err(error(ErrorCode::NotUnicast));
    }
    if endpoints.is_empty() || endpoints.len() > V2B_ENDPOINTS_MAX {
        return Err(error(ErrorCode::OutOfRange)
            .field("endpoints", endpoints.len())
            .hint(format_args!("1 to {V2B_ENDPOINTS_MAX}")));
    }
    endpoints.iter().try_for_each(|end| {
        v2p::check_tunnel(&end.address)
            .map_err(|(code, hint)| error(code).field("endpoints", end).hint(hint))
    })
}

/// Whether mappings make sense, each by itself and all together; as groups.
pub(super) fn check_all(mappings: &[V2b]) -> Result<Vec<Group>, ConfigError> {
    check_count(mappings.len())?;
    let mut groups = Vec::with_capacity(mappings.len());
    for V2b { prefix, endpoints } in mappings {
        check(prefix, endpoints)?;
        groups.push(Group {
            prefix: *prefix,
            endpoints: sorted(endpoints.iter().copied()),
        });
    }
    groups.sort_by_key(|group| group.prefix);
    for (one, next) in groups.iter().zip(groups.iter().skip(1)) {
        if one.prefix == next.prefix {
            let error = ConfigError::new(ErrorCode::Conflict, ObjectKind::V2b, one.prefix);
            return Err(error.hint("it is given twice"));
        }
    }
    Ok(groups)
}

fn check_count(count: usize) -> Result<(), ConfigError> {
    if count > V2B_MAX {
        let error = ConfigError::new(ErrorCode::LimitReached, ObjectKind::V2b, "");
        return Err(error.hint(format_args!("at most {V2B_MAX}")));
    }
    Ok(())
}

fn sorted(endpoints: impl Iterator<Item = TunnelEndpoint>) -> Arc<[TunnelEndpoint]> {
    let set: BTreeSet<_> = endpoints.collect();
    set.into_iter().collect()
}

/// `groups` with more end points for a prefix, and how many are new.
pub(super) fn with(
    mut groups: Vec<Group>,
    prefix: &Prefix,
    endpoints: &[TunnelEndpoint],
) -> Result<(Vec<Group>, usize), ConfigError> {
    let mut had = 0;
    let at = match find(&groups, prefix) {
        Ok(at) => {
            let old = groups.remove(at);
            had = old.endpoints.len();
            let all = old.endpoints.iter().chain(endpoints).copied();
            groups.insert(at, group(*prefix, all));
            at
        }
        Err(at) => {
            check_count(groups.len().saturating_add(1))?;
            groups.insert(at, group(*prefix, endpoints.iter().copied()));
            at
        }
    };
    let has = groups.get(at).map_or(0, |group| group.endpoints.len());
    if has > V2B_ENDPOINTS_MAX {
        return Err(
            ConfigError::new(ErrorCode::LimitReached, ObjectKind::V2b, prefix)
                .field("endpoints", has)
                .hint(format_args!("at most {V2B_ENDPOINTS_MAX}")),
        );
    }
    Ok((groups, has.saturating_sub(had)))
}

/// `groups` without end points of a prefix, all of them if none is named, and
/// how many are gone.
pub(super) fn without(
    mut groups: Vec<Group>,
    prefix: &Prefix,
    endpoints: &[TunnelEndpoint],
) -> Result<(Vec<Group>, usize), ConfigError> {
    let error = || ConfigError::new(ErrorCode::NotFound, ObjectKind::V2b, prefix);
    let at = find(&groups, prefix).map_err(|_| error())?;
    let old = groups.remove(at);
    if let Some(unknown) = endpoints.iter().find(|e| !old.endpoints.contains(e)) {
        return Err(error().field("endpoints", unknown));
    }
    let stays = |e: &&TunnelEndpoint| !endpoints.is_empty() && !endpoints.contains(e);
    let new = group(*prefix, old.endpoints.iter().filter(stays).copied());
    let gone = old.endpoints.len().saturating_sub(new.endpoints.len());
    if !new.endpoints.is_empty() {
        groups.insert(at, new);
    }
    Ok((groups, gone))
}

/// The slots of every decision that may be another one with `new` instead of
/// `old`, each once. A new prefix takes addresses from the longest old one
/// that holds it; where there was none, nothing was decided.
pub(super) fn changed_slots(key: &Keyed, old: &[Group], new: &[Group]) -> BTreeSet<Slot> {
    let endpoints = |groups: &[Group], prefix| {
        let at = find(groups, prefix).ok()?;
        groups.get(at).map(|group| group.endpoints.clone())
    };
    let changed = old
        .iter()
        .filter(|group| endpoints(new, &group.prefix).as_ref() != Some(&group.endpoints))
        .map(|group| group.prefix);
    let narrowed = new
        .iter()
        .filter(|group| find(old, &group.prefix).is_err())
        .filter_map(|group| covering(old, &group.prefix));
    changed
        .chain(narrowed)
        .map(|prefix| slot(key, &prefix))
        .collect()
}

/// The longest prefix among `groups` that holds all of a longer one.
fn covering(groups: &[Group], prefix: &Prefix) -> Option<Prefix> {
    (0..prefix.bits())
        .rev()
        .filter_map(|len| shortened(prefix, len))
        .find(|shorter| find(groups, shorter).is_ok())
}

/// The first `len` bits of a prefix.
fn shortened(prefix: &Prefix, len: u8) -> Option<Prefix> {
    let len_bits = u32::from(len);
    let addr = match prefix.addr() {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shr(len_bits).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & !mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shr(len_bits).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & !mask).into()
        }
    };
    Prefix::new(addr, len).ok()
}

fn group(prefix: Prefix, endpoints: impl Iterator<Item = TunnelEndpoint>) -> Group {
    Group {
        prefix,
        endpoints: sorted(endpoints),
    }
}

fn find(groups: &[Group], prefix: &Prefix) -> Result<usize, usize> {
    groups.binary_search_by_key(prefix, |group| group.prefix)
}
