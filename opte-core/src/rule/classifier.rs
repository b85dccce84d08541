//! Finds the first rule that matches, of any number of rules.
//!
//! Terms     kind        what a rule may ask about: hosts, protocols, ports,
//!                       source ports
//!           group       rules that ask about the same kinds; up to 16 groups
//!           position    a rule's place in its group, in order of evaluation
//!           dimension   a kind, compiled; hosts are two, addresses and VNIs
//!
//! Flow      look each dimension up once -> a set of positions per group
//!           each group: the first position that is in all of its sets
//!           the rule that comes first of all groups wins
//!
//! Grouping is what keeps the sets small: within a group there are no rules
//! that don't care, so the set of a host has just the rules that name it or a
//! prefix around it. The intersection walks the shortest list, or, when all
//! sets are large, the words of the bitmaps: at most 256 for 16,384 rules.
//!
//! Rules     C1  positions ascend with the order of evaluation, so the first
//!               position of a group is its first rule.
//!           C2  a set has every rule whose predicate holds; only in a coarse
//!               dimension may it have others, which are asked directly.
//!
//! Failure   none; see [`super::dimension`] for what bounds memory.

mod build;

use super::dimension::{Dimension, Row, Set};
use super::predicate::{self, Query};
use crate::limits::FW_RULES_MAX;
use alloc::vec::Vec;

/// Words of the largest bitmap.
const WORDS_MAX: usize = FW_RULES_MAX.div_ceil(64);

/// Rules are numbered by 16 bits.
const _: () = assert!(FW_RULES_MAX <= 1 << 16);

/// Stands in for the set of a kind that a group doesn't ask about.
static ALL: [u64; WORDS_MAX] = [u64::MAX; WORDS_MAX];

/// What a rule may ask about: hosts, protocols, ports, source ports. Arrays
/// with an item for each kind are in this order.
const KINDS: usize = 4;

/// Rules that ask about the same kinds.
struct Group {
    /// For each kind, the group's slot in its dimensions, if it asks.
    slots: [Option<u16>; KINDS],
    /// The number of the rule at each position.
    rules: Vec<u16>,
}

/// The compiled rules of one direction.
#[derive(Default)]
pub(super) struct Classifier {
    /// By their first rule.
    groups: Vec<Group>,
    addresses: Dimension,
    vnis: Dimension,
    protocols: Dimension,
    ports: Dimension,
    source_ports: Dimension,
    /// Whether any dimension is.
    coarse: bool,
}

impl Classifier {
    /// The number of the first rule that matches. `is_match` asks a rule
    /// directly, by its number; it is only needed when a dimension is coarse.
    pub(super) fn find(&self, query: &Query, is_match: impl Fn(u16) -> bool) -> Option<u16> {
        let number = predicate::address;
        let vni = match query.remote_vni {
            Some(vni) => self.vnis.find(&number(predicate::vni_bits(vni))),
            None => Row::none(&self.vnis),
        };
        let hosts = [self.addresses.find(&query.remote), vni];
        let proto = predicate::proto_bits(query.proto, query.icmp);
        let proto = self.protocols.find(&number(proto));
        let [port, source_port] = if query.proto.has_ports() {
            let port = number(predicate::port_bits(query.dest_port));
            let source_port = number(predicate::port_bits(query.source_port));
            [self.ports.find(&port), self.source_ports.find(&source_port)]
        } else {
            [Row::none(&self.ports), Row::none(&self.source_ports)]
        };
        let matches = |number| !self.coarse || is_match(number);
        let mut best: Option<u16> = None;
        for group in &self.groups {
            // C1, and groups come by their first rule.
            if best.is_some_and(|best| group.rules.first() >= Some(&best)) {
                break;
            }
            // An address and a VNI are alternatives; one pass is enough for a
            // group that asks about neither.
            let [asks, ..] = group.slots;
            for host in hosts.iter().take(if asks.is_some() { 2 } else { 1 }) {
                let found = group.first([*host, proto, port, source_port], matches);
                best = best.into_iter().chain(found).min();
            }
        }
        best
    }
}

impl Group {
    /// The first rule that is in the sets of all kinds and that `matches`.
    fn first(&self, rows: [Row<'_>; KINDS], matches: impl Fn(u16) -> bool) -> Option<u16> {
        let mut lists = [None; KINDS];
        let mut bits = [ALL.as_slice(); KINDS];
        let kinds = self.slots.iter().zip(&rows);
        for ((list, bits), (slot, row)) in lists.iter_mut().zip(&mut bits).zip(kinds) {
            let Some(slot) = slot else { continue };
            match row.set(*slot)? {
                Set::List(set) => *list = Some(set),
                Set::Bits(set) => *bits = set,
            }
        }
        let rule = |position: u16| {
            let rule = *self.rules.get(usize::from(position))?;
            matches(rule).then_some(rule)
        };
        match lists.iter().flatten().min_by_key(|list| list.len()) {
            Some(shortest) => shortest
                .iter()
                .filter(|position| bits.iter().all(|set| has_bit(set, **position)))
                .filter(|position| {
                    let mut lists = lists.iter().flatten();
                    lists.all(|list| list.binary_search(position).is_ok())
                })
                .find_map(|position| rule(*position)),
            None => first_common(bits, rule),
        }
    }
}

fn has_bit(set: &[u64], position: u16) -> bool {
    let word = set.get(usize::from(position >> 6)).copied();
    word.unwrap_or(0).wrapping_shr(u32::from(position & 63)) & 1 != 0
}

/// The first of the positions in all sets for which `rule` has an answer.
fn first_common([a, b, c, d]: [&[u64]; KINDS], rule: impl Fn(u16) -> Option<u16>) -> Option<u16> {
    let mut base = 0_u16;
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        let mut word = a & b & c & d;
        while word != 0 {
            let low = u16::try_from(word.trailing_zeros()).unwrap_or(0);
            if let Some(rule) = rule(base.wrapping_add(low)) {
                return Some(rule);
            }
            word &= word.wrapping_sub(1);
        }
        base = base.wrapping_add(64);
    }
    None
}
