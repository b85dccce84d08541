//! Sorts rules into groups and compiles what they ask about.

use super::super::address_set::AddressSets;
use super::super::dimension::{Bounds, Dimension, Member, Place};
use super::super::predicate;
use super::{Classifier, Group, KINDS};
use crate::api::{FwRule, HostFilter, PortRange, Prefix};
use crate::limits::FW_RULES_MAX;
use alloc::vec::Vec;

/// Bits of a port number.
const PORT_BITS: u32 = 16;

impl Classifier {
    /// Compiles rules, which are numbered in order of evaluation. At most
    /// `FW_RULES_MAX` are taken.
    pub(in super::super) fn build<'a>(
        rules: impl Iterator<Item = &'a FwRule>,
        sets: &'a AddressSets,
        bounds: Bounds,
    ) -> Self {
        let rules: Vec<&FwRule> = rules.take(FW_RULES_MAX).collect();
        let (groups, seats) = group(&rules);
        let [hosts, protocols, ports, source_ports] =
            core::array::from_fn(|kind| Layout::new(kind, &groups, &seats, bounds));
        let addresses = hosts.dimension(members(&rules, |rule| {
            rule.hosts
                .iter()
                .flat_map(|filter| match filter {
                    HostFilter::Prefix(prefix) => core::slice::from_ref(prefix),
                    HostFilter::Set(name) => sets.cover(name),
                    HostFilter::Vni(_) => &[],
                })
                .copied()
        }));
        let vnis = hosts.dimension(members(&rules, |rule| {
            rule.hosts.iter().filter_map(|filter| match filter {
                HostFilter::Vni(vni) => predicate::vni_prefix(*vni),
                HostFilter::Prefix(_) | HostFilter::Set(_) => None,
            })
        }));
        let protocols = protocols.dimension(members(&rules, |rule| {
            rule.protocols.iter().filter_map(predicate::proto_prefix)
        }));
        let ports = ports.ports(&rules, |rule| &rule.ports);
        let source_ports = source_ports.ports(&rules, |rule| &rule.source_ports);
        let all = [&addresses, &vnis, &protocols, &ports, &source_ports];
        Self {
            coarse: all.iter().any(|dimension| dimension.coarse),
            groups,
            addresses,
            vnis,
            protocols,
            ports,
            source_ports,
        }
    }
}

/// A rule's group and its position there.
type Seat = (usize, u16);

/// Sorts rules into groups; also says where each rule is.
fn group(rules: &[&FwRule]) -> (Vec<Group>, Vec<Seat>) {
    let mut groups: Vec<([bool; KINDS], Group)> = Vec::new();
    let mut slots_used = [0_u16; KINDS];
    let mut seats = Vec::with_capacity(rules.len());
    for (rule, number) in rules.iter().zip(0..) {
        let asks = asks(rule);
        let at = match groups.iter().position(|(kinds, _)| *kinds == asks) {
            Some(at) => at,
            None => {
                let mut slots = [None; KINDS];
                for ((slot, used), asks) in slots.iter_mut().zip(&mut slots_used).zip(asks) {
                    if asks {
                        *slot = Some(*used);
                        *used = used.saturating_add(1);
                    }
                }
                let rules = Vec::new();
                groups.push((asks, Group { slots, rules }));
                groups.len().saturating_sub(1)
            }
        };
        if let Some((_, group)) = groups.get_mut(at) {
            seats.push((at, u16::try_from(group.rules.len()).unwrap_or(u16::MAX)));
            group.rules.push(number);
        }
    }
    (groups.into_iter().map(|(_, group)| group).collect(), seats)
}

/// Which kinds `rule` asks about.
fn asks(rule: &FwRule) -> [bool; KINDS] {
    [
        !rule.hosts.is_empty(),
        !rule.protocols.is_empty(),
        !rule.ports.is_empty(),
        !rule.source_ports.is_empty(),
    ]
}

/// The prefixes of one kind of every rule.
fn members<'a, I: Iterator<Item = Prefix>>(
    rules: &[&'a FwRule],
    prefixes: impl Fn(&'a FwRule) -> I,
) -> Vec<Member> {
    let mut all = Vec::new();
    for (rule, number) in rules.iter().zip(0..) {
        all.extend(prefixes(rule).map(|prefix| (prefix, number)));
    }
    all
}

/// Where rules are in the dimensions of a kind.
struct Layout {
    places: Vec<Place>,
    /// Words of a bitmap for each slot.
    words: Vec<usize>,
    bounds: Bounds,
}

impl Layout {
    fn new(kind: usize, groups: &[Group], seats: &[Seat], bounds: Bounds) -> Self {
        let slot = |group: &Group| group.slots.get(kind).copied().flatten();
        let place = |&(group, position): &Seat| Place {
            // A rule that doesn't ask is in no member: its place isn't used.
            slot: groups.get(group).and_then(slot).unwrap_or(u16::MAX),
            position,
        };
        // Slots were given out in the order of groups.
        let asking = groups.iter().filter(|group| slot(group).is_some());
        Self {
            places: seats.iter().map(place).collect(),
            words: asking.map(|group| group.rules.len().div_ceil(64)).collect(),
            bounds,
        }
    }

    fn dimension(&self, members: Vec<Member>) -> Dimension {
        Dimension::build(members, &self.places, &self.words, self.bounds)
    }

    /// The dimension of a list of port ranges.
    fn ports<'a>(
        &self,
        rules: &[&'a FwRule],
        ranges: impl Fn(&'a FwRule) -> &'a [PortRange],
    ) -> Dimension {
        // Ranges are widened until there are few enough blocks; at the widest
        // each rule has one at most.
        let mut spare = 0;
        let mut members: Vec<Member> = Vec::new();
        loop {
            let widest = spare >= PORT_BITS;
            for (rule, number) in rules.iter().zip(0..) {
                if members.len() > self.bounds.members && !widest {
                    break;
                }
                let take = |block| members.push((block, number));
                predicate::port_prefixes(ranges(rule), spare, take);
            }
            if members.len() <= self.bounds.members || widest {
                break;
            }
            members.clear();
            spare = spare.saturating_add(1);
        }
        let mut dimension = self.dimension(members);
        dimension.coarse |= spare > 0;
        dimension
    }
}
