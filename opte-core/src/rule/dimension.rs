//! One thing that rules ask about, compiled.
//!
//! Purpose   from a number of a packet (its remote address, its destination
//!           port, ..) to the rules whose predicate holds for it, at a cost
//!           that doesn't depend on the number of rules.
//!
//! Terms     member    a prefix and a rule that names it
//!           class     numbers for which the same predicates hold; each
//!                     distinct prefix is one, found by longest-prefix match
//!           group     rules that ask about the same things, see
//!                     [`super::classifier`]; rules have positions in it
//!           set       the rules of one group for one class: a list of
//!                     positions, or a bitmap when that is shorter to walk
//!           row       a class's sets, one per group that asks
//!
//! A prefix's rules are its own and those of every prefix around it. Members
//! are taken in order of address and length, with a stack of the prefixes
//! around the current one; a set that equals another is stored once.
//!
//! Failure   rule sets can be written whose sets don't fit into any
//!           reasonable memory (thousands of rules for a wide prefix, and as
//!           many for hosts inside it). When [`Bounds`] are exceeded, prefixes
//!           are cut to the greatest length that fits. Sets are too large
//!           then, never too small: the dimension is *coarse* and each rule
//!           that is found is asked directly.
//!           So memory is at most about 40 MiB for each dimension, and
//!           building takes at most nine passes over the members: seconds,
//!           for 16,384 rules with 256 entries in each list.

use super::lpm::{Lpm, index};
use super::pool::Pool;
use crate::api::Prefix;
use crate::limits::{FW_RULES_MAX, PREDICATE_LIST_MAX};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU32;

/// What a dimension may take.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Classes.
    pub(super) classes: usize,
    /// Bytes of all sets and rows.
    pub(super) set_bytes: usize,
    /// Members; port ranges are widened when there would be more.
    pub(super) members: usize,
}

impl Bounds {
    /// What every port gets. Tests use less.
    pub(super) const PORT: Self = Self {
        classes: 131_072,
        set_bytes: 16 << 20,
        members: FW_RULES_MAX * PREDICATE_LIST_MAX,
    };
}

/// Entries of a list; a longer set is a bitmap.
const LIST_MAX: usize = 128;

/// A prefix and the number of a rule that names it.
pub(super) type Member = (Prefix, u16);

/// Where a rule is: its group's slot in the dimension and its position there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) slot: u16,
    pub(super) position: u16,
}

/// The rules of a group that a predicate holds for.
#[derive(Clone, Copy)]
pub(super) enum Set<'a> {
    /// Positions in ascending order.
    List(&'a [u16]),
    /// One bit per position, the first in the least significant bit.
    Bits(&'a [u64]),
}

/// A compiled dimension.
#[derive(Default)]
pub(super) struct Dimension {
    /// Where a class's row starts, plus one.
    classes: Lpm<NonZeroU32>,
    sets: Sets,
    /// Whether sets may have rules that don't match.
    pub(super) coarse: bool,
}

/// A class's sets; nothing when no prefix holds the number.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    sets: &'a Sets,
    refs: &'a [SetRef],
}

impl Dimension {
    /// Compiles `members`. `places` says where each rule is, `words` how many
    /// words a bitmap of each slot has.
    pub(super) fn build(
        mut members: Vec<Member>,
        places: &[Place],
        words: &[usize],
        bounds: Bounds,
    ) -> Self {
        members.sort_unstable();
        let attempt = |bits| attempt(&members, places, words, bits, bounds);
        if let Some(dimension) = attempt(128) {
            return dimension;
        }
        // Bisect for the greatest length that fits. With no bits at all there
        // is at most one class per family.
        let (mut fits, mut fails) = (0_u8, 128_u8);
        let mut best = attempt(fits);
        while fails.saturating_sub(fits) > 1 {
            let bits = fits.midpoint(fails);
            match attempt(bits) {
                Some(dimension) => (best, fits) = (Some(dimension), bits),
                None => fails = bits,
            }
        }
        let mut dimension = best.unwrap_or_default();
        dimension.coarse = true;
        dimension
    }

    /// The row of `number`.
    #[inline]
    pub(super) fn find(&self, number: &IpAddr) -> Row<'_> {
        let refs = self.classes.lookup(number).and_then(|row| {
            let start = index(row.get()).wrapping_sub(1);
            let end = start.wrapping_add(self.sets.width);
            self.sets.rows.get(start..end)
        });
        Row {
            sets: &self.sets,
            refs: refs.unwrap_or_default(),
        }
    }
}

impl<'a> Row<'a> {
    /// The row of a number that there isn't.
    pub(super) const fn none(dimension: &'a Dimension) -> Self {
        Self {
            sets: &dimension.sets,
            refs: &[],
        }
    }

    /// The set of a slot, if it isn't empty.
    #[inline]
    pub(super) fn set(&self, slot: u16) -> Option<Set<'a>> {
        self.sets.get(*self.refs.get(usize::from(slot))?)
    }
}

/// Where a set is stored: `len` positions of `lists`, or, with a negative
/// number, so many words of `bits`. Zero is the empty set.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct SetRef {
    start: u32,
    len: i32,
}

/// The stored sets and rows.
#[derive(Default)]
struct Sets {
    /// References in a row.
    width: usize,
    rows: Vec<SetRef>,
    lists: Vec<u16>,
    bits: Vec<u64>,
}

impl Sets {
    #[inline]
    fn get(&self, set: SetRef) -> Option<Set<'_>> {
        let start = index(set.start);
        let end = start.wrapping_add(index(set.len.unsigned_abs()));
        match set.len {
            0 => None,
            1.. => self.lists.get(start..end).map(Set::List),
            _ => self.bits.get(start..end).map(Set::Bits),
        }
    }
}

/// Makes sets and rows; equal ones share their memory.
struct Builder {
    rows: Pool<SetRef>,
    lists: Pool<u16>,
    bits: Pool<u64>,
    /// What is being made, kept for its memory.
    list: Vec<u16>,
    words: Vec<u64>,
    row: Vec<SetRef>,
}

impl Builder {
    /// Where the row is that has the sets of the row `outer` and `own`, which
    /// is sorted.
    fn row(&mut self, outer: Option<u32>, own: &[Place], words: &[usize]) -> u32 {
        let mut row = core::mem::take(&mut self.row);
        row.clear();
        let outer = outer.and_then(|outer| self.rows.get(outer, words.len()));
        row.extend_from_slice(outer.unwrap_or_default());
        row.resize(words.len(), SetRef::default());
        for more in own.chunk_by(|a, b| a.slot == b.slot) {
            let slot = more.first().map_or(0, |place| usize::from(place.slot));
            if let Some((set, words)) = row.get_mut(slot).zip(words.get(slot)) {
                *set = self.union(*set, more, *words);
            }
        }
        let start = self.rows.store(&row);
        self.row = row;
        start
    }

    /// The set of `old` and `more`; a bitmap has `words` words.
    fn union(&mut self, old: SetRef, more: &[Place], words: usize) -> SetRef {
        let list_max = words.min(LIST_MAX);
        let old_len = index(old.len.unsigned_abs());
        self.words.clear();
        self.list.clear();
        self.list.extend(more.iter().map(|place| place.position));
        if old.len < 0 {
            let old = self.bits.get(old.start, old_len);
            self.words.extend_from_slice(old.unwrap_or_default());
        } else {
            let old = self.lists.get(old.start, old_len);
            self.list.extend_from_slice(old.unwrap_or_default());
            self.list.sort_unstable();
            self.list.dedup();
            if self.list.len() <= list_max {
                return SetRef {
                    start: self.lists.store(&self.list),
                    len: i32::try_from(self.list.len()).unwrap_or(0),
                };
            }
            self.words.resize(words, 0);
        }
        for position in &self.list {
            if let Some(word) = self.words.get_mut(usize::from(*position >> 6)) {
                *word |= 1_u64.wrapping_shl(u32::from(*position & 63));
            }
        }
        SetRef {
            start: self.bits.store(&self.words),
            len: i32::try_from(words).unwrap_or(0).saturating_neg(),
        }
    }

    const fn bytes(&self) -> usize {
        let sets = self.lists.bytes().saturating_add(self.bits.bytes());
        self.rows.bytes().saturating_add(sets)
    }
}

/// Compiles sorted members with prefixes cut to `bits_max` (IPv4: a quarter
/// of it), or nothing when that takes too much memory.
fn attempt(
    members: &[Member],
    places: &[Place],
    words: &[usize],
    bits_max: u8,
    bounds: Bounds,
) -> Option<Dimension> {
    let mut builder = Builder {
        rows: Pool::new(),
        lists: Pool::new(),
        bits: Pool::new(),
        list: Vec::new(),
        words: Vec::new(),
        row: Vec::new(),
    };
    let mut classes: Vec<(Prefix, u32)> = Vec::new();
    // The prefixes around the current one, outermost first, and their rows.
    let mut around: Vec<(Prefix, u32)> = Vec::new();
    let mut own: Vec<Place> = Vec::new();
    let mut members = members
        .iter()
        .map(|(prefix, rule)| (cut(prefix, bits_max), *rule))
        .peekable();
    while let Some((prefix, rule)) = members.next() {
        own.clear();
        own.extend(places.get(usize::from(rule)));
        while let Some((_, rule)) = members.next_if(|(next, _)| *next == prefix) {
            own.extend(places.get(usize::from(rule)));
        }
        own.sort_unstable();
        let addr = prefix.addr();
        while around.pop_if(|(outer, _)| !outer.contains(&addr)).is_some() {}
        let outer = around.last().map(|(_, outer)| *outer);
        let row = builder.row(outer, &own, words);
        if outer == Some(row) {
            continue;
        }
        classes.push((prefix, row));
        around.push((prefix, row));
        let fits = classes.len() <= bounds.classes && builder.bytes() <= bounds.set_bytes;
        if !fits && bits_max > 0 {
            return None;
        }
    }
    let start = |row| NonZeroU32::MIN.saturating_add(row);
    Some(Dimension {
        classes: Lpm::build(
            classes
                .into_iter()
                .map(|(prefix, row)| (prefix, start(row))),
        ),
        sets: Sets {
            width: words.len(),
            rows: builder.rows.into_items(),
            lists: builder.lists.into_items(),
            bits: builder.bits.into_items(),
        },
        coarse: false,
    })
}

/// The first bits of a prefix: at most `bits_max` for IPv6, a quarter of it,
/// rounded up, for IPv4.
fn cut(prefix: &Prefix, bits_max: u8) -> Prefix {
    let cut = match prefix.addr() {
        IpAddr::V4(addr) => {
            let bits = prefix.bits().min(bits_max.div_ceil(4));
            let mask = !u32::MAX.unbounded_shr(u32::from(bits));
            Prefix::new(Ipv4Addr::from_bits(addr.to_bits() & mask).into(), bits)
        }
        IpAddr::V6(addr) => {
            let bits = prefix.bits().min(bits_max);
            let mask = !u128::MAX.unbounded_shr(u32::from(bits));
            Prefix::new(Ipv6Addr::from_bits(addr.to_bits() & mask).into(), bits)
        }
    };
    // The bits after the mask are zero, so there is nothing to refuse.
    cut.unwrap_or(*prefix)
}
