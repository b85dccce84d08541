//! From the mappings that are there to those that a setup asks for.

use super::v2b::{Group, Table};
use super::v2p::Checked;
use crate::api::V2p;
use crate::api::setup::{Change, ChangeVerb};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;

/// A checked change of all mappings, for [`super::Mappings::commit`].
#[derive(Debug)]
pub struct Plan {
    /// What will be different, V2P first, each in the order of addresses.
    pub changes: Vec<Change>,
    pub(super) clear: Vec<V2p>,
    pub(super) set: Vec<V2p>,
    pub(super) v2p_count: usize,
    pub(super) v2b: Table,
}

impl Plan {
    pub(super) fn new(
        old_v2p: Vec<V2p>,
        new_v2p: Checked<'_>,
        old_v2b: &[Group],
        new_v2b: Vec<Group>,
    ) -> Self {
        let old_v2p: BTreeMap<_, _> = old_v2p.iter().map(|m| ((m.vni, m.address), *m)).collect();
        let v2p_count = new_v2p.len();
        let new_v2p = new_v2p.into_iter().map(|(key, m)| (key, *m)).collect();
        let mut changes = Vec::new();
        let (mut clear, mut set) = (Vec::new(), Vec::new());
        for ((vni, addr), verb) in difference(&old_v2p, &new_v2p) {
            changes.push(change(verb, format_args!("v2p {vni} {addr}")));
            match new_v2p.get(&(vni, addr)) {
                Some(new) => set.push(*new),
                None => clear.extend(old_v2p.get(&(vni, addr))),
            }
        }
        let by_prefix = |groups: &[Group]| -> BTreeMap<_, _> {
            let pair = |group: &Group| (group.prefix, group.endpoints.clone());
            groups.iter().map(pair).collect()
        };
        for (prefix, verb) in difference(&by_prefix(old_v2b), &by_prefix(&new_v2b)) {
            changes.push(change(verb, format_args!("v2b {prefix}")));
        }
        Self {
            changes,
            clear,
            set,
            v2p_count,
            v2b: Table::build(new_v2b),
        }
    }
}

pub(in crate::host) fn change(verb: ChangeVerb, object: fmt::Arguments<'_>) -> Change {
    Change {
        verb,
        object: format!("{object}"),
    }
}

/// What has to be done to each key to get from one map to another.
pub(in crate::host) fn difference<K: Ord + Copy, V: PartialEq>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> BTreeMap<K, ChangeVerb> {
    let gone = old.keys().filter(|key| !new.contains_key(key));
    let gone = gone.map(|key| (*key, ChangeVerb::Remove));
    let other = new.iter().filter_map(|(key, value)| match old.get(key) {
        None => Some((*key, ChangeVerb::Add)),
        Some(was) if was != value => Some((*key, ChangeVerb::Change)),
        Some(_) => None,
    });
    gone.chain(other).collect()
}
