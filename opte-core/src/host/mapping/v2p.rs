//! Virtual to physical: shards of a hash table.
//!
//! Each shard keeps its mappings in a list, where they stay as long as they
//! live, and finds them by hash. A listing's cursor is a place in the lists, so
//! nothing that happens to other mappings can hide or repeat one.

use super::Slot;
use crate::ConfigError;
use crate::api::mapping::{BOUNDARY_VNI, OUTSIDE};
use crate::api::{ErrorCode, ObjectKind, V2p};
use crate::host::underlay::is_routable;
use crate::keyed::Keyed;
use crate::limits::{PAGE_ENTRIES_MAX, V2P_MAX};
use crate::wire::{MacAddr, Vni};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::ops::Range;
use hashbrown::HashTable;
use lock_api::{Mutex, RawMutex};

/// Locks for look-ups of different addresses.
pub(super) const SHARDS: usize = 64;
/// Counters of changes.
pub(super) const SLOTS: Range<u16> = 0..4_096;

/// Where a mapping is, if there is one.
pub(super) struct Place {
    hash: u64,
    pub(super) shard: usize,
    pub(super) slot: Slot,
}

impl Place {
    pub(super) fn of(key: &Keyed, vni: Vni, addr: &IpAddr) -> Self {
        let hash = key.hash((vni, addr));
        // The hash table takes the lowest bits and the highest seven.
        let slot = Slot::of(hash.rotate_right(32), &SLOTS);
        Self {
            hash,
            // All mappings of a slot are in one shard, whose lock orders them.
            shard: usize::from(slot.0) % SHARDS,
            slot,
        }
    }
}

/// A part of the mappings.
#[derive(Debug, Default)]
pub(super) struct Shard {
    by_hash: HashTable<u32>,
    pub(super) list: Vec<Option<V2p>>,
    // Free places of `list`; has room for all of them.
    vacant: Vec<u32>,
}

impl Shard {
    pub(super) fn get(&self, place: &Place, vni: Vni, addr: &IpAddr) -> Option<&V2p> {
        let at = self.by_hash.find(place.hash, self.is(vni, addr))?;
        at_place(&self.list, *at)
    }

    /// Adds or changes a mapping; whether that made a difference. Has room
    /// if [`Shard::reserve`] had.
    pub(super) fn put(&mut self, key: &Keyed, place: &Place, new: &V2p) -> bool {
        let found = self
            .by_hash
            .find(place.hash, self.is(new.vni, &new.address));
        if let Some(entry) = found.and_then(|at| self.list.get_mut(to_index(*at))) {
            return entry.replace(*new) != Some(*new);
        }
        let at = match self.vacant.pop() {
            Some(at) => at,
            None => {
                // V2P_MAX fits.
                let at = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
                self.list.push(None);
                at
            }
        };
        if let Some(entry) = self.list.get_mut(to_index(at)) {
            *entry = Some(*new);
        }
        let list = &self.list;
        self.by_hash
            .insert_unique(place.hash, at, |at| hash_of(key, list, *at));
        true
    }

    /// Removes a mapping; whether there was one.
    pub(super) fn remove(&mut self, place: &Place, vni: Vni, addr: &IpAddr) -> bool {
        let list = &self.list;
        let is = |at: &u32| at_place(list, *at).is_some_and(|m| same(m, vni, addr));
        let Ok(entry) = self.by_hash.find_entry(place.hash, is) else {
            return false;
        };
        let (at, _) = entry.remove();
        if let Some(entry) = self.list.get_mut(to_index(at)) {
            *entry = None;
        }
        self.vacant.push(at);
        if self.by_hash.is_empty() {
            // Gives back what many mappings once took.
            *self = Self::default();
        }
        true
    }

    /// Makes room for `added` more mappings, if there is memory for them.
    fn reserve(&mut self, key: &Keyed, added: usize) -> Option<()> {
        self.list.try_reserve(added).ok()?;
        let places = self.list.len().saturating_add(added);
        let vacant = places.saturating_sub(self.vacant.len());
        self.vacant.try_reserve(vacant).ok()?;
        let list = &self.list;
        self.by_hash
            .try_reserve(added, |at| hash_of(key, list, *at))
            .ok()
    }

    fn is<'a>(&'a self, vni: Vni, addr: &'a IpAddr) -> impl Fn(&u32) -> bool + 'a {
        move |at| at_place(&self.list, *at).is_some_and(|m| same(m, vni, addr))
    }
}

fn to_index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn at_place(list: &[Option<V2p>], at: u32) -> Option<&V2p> {
    list.get(to_index(at))?.as_ref()
}

fn same(mapping: &V2p, vni: Vni, addr: &IpAddr) -> bool {
    mapping.vni == vni && mapping.address == *addr
}

fn hash_of(key: &Keyed, list: &[Option<V2p>], at: u32) -> u64 {
    at_place(list, at).map_or(0, |m| Place::of(key, m.vni, &m.address).hash)
}

/// Makes room in the shards for mappings.
pub(super) fn reserve<'a, R: RawMutex>(
    key: &Keyed,
    shards: &[Mutex<R, Shard>],
    new: impl Iterator<Item = &'a V2p>,
) -> Result<(), ConfigError> {
    let mut counts = [0_usize; SHARDS];
    for mapping in new {
        let shard = Place::of(key, mapping.vni, &mapping.address).shard;
        if let Some(count) = counts.get_mut(shard) {
            *count = count.saturating_add(1);
        }
    }
    for (shard, count) in shards.iter().zip(counts) {
        let room = shard.lock().reserve(key, count);
        room.ok_or_else(|| ConfigError::new(ErrorCode::OutOfMemory, ObjectKind::V2p, ""))?;
    }
    Ok(())
}

/// Every mapping.
pub(super) fn all<R: RawMutex>(shards: &[Mutex<R, Shard>]) -> Vec<V2p> {
    let mut all = Vec::new();
    for shard in shards {
        all.extend(shard.lock().list.iter().flatten());
    }
    all
}

/// At most `max` mappings from `cursor` on: the shard's number in the upper
/// half of the cursor, the place in its list in the lower.
pub(super) fn page<R: RawMutex>(
    shards: &[Mutex<R, Shard>],
    cursor: u64,
    max: u32,
) -> (Vec<V2p>, Option<u64>) {
    let max = to_index(max.clamp(1, PAGE_ENTRIES_MAX));
    let mut entries = Vec::with_capacity(max);
    let [a, b, c, d, e, f, g, h] = cursor.to_be_bytes();
    let first = u32::from_be_bytes([a, b, c, d]);
    let mut from = to_index(u32::from_be_bytes([e, f, g, h]));
    for (number, shard) in (0_u32..).zip(shards).skip(to_index(first)) {
        let shard = shard.lock();
        for (at, mapping) in (0_u32..).zip(&shard.list).skip(from) {
            let Some(mapping) = mapping else { continue };
            if entries.len() == max {
                let [a, b, c, d] = number.to_be_bytes();
                let [e, f, g, h] = at.to_be_bytes();
                let next = Some(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
                return (entries, next);
            }
            entries.push(*mapping);
        }
        from = 0;
    }
    (entries, None)
}

/// Mappings in the order of their addresses, each once.
pub(super) type Checked<'a> = BTreeMap<(Vni, IpAddr), &'a V2p>;

/// Whether mappings make sense, each by itself and all together.
pub(super) fn check(mappings: &[V2p]) -> Result<Checked<'_>, ConfigError> {
    check_count(mappings.len())?;
    let mut checked = Checked::new();
    for mapping in mappings {
        let V2p {
            vni,
            address,
            mac,
            sled,
        } = mapping;
        let error = |code| error(code, *vni, address);
        if vni.get() == BOUNDARY_VNI {
            return Err(error(ErrorCode::Conflict).field("vni", vni).hint(OUTSIDE));
        }
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        if !is_host(address) || broadcast {
            return Err(error(ErrorCode::NotUnicast).field("address", address));
        }
        if mac.is_multicast() || *mac == MacAddr::ZERO {
            return Err(error(ErrorCode::NotUnicast).field("mac", mac));
        }
        check_tunnel(sled).map_err(|(code, hint)| error(code).field("sled", sled).hint(hint))?;
        if let Some(other) = checked.insert((*vni, *address), mapping)
            && other != mapping
        {
            return Err(error(ErrorCode::Conflict).hint("it is given twice"));
        }
    }
    Ok(checked)
}

/// Whether so many mappings may be there.
pub(super) fn check_count(count: usize) -> Result<(), ConfigError> {
    if count > V2P_MAX {
        let error = ConfigError::new(ErrorCode::LimitReached, ObjectKind::V2p, "");
        return Err(error.hint(format_args!("at most {V2P_MAX}")));
    }
    Ok(())
}

pub(super) fn not_found(vni: Vni, addr: &IpAddr) -> ConfigError {
    error(ErrorCode::NotFound, vni, addr)
}

fn error(code: ErrorCode, vni: Vni, addr: &IpAddr) -> ConfigError {
    ConfigError::new(code, ObjectKind::V2p, format!("{vni} {addr}"))
}

/// Whether a host can have a tunnel address; why not, if it can't.
pub(super) fn check_tunnel(address: &Ipv6Addr) -> Result<(), (ErrorCode, &'static str)> {
    if !is_host(&IpAddr::V6(*address)) {
        return Err((ErrorCode::NotUnicast, ""));
    }
    match is_routable(address) {
        true => Ok(()),
        false => Err((ErrorCode::OutOfRange, "a global or unique local address")),
    }
}

/// Whether an address can be that of a host other than this one.
pub(super) fn is_host(addr: &IpAddr) -> bool {
    !addr.is_unspecified() && !addr.is_multicast() && !addr.is_loopback()
}
